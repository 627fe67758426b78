//! Judges whether a run succeeded.
//!
//! Neither the exit code nor the last result is enough: the CLI exits 0 after an interrupted
//! request, and calls a failed one `success`. Texts and codes here are read by programs; they
//! do not change.

use alloc::{
    format,
    string::{String, ToString as _},
};

use super::{
    facts::{Facts, Failure, MAX_REASON_BYTES},
    log_line::bounded,
};
use crate::record::{ErrorCode, Status, Verdict};

/// The exit code of a run that reached a time limit, as of `timeout(1)`.
pub const EXIT_TIMEOUT: i32 = 124;
/// The exit code of a run that was cancelled, as of a shell after Ctrl-C.
pub const EXIT_CANCELLED: i32 = 130;
/// The exit code where the agent's own says nothing.
pub const EXIT_FAILED: i32 = 1;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// Returns the code as a shell tells it: 128 + N for signal N.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(number) => number.saturating_add(128),
        }
    }
}

/// Why a run was stopped before its agent ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stopped {
    /// The task's time limit passed.
    Timeout {
        /// The limit.
        minutes: u32,
    },
    /// No line came for too long.
    Idle {
        /// The limit.
        minutes: u32,
    },
    /// Somebody cancelled the task.
    Cancelled,
    /// The worker was told to stop.
    WorkerStopped,
}

/// What the verdict is judged by.
#[derive(Debug, Clone, Copy)]
pub struct VerdictInputs<'v> {
    /// How the agent's process ended. Of one that was stopped because it lived on after its
    /// result, `Code(0)`: the result stands.
    pub exit: Exit,
    /// Why it was stopped; nothing where it ended by itself or after its result.
    pub stopped: Option<Stopped>,
    /// What the agent's lines told.
    pub transcript: &'v Facts,
    /// Whether the file that the agent wrote its lines into has shrunk.
    pub altered: bool,
    /// The last words of the agent's standard error, masked.
    pub stderr_tail: &'v str,
}

/// Judges a run.
///
/// Completed is only what ended with exit code 0 and shows no sign of the contrary: a failed
/// last result, a begun stream of JSON lines without any result, no output at all, or a
/// transcript that was altered. What stopped a run decides, whatever its lines told.
///
/// # Examples
/// ```
/// use legwork_core::claude::{facts::Facts, verdict::{Exit, VerdictInputs, verdict}};
/// use legwork_core::record::Status;
/// let facts = Facts { lines: 1, has_output: true, ..Facts::default() };
/// let judge = |exit| {
///     verdict(&VerdictInputs { exit, stopped: None, transcript: &facts, altered: false, stderr_tail: "" })
/// };
/// assert_eq!(judge(Exit::Code(0)).status, Status::Completed);
/// assert_eq!(judge(Exit::Signal(9)).error.as_deref(), Some("Claude process exited with code 137"));
/// ```
pub fn verdict(inputs: &VerdictInputs<'_>) -> Verdict {
    match inputs.stopped {
        None => by_exit(inputs),
        Some(stopped) => by_stop(stopped, inputs.transcript),
    }
}

fn by_stop(stopped: Stopped, transcript: &Facts) -> Verdict {
    let (status, exit_code, error, code) = match stopped {
        Stopped::Timeout { minutes } | Stopped::Idle { minutes } => {
            let error = format!("Process timed out after {minutes} minutes");
            (Status::Failed, EXIT_TIMEOUT, error, ErrorCode::Timeout)
        }
        Stopped::Cancelled => {
            (Status::Cancelled, EXIT_CANCELLED, "Task cancelled by user".to_string(), ErrorCode::Cancelled)
        }
        Stopped::WorkerStopped => {
            (Status::Failed, EXIT_FAILED, "Worker was stopped".to_string(), ErrorCode::WorkerStopped)
        }
    };
    let detail = match stopped {
        Stopped::Idle { minutes } => Some(format!("the agent wrote no line for {minutes} minutes")),
        Stopped::Timeout { .. } | Stopped::Cancelled | Stopped::WorkerStopped => None,
    };
    Verdict {
        status,
        exit_code,
        error: Some(error),
        error_code: Some(code),
        error_detail: detail,
        result: final_text(transcript),
    }
}

