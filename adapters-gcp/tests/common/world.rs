//! Time and randomness for tests.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use legwork_core::time::Timestamp;
use legwork_ports::clock::{Clock, IdSource};

static FILLED: AtomicU64 = AtomicU64::new(0);

/// It is always the same moment.
#[derive(Debug)]
pub(crate) struct StillClock;

#[async_trait]
impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(1_736_512_496_789)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Never the same bytes twice in this process.
#[derive(Debug)]
pub(crate) struct CountedIds;

impl IdSource for CountedIds {
    fn fill(&self, bytes: &mut [u8]) {
        let number = FILLED.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        for (byte, value) in bytes.iter_mut().zip(number.iter().cycle()) {
            *byte = *value;
        }
    }
}
