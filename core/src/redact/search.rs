//! Looks for secrets in bytes that come in pieces: files on their way out.

use alloc::vec::Vec;

use super::Redactor;

/// How much is looked at again with the next piece where no spelling is longer, in bytes.
const MIN_OVERLAP: usize = 1;

/// A search through one stream of bytes, in memory bounded by the longest spelling.
///
/// # Examples
/// ```
/// use legwork_core::redact::{Redactor, SecretKind};
/// let redactor = Redactor::new([(SecretKind::Credential, "sk-ant-api03-x")]);
/// let mut search = redactor.search();
/// assert!(!search.feed(b"key = sk-ant"));
/// assert!(search.feed(b"-api03-x"));
/// assert!(!redactor.search().feed(b"key = none"));
/// ```
#[derive(Debug)]
pub struct Search<'r> {
    redactor: &'r Redactor,
    overlap: usize,
    kept: Vec<u8>,
    found: bool,
}

impl<'r> Search<'r> {
    pub(super) fn new(redactor: &'r Redactor) -> Self {
        let overlap = redactor.longest_spelling().max(MIN_OVERLAP);
        Self { redactor, overlap, kept: Vec::new(), found: false }
    }

    /// Takes the next piece and tells whether a secret has been seen so far.
    pub fn feed(&mut self, piece: &[u8]) -> bool {
        if self.found || self.redactor.is_empty() {
            return self.found;
        }
        self.kept.extend_from_slice(piece);
        self.found = self.redactor.is_in(&self.kept);
        let surplus = self.kept.len().saturating_sub(self.overlap);
        self.kept.drain(..surplus);
        self.found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::redact::SecretKind;

    const SECRET: &str = "hunter2-hunter2-and-a-rather-long-tail";

    fn redactor() -> Redactor {
        Redactor::new([(SecretKind::Credential, SECRET)])
    }

    proptest! {
        #[test]
        fn a_secret_is_found_wherever_the_pieces_are_cut(
            before in proptest::collection::vec(any::<u8>(), 0..90),
            after in proptest::collection::vec(any::<u8>(), 0..90),
            size in 1_usize..50,
        ) {
            let redactor = redactor();
            let mut search = redactor.search();

            let all = [before.as_slice(), SECRET.as_bytes(), &after].concat();
            let found = all.chunks(size).fold(false, |_, piece| search.feed(piece));

            prop_assert!(found);
        }

        #[test]
        fn what_holds_no_secret_is_let_pass(bytes in proptest::collection::vec(any::<u8>(), 0..200), size in 1_usize..50) {
            let redactor = redactor();
            let mut search = redactor.search();

            prop_assert!(!bytes.chunks(size).any(|piece| search.feed(piece)));
        }
    }
}
