//! What a process has to pass before and after each call: it may be held for a while, or be dead.
//!
//! A dead process is one whose calls never return: what it had begun is as it is, and nothing follows.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// When a process dies: at which call, and on which side of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doom {
    Never,
    Before(u64),
    After(u64),
}

/// When a process is held: at which call, for how long, and whether its machine sleeps meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold {
    pub(super) at_call: u64,
    pub(super) pause: Duration,
    pub(super) asleep: bool,
}

/// The gate of one process.
#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
    dead: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    calls: u64,
    doom: Doom,
    holds: Vec<Hold>,
    held_until: Option<Instant>,
    slept: Duration,
    was_disturbed: bool,
}

impl Gate {
    pub(super) fn new(doom: Doom, holds: Vec<Hold>) -> Self {
        let state =
            State { calls: 0, doom, holds, held_until: None, slept: Duration::ZERO, was_disturbed: false };
        Self { state: Mutex::new(state), dead: watch::Sender::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the process.
    pub(super) fn kill(&self) {
        self.lock().was_disturbed = true;
        self.dead.send_replace(true);
    }

    pub(super) fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    /// Waits for the process's death.
    pub(super) async fn died(&self) {
        let mut dead = self.dead.subscribe();
        // The sender lives as long as this gate.
        let _dead = dead.wait_for(|dead| *dead).await;
    }

    /// Whether it was killed, or held so long that others may have taken it for lost.
    pub(super) fn was_disturbed(&self) -> bool {
        self.lock().was_disturbed
    }

    /// For how long the process's machine has slept.
    pub(super) fn slept(&self) -> Duration {
        self.lock().slept
    }

    /// Passes before a call.
    pub(super) async fn before(&self) {
        let dies = {
            let mut state = self.lock();
            state.calls += 1;
            let call = state.calls;
            let hold = state.holds.iter().copied().find(|hold| hold.at_call == call);
            if let Some(Hold { pause, asleep, .. }) = hold {
                state.held_until = Some(Instant::now() + pause);
                state.was_disturbed |= pause >= Duration::from_secs(30);
                if asleep {
                    state.slept += pause;
                }
            }
            state.doom == Doom::Before(call)
        };
        if dies {
            self.kill();
        }
        self.open().await;
    }

    /// Passes after a call.
    pub(super) async fn after(&self) {
        let dies = {
            let state = self.lock();
            state.doom == Doom::After(state.calls)
        };
        if dies {
            self.kill();
        }
        self.open().await;
    }

    /// Waits while the process is held; never returns once it is dead.
    pub(super) async fn open(&self) {
        loop {
            if self.is_dead() {
                std::future::pending::<()>().await;
            }
            let held_until = self.lock().held_until.filter(|until| *until > Instant::now());
            match held_until {
                Some(until) => sleep_until(until).await,
                None => return,
            }
        }
    }
}
