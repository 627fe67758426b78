//! Telling a worker that is lost from one that is slow, without trusting any clock but one's own.
//!
//! The job service may say that the execution has ended. Where it says nothing, the worker's marker
//! tells: it is overwritten every 15 s, so one that stands still for long, over looks none of which
//! failed, is nobody's; and it is looked at once more, long after something of one's own was written
//! to the same store.

use alloc::string::String;
use core::time::Duration;

/// What the job service says of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It runs.
    Running,
    /// It has ended.
    Ended,
    /// It does not know, or did not answer.
    Silent,
}

/// How long one waits before a worker is taken for lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long the marker has to stand still where the job service says nothing.
    pub silent: Duration,
    /// The same where it says that the execution runs.
    pub running: Duration,
    /// How long after one's own write the marker is looked at once more.
    pub second_look: Duration,
}

impl Patience {
    /// Of an observer that stays: six beats of the heart, and six more.
    pub const STAYING: Self = Self {
        silent: Duration::from_secs(90),
        running: Duration::from_mins(10),
        second_look: Duration::from_secs(90),
    };
    /// Of one that lives for one pass and has only the store's times of writing to go by.
    pub const PASSING: Self = Self {
        silent: Duration::from_mins(10),
        running: Duration::from_mins(10),
        second_look: Duration::from_secs(20),
    };
}

/// What to do about a running attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is well, or it is too early to tell.
    Wait,
    /// Its execution has ended: settle it.
    Settle,
    /// Write something of one's own, then look once more.
    Suspect,
    /// The second look has shown no change: settle it.
    SettleSuspect,
    /// The same, after the job service was asked to end the execution that it says runs.
    CancelAndSettleSuspect,
}

/// Returns what to do about an attempt whose marker has stood still for `still`, `suspected_for` ago
/// having been suspected and something of one's own having been written.
///
/// # Examples
/// ```
/// use core::time::Duration;
/// use legwork_core::lost::{Patience, Step, Word, judge};
/// let seconds = Duration::from_secs;
/// assert_eq!(judge(Word::Ended, seconds(0), None, Patience::STAYING), Step::Settle);
/// assert_eq!(judge(Word::Silent, seconds(89), None, Patience::STAYING), Step::Wait);
/// assert_eq!(judge(Word::Silent, seconds(90), None, Patience::STAYING), Step::Suspect);
/// ```
pub fn judge(word: Word, still: Duration, suspected_for: Option<Duration>, patience: Patience) -> Step {
    let needed = match word {
        Word::Ended => return Step::Settle,
        Word::Running => patience.running,
        Word::Silent => patience.silent,
    };
    match suspected_for {
        _ if still < needed => Step::Wait,
        Some(ago) if ago < patience.second_look => Step::Wait,
        // Nobody is ended before the second look.
        Some(_) if word == Word::Running => Step::CancelAndSettleSuspect,
        Some(_) => Step::SettleSuspect,
        None => Step::Suspect,
    }
}

/// What one look adds at most to the time that a marker has stood still: an observer that was itself held
/// for longer, with its whole machine perhaps, has seen nothing meanwhile.
const SEEN_AT_ONCE: Duration = Duration::from_secs(20);

/// How long a marker has stood still, as one observer has seen it by its own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stillness {
    mark: String,
    looked_at: Duration,
    lasted: Duration,
}

impl Stillness {
    /// Begins with the first look, at `now` of the observer's own clock.
    pub fn new(mark: &str, now: Duration) -> Self {
        Self { mark: mark.into(), looked_at: now, lasted: Duration::ZERO }
    }

    /// Takes another look, and returns whether the marker has changed.
    pub fn look(&mut self, mark: &str, now: Duration) -> bool {
        let changed = self.mark != mark;
        if changed {
            *self = Self::new(mark, now);
        } else {
            let seen = now.saturating_sub(self.looked_at).min(SEEN_AT_ONCE);
            self.lasted = self.lasted.saturating_add(seen);
            self.looked_at = now;
        }
        changed
    }

    /// Begins anew: a look failed, so that something may have changed unseen, or what was seen before
    /// was another worker's.
    pub fn blink(&mut self, now: Duration) {
        self.looked_at = now;
        self.lasted = Duration::ZERO;
    }

    /// Returns for how long it was seen to stand still.
    pub fn lasted(&self) -> Duration {
        self.lasted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STAYING: Patience = Patience::STAYING;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_silent_marker_is_suspected_and_settled_after_the_second_look() {
        assert_eq!(judge(Word::Silent, seconds(90), None, STAYING), Step::Suspect);
        assert_eq!(judge(Word::Silent, seconds(170), Some(seconds(80)), STAYING), Step::Wait);
        assert_eq!(judge(Word::Silent, seconds(180), Some(seconds(90)), STAYING), Step::SettleSuspect);
        // It has changed meanwhile.
        assert_eq!(judge(Word::Silent, seconds(10), Some(seconds(90)), STAYING), Step::Wait);
    }

    #[test]
    fn one_that_is_said_to_run_has_ten_minutes_and_is_cancelled_before_it_is_settled() {
        let suspected = Some(seconds(90));

        assert_eq!(judge(Word::Running, seconds(599), None, STAYING), Step::Wait);
        assert_eq!(judge(Word::Running, seconds(600), None, STAYING), Step::Suspect);
        assert_eq!(judge(Word::Running, seconds(690), Some(seconds(89)), STAYING), Step::Wait);
        assert_eq!(judge(Word::Running, seconds(690), suspected, STAYING), Step::CancelAndSettleSuspect);
    }

    #[test]
    fn a_changed_mark_and_a_failed_look_begin_anew() {
        let mut stillness = Stillness::new("a", seconds(0));

        assert!(!stillness.look("a", seconds(10)));
        assert!(!stillness.look("a", seconds(25)));
        assert_eq!(stillness.lasted(), seconds(25));
        assert!(stillness.look("b", seconds(30)));
        assert!(!stillness.look("b", seconds(40)));
        assert_eq!(stillness.lasted(), seconds(10));
        stillness.blink(seconds(45));
        assert!(!stillness.look("b", seconds(50)));
        assert_eq!(stillness.lasted(), seconds(5));
    }

    #[test]
    fn an_observer_that_was_held_has_seen_nothing_meanwhile() {
        let mut stillness = Stillness::new("a", seconds(0));

        stillness.look("a", seconds(700));

        assert_eq!(stillness.lasted(), SEEN_AT_ONCE);
    }

    proptest! {
        /// A worker that beats in time is never settled, whatever is said of it short of its end.
        #[test]
        fn a_beating_heart_is_left_alone(
            looks in proptest::collection::vec((0_u64..30, any::<bool>()), 1..60),
            runs in any::<bool>(),
        ) {
            let mut now = 0;
            let mut stillness = Stillness::new("0", seconds(0));
            for (pause, failed) in looks {
                now += pause;
                if failed {
                    stillness.blink(seconds(now));
                } else {
                    // Beats every 15 s: at most 15 s old.
                    stillness.look(&alloc::format!("{}", now / 15), seconds(now));
                }
                let word = if runs { Word::Running } else { Word::Silent };
                let step = judge(word, stillness.lasted(), None, STAYING);
                prop_assert_eq!(step, Step::Wait);
            }
        }
    }
}
