//! Paths that cannot leave the folder they are relative to.

use alloc::{borrow::ToOwned as _, string::String};
use core::str::FromStr;

/// Longest accepted path in bytes.
pub(super) const MAX_PATH_BYTES: usize = 512;

/// Segments with `/` between them: none empty, `.` or `..`, no control character, no backslash.
///
/// # Examples
/// ```
/// use legwork_core::request::RelativePath;
/// assert_eq!("a/b.txt".parse::<RelativePath>().unwrap().as_str(), "a/b.txt");
/// for bad in ["", "/a", "a/", "a//b", "..", "a/../b", "a\\b", "a\nb"] {
///     assert!(bad.parse::<RelativePath>().is_err(), "{bad:?}");
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelativePath(String);

/// The text is no such path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a relative path of at most 512 bytes, its segments not empty, . or .., without control characters and backslashes"
)]
pub struct InvalidRelativePath;

impl RelativePath {
    /// Returns the path as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RelativePath {
    type Err = InvalidRelativePath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |c: char| c.is_control() || c == '\\';
        let fits = text.len() <= MAX_PATH_BYTES
            && !text.contains(bad)
            && text.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidRelativePath) }
    }
}
