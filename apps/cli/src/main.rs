//! The legwork program: everything is in the library, so that tests can be the program too.

use std::process::ExitCode;

fn main() -> ExitCode {
    legwork_cli::main()
}
