//! When a callback is tried again, and when it is given up.

use core::time::Duration;

use crate::retry::spread;

/// How many attempts one schedule has, the first included.
pub const MAX_ATTEMPTS: u32 = 12;
/// What one attempt may take: resolution, connection and answer.
pub const DEADLINE: Duration = Duration::from_secs(20);
/// How many bytes of an answer are read.
pub const ANSWER_LIMIT: usize = 16 * 1024;
/// How long a claimed attempt may stay without an outcome: three deadlines.
pub const CLAIM_TIMEOUT: Duration = Duration::from_mins(1);
/// The longest `Retry-After` that is honoured.
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// HTTP's word for an address that is gone for good (RFC 9110, section 15.5.11).
const GONE: u16 = 410;

/// Pauses before the second and each further attempt, in seconds: 75 hours in all.
const PAUSES: [u64; 11] = [
    5,
    30,
    2 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
];

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt after this pause.
    At(Duration),
    /// No further attempt: the callback has failed.
    GiveUp,
}

/// Returns the pause before an attempt, 2 to 12, spread by a fifth either way with `jitter` from 0
/// to 1; nothing for other attempts.
///
/// # Examples
/// ```
/// use core::time::Duration;
/// use legwork_core::callback::schedule::pause_before;
/// assert_eq!(pause_before(3, 0.5), Some(Duration::from_secs(30)));
/// assert_eq!(pause_before(13, 0.5), None);
/// ```
pub fn pause_before(attempt: u32, jitter: f64) -> Option<Duration> {
    let place = usize::try_from(attempt.checked_sub(2)?).ok()?;
    PAUSES.get(place).map(|seconds| spread(Duration::from_secs(*seconds), jitter))
}

/// Returns what follows when so many attempts of a schedule have failed, the last of them with this
/// HTTP status (none: no answer) and this `Retry-After`.
///
/// The receiver's wish is honoured up to 24 hours where it is later than the schedule; 410 ends
/// the callback at once.
pub fn next_attempt(n_failed: u32, retry_after: Option<Duration>, status: Option<u16>, jitter: f64) -> Next {
    if status == Some(GONE) {
        return Next::GiveUp;
    }
    match pause_before(n_failed.saturating_add(1).max(2), jitter) {
        Some(pause) => Next::At(pause.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))),
        None => Next::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn twelve_attempts_span_seventy_five_hours() {
        let all: Duration = (2..=MAX_ATTEMPTS).map(|attempt| pause_before(attempt, 0.5).unwrap()).sum();

        assert_eq!(all.as_secs() / HOUR, 75);
        assert_eq!(pause_before(2, 0.5), Some(Duration::from_secs(5)));
        assert_eq!(pause_before(12, 0.5), Some(Duration::from_hours(24)));
        assert_eq!(pause_before(0, 0.5), None);
        assert_eq!(pause_before(1, 0.5), None);
        assert_eq!(pause_before(u32::MAX, 0.5), None);
    }

    #[test]
    fn the_later_of_schedule_and_receivers_wish_counts() {
        let wish = |seconds| Some(Duration::from_secs(seconds));

        assert_eq!(next_attempt(1, wish(3), Some(503), 0.5), Next::At(Duration::from_secs(5)));
        assert_eq!(next_attempt(1, wish(7), Some(503), 0.5), Next::At(Duration::from_secs(7)));
        assert_eq!(next_attempt(1, wish(u64::MAX), None, 0.5), Next::At(MAX_RETRY_AFTER));
        assert_eq!(next_attempt(11, None, Some(500), 1.0), Next::At(Duration::from_hours(24).mul_f64(1.2)));
    }

    #[test]
    fn gone_and_the_twelfth_failure_end_it() {
        assert_eq!(next_attempt(1, None, Some(410), 0.5), Next::GiveUp);
        assert_eq!(next_attempt(12, Some(Duration::from_secs(1)), Some(503), 0.5), Next::GiveUp);
        assert_eq!(next_attempt(u32::MAX, None, None, 0.5), Next::GiveUp);
    }

    proptest! {
        #[test]
        fn pauses_stay_within_a_fifth(attempt in 2..=MAX_ATTEMPTS, jitter in 0.0..1.0) {
            let nominal = pause_before(attempt, 0.5).unwrap();

            let pause = pause_before(attempt, jitter).unwrap();

            prop_assert!(pause >= nominal.mul_f64(0.799) && pause <= nominal.mul_f64(1.201));
        }
    }
}
