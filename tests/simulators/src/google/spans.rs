//! Which calls waited for which: counted, not timed.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// When calls arrived and were answered, in the order of both.
#[derive(Debug, Default)]
pub(super) struct Spans {
    ticks: AtomicU64,
    spans: Mutex<Vec<(u64, u64)>>,
}

impl Spans {
    /// Returns the next moment.
    pub(super) fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    /// Adds a call that arrived then and is answered now.
    pub(super) fn add(&self, arrived: u64) {
        let answered = self.tick();
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).push((arrived, answered));
    }

    /// Forgets all calls and returns the length of the longest chain of them.
    pub(super) fn take_longest_chain(&self) -> usize {
        let spans = std::mem::take(&mut *self.spans.lock().unwrap_or_else(PoisonError::into_inner));
        longest_chain(spans)
    }
}

/// Returns how many spans can be put one after another: the one that ends first is always worth taking.
fn longest_chain(mut spans: Vec<(u64, u64)>) -> usize {
    spans.sort_by_key(|(_, end)| *end);
    let mut free_at = 0;
    let mut count = 0;
    for (begin, end) in spans {
        if count == 0 || begin > free_at {
            count += 1;
            free_at = end;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_at_the_same_time_count_once() {
        assert_eq!(longest_chain(vec![(0, 3), (1, 4), (2, 5)]), 1);
        assert_eq!(longest_chain(vec![(0, 3), (1, 4), (5, 7), (6, 8), (9, 10)]), 3);
        assert_eq!(longest_chain(vec![]), 0);
    }

    #[test]
    fn a_long_call_beside_short_ones_hides_none_of_them() {
        assert_eq!(longest_chain(vec![(0, 9), (1, 2), (3, 4), (5, 6)]), 3);
    }
}
