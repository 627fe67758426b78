//! Points in time as the service writes them: RFC 3339, UTC, milliseconds, `Z`.

use alloc::string::{String, ToString};
use core::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z, up to the year 9999.
///
/// # Examples
/// ```
/// use legwork_core::time::Timestamp;
/// let t = Timestamp::from_unix_ms(1_736_512_496_789);
/// assert_eq!(t.to_string(), "2025-01-10T12:34:56.789Z");
/// assert_eq!(Timestamp::parse("2025-01-10T12:34:56.789Z"), Some(t));
/// assert_eq!(Timestamp::parse("yesterday"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(u64);

/// 9999-12-30T22:00:00Z in milliseconds: the last time that jiff can write.
const MAX_MS: u64 = 253_402_207_200_000;

impl Timestamp {
    /// Returns the time that many milliseconds after the epoch; later ones are held at the
    /// end of the year 9999.
    pub fn from_unix_ms(ms: u64) -> Self {
        Self(ms.min(MAX_MS))
    }

    /// Returns milliseconds since the epoch.
    pub fn unix_ms(self) -> u64 {
        self.0
    }

    /// Returns whole seconds since the epoch.
    pub fn unix_seconds(self) -> u64 {
        self.0 / 1000
    }

    /// Reads an RFC 3339 time; anything finer than a millisecond is dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let parsed: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(parsed.as_millisecond()).ok().map(Self::from_unix_ms)
    }

    /// Returns the time this much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self::from_unix_ms(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Returns the time since `earlier`, or zero where that is in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Returns `YYYYMMDD-HHMMSS` in UTC, as names of log chunks have it.
    pub fn compact(self) -> String {
        let text = self.to_string();
        let digit = |range: core::ops::Range<usize>| text.get(range).unwrap_or_default().to_string();
        [digit(0..4), digit(5..7), digit(8..10), "-".to_string(), digit(11..13), digit(14..16), digit(17..19)]
            .concat()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = i64::try_from(self.0).map_err(|_| fmt::Error)?;
        let time = jiff::Timestamp::from_millisecond(ms).map_err(|_| fmt::Error)?;
        write!(f, "{time:.3}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not an RFC 3339 time"))
    }
}
