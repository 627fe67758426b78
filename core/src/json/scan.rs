//! The parser: text in, tape out, one loop and no stack.
//!
//! Open containers are chained through their links, which point at the parent until the
//! container closes, so depth costs nothing beyond the tape.

use alloc::{boxed::Box, vec::Vec};

use super::{
    document::{Entry, NONE, to_usize},
    node::Kind,
    text,
};

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {offset}")]
pub struct ParseError {
    /// Where the text stops being JSON, in bytes from its start.
    pub offset: usize,
    /// What is wrong there, as a fragment such as `expected a value`.
    pub problem: &'static str,
}

/// What a text holds.
pub(super) struct Tape {
    pub(super) entries: Vec<Entry>,
    pub(super) decoded_names: Vec<Box<str>>,
    pub(super) max_depth: usize,
}

/// Reads a whole text of at most `max_entries` values and names.
pub(super) fn scan(source: &str, max_entries: usize) -> Result<Tape, ParseError> {
    if u32::try_from(source.len()).is_err() {
        return Err(ParseError { offset: 0, problem: "more than 4 GiB of text" });
    }
    let tape = Tape { entries: Vec::new(), decoded_names: Vec::new(), max_depth: 0 };
    let mut scanner =
        Scanner { source, bytes: source.as_bytes(), at: 0, tape, open: NONE, depth: 0, max_entries };
    scanner.run()?;
    Ok(scanner.tape)
}

struct Scanner<'a> {
    source: &'a str,
    bytes: &'a [u8],
    at: usize,
    tape: Tape,
    /// The innermost open container.
    open: u32,
    depth: usize,
    max_entries: usize,
}

/// What the escapes of a string amount to.
#[derive(Clone, Copy, Default)]
struct Escapes {
    any: bool,
    lone_surrogate: bool,
}

