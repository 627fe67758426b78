//! Reads server-sent events (WHATWG HTML, section 9.2) from bytes cut anywhere.
//!
//! An event comes out with the byte that ends it: nothing waits for what follows.

/// Longest event held, in bytes. A log line may have 8 MiB and grows where it is escaped.
const MAX_EVENT_BYTES: usize = 64 * 1024 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// What kind; `message` where the stream names none.
    pub(crate) name: String,
    /// The id that stands for this point of the stream, if one was ever given.
    pub(crate) id: Option<String>,
    /// Its lines, joined by newlines.
    pub(crate) data: String,
}

/// An event is longer than anything the service sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event has more than {MAX_EVENT_BYTES} bytes")]
pub(crate) struct EventTooLong;

/// Puts events together.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    line: Vec<u8>,
    name: String,
    data: String,
    has_data: bool,
    last_id: Option<String>,
    after_cr: bool,
    past_start: bool,
}

impl SseParser {
    /// Takes the next bytes and returns the events that they complete.
    ///
    /// # Errors
    /// [`EventTooLong`]; the parser is of no use afterwards.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, EventTooLong> {
        let mut events = Vec::new();
        let mut rest = bytes;
        if self.after_cr && !rest.is_empty() {
            // A line feed straight after a carriage return belongs to the line that ended with it.
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (head, tail) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            self.take(head)?;
            events.extend(self.end_line());
            rest = match tail {
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                // The first alternative that fits counts: both bytes of a CRLF are passed over.
                [b'\r', b'\n', after @ ..] | [_, after @ ..] => after,
                [] => &[],
            };
        }
        self.take(rest)?;
        Ok(events)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), EventTooLong> {
        let held = self.line.len().saturating_add(self.data.len()).saturating_add(bytes.len());
        if held > MAX_EVENT_BYTES {
            return Err(EventTooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let mut text = text.as_ref();
        if !std::mem::replace(&mut self.past_start, true) {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        if text.is_empty() {
            return self.end_event();
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            "event" => value.clone_into(&mut self.name),
            "id" if !value.contains('\0') => self.last_id = Some(value.to_owned()),
            // A comment has an empty name; all else is for readers that know it.
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        let has_data = std::mem::take(&mut self.has_data);
        let name = if name.is_empty() { "message".to_owned() } else { name };
        has_data.then(|| Event { name, id: self.last_id.clone(), data })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(stream: &[u8]) -> Vec<Event> {
        SseParser::default().push(stream).unwrap()
    }

    fn event(name: &str, id: Option<&str>, data: &str) -> Event {
        Event { name: name.into(), id: id.map(Into::into), data: data.into() }
    }

    #[track_caller]
    fn check(stream: &str, expected: &[Event]) {
        assert_eq!(parse(stream.as_bytes()), expected);
    }

    #[test]
    fn a_log_line_has_its_place_and_its_json() {
        check("id: 1.2\ndata: {\"a\":1}\n\n", &[event("message", Some("1.2"), "{\"a\":1}")]);
    }

    #[test]
    fn comments_and_unknown_fields_are_passed_over() {
        check(": keep-alive\n\nretry: 5\n\ndata:x\n: more\n\n", &[event("message", None, "x")]);
    }

    #[test]
    fn data_lines_are_joined_and_one_leading_blank_is_dropped() {
        check("data: a\ndata:  b\ndata\n\n", &[event("message", None, "a\n b\n")]);
        check("data\n\n", &[event("message", None, "")]);
    }

    #[test]
    fn all_three_line_ends_count() {
        let expected = [event("done", Some("end"), "{}"), event("message", Some("end"), "y")];

        check("event: done\nid: end\ndata: {}\n\ndata: y\n\n", &expected);
        check("event: done\rid: end\rdata: {}\r\rdata: y\r\r", &expected);
        check("event: done\r\nid: end\r\ndata: {}\r\n\r\ndata: y\r\n\r\n", &expected);
    }

    #[test]
    fn a_name_holds_for_one_event_and_an_id_for_all_that_follow() {
        check(
            "event: a\nid: 1\ndata: x\n\ndata: y\n\n",
            &[event("a", Some("1"), "x"), event("message", Some("1"), "y")],
        );
    }

    #[test]
    fn an_event_without_data_or_end_is_none() {
        check("event: a\n\nid: 3\n\ndata: unfinished\n", &[]);
    }

    #[test]
    fn a_byte_order_mark_is_allowed_at_the_start() {
        check("\u{feff}data: x\n\n", &[event("message", None, "x")]);
    }

    #[test]
    fn an_event_comes_out_with_the_byte_that_ends_it() {
        let mut parser = SseParser::default();

        assert_eq!(parser.push(b"data: x\r\n\r").unwrap(), [event("message", None, "x")]);
        assert_eq!(parser.push(b"\n").unwrap(), []);
        assert_eq!(parser.push(b"data: y\n\n").unwrap(), [event("message", None, "y")]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = SseParser::default();
        let line = vec![b'x'; MAX_EVENT_BYTES];

        assert_eq!(parser.push(&line), Ok(vec![]));
        assert_eq!(parser.push(b"x"), Err(EventTooLong));
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just("data: ".to_owned()),
            Just("event: done".to_owned()),
            Just("id: 1.1".to_owned()),
            Just(": c".to_owned()),
            Just("\n".to_owned()),
            Just("\r".to_owned()),
            Just("\r\n".to_owned()),
            "[a-zü\u{feff}:{} ]{0,4}",
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_makes_no_difference(stream in stream(), cut in any::<prop::sample::Index>()) {
            let at = cut.index(stream.len() + 1);
            let mut parser = SseParser::default();

            let mut events = parser.push(&stream[..at]).unwrap();
            events.extend(parser.push(&stream[at..]).unwrap());

            prop_assert_eq!(events, parse(&stream));
        }

        #[test]
        fn byte_by_byte_is_the_same_as_all_at_once(stream in stream()) {
            let mut parser = SseParser::default();

            let events: Vec<_> = stream.iter().flat_map(|byte| parser.push(&[*byte]).unwrap()).collect();

            prop_assert_eq!(events, parse(&stream));
        }

        #[test]
        fn what_a_service_writes_is_what_is_read(lines in proptest::collection::vec("[^\r\n]{0,20}", 1..5), id in "[0-9.]{1,5}") {
            let data = lines.iter().map(|line| format!("data: {line}\n")).collect::<Vec<_>>().concat();

            let events = parse(format!("id: {id}\n{data}\n").as_bytes());

            prop_assert_eq!(events, vec![event("message", Some(&id), &lines.join("\n"))]);
        }
    }
}
