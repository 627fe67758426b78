//! The clocks of one process: virtual time, and how wrong they are.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use legwork_core::time::Timestamp;
use legwork_ports::clock::{Clock, IdSource};
use tokio::time::{Instant, sleep};

use super::gate::Gate;
use crate::rng::Rng;

/// When lives begin, by a clock that is right, in milliseconds.
pub(super) const EPOCH_MS: u64 = 1_800_000_000_000;

/// A process's clocks.
#[derive(Debug)]
pub(super) struct SimClock {
    pub(super) began: Instant,
    pub(super) gate: Arc<Gate>,
    /// By how much the wall clock is ahead, in milliseconds; it begins behind.
    pub(super) skew_ms: u64,
    /// When the wall clock is set, and by how much it then jumps forward.
    pub(super) jump: Option<(Duration, Duration)>,
}

/// How far behind a clock with a skew of zero is: half of what skews may be.
pub(super) const BEHIND_MS: u64 = 300_000;

impl SimClock {
    fn wall_ms(&self) -> u64 {
        let elapsed = self.began.elapsed();
        let jumped = self.jump.filter(|(at, _)| elapsed >= *at).map_or(Duration::ZERO, |(_, by)| by);
        let elapsed_ms = u64::try_from((elapsed + jumped).as_millis()).unwrap_or(u64::MAX);
        EPOCH_MS.saturating_sub(BEHIND_MS).saturating_add(self.skew_ms).saturating_add(elapsed_ms)
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.wall_ms())
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed().saturating_sub(self.gate.slept())
    }

    async fn sleep(&self, duration: Duration) {
        let slept = self.gate.slept();
        sleep(duration).await;
        self.gate.open().await;
        // A timer stands still with its machine.
        let overslept = self.gate.slept().saturating_sub(slept);
        if !overslept.is_zero() {
            self.gate.open().await;
        }
    }
}

/// A process's randomness.
#[derive(Debug)]
pub(super) struct SimIds {
    pub(super) rng: Mutex<Rng>,
    /// A planted mistake: every token is the same.
    pub(super) is_stuck: bool,
}

impl IdSource for SimIds {
    fn fill(&self, bytes: &mut [u8]) {
        // Tokens have 16 bytes.
        if self.is_stuck && bytes.len() == 16 {
            bytes.fill(7);
            return;
        }
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.chunks_mut(8) {
            let number = rng.next().to_le_bytes();
            for (byte, random) in piece.iter_mut().zip(number) {
                *byte = random;
            }
        }
    }
}
