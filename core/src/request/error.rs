//! What is wrong with a request.

use alloc::{string::String, vec::Vec};
use core::fmt;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it is: `postExecutionActions.git.branch`, `metadata.list[2]`; empty for the whole body.
    pub member: String,
    /// What kind of mistake it is; stable.
    pub code: &'static str,
    /// A sentence.
    pub message: String,
}

/// Everything that is wrong with a request: one problem at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestError {
    problems: Vec<Problem>,
}

impl RequestError {
    /// Returns the problems as an error, or nothing where there are none.
    pub(super) fn of(problems: Vec<Problem>) -> Option<Self> {
        (!problems.is_empty()).then_some(Self { problems })
    }

    /// Returns all problems, the one to show first.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns the first problem's code.
    pub fn code(&self) -> &'static str {
        self.problems.first().map_or("invalid_request", |problem| problem.code)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            self.problems.first().map_or("the request is invalid", |problem| problem.message.as_str()),
        )
    }
}

impl core::error::Error for RequestError {}

/// What was sealed is no request of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoredRequestError {
    /// It is not what this version writes.
    #[error("not a stored request: {reason}")]
    Malformed {
        /// What does not fit.
        reason: String,
    },
    /// The request in it is not valid.
    #[error("the stored request is not valid")]
    Invalid(#[from] RequestError),
}
