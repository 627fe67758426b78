//! What the engine needs from the world, as traits.
//!
//! Each port's documentation is its contract; the conformance suites check it sentence by
//! sentence against every adapter. Ports speak in the domain's words and know no vendor.
//! Feature `mock` adds `mockall` mocks, for tests that force a failure or count calls, of all ports but
//! storage and workspace: their fakes are written by hand.

pub mod agent;
pub mod callbacks;
pub mod clock;
pub mod gateway;
pub mod jobs;
pub mod keys;
pub mod storage;
pub mod workspace;
