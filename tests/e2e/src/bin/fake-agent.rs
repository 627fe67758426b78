//! The simulated agent as a program, so that tests can name it in place of
//! the agent CLI. What it does is said and done in the simulators' crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    legwork_simulators::fake_agent::main()
}
