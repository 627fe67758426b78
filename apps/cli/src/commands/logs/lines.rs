//! Lines out of pieces of bytes, however they were cut.

/// Cuts bytes into lines.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// Takes the next bytes and returns the lines that they complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        // There is always a last piece: what stands after the last newline.
        let unfinished = pieces.next_back().unwrap_or_default();
        let mut lines = Vec::new();
        for piece in pieces {
            self.0.extend_from_slice(piece);
            lines.push(String::from_utf8_lossy(&std::mem::take(&mut self.0)).into_owned());
        }
        self.0.extend_from_slice(unfinished);
        lines
    }

    /// Returns what stands after the last newline, if anything.
    pub(super) fn rest(self) -> Option<String> {
        (!self.0.is_empty()).then(|| String::from_utf8_lossy(&self.0).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_makes_no_difference(text in "[aü\n]{0,30}", cut in any::<prop::sample::Index>()) {
            let at = cut.index(text.len() + 1);
            let (head, tail) = text.as_bytes().split_at(at);
            let mut lines = Lines::default();

            let mut found = lines.push(head);
            found.extend(lines.push(tail));
            found.extend(lines.rest());

            prop_assert_eq!(found, text.lines().map(str::to_owned).collect::<Vec<_>>());
        }
    }
}
