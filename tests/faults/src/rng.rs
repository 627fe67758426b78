//! Random numbers that a seed decides.

use std::time::Duration;

/// A stream of numbers: `SplitMix64`, as published by Sebastiano Vigna (prng.di.unimi.it).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// Returns the stream of a seed.
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds begin far apart.
        let mut this = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bf0_3635_dce3_2a71);
        this.next();
        this
    }

    /// Returns a stream of its own, which the number tells from others.
    #[must_use]
    pub fn fork(&mut self, number: u64) -> Self {
        Self::new(self.next() ^ number.rotate_left(32))
    }

    /// Returns the next number.
    #[expect(clippy::should_implement_trait, reason = "an endless stream is no iterator's business")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number from 0 to below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Returns a number of a range, both ends included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low.saturating_add(self.below(high.saturating_sub(low).saturating_add(1)))
    }

    /// Returns true in so many of a hundred cases.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// Returns a duration of a range in milliseconds.
    pub fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    /// Returns a duration of a range in seconds.
    pub fn seconds(&mut self, low: u64, high: u64) -> Duration {
        self.millis(low.saturating_mul(1000), high.saturating_mul(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_all_numbers() {
        let numbers = |seed| {
            let mut rng = Rng::new(seed);
            (0..10).map(|_| rng.next()).collect::<Vec<_>>()
        };

        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let mut rng = Rng::new(1);

        assert!((0..1000).map(|_| rng.between(3, 5)).all(|number| (3..=5).contains(&number)));
        assert_eq!(rng.between(4, 4), 4);
    }
}
