//! Values that must not be shown: they print as `[redacted]`, are not
//! serialised, and leave memory when dropped.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Holds a value that is never printed or serialised and is zeroed on drop.
///
/// # Examples
/// ```
/// use legwork_core::secret::Secret;
/// let key = Secret::new(String::from("sk-ant-1"));
/// assert_eq!(format!("{key:?}"), "[redacted]");
/// assert_eq!(key.expose(), "sk-ant-1");
/// ```
/// It has no `Display`:
/// ```compile_fail
/// use legwork_core::secret::Secret;
/// println!("{}", Secret::new(String::from("sk-ant-1")));
/// ```
/// and no `Serialize`:
/// ```compile_fail
/// use legwork_core::secret::Secret;
/// fn wants<T: serde::Serialize>(_: T) {}
/// wants(Secret::new(String::from("sk-ant-1")));
/// ```
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes a value out of sight.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the value itself, to be used and not kept.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}
