//! The wall clock, for commands that judge how old a signature is.

use std::time::SystemTime;

use legwork_core::time::Timestamp;

/// Returns the current time; the epoch itself where the clock stands before it.
#[expect(
    clippy::disallowed_methods,
    reason = "a command is its own edge: it asks once and hands the time on"
)]
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
