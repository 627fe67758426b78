//! Which trace a request belongs to, for the log alone.

use http::HeaderMap;

/// W3C Trace Context, `version-trace-parent-flags`.
const TRACEPARENT: &str = "traceparent";
/// Google's own, `trace/span;o=options`.
const CLOUD_TRACE: &str = "x-cloud-trace-context";
/// Hexadecimal digits of a trace's name.
const DIGITS: usize = 32;

/// Returns the name of the trace, if the request says one.
pub(crate) fn of(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let named = text(TRACEPARENT).and_then(|value| value.split('-').nth(1));
    let googles = text(CLOUD_TRACE).and_then(|value| value.split('/').next());
    let is_name = |name: &&str| {
        name.len() == DIGITS
            && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            && name.bytes().any(|b| b != b'0')
    };
    named.filter(is_name).or_else(|| googles.filter(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "0af7651916cd43dd8448eb211c80319c";

    #[track_caller]
    fn check(header: &'static str, value: &str, expected: Option<&str>) {
        let headers = HeaderMap::from_iter([(header.parse().unwrap(), value.parse().unwrap())]);

        assert_eq!(of(&headers), expected, "{header}: {value}");
    }

    #[test]
    fn a_trace_is_named_in_either_way() {
        // The example of W3C Trace Context, section 3.2.
        check(TRACEPARENT, &format!("00-{NAME}-b7ad6b7169203331-01"), Some(NAME));
        check(CLOUD_TRACE, &format!("{NAME}/1234567890;o=1"), Some(NAME));
    }

    #[test]
    fn what_is_no_name_is_not_written_into_the_log() {
        check(TRACEPARENT, "00-x", None);
        check(TRACEPARENT, &format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), None);
        check(TRACEPARENT, NAME, None);
        check(CLOUD_TRACE, "projects/other/traces/x", None);
        check(CLOUD_TRACE, &NAME.to_uppercase(), None);
    }
}
