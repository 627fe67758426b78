//! What a simulator saw, in order of arrival, and the wait for more of it.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Says that fewer requests arrived in time than a test waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{arrived} of {wanted} requests arrived in time")]
pub struct TimedOut {
    /// How many were waited for.
    pub wanted: usize,
    /// How many had arrived when the wait ended.
    pub arrived: usize,
}

/// Keeps everything a simulator saw, and wakes those who wait for it.
pub(crate) struct Recording<T> {
    entries: Mutex<Vec<T>>,
    count: watch::Sender<usize>,
}

impl<T: Clone> Recording<T> {
    /// Starts with nothing seen.
    pub(crate) fn new() -> Self {
        Self { entries: Mutex::new(Vec::new()), count: watch::Sender::new(0) }
    }

    /// Adds what was just seen and returns how many came before it.
    pub(crate) fn push(&self, entry: T) -> usize {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = entries.len();
        entries.push(entry);
        self.count.send_replace(earlier + 1);
        earlier
    }

    /// Returns all that was seen so far.
    pub(crate) fn snapshot(&self) -> Vec<T> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns all that was seen as soon as it is at least `wanted`.
    pub(crate) async fn wait_for(&self, wanted: usize, timeout: Duration) -> Result<Vec<T>, TimedOut> {
        let mut count = self.count.subscribe();
        let reached =
            tokio::time::timeout(timeout, count.wait_for(|arrived| *arrived >= wanted)).await.is_ok();
        if reached { Ok(self.snapshot()) } else { Err(TimedOut { wanted, arrived: *self.count.borrow() }) }
    }
}

impl<T> fmt::Debug for Recording<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("count", &*self.count.borrow()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_ends_early_says_how_many_arrived() {
        let recording = Recording::new();
        recording.push("first");

        let outcome = recording.wait_for(2, Duration::from_secs(3)).await;

        assert_eq!(outcome, Err(TimedOut { wanted: 2, arrived: 1 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_sees_what_arrives_meanwhile() {
        let recording = Recording::new();

        let (outcome, _) =
            tokio::join!(recording.wait_for(1, Duration::from_secs(3)), async { recording.push("late") });

        assert_eq!(outcome, Ok(vec!["late"]));
    }
}
