//! This machine's time and randomness.

use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use legwork_core::time::Timestamp;
use legwork_ports::clock::{Clock, IdSource};

/// The system's clocks. Its monotonic time is `CLOCK_MONOTONIC`, which stands still while the machine
/// sleeps.
#[derive(Debug, Clone)]
pub struct SystemClock {
    began: Instant,
}

impl SystemClock {
    /// Returns a clock whose monotonic time begins now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock that others are told to use")]
    pub fn new() -> Self {
        Self { began: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that others are told to use")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_unix_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The kernel's randomness.
#[derive(Debug, Clone, Copy)]
pub struct SystemIds;

impl IdSource for SystemIds {
    #[expect(
        clippy::expect_used,
        reason = "a kernel without randomness can keep no secret: there is no way on"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the kernel has randomness");
    }
}