fn by_exit(inputs: &VerdictInputs<'_>) -> Verdict {
    let code = inputs.exit.code();
    let failure = inputs.transcript.last_result.as_ref().and_then(|result| result.failure);
    let failed = |exit_code, error: String| Verdict {
        status: Status::Failed,
        exit_code,
        error: Some(error),
        error_code: Some(error_code(failure)),
        error_detail: reason(inputs),
        result: final_text(inputs.transcript),
    };
    if code != 0 {
        return failed(code, format!("Claude process exited with code {code}"));
    }
    if inputs.altered {
        return failed(EXIT_FAILED, "Transcript was altered".to_string());
    }
    let unfinished = inputs.transcript.init_seen && inputs.transcript.last_result.is_none();
    if failure.is_some() || unfinished || !inputs.transcript.has_output {
        return failed(EXIT_FAILED, "Claude ended without a successful result".to_string());
    }
    Verdict {
        status: Status::Completed,
        exit_code: 0,
        error: None,
        error_code: None,
        error_detail: None,
        result: final_text(inputs.transcript),
    }
}

fn error_code(failure: Option<Failure>) -> ErrorCode {
    match failure {
        Some(Failure::AuthRefused) => ErrorCode::AuthFailed,
        Some(Failure::MaxTurns) => ErrorCode::MaxTurns,
        Some(Failure::Budget) => ErrorCode::Budget,
        Some(Failure::Other) | None => ErrorCode::AgentFailed,
    }
}

fn final_text(facts: &Facts) -> Option<String> {
    facts.last_result.as_ref()?.text.clone()
}

/// The agent's own reason: its result's error, else the last words of its standard error.
fn reason(inputs: &VerdictInputs<'_>) -> Option<String> {
    let told = inputs.transcript.last_result.as_ref().and_then(|result| result.reason.as_deref());
    match told {
        Some(told) => Some(bounded(told, MAX_REASON_BYTES).into_owned()),
        None => last_words(inputs.stderr_tail),
    }
}

/// Returns the end of a text, at most as much as a reason may have; nothing of a blank text.
fn last_words(text: &str) -> Option<String> {
    let text = text.trim();
    let start = text.ceil_char_boundary(text.len().saturating_sub(MAX_REASON_BYTES));
    text.get(start..).filter(|words| !words.is_empty()).map(String::from)
}

#[cfg(test)]
mod tests {
    use std::vec;

    use proptest::prelude::*;

    use super::super::facts::ResultFacts;
    use super::*;

    fn result(failure: Option<Failure>) -> Facts {
        let (reason, text) = match failure {
            Some(_) => (Some("the reason".to_string()), None),
            None => (None, Some("done".to_string())),
        };
        Facts {
            lines: 3,
            has_output: true,
            init_seen: true,
            last_result: Some(ResultFacts { failure, reason, text, ..ResultFacts::default() }),
            ..Facts::default()
        }
    }

    fn judge(exit: Exit, stopped: Option<Stopped>, transcript: &Facts) -> Verdict {
        verdict(&VerdictInputs { exit, stopped, transcript, altered: false, stderr_tail: " words\n" })
    }

    /// Checks a run that did not complete: its exit code, error, code and detail.
    #[track_caller]
    fn check(verdict: &Verdict, exit_code: i32, error: &str, code: ErrorCode, detail: Option<&str>) {
        assert_ne!(verdict.status, Status::Completed);
        assert_eq!(
            (
                verdict.exit_code,
                verdict.error.as_deref(),
                verdict.error_code,
                verdict.error_detail.as_deref()
            ),
            (exit_code, Some(error), Some(code), detail)
        );
    }

    #[test]
    fn a_successful_result_and_exit_code_0_complete_a_run() {
        let verdict = judge(Exit::Code(0), None, &result(None));

        assert_eq!((verdict.status, verdict.exit_code, verdict.error), (Status::Completed, 0, None));
        assert_eq!(verdict.result.as_deref(), Some("done"));
    }

    #[test]
    fn a_program_that_writes_plain_text_may_complete() {
        let facts = Facts { lines: 1, has_output: true, ..Facts::default() };

        assert_eq!(judge(Exit::Code(0), None, &facts).status, Status::Completed);
    }

