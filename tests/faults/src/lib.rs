//! Ports that fail on purpose, and whole lives of tasks under them.
//!
//! * [`fault`]: what may go wrong with a call, decided by a script or by a seed;
//! * [`storage`], [`outside`]: decorators over any port that let it go wrong;
//! * [`steps`]: seeing every step of a process, so that it can be killed at any of them;
//! * [`fakes`]: the ports that a life needs besides, as small as they can be;
//! * [`sim`]: deterministic lives of tasks in virtual time, and the promises that are checked after
//!   each. A seed that breaks one is printed and replays.

pub mod fakes;
pub mod fault;
pub mod outside;
pub mod rng;
pub mod sim;
pub mod steps;
pub mod storage;
