//! Names of things: tasks, attempts, and the tokens by which a process
//! recognises its own writes.

use alloc::string::{String, ToString};
use core::{fmt, num::NonZeroU32, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest accepted task id, in bytes.
pub const MAX_TASK_ID_BYTES: usize = 128;

/// Names one task: `^[A-Za-z0-9_-]{1,128}$`, and not `status`, which is a route.
///
/// # Examples
/// ```
/// use legwork_core::id::TaskId;
/// assert_eq!("nightly-42".parse::<TaskId>().unwrap().as_str(), "nightly-42");
/// assert!("../etc".parse::<TaskId>().is_err());
/// assert!("status".parse::<TaskId>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(String);

/// The text is no task id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("taskId must be URL-safe (alphanumeric, underscore, hyphen only)")]
pub struct InvalidTaskId;

impl TaskId {
    /// Returns the id as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns a version 4 UUID made of 16 random bytes (RFC 9562, section 5.4).
    pub fn from_random(bytes: [u8; 16]) -> Self {
        let value = u128::from_be_bytes(bytes);
        let versioned = (value & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let text = alloc::format!("{versioned:032x}");
        let part = |range: core::ops::Range<usize>| text.get(range).unwrap_or_default();
        Self([part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-"))
    }
}

impl FromStr for TaskId {
    type Err = InvalidTaskId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = (1..=MAX_TASK_ID_BYTES).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
            && text != "status";
        if well_formed { Ok(Self(text.to_string())) } else { Err(InvalidTaskId) }
    }
}

impl TryFrom<String> for TaskId {
    type Error = InvalidTaskId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Counts the runs of one task, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(NonZeroU32);

impl Attempt {
    /// The first run of a task.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// Returns the attempt of this number, or nothing for 0.
    pub fn try_new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// Returns the number, 1 or more.
    pub fn number(self) -> u32 {
        self.0.get()
    }

    /// Returns the attempt after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Fresh randomness written into the thing that a swap claims, so that its writer
/// recognises it after an ambiguous answer: 32 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// Returns the token made of 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(crate::hex::encode(&bytes))
    }

    /// Returns the token's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