    #[test]
    fn exit_codes_are_told_as_a_shell_tells_them() {
        let by_code = judge(Exit::Code(3), None, &result(None));
        let by_signal = judge(Exit::Signal(15), None, &result(Some(Failure::Other)));

        check(&by_code, 3, "Claude process exited with code 3", ErrorCode::AgentFailed, Some("words"));
        check(
            &by_signal,
            143,
            "Claude process exited with code 143",
            ErrorCode::AgentFailed,
            Some("the reason"),
        );
    }

    #[test]
    fn failures_have_their_codes() {
        for (failure, code) in [
            (Failure::AuthRefused, ErrorCode::AuthFailed),
            (Failure::MaxTurns, ErrorCode::MaxTurns),
            (Failure::Budget, ErrorCode::Budget),
        ] {
            let verdict = judge(Exit::Code(1), None, &result(Some(failure)));

            check(&verdict, 1, "Claude process exited with code 1", code, Some("the reason"));
        }
    }

    #[test]
    fn exit_code_0_alone_is_no_success() {
        let unfinished = Facts { last_result: None, ..result(None) };
        for (facts, detail) in
            [(result(Some(Failure::Other)), "the reason"), (unfinished, "words"), (Facts::default(), "words")]
        {
            let verdict = judge(Exit::Code(0), None, &facts);

            let error = "Claude ended without a successful result";
            check(&verdict, 1, error, ErrorCode::AgentFailed, Some(detail));
        }
    }

    #[test]
    fn an_altered_transcript_is_no_success() {
        let facts = result(None);

        let verdict = verdict(&VerdictInputs {
            exit: Exit::Code(0),
            stopped: None,
            transcript: &facts,
            altered: true,
            stderr_tail: "",
        });

        check(&verdict, 1, "Transcript was altered", ErrorCode::AgentFailed, None);
    }

    #[test]
    fn what_stopped_the_run_decides() {
        let judge = |stopped| judge(Exit::Code(0), Some(stopped), &result(None));
        let timeout = "Process timed out after 55 minutes";

        check(&judge(Stopped::Timeout { minutes: 55 }), 124, timeout, ErrorCode::Timeout, None);
        check(
            &judge(Stopped::Idle { minutes: 55 }),
            124,
            timeout,
            ErrorCode::Timeout,
            Some("the agent wrote no line for 55 minutes"),
        );
        check(&judge(Stopped::Cancelled), 130, "Task cancelled by user", ErrorCode::Cancelled, None);
        check(&judge(Stopped::WorkerStopped), 1, "Worker was stopped", ErrorCode::WorkerStopped, None);
        assert_eq!(judge(Stopped::Cancelled).status, Status::Cancelled);
    }

    #[test]
    fn only_the_end_of_long_words_is_kept() {
        let words = "ü".repeat(5000) + "end";

        let kept = last_words(&words).unwrap();

        assert!(kept.len() <= MAX_REASON_BYTES && kept.ends_with("üend"));
    }

    proptest! {
        #[test]
        fn completed_means_exit_code_0_and_no_sign_of_the_contrary(
            exit in prop_oneof![(0i32..3).prop_map(Exit::Code), (1i32..16).prop_map(Exit::Signal)],
            failure in prop::sample::select(vec![None, Some(Failure::Other), Some(Failure::MaxTurns)]),
            stopped in prop::sample::select(vec![None, Some(Stopped::Cancelled), Some(Stopped::Idle { minutes: 5 })]),
            has_result in any::<bool>(), init_seen in any::<bool>(), has_output in any::<bool>(), altered in any::<bool>(),
        ) {
            let mut facts = Facts { has_output, init_seen, ..result(failure) };
            if !has_result {
                facts.last_result = None;
            }

            let verdict =
                verdict(&VerdictInputs { exit, stopped, transcript: &facts, altered, stderr_tail: "" });

            let completed = verdict.status == Status::Completed;
            let expected = exit == Exit::Code(0) && stopped.is_none() && !altered && has_output
                && if has_result { failure.is_none() } else { !init_seen };
            prop_assert_eq!(completed, expected);
            prop_assert_eq!(completed, verdict.exit_code == 0);
            prop_assert_eq!(completed, verdict.error.is_none() && verdict.error_code.is_none());
        }
    }
}
