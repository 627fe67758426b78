//! Cuts a byte stream at its line ends, within bounded memory.
//!
//! Characters are decoded only once a line is whole, so a block that ends inside one harms
//! nothing. Nothing is parsed here.

use alloc::{borrow::Cow, string::String, vec::Vec};

/// What is kept of a line that is too long, in bytes.
pub const CUT_LINE_BYTES: usize = 64 * 1024;

/// One line without its newline; of a line that was too long, its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitLine<'a> {
    bytes: &'a [u8],
    total_bytes: u64,
}

impl<'a> SplitLine<'a> {
    /// Returns a line that was read whole; `bytes` holds no newline.
    pub fn whole(bytes: &'a [u8]) -> Self {
        Self { bytes, total_bytes: count(bytes) }
    }

    /// Tells whether only the line's beginning is here.
    pub fn is_cut(&self) -> bool {
        self.cut_bytes() > 0
    }

    /// Returns the line's length as it was written, in bytes, without its newline.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Returns how many bytes of the line were not kept.
    pub fn cut_bytes(&self) -> u64 {
        self.total_bytes.saturating_sub(count(self.bytes))
    }

    /// Returns the bytes that were kept; they need not be UTF-8.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Decodes what was kept; bytes that are no UTF-8 become U+FFFD.
    ///
    /// A character that the cut fell into is left out instead.
    pub fn text(&self) -> Cow<'a, str> {
        match core::str::from_utf8(self.bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) if self.is_cut() => Cow::Owned(lossy_without_tail(self.bytes)),
            Err(_) => String::from_utf8_lossy(self.bytes),
        }
    }
}

/// Cuts blocks of bytes into lines.
///
/// It holds one unfinished line at most, and of that no more than the limit for lines.
///
/// # Examples
/// ```
/// use legwork_core::chunk::LineSplitter;
/// let mut lines = Vec::new();
/// let mut splitter = LineSplitter::new(8);
/// splitter.push(b"one\ntw", |line| lines.push(line.text().into_owned()));
/// splitter.push(b"o\nfar too long\n", |line| lines.push(format!("{} {}", line.text(), line.is_cut())));
/// splitter.finish(|line| lines.push(line.text().into_owned()));
/// assert_eq!(lines, ["one", "two false", "far too  true"]);
/// ```
#[derive(Debug)]
pub struct LineSplitter {
    max_line_bytes: usize,
    pending: Vec<u8>,
    pending_total: u64,
}

impl LineSplitter {
    /// Returns a splitter that cuts lines of more than `max_line_bytes` bytes.
    pub fn new(max_line_bytes: usize) -> Self {
        Self { max_line_bytes, pending: Vec::new(), pending_total: 0 }
    }

