//! `legwork doctor`: checks the configuration end to end.

use std::{path::PathBuf, process::ExitCode};

use legwork_wiring::{
    config::{Config, PortsLayer, Problem},
    doctor::{Finding, Outcome, examine},
    names,
};

use super::serve::{report, settings};
use crate::{exit, output, style, terminal};

/// How wide the names of checks are shown.
const NAMES: usize = 12;

/// Checks the configuration end to end and says how to mend what fails.
///
/// It does what the programs will do: writes, swaps and deletes an object, wraps a data key and opens it again,
/// looks at the job and at what calls the reconciler, runs the agent for its version. No task is started.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  legwork doctor                  this machine\n  \
    legwork doctor --platform gcp   Google Cloud, by the variables of .env\n\n\
    Settings are read as `legwork serve` reads them. On Google Cloud the answers are those to whoever asks: the\n\
    application default credentials (gcloud auth application-default login).\n\n\
    Exit codes: 0 nothing fails, 1 something does, 2 unusable configuration.")]
pub(crate) struct Args {
    /// Which adapters are wired: local (this machine) or gcp (Google Cloud) [default: local]
    #[arg(long)]
    platform: Option<String>,
    /// Where everything is kept [default: the user's data folder]
    #[arg(long)]
    data_dir: Option<String>,
    /// A file of NAME=VALUE lines to read instead of ./.env
    #[arg(long)]
    env_file: Option<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args, layer: PortsLayer) -> anyhow::Result<ExitCode> {
    let flags = [(names::PLATFORM, args.platform), (names::DATA_DIR, args.data_dir)];
    let config = match settings(flags, args.env_file) {
        Ok(config) => Config { layer, ..config },
        Err(problems) => return Ok(report(&problems)),
    };
    let findings = match examine(&config).await {
        Ok(findings) => findings,
        Err(error) => return Ok(report(&[Problem(error.to_string())])),
    };
    if args.json {
        let all: Vec<_> = findings.iter().map(json).collect();
        output::json(&serde_json::Value::from(all).to_string())?;
    } else {
        if let Some(file) = &config.env_file {
            output::human(&format!("settings from {}", terminal::escape(&file.display().to_string())))?;
        }
        for finding in &findings {
            output::human(&words(finding))?;
        }
    }
    let fails = findings.iter().any(|finding| finding.outcome == Outcome::Fails);
    Ok(if fails { ExitCode::from(exit::FAILURE) } else { ExitCode::SUCCESS })
}

fn json(finding: &Finding) -> serde_json::Value {
    serde_json::json!({
        "check": finding.check,
        "outcome": outcome(&finding.outcome),
        "detail": finding.detail,
        "mend": finding.mend,
    })
}

fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Works => "works",
        Outcome::Untried => "untried",
        Outcome::Warning => "warning",
        Outcome::Fails => "fails",
    }
}

fn words(finding: &Finding) -> String {
    let colour = match finding.outcome {
        Outcome::Works => style::GOOD,
        Outcome::Untried | Outcome::Warning => style::ODD,
        Outcome::Fails => style::BAD,
    };
    let word = style::paint(colour, &format!("{:<8}", outcome(&finding.outcome)));
    let line = format!("{word} {:<NAMES$} {}", finding.check, terminal::escape(&finding.detail));
    match &finding.mend {
        Some(mend) => format!("{line}\n{:9}{:NAMES$} to mend it: {}", "", "", terminal::escape(mend)),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_told_with_what_mends_it() {
        let finding = Finding {
            check: "store",
            outcome: Outcome::Fails,
            detail: "there is\u{1b}[2J no bucket".to_owned(),
            mend: Some("make one".to_owned()),
        };

        let text = words(&finding);

        assert!(text.contains("fails") && text.contains("store"), "{text}");
        assert!(text.ends_with("to mend it: make one"), "{text}");
        assert!(!text.contains("\u{1b}[2J"), "{text}");
        assert_eq!(json(&finding)["outcome"], "fails");
    }
}
