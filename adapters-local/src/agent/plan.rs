//! When a tree is interrupted, terminated and killed: a pure function of times.

use std::time::Duration;

/// How long an interrupted tree has until it is told to terminate.
const INTERRUPT_GRACE: Duration = Duration::from_secs(2);
/// How long a terminated tree has until it is killed.
const TERMINATE_GRACE: Duration = Duration::from_secs(1);
/// How long what a command left behind has between being told to terminate and being killed.
const LEFTOVER_GRACE: Duration = Duration::from_millis(500);
/// How soon killing is tried again while something lives.
const FORCE_AGAIN: Duration = Duration::from_millis(20);
/// How long killing is tried. Only a process that hangs in the kernel survives it.
const GIVE_UP: Duration = Duration::from_secs(30);

/// What is to be done to the tree now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask it to finish.
    Interrupt,
    /// Tell it to end.
    Terminate,
    /// Hold all of it and kill it.
    Force,
    /// Killing has not helped.
    GiveUp,
}

/// What is still to be done to a tree, and when, in times since some fixed moment.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_field_names, reason = "each is the time at which its step is due")]
pub(super) struct Plan {
    interrupt_at: Option<Duration>,
    terminate_at: Option<Duration>,
    force_at: Option<Duration>,
    give_up_at: Option<Duration>,
}

impl Plan {
    /// Notes that somebody wants the tree to stop. Asking again changes nothing.
    pub(super) fn stop_asked(&mut self, now: Duration) {
        if self.force_at.is_none() {
            let terminate_at = now.saturating_add(INTERRUPT_GRACE);
            self.interrupt_at = Some(now);
            self.terminate_at = Some(terminate_at);
            self.force_at = Some(terminate_at.saturating_add(TERMINATE_GRACE));
        }
    }

    /// Notes that the command itself has ended: what is left of its tree has less time.
    pub(super) fn command_ended(&mut self, now: Duration) {
        let force_at = now.saturating_add(LEFTOVER_GRACE);
        self.interrupt_at = None;
        self.terminate_at = Some(self.terminate_at.map_or(now, |at| at.min(now)));
        self.force_at = Some(self.force_at.map_or(force_at, |at| at.min(force_at)));
    }

    /// Returns when there is something to do next.
    pub(super) fn next(&self) -> Option<Duration> {
        [self.interrupt_at, self.terminate_at, self.force_at].into_iter().flatten().min()
    }

    /// Returns what is to be done now, once.
    pub(super) fn due(&mut self, now: Duration) -> Option<Step> {
        let is_due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        if is_due(self.force_at) {
            self.interrupt_at = None;
            self.terminate_at = None;
            self.force_at = Some(now.saturating_add(FORCE_AGAIN));
            let give_up_at = *self.give_up_at.get_or_insert(now.saturating_add(GIVE_UP));
            return Some(if now >= give_up_at { Step::GiveUp } else { Step::Force });
        }
        if is_due(self.terminate_at) {
            self.interrupt_at = None;
            self.terminate_at = None;
            return Some(Step::Terminate);
        }
        is_due(self.interrupt_at).then(|| {
            self.interrupt_at = None;
            Step::Interrupt
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Takes what the plan does until it has killed once, with the times.
    fn steps(mut plan: Plan) -> Vec<(Duration, Step)> {
        let mut taken = Vec::new();
        while let Some(at) = plan.next() {
            let step = plan.due(at).expect("something is due when it is due");
            taken.push((at, step));
            if step == Step::Force {
                break;
            }
        }
        taken
    }

    #[test]
    fn nothing_is_due_while_the_command_runs() {
        assert_eq!(Plan::default().next(), None);
        assert_eq!(Plan::default().due(ms(1_000_000)), None);
    }

    #[test]
    fn a_stopped_tree_is_interrupted_then_terminated_then_killed() {
        let mut plan = Plan::default();

        plan.stop_asked(ms(100));

        let expected = [(ms(100), Step::Interrupt), (ms(2100), Step::Terminate), (ms(3100), Step::Force)];
        assert_eq!(steps(plan), expected);
    }

    #[test]
    fn asking_again_delays_nothing() {
        let mut plan = Plan::default();

        plan.stop_asked(ms(0));
        plan.stop_asked(ms(1500));

        assert_eq!(steps(plan).last(), Some(&(ms(3000), Step::Force)));
    }

    #[test]
    fn what_a_command_leaves_behind_is_terminated_at_once_and_killed_soon() {
        let mut plan = Plan::default();

        plan.command_ended(ms(700));

        assert_eq!(steps(plan), [(ms(700), Step::Terminate), (ms(1200), Step::Force)]);
    }

    #[test]
    fn a_command_that_ends_when_interrupted_leaves_its_tree_less_time() {
        let mut plan = Plan::default();

        plan.stop_asked(ms(0));
        assert_eq!(plan.due(ms(0)), Some(Step::Interrupt));
        plan.command_ended(ms(50));

        assert_eq!(steps(plan), [(ms(50), Step::Terminate), (ms(550), Step::Force)]);
    }

    #[test]
    fn a_command_that_ends_late_gains_no_time_for_its_tree() {
        let mut plan = Plan::default();

        plan.stop_asked(ms(0));
        plan.command_ended(ms(2900));

        assert_eq!(steps(plan).last(), Some(&(ms(3000), Step::Force)));
    }

    #[test]
    fn killing_is_repeated_and_given_up_in_the_end() {
        let mut plan = Plan::default();
        plan.command_ended(ms(0));

        assert_eq!(plan.due(ms(600)), Some(Step::Force));
        assert_eq!(plan.due(ms(610)), None);
        assert_eq!(plan.due(ms(620)), Some(Step::Force));
        assert_eq!(plan.due(ms(600) + GIVE_UP), Some(Step::GiveUp));
    }
}
