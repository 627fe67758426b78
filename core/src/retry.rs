//! How long to wait before trying again, and when to stop.
//!
//! Only the arithmetic is here; who waits brings the time that has passed and the randomness.

use core::time::Duration;

/// How far a pause may be off, so that those who failed together do not come back together.
const SPREAD: f64 = 0.2;

/// Returns a pause shortened or prolonged by up to a fifth: by `jitter` from 0 (shortest) to 1 (longest).
///
/// # Examples
/// ```
/// use core::time::Duration;
/// use legwork_core::retry::spread;
/// assert_eq!(spread(Duration::from_secs(10), 0.0), Duration::from_secs(8));
/// assert_eq!(spread(Duration::from_secs(10), 0.5), Duration::from_secs(10));
/// ```
#[must_use]
pub fn spread(pause: Duration, jitter: f64) -> Duration {
    let jitter = if jitter.is_nan() { 0.5 } else { jitter.clamp(0.0, 1.0) };
    let factor = 1.0 - SPREAD + 2.0 * SPREAD * jitter;
    // What is refused is more than 2^64 seconds.
    Duration::try_from_secs_f64(pause.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

/// Pauses that grow from failure to failure.
///
/// # Examples
/// ```
/// use core::time::Duration;
/// use legwork_core::retry::Backoff;
/// let backoff = Backoff { first: Duration::from_secs(1), factor: 2, max: Duration::from_secs(10) };
/// let pauses = [1, 2, 3, 4, 5].map(|failures| backoff.pause(failures, 0.5).as_secs());
/// assert_eq!(pauses, [1, 2, 4, 8, 10]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub first: Duration,
    /// By how much each further pause is longer; 0 counts as 1.
    pub factor: u32,
    /// What no pause exceeds, before it is spread.
    pub max: Duration,
}

impl Backoff {
    /// Returns the pause after the n-th failure, counted from 1, spread by `jitter` from 0 to 1.
    pub fn pause(&self, n: u32, jitter: f64) -> Duration {
        let growth = self.factor.max(1).saturating_pow(n.saturating_sub(1));
        spread(self.first.saturating_mul(growth).min(self.max), jitter)
    }
}

/// Growing pauses within a budget of time.
///
/// # Examples
/// ```
/// use core::time::Duration;
/// use legwork_core::retry::{Backoff, RetryPolicy};
/// let backoff = Backoff { first: Duration::from_secs(4), factor: 2, max: Duration::from_secs(60) };
/// let policy = RetryPolicy { backoff, give_up_after: Duration::from_secs(10) };
/// assert_eq!(policy.next(1, Duration::ZERO, 0.5), Some(Duration::from_secs(4)));
/// assert_eq!(policy.next(2, Duration::from_secs(10), 0.5), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The pauses.
    pub backoff: Backoff,
    /// The time after the first try at which the last one begins.
    pub give_up_after: Duration,
}

impl RetryPolicy {
    /// Returns the pause before the next try after so many failures, counted from 1, `elapsed` after
    /// the first try began; nothing once the budget is used up. The last pause is cut so that the
    /// last try begins when the budget ends.
    pub fn next(&self, failures: u32, elapsed: Duration, jitter: f64) -> Option<Duration> {
        let left = self.give_up_after.checked_sub(elapsed).filter(|left| !left.is_zero())?;
        Some(self.backoff.pause(failures, jitter).min(left))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_backoff() -> impl Strategy<Value = Backoff> {
        (any::<u32>(), 0..5_u32, any::<u32>()).prop_map(|(first, factor, max)| Backoff {
            first: Duration::from_millis(first.into()),
            factor,
            max: Duration::from_millis(max.into()),
        })
    }

    #[test]
    fn the_last_try_begins_when_the_budget_ends() {
        let backoff = Backoff { first: Duration::from_secs(8), factor: 2, max: Duration::from_mins(1) };
        let policy = RetryPolicy { backoff, give_up_after: Duration::from_secs(10) };

        assert_eq!(policy.next(2, Duration::from_secs(8), 0.5), Some(Duration::from_secs(2)));
        assert_eq!(policy.next(3, Duration::from_secs(10), 0.5), None);
        assert_eq!(policy.next(3, Duration::MAX, 0.5), None);
    }

    #[test]
    fn strange_jitter_still_gives_a_pause() {
        let pause = Duration::from_secs(10);

        assert_eq!(spread(pause, f64::NAN), pause);
        assert_eq!(spread(pause, f64::INFINITY), Duration::from_secs(12));
        assert_eq!(spread(pause, -3.0), Duration::from_secs(8));
        assert_eq!(spread(Duration::MAX, 1.0), Duration::MAX);
    }

    proptest! {
        #[test]
        fn pauses_never_shrink_and_never_exceed_their_limit(backoff in any_backoff(), n in any::<u32>(), jitter in 0.0..1.0) {
            let pause = backoff.pause(n, jitter);

            prop_assert!(pause <= backoff.pause(n.saturating_add(1), jitter));
            prop_assert!(pause <= backoff.max.mul_f64(1.2) + Duration::from_nanos(1));
            prop_assert!(pause >= backoff.first.min(backoff.max).mul_f64(0.8).saturating_sub(Duration::from_nanos(1)));
        }
    }
}
