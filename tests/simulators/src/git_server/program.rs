//! Runs git and OpenSSH's tools for the tests' own purposes, and waits for
//! their end.
//!
//! This blocks. Nothing that asks one of the servers may run here: a server on
//! the same thread could not answer.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Output, Stdio};

/// Where Debian has git, OpenSSH's tools and what hooks need.
pub(super) const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// What every git of the simulators runs with besides `HOME` and `PATH`: no
/// configuration of the machine or of the user, no questions, English.
pub(super) const GIT_ENVIRONMENT: [(&str, &str); 4] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("LC_ALL", "C.UTF-8"),
];

/// A program's end that is not success.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramError {
    /// It could not be started or spoken with.
    #[error("{program} could not be run")]
    Run {
        /// Its name.
        program: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// It ended badly.
    #[error("{program} {arguments} failed ({status}):\n{stderr}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// Its arguments as a list.
        arguments: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said.
        stderr: String,
    },
}

/// Runs `program` in `folder`, which is its `HOME` too, with nothing else in
/// its environment than what git needs and `variables`; returns its stdout.
#[expect(clippy::disallowed_types, reason = "starts programs of the machine, with a cleared environment")]
pub(super) fn run<A: AsRef<OsStr> + Debug>(
    program: &'static str,
    folder: &Path,
    arguments: &[A],
    variables: &[(&str, &str)],
    stdin: &[u8],
) -> Result<Vec<u8>, ProgramError> {
    let failed = |source| ProgramError::Run { program, source };
    let mut child = std::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", folder)
        .envs(GIT_ENVIRONMENT)
        .envs(variables.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut pipe) = child.stdin.take() {
        // The programs run here read all their input before they write much.
        // One that ends early says by its status why.
        drop(pipe.write_all(stdin));
    }
    let Output { status, stdout, stderr } = child.wait_with_output().map_err(failed)?;
    if status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Err(ProgramError::Failed { program, arguments: format!("{arguments:?}"), status, stderr })
}

/// Returns what went well, or ends the test with what a program said.
#[track_caller]
#[expect(clippy::panic, reason = "a test whose surroundings cannot be set up cannot go on")]
pub(super) fn must<T, E: std::error::Error>(outcome: Result<T, E>) -> T {
    outcome.unwrap_or_else(|error| {
        let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        panic!("{error}{cause}")
    })
}

/// Reads a text file of the simulators' own; missing means empty.
#[track_caller]
pub(super) fn text(path: &Path) -> String {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => String::from_utf8_lossy(&must(read)).into_owned(),
    }
}
