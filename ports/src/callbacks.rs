//! Telling receivers.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

/// One POST to a receiver.
#[derive(Debug, Clone)]
pub struct CallbackPost {
    /// The whole address. Never logged.
    pub url: String,
    /// Names and values, sent as they are.
    pub headers: Vec<(&'static str, String)>,
    /// The exact bytes that were signed.
    pub body: Bytes,
    /// Spans resolution, connection, sending and the answer.
    pub deadline: Duration,
}

/// What a receiver answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackAnswer {
    /// The HTTP status; redirects are answers like others.
    pub status: u16,
    /// `Retry-After`, where it was given, as a pause from now.
    pub retry_after: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallbackError {
    /// The address is one that callbacks may not reach; nothing was sent.
    #[error("{host} is not an address that callbacks may reach")]
    NotAllowed {
        /// The host, and what it resolved to.
        host: String,
    },
    /// No answer within the deadline.
    #[error("no answer within {seconds} s")]
    Deadline {
        /// The deadline.
        seconds: u64,
    },
    /// The connection failed or was cut.
    #[error("the receiver could not be reached: {reason}")]
    Connection {
        /// What happened, without the address's path and query.
        reason: String,
    },
}

/// Sends callbacks.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Callbacks: fmt::Debug + Send + Sync + 'static {
    /// Posts the bytes once and returns the answer. The address is judged when connecting, after
    /// resolution; no redirect is followed; at most 16 KiB of the answer are read; proxy settings
    /// of the environment are ignored. Never takes longer than the deadline.
    ///
    /// # Errors
    /// `NotAllowed`, `Deadline`, `Connection`.
    async fn post(&self, post: CallbackPost) -> Result<CallbackAnswer, CallbackError>;
}
