//! Thousands of lives of tasks, and mistakes made on purpose that they must find.
//!
//! `LEGWORK_SEEDS` says how many seeds are lived, `LEGWORK_SEED` replays one, and tells its writes.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "the environment says which seeds are lived, and what they came to is told"
)]

use legwork_faults::sim::{Life, Plant, live, replay};

/// Seeds of one run of the tests.
const SEEDS: u64 = 10_000;
/// Programs of tests that share them.
const SHARES: u64 = 4;

fn share(number: u64) {
    if let Ok(seed) = std::env::var("LEGWORK_SEED") {
        let seed = seed.parse().expect("LEGWORK_SEED is a number");
        match replay(seed) {
            Ok(life) => println!("seed {seed}: {life:?}"),
            Err(broken) => panic!("{broken}"),
        }
        return;
    }
    let seeds = std::env::var("LEGWORK_SEEDS").map_or(SEEDS, |seeds| seeds.parse().expect("a number"));
    let mut all = Life::default();
    let mut broken = Vec::new();
    for seed in (number..seeds).step_by(usize::try_from(SHARES).unwrap()) {
        match live(seed, Plant::None) {
            Ok(life) => {
                all.accepted += life.accepted;
                all.ended += life.ended;
                all.posts += life.posts;
                all.swaps += life.swaps;
            }
            // The others are lived all the same: a long run is to tell of all that it finds.
            Err(story) => {
                println!("{story}\nreplay it with LEGWORK_SEED={seed}");
                broken.push(seed);
            }
        }
    }
    println!("{all:?}");
    assert!(broken.is_empty(), "seeds {broken:?} broke promises");
    assert!(all.ended > 0 && all.posts > 0, "nothing was lived: {all:?}");
}

#[test]
fn every_life_keeps_the_promises_first_quarter() {
    share(0);
}

#[test]
fn every_life_keeps_the_promises_second_quarter() {
    share(1);
}

#[test]
fn every_life_keeps_the_promises_third_quarter() {
    share(2);
}

#[test]
fn every_life_keeps_the_promises_fourth_quarter() {
    share(3);
}

#[test]
fn the_same_seed_lives_the_same_life() {
    for seed in 0..20 {
        assert_eq!(live(seed, Plant::None), live(seed, Plant::None), "seed {seed}");
    }
}

#[track_caller]
fn check_is_found(plant: Plant) {
    let found = (0..SEEDS).find_map(|seed| live(seed, plant).err());

    let broken = found.expect("a mistake that no life finds");
    println!("{plant:?}: seed {}: {:?}", broken.seed, broken.promises);
}

#[test]
fn a_swap_without_reading_again_is_found() {
    check_is_found(Plant::SwapWithoutRereading);
}

#[test]
fn one_token_for_two_claims_is_found() {
    check_is_found(Plant::OneTokenForAll);
}

#[test]
fn a_delivery_before_the_swap_is_found() {
    check_is_found(Plant::DeliverBeforeSwap);
}

#[test]
fn a_marker_without_its_attempt_is_found() {
    check_is_found(Plant::MarkerWithoutAttempt);
}

#[test]
fn a_swap_without_its_entry_is_found() {
    check_is_found(Plant::SwapWithoutEntry);
}
