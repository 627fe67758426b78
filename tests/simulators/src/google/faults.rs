//! What goes wrong, told beforehand: refused and lost answers, delays, cut connections.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::wire::{Call, GoogleService};

/// Something that goes wrong with the next calls that match. Without further words it is one answer of
/// 503 to a call that was not carried out.
#[derive(Debug, Clone)]
pub struct Fault {
    service: GoogleService,
    method: Option<String>,
    part: Option<String>,
    effect: Effect,
    /// How often it still happens; nothing means for ever.
    left: Option<usize>,
    one_in: usize,
    matched: usize,
}

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It is answered with this status and not carried out.
    Refused(u16),
    /// It is carried out and answered with this status.
    Lost(u16),
    /// It is carried out and answered well, but only after this long.
    Delayed(Duration),
    /// The connection closes and it is not carried out.
    Cut,
    /// It is carried out, and then the connection closes.
    CutAfter,
}

impl Fault {
    /// Matches every call of a service.
    pub fn of(service: GoogleService) -> Self {
        Self {
            service,
            method: None,
            part: None,
            effect: Effect::Refused(503),
            left: Some(1),
            one_in: 1,
            matched: 0,
        }
    }

    /// Matches only calls with this HTTP method.
    #[must_use]
    pub fn method(self, method: &str) -> Self {
        Self { method: Some(method.to_owned()), ..self }
    }

    /// Matches only calls whose path and query, decoded, have this within: `metadata.json`, `:encrypt`,
    /// `uploadId=`.
    #[must_use]
    pub fn path(self, part: &str) -> Self {
        Self { part: Some(part.to_owned()), ..self }
    }

    /// Happens this often in place of once.
    #[must_use]
    pub fn times(self, count: usize) -> Self {
        Self { left: Some(count), ..self }
    }

    /// Happens for ever, or until [`Faults::clear`].
    #[must_use]
    pub fn always(self) -> Self {
        Self { left: None, ..self }
    }

    /// Happens to every `count`th call that matches, beginning with the `count`th. 0 is taken as 1.
    #[must_use]
    pub fn one_in(self, count: usize) -> Self {
        Self { one_in: count.max(1), ..self }
    }

    /// Answers with this status and does not carry the call out.
    #[must_use]
    pub fn refused(self, status: u16) -> Self {
        Self { effect: Effect::Refused(status), ..self }
    }

    /// Carries the call out and answers with this status all the same.
    #[must_use]
    pub fn lost(self, status: u16) -> Self {
        Self { effect: Effect::Lost(status), ..self }
    }

    /// Carries the call out and answers well, but only after this long.
    #[must_use]
    pub fn delayed(self, by: Duration) -> Self {
        Self { effect: Effect::Delayed(by), ..self }
    }

    /// Closes the connection without carrying the call out.
    #[must_use]
    pub fn cut(self) -> Self {
        Self { effect: Effect::Cut, ..self }
    }

    /// Carries the call out and closes the connection without an answer.
    #[must_use]
    pub fn cut_after(self) -> Self {
        Self { effect: Effect::CutAfter, ..self }
    }

    /// Counts a call and returns whether this happens to it.
    fn strikes(&mut self, service: GoogleService, method: &str, target: &str) -> bool {
        let matches = self.service == service
            && self.left != Some(0)
            && self.method.as_ref().is_none_or(|wanted| wanted == method)
            && self.part.as_ref().is_none_or(|part| target.contains(part.as_str()));
        if !matches {
            return false;
        }
        self.matched += 1;
        let strikes = self.matched.is_multiple_of(self.one_in);
        if strikes {
            self.left = self.left.map(|left| left - 1);
        }
        strikes
    }
}

/// What happens to one call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// How long it waits before anything else.
    pub(super) delay: Duration,
    /// What goes wrong besides.
    pub(super) effect: Option<Effect>,
}

/// The faults that are yet to happen, in the order in which they were added.
#[derive(Debug, Default)]
pub struct Faults {
    waiting: Mutex<Vec<Fault>>,
}

impl Faults {
    /// Adds a fault. Delays add up; of other faults that match one call, the one added first happens and
    /// the others wait for the next.
    pub fn add(&self, fault: Fault) {
        self.waiting().push(fault);
    }

    /// Forgets all that has not happened.
    pub fn clear(&self) {
        self.waiting().clear();
    }

    /// Returns how many times faults are still to happen, those that happen for ever aside.
    pub fn left(&self) -> usize {
        self.waiting().iter().filter_map(|fault| fault.left).sum()
    }

    /// Uses up what happens to this call.
    pub(super) fn fate_of(&self, service: GoogleService, call: &Call) -> Fate {
        let target = call.decoded_target();
        let mut fate = Fate::default();
        let mut waiting = self.waiting();
        for fault in &mut *waiting {
            if let Effect::Delayed(by) = fault.effect {
                if fault.strikes(service, &call.method, &target) {
                    fate.delay += by;
                }
            } else if fate.effect.is_none() && fault.strikes(service, &call.method, &target) {
                fate.effect = Some(fault.effect);
            }
        }
        fate
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;

    use super::*;

    fn call(method: &str, target: &str) -> Call {
        let (head, ()) = Request::builder().method(method).uri(target).body(()).unwrap().into_parts();
        Call::read(head, Bytes::new())
    }

    fn effects(faults: &Faults, calls: &[(&str, &str)]) -> Vec<Option<Effect>> {
        let fates = calls
            .iter()
            .map(|(method, target)| faults.fate_of(GoogleService::Storage, &call(method, target)).effect);
        fates.collect()
    }

    #[test]
    fn a_fault_strikes_what_it_names_and_as_often_as_told() {
        let faults = Faults::default();
        faults
            .add(Fault::of(GoogleService::Storage).method("PUT").path("t/metadata.json").lost(503).times(2));

        let put = ("PUT", "/b/t%2Fmetadata%2Ejson");
        let seen = effects(&faults, &[("GET", put.1), ("PUT", "/b/else"), put, put, put]);

        let lost = Some(Effect::Lost(503));
        assert_eq!(seen, [None, None, lost, lost, None]);
        assert_eq!(faults.left(), 0);
    }

    #[test]
    fn a_fault_of_another_service_waits() {
        let faults = Faults::default();
        faults.add(Fault::of(GoogleService::Kms));

        assert_eq!(effects(&faults, &[("GET", "/")]), [None]);
        assert_eq!(faults.left(), 1);
    }

    #[test]
    fn one_call_in_three_is_struck_for_ever() {
        let faults = Faults::default();
        faults.add(Fault::of(GoogleService::Storage).one_in(3).always());

        let struck = effects(&faults, &[("GET", "/"); 7]);

        let places: Vec<_> = (0..7).filter(|place| struck[*place].is_some()).collect();
        assert_eq!(places, [2, 5]);
    }

    #[test]
    fn delays_add_up_and_one_other_fault_strikes_at_a_time() {
        let faults = Faults::default();
        let delay = Fault::of(GoogleService::Storage).delayed(Duration::from_millis(40));
        faults.add(delay.clone());
        faults.add(Fault::of(GoogleService::Storage).cut());
        faults.add(delay);
        faults.add(Fault::of(GoogleService::Storage).refused(429));

        let first = faults.fate_of(GoogleService::Storage, &call("GET", "/"));
        let second = faults.fate_of(GoogleService::Storage, &call("GET", "/"));

        assert_eq!(first, Fate { delay: Duration::from_millis(80), effect: Some(Effect::Cut) });
        assert_eq!(second, Fate { delay: Duration::ZERO, effect: Some(Effect::Refused(429)) });
    }
}
