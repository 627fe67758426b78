//! What may go wrong with a call of a port, and who decides it.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::rng::Rng;

/// A call that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call<'c> {
    /// Which port and which of its functions: `storage.put`.
    pub name: &'static str,
    /// On what: a key, a name; empty where there is nothing to name.
    pub on: &'c str,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It takes this much longer.
    Delay(Duration),
    /// It is not done, and the answer is that nobody answered.
    Fail,
    /// It is done, and the answer is that nobody answered.
    ApplyThenFail,
    /// The answer is that nobody answered, and it is done this much later.
    FailThenApply(Duration),
    /// It is not done, and never answered.
    Hang,
    /// The disk is full: it is not done, and will not be until somebody sees to it.
    Full,
}

/// Decides what goes wrong.
pub trait Faults: fmt::Debug + Send + Sync + 'static {
    /// Returns what goes wrong with this call.
    fn decide(&self, call: &Call<'_>) -> Fault;
}

/// Faults in a given order for calls that match, and none afterwards.
#[derive(Debug)]
pub struct Scripted {
    name: &'static str,
    part: String,
    faults: Mutex<VecDeque<Fault>>,
}

impl Scripted {
    /// Returns faults for calls of this name whose key contains `part`.
    pub fn new(name: &'static str, part: &str, faults: impl IntoIterator<Item = Fault>) -> Self {
        Self { name, part: part.to_owned(), faults: Mutex::new(faults.into_iter().collect()) }
    }

    /// Returns how many of them have not happened yet.
    pub fn left(&self) -> usize {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Faults for Scripted {
    fn decide(&self, call: &Call<'_>) -> Fault {
        if call.name != self.name || !call.on.contains(&self.part) {
            return Fault::None;
        }
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.pop_front().unwrap_or(Fault::None)
    }
}

/// Faults by chance, which a seed decides.
#[derive(Debug)]
pub struct Seeded {
    rng: Mutex<Rng>,
    percent: u64,
}

impl Seeded {
    /// Returns faults for so many of a hundred calls.
    pub fn new(seed: u64, percent: u64) -> Self {
        Self { rng: Mutex::new(Rng::new(seed)), percent }
    }
}

impl Faults for Seeded {
    fn decide(&self, _: &Call<'_>) -> Fault {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        if !rng.percent(self.percent) {
            return Fault::None;
        }
        match rng.below(10) {
            0..=3 => Fault::Fail,
            4..=6 => Fault::ApplyThenFail,
            7 => Fault::FailThenApply(rng.millis(50, 120_000)),
            _ => Fault::Delay(rng.millis(100, 5_000)),
        }
    }
}

/// The error of a call that was not answered, as adapters make it.
pub(crate) fn unanswered() -> Box<dyn std::error::Error + Send + Sync> {
    "503 Service Unavailable, on purpose".into()
}
