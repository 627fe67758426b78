//! Exit codes, and how a command's end becomes one.

use std::process::ExitCode;

use crate::{client_error::ClientError, output, output::OutputError, task_facts::TaskFacts, terminal};

/// The command, or the task it followed, failed.
pub(crate) const FAILURE: u8 = 1;
/// The arguments, the environment or the request are wrong.
pub(crate) const USAGE: u8 = 2;
/// The service does not answer (`EX_UNAVAILABLE` of BSD's sysexits).
pub(crate) const UNREACHABLE: u8 = 69;
/// The followed task ran out of time (as coreutils' `timeout` has it).
pub(crate) const TIMEOUT: u8 = 124;
/// The followed task was cancelled, or following it was interrupted (128 + SIGINT).
pub(crate) const CANCELLED: u8 = 130;

/// The user asked for something that cannot be done as asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct UsageError {
    message: String,
}

impl UsageError {
    /// Says what is wrong and what to do.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// Prints a command's error, if it has one, and returns the exit code.
///
/// A reader of standard output that went away (`| head`) is no error.
pub(crate) fn finish(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if error.downcast_ref::<OutputError>().is_some_and(OutputError::is_closed) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::error(&terminal::escape(&format!("{error:#}")));
            if let Some(hint) = error.downcast_ref::<ClientError>().and_then(ClientError::hint) {
                output::note(hint);
            }
            ExitCode::from(of_error(&error))
        }
    }
}

fn of_error(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<UsageError>().is_some() {
        return USAGE;
    }
    error.downcast_ref::<ClientError>().map_or(FAILURE, ClientError::exit_code)
}

/// Returns what `legwork run` exits with after a task that ended so.
pub(crate) fn of_task(task: &TaskFacts) -> u8 {
    match (task.status.as_str(), task.exit_code) {
        ("completed", _) => 0,
        ("cancelled", _) => CANCELLED,
        (_, Some(124)) => TIMEOUT,
        _ => FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: &str, exit_code: Option<i64>, expected: u8) {
        let task = TaskFacts { status: status.to_owned(), exit_code, ..TaskFacts::default() };
        assert_eq!(of_task(&task), expected);
    }

    #[test]
    fn the_exit_code_tells_how_the_task_ended() {
        check("completed", Some(0), 0);
        check("failed", Some(1), 1);
        check("failed", Some(137), 1);
        check("failed", Some(124), 124);
        check("failed", None, 1);
        check("cancelled", Some(130), 130);
    }

    #[test]
    fn usage_and_reachability_have_codes_of_their_own() {
        assert_eq!(of_error(&UsageError::new("no prompt").into()), 2);
        assert_eq!(of_error(&ClientError::Unexpected { what: "x".into() }.into()), 1);
        assert_eq!(of_error(&anyhow::anyhow!("else")), 1);
    }
}
