//! How the callback of an attempt fares.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{id::Token, time::Timestamp};

/// Whether a receiver was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallbackState {
    /// There is nobody to tell, or nothing to tell yet.
    None,
    /// Attempts are being made.
    Pending,
    /// A receiver took it.
    Delivered,
    /// All attempts failed.
    Failed,
    /// The attempt was retried before its callback had settled.
    Superseded,
}

/// What became of one attempt at a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttemptOutcome {
    /// It is under way, or its maker died.
    Unknown,
    /// The receiver took it.
    Delivered,
    /// It did not.
    Failed,
}

/// One attempt at a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallbackAttempt {
    /// From 1.
    pub n: u32,
    /// When it was claimed.
    pub at: Timestamp,
    /// Whose attempt it is.
    pub token: Token,
    /// What became of it.
    pub outcome: AttemptOutcome,
    /// The receiver's HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// The deliveries of one task attempt's callback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Callback {
    /// Whether a receiver was told.
    pub state: CallbackState,
    /// All attempts, oldest first.
    pub attempts: Vec<CallbackAttempt>,
    /// When the next attempt is due, or the current one counts as failed.
    pub next_attempt_at: Option<Timestamp>,
    /// How many attempts were made before the current schedule began: more than 0 after a redelivery.
    #[serde(default)]
    pub earlier: u32,
}

impl Callback {
    /// Nobody to tell, or nothing yet.
    pub fn none() -> Self {
        Self { state: CallbackState::None, attempts: Vec::new(), next_attempt_at: None, earlier: 0 }
    }

    /// Returns the attempt that has no outcome yet, if that is the last one.
    pub fn open_attempt(&self) -> Option<&CallbackAttempt> {
        self.attempts.last().filter(|attempt| attempt.outcome == AttemptOutcome::Unknown)
    }

    /// Returns how many attempts the current schedule has made.
    pub fn made(&self) -> u32 {
        u32::try_from(self.attempts.len()).unwrap_or(u32::MAX).saturating_sub(self.earlier)
    }
}
