//! The legwork program, built with the tests that run it, so that it is never older than they are.

fn main() -> std::process::ExitCode {
    legwork_cli::main()
}
