//! Time and randomness.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use legwork_core::{
    id::{TaskId, Token},
    time::Timestamp,
};

/// Tells the time and waits.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the wall time, which may jump.
    fn now(&self) -> Timestamp;

    /// Returns the time since some fixed moment of this process; never goes back, and stands still
    /// while the machine sleeps.
    fn monotonic(&self) -> Duration;

    /// Waits.
    async fn sleep(&self, duration: Duration);
}

/// Makes unpredictable values.
#[cfg_attr(feature = "mock", mockall::automock)]
pub trait IdSource: fmt::Debug + Send + Sync + 'static {
    /// Fills the bytes from a cryptographic source.
    fn fill(&self, bytes: &mut [u8]);
}

/// What is made of random bytes.
pub trait IdSourceExt: IdSource {
    /// Returns a fresh token.
    fn token(&self) -> Token {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        Token::from_random(bytes)
    }

    /// Returns a fresh task id: a version 4 UUID.
    fn task_id(&self) -> TaskId {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        TaskId::from_random(bytes)
    }

    /// Returns a number in `[0, 1)`.
    fn jitter(&self) -> f64 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    }
}

impl<T: IdSource + ?Sized> IdSourceExt for T {}
