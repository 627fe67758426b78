//! `legwork reconcile`: the reconciler alone.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use legwork_engine::{PassReport, Reconciler};
use legwork_wiring::{
    config::{Config, PortsLayer, Problem},
    names, platform,
};

use super::serve::{configure, report, stop_on_signals};
use crate::output;

/// Arguments of `legwork reconcile`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  legwork reconcile           look every 10 s, until stopped\n  \
    legwork reconcile --once    one pass of at most 50 s, for a timer or a scheduler\n\n\
    `legwork serve` does the same by itself, unless RECONCILER says otherwise. Any number may run at once.\n\n\
    Exit codes: 0 done, 1 the store could not be looked through, 2 unusable configuration.")]
pub(crate) struct Args {
    /// Make one pass and exit
    #[arg(long)]
    once: bool,
    /// Print what the pass has done as JSON
    #[arg(long, requires = "once")]
    json: bool,
    /// Which adapters are wired: local (this machine) or gcp (Google Cloud) [default: local]
    #[arg(long)]
    platform: Option<String>,
    /// Where everything is kept [default: the user's data folder]
    #[arg(long)]
    data_dir: Option<String>,
    /// Level or filter directives of the log [default: info]
    #[arg(long)]
    log_level: Option<String>,
    /// A file of NAME=VALUE lines to read instead of ./.env
    #[arg(long)]
    env_file: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, layer: PortsLayer) -> anyhow::Result<ExitCode> {
    let flags = [
        (names::PLATFORM, args.platform),
        (names::DATA_DIR, args.data_dir),
        (names::LOG_LEVEL, args.log_level),
    ];
    let config = match configure(flags, args.env_file) {
        Ok(config) => Config { layer, ..config },
        Err(problems) => return Ok(report(&problems)),
    };
    let observer = match platform::observer(&config).await {
        Ok(observer) => observer,
        Err(error) => return Ok(report(&[Problem(error.to_string())])),
    };
    let leftovers = observer.leftovers;
    if args.once {
        let pass = Reconciler::pass(observer.engine.clone(), leftovers).await;
        // Who was asked to end and does not is ended by force, which takes this process.
        observer.engine.ports().jobs.see_off().await;
        let done = pass.context("the store could not be looked through")?;
        if args.json {
            output::json(&json(done).to_string())?;
        } else {
            output::human(&words(done))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let stop = stop_on_signals()?;
    tracing::info!(store = %observer.engine.ports().storage.url(""), "reconciling");
    Reconciler::new(observer.engine, leftovers).run(stop).await;
    Ok(ExitCode::SUCCESS)
}

fn json(done: PassReport) -> serde_json::Value {
    serde_json::json!({
        "examined": done.examined,
        "started": done.started,
        "settled": done.settled,
        "cancelledExecutions": done.cancelled_executions,
        "callbackAttempts": done.callback_attempts,
        "payloadsDeleted": done.payloads_deleted,
        "entriesRemoved": done.entries_removed,
        "tasksRemoved": done.tasks_removed,
        "errors": done.errors,
    })
}

fn words(done: PassReport) -> String {
    let PassReport { examined, settled, callback_attempts, tasks_removed, errors, .. } = done;
    format!(
        "looked at {examined} tasks: {settled} settled, {callback_attempts} callbacks tried, {tasks_removed} old tasks removed, {errors} left for later"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_told_in_words_and_numbers() {
        let done = PassReport { examined: 3, settled: 1, ..PassReport::default() };

        assert!(words(done).starts_with("looked at 3 tasks: 1 settled"));
        assert_eq!(json(done)["settled"], 1);
    }
}
