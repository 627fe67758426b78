//! `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date in one of three forms (section 5.6.7).

use std::time::Duration;

use legwork_core::time::Timestamp;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Returns the pause that is asked for, from `now`; a date that has passed is no pause.
pub(super) fn parse(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // All digits, so what does not fit is only too long.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    Some(date(value, now)?.since(now))
}

fn date(value: &str, now: Timestamp) -> Option<Timestamp> {
    let words = value.replace([',', '-'], " ");
    let words: Vec<&str> = words.split_whitespace().collect();
    // `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT`, `Sun Nov  6 08:49:37 1994`.
    let ([_, day, month, year, time, "GMT"] | [_, month, day, time, year]) = words.as_slice() else {
        return None;
    };
    let month = MONTHS.iter().position(|name| name == month)?.checked_add(1)?;
    let year =
        if year.len() == 2 { format!("{}{year}", now.to_string().get(..2)?) } else { (*year).to_owned() };
    Timestamp::parse(&format!("{year}-{month:02}-{day:0>2}T{time}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected_seconds: Option<u64>) {
        let now = Timestamp::parse("1994-11-06T08:49:30Z").unwrap();
        assert_eq!(parse(value, now), expected_seconds.map(Duration::from_secs), "{value}");
    }

    #[test]
    fn seconds_and_dates_are_pauses() {
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("99999999999999999999999999", Some(u64::MAX));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(7));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(7));
        check("Sun Nov  6 08:49:37 1994", Some(7));
        check("Sun, 06 Nov 1993 08:49:37 GMT", Some(0));
    }

    #[test]
    fn anything_else_asks_for_nothing() {
        check("", None);
        check("soon", None);
        check("-1", None);
        check("1.5", None);
        check("Sun, 06 Nov 1994 08:49:37 CET", None);
        check("Sun, 31 Feb 1994 08:49:37 GMT", None);
    }
}