impl Scanner<'_> {
    fn run(&mut self) -> Result<(), ParseError> {
        loop {
            self.skip_blanks();
            let entered = match self.peek() {
                Some(b'{') => self.enter(Kind::Object, b'}')?,
                Some(b'[') => self.enter(Kind::Array, b']')?,
                Some(_) | None => {
                    self.scalar()?;
                    false
                }
            };
            if !entered && !self.leave()? {
                return Ok(());
            }
        }
    }

    /// Opens a container; returns whether a value follows in it.
    fn enter(&mut self, kind: Kind, close: u8) -> Result<bool, ParseError> {
        let index = u32::try_from(self.tape.entries.len()).unwrap_or(NONE);
        let start = self.at;
        self.at += 1;
        self.push(kind, start, self.open, Escapes::default(), false)?;
        self.open = index;
        self.depth += 1;
        self.tape.max_depth = self.tape.max_depth.max(self.depth);
        self.skip_blanks();
        if self.peek() == Some(close) {
            self.close();
            return Ok(false);
        }
        if kind == Kind::Object {
            self.name("expected a member name or }")?;
        }
        Ok(true)
    }

    /// Goes past what follows a value; returns whether another value comes.
    fn leave(&mut self) -> Result<bool, ParseError> {
        loop {
            self.skip_blanks();
            let Some(container) = self.tape.entries.get(to_usize(self.open)) else {
                return if self.at == self.bytes.len() {
                    Ok(false)
                } else {
                    Err(self.error("expected the end"))
                };
            };
            let is_object = container.kind == Kind::Object;
            match (self.peek(), is_object) {
                (Some(b','), true) => {
                    self.at += 1;
                    self.skip_blanks();
                    self.name("expected a member name")?;
                    return Ok(true);
                }
                (Some(b','), false) => {
                    self.at += 1;
                    return Ok(true);
                }
                (Some(b'}'), true) | (Some(b']'), false) => self.close(),
                (_, true) => return Err(self.error("expected , or }")),
                (_, false) => return Err(self.error("expected , or ]")),
            }
        }
    }

    /// Closes the innermost container at its closing bracket.
    fn close(&mut self) {
        self.at += 1;
        let after = u32::try_from(self.tape.entries.len()).unwrap_or(NONE);
        let end = u32::try_from(self.at).unwrap_or(NONE);
        if let Some(container) = self.tape.entries.get_mut(to_usize(self.open)) {
            self.open = core::mem::replace(&mut container.link, after);
            container.end = end;
        }
        self.depth = self.depth.saturating_sub(1);
    }

    /// Reads a member's name and the colon after it.
    fn name(&mut self, problem: &'static str) -> Result<(), ParseError> {
        if self.peek() != Some(b'"') {
            return Err(self.error(problem));
        }
        let start = self.at;
        let escapes = self.string()?;
        let mut link = NONE;
        if escapes.any {
            // Decoded here once: a walk may ask for the name of a long array at each of its items.
            let inner = self.source.get(start + 1..self.at - 1).unwrap_or_default();
            link = u32::try_from(self.tape.decoded_names.len()).unwrap_or(NONE);
            self.tape.decoded_names.push(text::decode(inner).into());
        }
        self.push(Kind::String, start, link, escapes, true)?;
        self.skip_blanks();
        if self.peek() != Some(b':') {
            return Err(self.error("expected :"));
        }
        self.at += 1;
        Ok(())
    }

    /// Reads a value that is no container.
    fn scalar(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        let mut escapes = Escapes::default();
        let kind = match self.peek() {
            Some(b'"') => {
                escapes = self.string()?;
                Kind::String
            }
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
                Kind::Number
            }
            Some(b't') => self.word(b"true", Kind::Bool)?,
            Some(b'f') => self.word(b"false", Kind::Bool)?,
            Some(b'n') => self.word(b"null", Kind::Null)?,
            Some(_) | None => return Err(self.error("expected a value")),
        };
        self.push(kind, start, NONE, escapes, false)
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Result<Kind, ParseError> {
        if !self.rest().starts_with(word) {
            return Err(self.error("expected a value"));
        }
        self.at += word.len();
        Ok(kind)
    }

    fn number(&mut self) -> Result<(), ParseError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ParseError> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(self.error("expected a digit"));
        }
        self.at += count;
        Ok(())
    }

    /// Reads a string from its opening quote past its closing one.
    fn string(&mut self) -> Result<Escapes, ParseError> {
        let mut escapes = Escapes::default();
        self.at += 1;
        loop {
            self.at += self.rest().iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | ..b' ')).count();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escapes);
                }
                Some(b'\\') => {
                    escapes.any = true;
                    escapes.lone_surrogate |= self.escape()?;
                }
                Some(_) => return Err(self.error("control character in a string")),
                None => return Err(self.error("string without an end")),
            }
        }
    }

    /// Goes past one escape, or two that make a pair; returns whether it is half a pair.
    fn escape(&mut self) -> Result<bool, ParseError> {
        let escape = self.rest().get(1..).unwrap_or_default();
        match escape.first() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(false)
            }
            Some(b'u') => {
                let Some(unit) = escape.get(1..).and_then(text::unit) else {
                    return Err(self.error("unknown escape"));
                };
                let pair = text::is_high(unit) && escape.get(5..).and_then(text::low_escape).is_some();
                self.at += if pair { 12 } else { 6 };
                Ok(!pair && (text::is_high(unit) || text::is_low(unit)))
            }
            Some(_) | None => Err(self.error("unknown escape")),
        }
    }

    /// Puts what lies between `start` and here on the tape.
    fn push(
        &mut self,
        kind: Kind,
        start: usize,
        link: u32,
        escapes: Escapes,
        is_name: bool,
    ) -> Result<(), ParseError> {
        if self.tape.entries.len() >= self.max_entries {
            return Err(ParseError { offset: start, problem: "too many values" });
        }
        self.tape.entries.push(Entry {
            // Offsets fit: the whole text does.
            start: u32::try_from(start).unwrap_or(NONE),
            end: u32::try_from(self.at).unwrap_or(NONE),
            link,
            kind,
            is_name,
            escaped: escapes.any,
            lone_surrogate: escapes.lone_surrogate,
        });
        Ok(())
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn error(&self, problem: &'static str) -> ParseError {
        ParseError { offset: self.at, problem }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString as _};

    use proptest::prelude::*;

    use super::super::Document;

    #[track_caller]
    fn check_refused(text: &str, wanted: &str) {
        assert_eq!(Document::parse(text).map(|_| ()).unwrap_err().to_string(), wanted, "{text:?}");
    }

    #[test]
    fn what_json_parse_refuses_is_refused_with_its_place() {
        check_refused("", "expected a value at byte 0");
        check_refused(" \t\r\n", "expected a value at byte 4");
        check_refused("[1,]", "expected a value at byte 3");
        check_refused("[1 2]", "expected , or ] at byte 3");
        check_refused("[1}", "expected , or ] at byte 2");
        check_refused("{\"a\":1]", "expected , or } at byte 6");
        check_refused("{a:1}", "expected a member name or } at byte 1");
        check_refused("{\"a\":1,}", "expected a member name at byte 7");
        check_refused("{\"a\" 1}", "expected : at byte 5");
        check_refused("{\"a\":}", "expected a value at byte 5");
        check_refused("1 2", "expected the end at byte 2");
        check_refused("]", "expected a value at byte 0");
        check_refused("nul", "expected a value at byte 0");
        check_refused("nulll", "expected the end at byte 4");
        check_refused("01", "expected the end at byte 1");
        check_refused("-", "expected a digit at byte 1");
        check_refused("-a", "expected a digit at byte 1");
        check_refused("+1", "expected a value at byte 0");
        check_refused(".5", "expected a value at byte 0");
        check_refused("1.", "expected a digit at byte 2");
        check_refused("1.e5", "expected a digit at byte 2");
        check_refused("1e+", "expected a digit at byte 3");
        check_refused("NaN", "expected a value at byte 0");
        check_refused("\"a", "string without an end at byte 2");
        check_refused("\"a\n\"", "control character in a string at byte 2");
        check_refused("\"\\x\"", "unknown escape at byte 1");
        check_refused("\"\\", "unknown escape at byte 1");
        check_refused("\"\\u12g4\"", "unknown escape at byte 1");
        check_refused("\"\\u+123\"", "unknown escape at byte 1");
        check_refused("\"\\ud83d\\u\"", "unknown escape at byte 7");
        check_refused("'a'", "expected a value at byte 0");
        check_refused("\u{feff}1", "expected a value at byte 0");
        check_refused("\u{a0}1", "expected a value at byte 0");
        check_refused("1\u{c}", "expected the end at byte 1");
        check_refused("[", "expected a value at byte 1");
        check_refused("{", "expected a member name or } at byte 1");
        check_refused("[1", "expected , or ] at byte 2");
    }

    #[test]
    fn what_json_parse_takes_is_taken() {
        for text in [
            "0",
            "-0",
            "-0.0e-0",
            "1E+5",
            "1e999999999999999999999",
            "\"\u{7f}\u{2028}\"",
            "\"\\ud800\"",
            " [ ] ",
            "{ }",
            "{\"\":{\"\":[{}]}}",
            "\t[\n1\r,\n{ \"a\" : null } ] ",
            "true",
            "\"\\/\"",
        ] {
            assert!(Document::parse(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = 1 << 20;
        let nested = "[".repeat(deep) + &"]".repeat(deep);

        let document = Document::parse(&nested).unwrap();

        assert_eq!(document.max_depth(), deep);
        assert_eq!(document.strings_and_numbers().count(), 0);
        assert!(Document::parse(&"[".repeat(deep)).is_err());
        assert_eq!(super::super::normalise(document.root()), nested);
    }

    #[test]
    fn values_and_names_can_be_bounded() {
        assert!(Document::parse_bounded("[1,{\"a\":2}]", 5).is_ok());
        assert_eq!(
            Document::parse_bounded("[1,{\"a\":2}]", 4).unwrap_err().to_string(),
            "too many values at byte 8"
        );
    }

    proptest! {
        #[test]
        fn texts_that_look_like_json_never_break_the_parser(text in r#"[\[\]{}:,"\\u0-9eE.truefalsn \-]{0,60}"#) {
            let taken = Document::parse(&text).is_ok();

            // serde_json refuses numbers that overflow and half surrogate pairs; JavaScript does not.
            let other = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(taken, other, "{}", text);
        }

        #[test]
        fn any_text_at_all_is_taken_or_refused(text in any::<String>()) {
            let _taken_or_not = Document::parse(&text).is_ok();
        }
    }
}
