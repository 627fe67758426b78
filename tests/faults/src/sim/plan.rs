//! What happens in a life, decided by its seed before it begins.

use std::time::Duration;

use crate::rng::Rng;

/// A mistake that is made on purpose, so that a life shows whether it would be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// None.
    None,
    /// A record is replaced whatever its version is.
    SwapWithoutRereading,
    /// Two claims may have the same token.
    OneTokenForAll,
    /// The receiver is told before the swap that ends the attempt.
    DeliverBeforeSwap,
    /// A marker does not tell attempts apart.
    MarkerWithoutAttempt,
    /// A swap relies on an entry that was never put.
    SwapWithoutEntry,
}

/// Where workers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Platform {
    /// Submitters start workers, and the job service knows late and not always how they fare.
    Cloud {
        /// It never says anything.
        is_silent: bool,
        /// It kills without a warning.
        kills_at_once: bool,
    },
    /// Slots decide, and whoever asks sees the processes.
    Machine,
}

/// What an agent does.
#[derive(Debug, Clone, Copy)]
pub(super) struct AgentPlan {
    pub(super) lines: u64,
    pub(super) takes: Duration,
    pub(super) succeeds: bool,
}

/// What a receiver answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReceiverPlan {
    /// Attempts of a hundred that it takes.
    pub(super) takes_percent: u64,
    /// It is gone for good.
    pub(super) is_gone: bool,
}

/// A task, and what its client does about it.
#[derive(Debug, Clone)]
pub(super) struct TaskPlan {
    pub(super) has_receiver: bool,
    pub(super) timeout_minutes: u64,
    pub(super) acts_always: Option<bool>,
    pub(super) agent: AgentPlan,
    pub(super) receiver: ReceiverPlan,
    pub(super) submitted_at: Duration,
    pub(super) submitted_again_at: Option<Duration>,
    pub(super) cancelled_at: Vec<Duration>,
    pub(super) retried_at: Vec<Duration>,
    pub(super) redelivered_at: Option<Duration>,
}

/// A whole life.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) platform: Platform,
    pub(super) tasks: Vec<TaskPlan>,
    pub(super) retention: Duration,
    /// Calls of the store of a hundred that go wrong.
    pub(super) store_faults: u64,
    pub(super) outage: Option<(Duration, Duration)>,
    /// Processes of a hundred that crash.
    pub(super) crashes: u64,
    /// Processes of a hundred that are held.
    pub(super) holds: u64,
    /// Job starts of a hundred that start twice, or never.
    pub(super) odd_starts: u64,
    pub(super) trouble_ends: Duration,
    pub(super) passes_only: bool,
}

impl Plan {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let platform = if rng.percent(50) {
            Platform::Cloud { is_silent: rng.percent(25), kills_at_once: rng.percent(30) }
        } else {
            Platform::Machine
        };
        let tasks = (0..rng.between(1, 2)).map(|_| task(rng)).collect();
        let pick = |rng: &mut Rng, choices: [u64; 4]| {
            usize::try_from(rng.below(4)).ok().and_then(|index| choices.get(index).copied()).unwrap_or(0)
        };
        Self {
            platform,
            tasks,
            retention: if rng.percent(30) { Duration::ZERO } else { Duration::from_hours(24) },
            store_faults: pick(rng, [0, 0, 2, 8]),
            outage: rng.percent(20).then(|| (rng.seconds(0, 600), rng.seconds(20, 150))),
            crashes: pick(rng, [0, 20, 50, 80]),
            holds: pick(rng, [0, 0, 20, 40]),
            odd_starts: pick(rng, [0, 0, 5, 20]),
            trouble_ends: rng.seconds(60, 1800),
            passes_only: rng.percent(25),
        }
    }
}

impl TaskPlan {
    /// When its client has asked for everything that it asks for.
    pub(super) fn asked_by(&self) -> Duration {
        let more = [self.submitted_again_at, self.redelivered_at];
        let all = more.into_iter().flatten().chain(self.cancelled_at.iter().chain(&self.retried_at).copied());
        all.fold(self.submitted_at, Duration::max)
    }
}

fn task(rng: &mut Rng) -> TaskPlan {
    let submitted_at = rng.seconds(0, 30);
    let later = |rng: &mut Rng, most: u64| submitted_at + rng.millis(0, most);
    let takes = if rng.percent(20) { rng.seconds(60, 600) } else { rng.millis(50, 20_000) };
    TaskPlan {
        has_receiver: rng.percent(85),
        timeout_minutes: rng.between(1, 15),
        acts_always: rng.percent(35).then(|| rng.percent(50)),
        agent: AgentPlan { lines: rng.between(1, 300), takes, succeeds: rng.percent(70) },
        receiver: ReceiverPlan {
            takes_percent: if rng.percent(70) { 100 } else { rng.between(0, 60) },
            is_gone: rng.percent(3),
        },
        submitted_at,
        submitted_again_at: rng.percent(40).then(|| later(rng, 400_000)),
        cancelled_at: (0..rng.below(3)).map(|_| later(rng, 300_000)).collect(),
        retried_at: (0..rng.below(3)).map(|_| later(rng, 900_000)).collect(),
        redelivered_at: rng.percent(20).then(|| later(rng, 900_000)),
    }
}
