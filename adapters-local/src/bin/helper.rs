//! The guard and the trampoline alone: what `legwork` does when it is called by its hidden
//! subcommands. For programs that embed Legwork as a library and cannot answer to them, and for
//! this crate's own tests.

use std::process::ExitCode;

use legwork_adapters_local::agent::{exec, guard};

/// The exit code of a wrong use, as shells have it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let subcommand = args.next().unwrap_or_default();
    match subcommand.to_str() {
        Some("__guard") => guard::main(args),
        Some("__exec") => exec::main(args),
        Some(_) | None => ExitCode::from(USAGE),
    }
}
