//! Decides which lines share a log chunk, and by when it has to be written.
//!
//! Times are the caller's monotonic clock, so that a clock that is set back delays nothing.
//! Names of chunks are not decided here.

use alloc::vec::Vec;
use core::{mem, time::Duration};

/// When a chunk is full or due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Most lines of a chunk; 0 counts as 1.
    pub max_lines: u32,
    /// Most bytes of a chunk, newlines included; a longer single line is a chunk of its own.
    pub max_bytes: usize,
    /// How long the first line of a chunk may wait.
    pub flush_after: Duration,
}

impl Default for ChunkLimits {
    /// 100 lines, 1 MiB, 1 s.
    fn default() -> Self {
        Self { max_lines: 100, max_bytes: 1024 * 1024, flush_after: Duration::from_secs(1) }
    }
}

/// Whole lines that are stored as one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The lines, each ended by a newline.
    pub bytes: Vec<u8>,
    /// How many lines these are, 1 or more.
    pub lines: u32,
}

/// Gathers lines into chunks.
///
/// # Examples
/// ```
/// use core::time::Duration;
/// use legwork_core::chunk::{ChunkLimits, Chunker};
/// let mut chunker = Chunker::new(ChunkLimits { max_lines: 2, ..ChunkLimits::default() });
/// assert!(chunker.push(b"{}", Duration::ZERO).is_empty());
/// assert_eq!(chunker.due_at(), Some(Duration::from_secs(1)));
/// let full = chunker.push(b"[]", Duration::ZERO);
/// assert_eq!(full[0].bytes, b"{}\n[]\n");
/// assert_eq!(chunker.flush(), None);
/// ```
#[derive(Debug)]
pub struct Chunker {
    limits: ChunkLimits,
    bytes: Vec<u8>,
    lines: u32,
    due_at: Option<Duration>,
}

impl Chunker {
    /// Returns a chunker that holds no line.
    pub fn new(limits: ChunkLimits) -> Self {
        Self { limits, bytes: Vec::new(), lines: 0, due_at: None }
    }

    /// Takes one line without its newline and returns the chunks that it completes, in order.
    ///
    /// These are two where the line is too long to join the lines before it and full by itself.
    pub fn push(&mut self, line: &[u8], now: Duration) -> Vec<Chunk> {
        let needed = line.len().saturating_add(1);
        let mut finished = Vec::new();
        if self.bytes.len().saturating_add(needed) > self.limits.max_bytes {
            finished.extend(self.flush());
        }
        self.bytes.extend_from_slice(line);
        self.bytes.push(b'\n');
        self.lines = self.lines.saturating_add(1);
        if self.due_at.is_none() {
            self.due_at = Some(now.saturating_add(self.limits.flush_after));
        }
        if self.lines >= self.limits.max_lines || self.bytes.len() >= self.limits.max_bytes {
            finished.extend(self.flush());
        }
        finished
    }

    /// Returns when what is held has to be written, or nothing while no line waits.
    ///
    /// It is set by the first line of a chunk and does not move with those after it.
    pub fn due_at(&self) -> Option<Duration> {
        self.due_at
    }

    /// Takes what is held, if its time has come.
    pub fn take_due(&mut self, now: Duration) -> Option<Chunk> {
        if self.due_at.is_some_and(|due| due <= now) { self.flush() } else { None }
    }

    /// Takes what is held, full or not.
    pub fn flush(&mut self) -> Option<Chunk> {
        self.due_at = None;
        let lines = mem::take(&mut self.lines);
        let bytes = mem::take(&mut self.bytes);
        (lines > 0).then_some(Chunk { bytes, lines })
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use proptest::prelude::*;

    use super::*;

    const AT: Duration = Duration::from_secs(50);

    fn limits(max_lines: u32, max_bytes: usize) -> ChunkLimits {
        ChunkLimits { max_lines, max_bytes, flush_after: Duration::from_millis(100) }
    }

    #[test]
    fn a_line_over_the_limit_is_a_chunk_of_its_own() {
        let mut chunker = Chunker::new(limits(100, 8));

        let held = chunker.push(b"ab", AT);
        let finished = chunker.push(b"0123456789", AT);

        assert!(held.is_empty());
        assert_eq!(
            finished.iter().map(|c| c.bytes.clone()).collect::<Vec<_>>(),
            [b"ab\n".to_vec(), b"0123456789\n".to_vec()]
        );
        assert_eq!(chunker.due_at(), None);
    }

    #[test]
    fn later_lines_do_not_move_the_due_time() {
        let mut chunker = Chunker::new(limits(100, 1000));

        chunker.push(b"a", AT);
        let due = chunker.due_at();
        chunker.push(b"b", AT + Duration::from_millis(99));

        assert_eq!(due, Some(AT + Duration::from_millis(100)));
        assert_eq!(chunker.due_at(), due);
        assert_eq!(chunker.take_due(AT + Duration::from_millis(99)), None);
        assert_eq!(chunker.take_due(AT + Duration::from_millis(100)).map(|c| c.lines), Some(2));
        assert_eq!(chunker.due_at(), None);
    }

    #[test]
    fn an_empty_line_counts() {
        let mut chunker = Chunker::new(limits(100, 1000));

        chunker.push(b"", AT);

        assert_eq!(chunker.flush(), Some(Chunk { bytes: vec![b'\n'], lines: 1 }));
    }

    proptest! {
        #[test]
        fn chunks_hold_every_line_in_order_and_within_limits(
            lines in prop::collection::vec("[a-z]{0,20}", 0..200),
            max_lines in 1u32..20,
            max_bytes in 1usize..100,
        ) {
            let mut chunker = Chunker::new(limits(max_lines, max_bytes));

            let mut chunks: Vec<Chunk> = lines.iter().flat_map(|line| chunker.push(line.as_bytes(), AT)).collect();
            chunks.extend(chunker.flush());

            let expected: Vec<u8> = lines.iter().flat_map(|l| [l.as_bytes(), b"\n"].concat()).collect();
            prop_assert_eq!(chunks.iter().flat_map(|c| c.bytes.clone()).collect::<Vec<u8>>(), expected);
            for chunk in &chunks {
                let newlines = chunk.bytes.split(|b| *b == b'\n').count() - 1;
                prop_assert_eq!(u32::try_from(newlines).unwrap(), chunk.lines);
                prop_assert_eq!(chunk.bytes.last(), Some(&b'\n'));
                prop_assert!(chunk.lines <= max_lines);
                prop_assert!(chunk.bytes.len() <= max_bytes || chunk.lines == 1);
            }
        }

        #[test]
        fn the_due_time_of_a_chunk_never_moves(steps in prop::collection::vec(0u64..50, 1..60)) {
            let mut chunker = Chunker::new(limits(10, 1000));
            let mut now = AT;
            let mut due = None;

            for step in steps {
                now += Duration::from_millis(step);
                let finished = chunker.push(b"x", now);
                if !finished.is_empty() {
                    due = None;
                } else if due.is_none() {
                    due = Some(now + Duration::from_millis(100));
                }
                prop_assert_eq!(chunker.due_at(), due);
            }
        }
    }
}