    /// Takes the next block and gives each line that it ends to `sink`, in order.
    pub fn push(&mut self, block: &[u8], mut sink: impl FnMut(SplitLine<'_>)) {
        let mut rest = block;
        while let Some(at) = rest.iter().position(|&byte| byte == b'\n') {
            let (line, tail) = rest.split_at(at);
            if self.pending_total == 0 {
                sink(SplitLine { bytes: self.kept_of(line), total_bytes: count(line) });
            } else {
                self.absorb(line);
                self.deliver(&mut sink);
            }
            rest = tail.get(1..).unwrap_or_default();
        }
        self.absorb(rest);
    }

    /// Gives the last line to `sink` where it had no newline; the splitter is then as new.
    pub fn finish(&mut self, mut sink: impl FnMut(SplitLine<'_>)) {
        if self.pending_total > 0 {
            self.deliver(&mut sink);
        }
    }

    /// How much is kept of a line over the limit.
    fn cut_len(&self) -> usize {
        CUT_LINE_BYTES.min(self.max_line_bytes)
    }

    fn kept_of<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        if line.len() > self.max_line_bytes { line.get(..self.cut_len()).unwrap_or(line) } else { line }
    }

    fn absorb(&mut self, bytes: &[u8]) {
        self.pending_total = self.pending_total.saturating_add(count(bytes));
        if self.pending_total <= u64::try_from(self.max_line_bytes).unwrap_or(u64::MAX) {
            self.pending.extend_from_slice(bytes);
            return;
        }
        let cut_len = self.cut_len();
        let room = cut_len.saturating_sub(self.pending.len()).min(bytes.len());
        self.pending.truncate(cut_len);
        self.pending.extend_from_slice(bytes.get(..room).unwrap_or_default());
        self.pending.shrink_to(cut_len);
    }

    fn deliver(&mut self, sink: &mut impl FnMut(SplitLine<'_>)) {
        sink(SplitLine { bytes: &self.pending, total_bytes: self.pending_total });
        self.pending.clear();
        self.pending.shrink_to(CUT_LINE_BYTES);
        self.pending_total = 0;
    }
}

/// Decodes bytes that were cut: what is wrong inside becomes U+FFFD, a begun character at the
/// end is dropped.
fn lossy_without_tail(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for (at, part) in bytes.utf8_chunks().enumerate() {
        if at > 0 {
            text.push('\u{FFFD}');
        }
        text.push_str(part.valid());
    }
    text
}

fn count(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::vec;

    use proptest::prelude::*;

    use super::*;

    fn split(max: usize, blocks: &[&[u8]]) -> Vec<(Vec<u8>, u64)> {
        let mut lines = Vec::new();
        let mut splitter = LineSplitter::new(max);
        for block in blocks {
            splitter.push(block, |line| lines.push((line.bytes().to_vec(), line.total_bytes())));
        }
        splitter.finish(|line| lines.push((line.bytes().to_vec(), line.total_bytes())));
        lines
    }

    #[test]
    fn the_last_line_needs_no_newline() {
        assert_eq!(split(9, &[b"a\nb"]), vec![(b"a".to_vec(), 1), (b"b".to_vec(), 1)]);
        assert_eq!(split(9, &[b"a\n"]), vec![(b"a".to_vec(), 1)]);
    }

    #[test]
    fn an_empty_line_is_a_line() {
        assert_eq!(split(9, &[b"\n\n"]).len(), 2);
    }

    #[test]
    fn a_character_cut_by_a_block_is_whole_again() {
        let mut seen = Vec::new();
        let mut splitter = LineSplitter::new(100);
        let (front, back) = "Grüße\n".as_bytes().split_at(3);

        splitter.push(front, |line| seen.push(line.text().into_owned()));
        splitter.push(back, |line| seen.push(line.text().into_owned()));

        assert_eq!(seen, ["Grüße"]);
    }

    #[test]
    fn bytes_that_are_no_text_become_replacement_characters() {
        assert_eq!(SplitLine::whole(b"a\xFFb").text(), "a\u{FFFD}b");
    }

    #[test]
    fn a_cut_inside_a_character_drops_that_character() {
        let line = SplitLine { bytes: "aü".as_bytes().get(..2).unwrap(), total_bytes: 30 };
        let broken = SplitLine { bytes: b"\xFFa\xC3", total_bytes: 30 };

        assert_eq!(line.text(), "a");
        assert_eq!(broken.text(), "\u{FFFD}a");
    }

    #[test]
    fn a_long_line_keeps_its_beginning_and_its_length() {
        let long = vec![b'x'; 3 * CUT_LINE_BYTES];
        let mut splitter = LineSplitter::new(2 * CUT_LINE_BYTES);
        let mut seen = Vec::new();

        for block in long.chunks(1000) {
            splitter.push(block, |_| ());
            assert!(splitter.pending.len() <= 2 * CUT_LINE_BYTES);
        }
        splitter
            .push(b"\nshort\n", |line| seen.push((line.bytes().len(), line.total_bytes(), line.is_cut())));

        assert_eq!(seen, [(CUT_LINE_BYTES, 3 * 65536, true), (5, 5, false)]);
        assert!(splitter.pending.capacity() <= CUT_LINE_BYTES);
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_where_blocks_end(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..400),
            size in 1usize..40,
            max in 1usize..60,
        ) {
            let blocks: Vec<&[u8]> = bytes.chunks(size).collect();

            prop_assert_eq!(split(max, &blocks), split(max, &[&bytes]));
        }

        #[test]
        fn joined_lines_equal_the_input(text in "[a-zü\n]{0,200}") {
            let lines = split(usize::MAX, &[text.as_bytes()]);

            let joined: Vec<u8> = lines.iter().flat_map(|(line, _)| [line.as_slice(), b"\n"].concat()).collect();
            let mut expected = text.clone();
            if !text.is_empty() && !text.ends_with('\n') {
                expected.push('\n');
            }
            prop_assert_eq!(joined, expected.into_bytes());
        }
    }
}
