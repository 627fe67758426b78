//! The program's own entry: hidden helpers first, then the command line, then the command.

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};
use legwork_wiring::config::PortsLayer;

use crate::{commands, demo_agent, exit, output};

/// First argument by which the program acts as the simulated agent of `legwork demo`.
pub(crate) const DEMO_AGENT: &str = "__demo-agent";

/// Runs Claude Code tasks in the background and tells how they went.
///
/// `legwork serve` runs the service. The other commands talk to a service that runs, here or
/// elsewhere. `legwork demo` shows the whole in one command and needs git alone.
#[derive(Debug, Parser)]
#[command(name = "legwork", version, max_term_width = 100, after_help = MANUAL)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const MANUAL: &str = "\
Examples:
  legwork demo                                   see it work, with nothing configured
  legwork serve &                                start the service on this machine
  ANTHROPIC_API_KEY=… legwork run 'Say hello'    run a task and watch it

Exit codes: 0 success, 1 failure, 2 usage or configuration, 69 service unreachable;
`legwork run` also has 124 (the task timed out) and 130 (it was cancelled).

`legwork COMMAND --help` explains a command.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the service: its API, and on this machine what starts its workers.
    Serve(commands::serve::Args),
    /// Executes one task, which the environment names, and exits.
    Worker(commands::worker::Args),
    Run(commands::run::Args),
    Submit(commands::submit::Args),
    Status(commands::status::Args),
    List(commands::list::Args),
    Logs(commands::logs::Args),
    Files(commands::files::Args),
    Cancel(commands::cancel::Args),
    Retry(commands::retry::Args),
    /// Ends what lost workers leave open and delivers what is owed, beside a service or instead of its own.
    Reconcile(commands::reconcile::Args),
    Doctor(commands::doctor::Args),
    Listen(commands::listen::Args),
    Verify(commands::verify::Args),
    Token(commands::token::Args),
    /// Shows the main job in one command, with nothing to configure.
    Demo(commands::demo::Args),
}

/// Runs the program with the arguments of this process and returns its exit code.
///
/// Arguments that make the process a helper of a running task are looked at before anything else:
/// a helper needs neither the command line's parser nor a runtime, and must start fast.
pub fn main() -> ExitCode {
    main_with(|_, ports| ports)
}

/// Does the same with every port of services, workers and reconcilers wrapped in a layer of one's own.
pub fn main_with(layer: PortsLayer) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = legwork_wiring::helper_main(&arguments) {
        return code;
    }
    if arguments.get(1).is_some_and(|first| first == DEMO_AGENT) {
        return demo_agent::main();
    }
    match Cli::try_parse_from(&arguments) {
        Ok(cli) => exit::finish(start(cli.command, layer)),
        Err(answer) => answered_by_the_parser(&answer),
    }
}

/// Prints a help text or a usage error.
fn answered_by_the_parser(answer: &clap::Error) -> ExitCode {
    // The reader of the help may be gone; there is nobody left to tell.
    let _printed = answer.print();
    if answer.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS }
}

fn start(command: Command, layer: PortsLayer) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    legwork_wiring::install_tls();
    let code = runtime.block_on(dispatch(command, layer));
    output::flush();
    code
}

async fn dispatch(command: Command, layer: PortsLayer) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => Box::pin(commands::serve::run(args, layer)).await,
        Command::Worker(args) => Box::pin(commands::worker::run(args, layer)).await,
        Command::Run(args) => Box::pin(commands::run::run(args)).await,
        Command::Submit(args) => Box::pin(commands::submit::run(args)).await,
        Command::Status(args) => Box::pin(commands::status::run(args)).await,
        Command::List(args) => Box::pin(commands::list::run(args)).await,
        Command::Logs(args) => Box::pin(commands::logs::run(args)).await,
        Command::Files(args) => Box::pin(commands::files::run(args)).await,
        Command::Cancel(args) => Box::pin(commands::cancel::run(args)).await,
        Command::Retry(args) => Box::pin(commands::retry::run(args)).await,
        Command::Reconcile(args) => Box::pin(commands::reconcile::run(args, layer)).await,
        Command::Doctor(args) => Box::pin(commands::doctor::run(args, layer)).await,
        Command::Listen(args) => Box::pin(commands::listen::run(args)).await,
        Command::Verify(args) => commands::verify::run(&args),
        Command::Token(args) => commands::token::run(&args),
        Command::Demo(args) => Box::pin(commands::demo::run(args)).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does_and_shows_an_example() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let manual = command.get_after_help().map(ToString::to_string).unwrap_or_default();

            assert!(command.get_about().is_some(), "{name} has no description");
            assert!(manual.contains(&format!("legwork {name}")), "{name} shows no example");
        }
    }

    #[test]
    fn credentials_are_shown_in_no_help() {
        let run = Cli::command();
        let run = run.find_subcommand("run").unwrap();
        let hides = |id: &str| run.get_arguments().any(|a| a.get_id() == id && a.is_hide_env_values_set());

        assert!(hides("api_key") && hides("oauth_token") && hides("token"));
    }
}
