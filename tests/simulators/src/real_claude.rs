//! Where the real agent CLI is, for the tests that run it.
//!
//! The one place that knows; nothing here starts it.

use std::path::{Path, PathBuf};

/// Below the workspace root: where the test script installs the CLI.
const INSTALLED: &str = "target/claude-cli/node_modules/@anthropic-ai/claude-code-linux-x64/claude";

/// Returns the path of the real agent CLI: what `LEGWORK_TEST_CLAUDE` names,
/// else the copy that the test script installs, else `claude` on `PATH`.
///
/// # Panics
/// Where there is none, or `LEGWORK_TEST_CLAUDE` names a file that is not
/// there; the message says how to get one.
#[expect(
    clippy::disallowed_methods,
    reason = "tests find their tools by the environment that the script sets"
)]
#[expect(clippy::panic, reason = "a test that needs the CLI must fail where it is missing, not pass")]
pub fn claude_binary() -> PathBuf {
    if let Some(named) = std::env::var_os("LEGWORK_TEST_CLAUDE").map(PathBuf::from) {
        assert!(named.is_file(), "LEGWORK_TEST_CLAUDE names {}, which is no file", named.display());
        return named;
    }
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(INSTALLED);
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&search_path).map(|folder| folder.join("claude"));
    std::iter::once(installed).chain(on_path).find(|candidate| candidate.is_file()).unwrap_or_else(|| {
        panic!("no agent CLI found: run ./scripts/test.sh, which installs it, or set LEGWORK_TEST_CLAUDE")
    })
}
