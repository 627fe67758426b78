//! The legwork program, built with the tests that run it, so that it is never older than they are. It can
//! be told to die at any step.

fn main() -> std::process::ExitCode {
    legwork_cli::main_with(legwork_e2e::crash::layer)
}
