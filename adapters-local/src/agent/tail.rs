//! Reading along a file that somebody else writes, giving read parts back to the machine, and
//! noticing when what was read is not there any more.
//!
//! A command of the worker's own user can always change its output afterwards, and one of another
//! user can cut it by the descriptor that it inherited. So the size is watched, which may never
//! shrink, and what was read is read again before it is freed and at the end: a file that was cut
//! and filled up again between two looks is noticed then.

use std::{fs::File, io};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::spool::{BLOCK_BYTES, punch, read_at};

/// The most that is read at once.
const READ_BYTES: u64 = 256 * 1024;
/// How much is read before it is given back. Memory-backed file systems hold about as much.
const FREE_BYTES: u64 = 1024 * 1024;

/// A file and how far it was read.
#[derive(Debug)]
pub(super) struct Tail {
    file: File,
    offset: u64,
    /// Where the part begins that is still there to be compared.
    mark: u64,
    /// Of everything between `mark` and `offset`.
    digest: Sha256,
    /// The last bytes before `mark`, as they were left.
    margin: Vec<u8>,
    can_free: bool,
    was_altered: bool,
    /// Read and not yet fetched.
    pending: Option<Bytes>,
}

impl Tail {
    /// Starts at the beginning of the file, which has to be open for reading and writing.
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            offset: 0,
            mark: 0,
            digest: Sha256::new(),
            margin: Vec::new(),
            can_free: true,
            was_altered: false,
            pending: None,
        }
    }

    /// Reads what is new, if nothing waits to be fetched.
    pub(super) fn look(&mut self) -> io::Result<()> {
        if self.pending.is_some() {
            return Ok(());
        }
        self.free_what_was_read()?;
        let size = self.file.metadata()?.len();
        if size < self.offset {
            self.start_over(size);
            return Ok(());
        }
        let new_bytes = size.saturating_sub(self.offset).min(READ_BYTES);
        let mut buffer = vec![0; usize::try_from(new_bytes).map_err(io::Error::other)?];
        let read_bytes = read_at(&self.file, &mut buffer, self.offset)?;
        buffer.truncate(read_bytes);
        if !buffer.is_empty() {
            self.digest.update(&buffer);
            self.offset = self.offset.saturating_add(u64::try_from(buffer.len()).map_err(io::Error::other)?);
            self.pending = Some(Bytes::from(buffer));
        }
        Ok(())
    }

    /// Hands out what was read, once.
    pub(super) fn fetch(&mut self) -> Option<Bytes> {
        self.pending.take()
    }

    /// Looks at everything once more and returns whether somebody else has changed what was read.
    pub(super) fn is_altered(&mut self) -> io::Result<bool> {
        if self.file.metadata()?.len() < self.offset {
            self.was_altered = true;
        }
        if !self.was_altered {
            self.was_altered = !self.is_as_it_was()?;
        }
        Ok(self.was_altered)
    }

    /// Goes on at the end of a file that has shrunk.
    fn start_over(&mut self, size: u64) {
        self.was_altered = true;
        self.offset = size;
        self.mark = size;
        self.digest = Sha256::new();
        self.margin = Vec::new();
    }

    fn free_what_was_read(&mut self) -> io::Result<()> {
        if self.offset.saturating_sub(self.mark) < FREE_BYTES {
            return Ok(());
        }
        if !self.was_altered {
            self.was_altered = !self.is_as_it_was()?;
        }
        if self.can_free {
            self.can_free = punch(&self.file, self.mark, self.offset)?;
        }
        self.mark = self.offset;
        self.digest = Sha256::new();
        self.margin = self.read_margin()?;
        Ok(())
    }

    fn is_as_it_was(&self) -> io::Result<bool> {
        if self.read_margin()? != self.margin {
            return Ok(false);
        }
        let mut digest = Sha256::new();
        let mut at = self.mark;
        while at < self.offset {
            let length = self.offset.saturating_sub(at).min(READ_BYTES);
            let mut buffer = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            if read_at(&self.file, &mut buffer, at)? < buffer.len() {
                return Ok(false);
            }
            digest.update(&buffer);
            at = at.saturating_add(length);
        }
        Ok(digest.finalize() == self.digest.clone().finalize())
    }

    fn read_margin(&self) -> io::Result<Vec<u8>> {
        let length = self.mark.min(BLOCK_BYTES);
        let mut margin = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        let read_bytes = read_at(&self.file, &mut margin, self.mark.saturating_sub(length))?;
        margin.truncate(read_bytes);
        Ok(margin)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        os::unix::fs::{FileExt as _, MetadataExt as _},
    };

    use super::*;

    /// A file that is written by one handle and read along by another.
    fn pair() -> (File, Tail) {
        let reading = tempfile::NamedTempFile::new().unwrap();
        let writing = File::options().append(true).open(reading.path()).unwrap();
        (writing, Tail::new(reading.into_file()))
    }

    fn read(tail: &mut Tail) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            tail.look().unwrap();
            match tail.fetch() {
                Some(bytes) => all.extend_from_slice(&bytes),
                None => return all,
            }
        }
    }

    #[test]
    fn what_is_written_is_read_once_and_in_order() {
        let (mut writing, mut tail) = pair();

        writing.write_all(b"one\n").unwrap();
        let first = read(&mut tail);
        writing.write_all(b"two\n").unwrap();
        let second = read(&mut tail);

        assert_eq!((first.as_slice(), second.as_slice()), (b"one\n".as_slice(), b"two\n".as_slice()));
        assert!(!tail.is_altered().unwrap());
    }

    #[test]
    fn what_nobody_fetched_is_not_lost() {
        let (mut writing, mut tail) = pair();
        writing.write_all(b"one\n").unwrap();

        tail.look().unwrap();
        writing.write_all(b"two\n").unwrap();
        tail.look().unwrap();

        assert_eq!(read(&mut tail), b"one\ntwo\n");
    }

    #[test]
    fn read_parts_are_given_back_and_all_the_same_nothing_is_lost() {
        let (mut writing, mut tail) = pair();
        let written: Vec<u8> = (0..5_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();

        writing.write_all(&written).unwrap();
        let all = read(&mut tail);

        assert!(all == written);
        assert!(!tail.is_altered().unwrap());
        let held_bytes = writing.metadata().unwrap().blocks() * 512;
        assert!(!tail.can_free || held_bytes < 2 * FREE_BYTES, "{held_bytes} bytes are held");
    }

    #[test]
    fn a_file_that_shrinks_was_altered() {
        let (mut writing, mut tail) = pair();
        writing.write_all(b"one\ntwo\n").unwrap();
        read(&mut tail);

        writing.set_len(4).unwrap();
        let nothing = read(&mut tail);
        writing.write_all(b"three\n").unwrap();

        assert_eq!(nothing, b"");
        assert_eq!(read(&mut tail), b"three\n");
        assert!(tail.is_altered().unwrap());
    }

    #[test]
    fn a_file_that_was_cut_and_filled_up_between_two_looks_was_altered() {
        let (mut writing, mut tail) = pair();
        writing.write_all(b"one\ntwo\n").unwrap();
        read(&mut tail);

        writing.set_len(0).unwrap();
        writing.write_all(b"forged and longer\n").unwrap();

        assert!(tail.is_altered().unwrap());
    }

    #[test]
    fn a_file_that_was_filled_up_after_parts_were_given_back_was_altered() {
        let (mut writing, mut tail) = pair();
        writing.write_all(&vec![b'a'; 3_000_000]).unwrap();
        read(&mut tail);

        writing.set_len(0).unwrap();
        writing.write_all(&vec![b'b'; 3_000_001]).unwrap();

        assert!(tail.is_altered().unwrap());
    }

    #[test]
    fn a_byte_that_was_changed_in_place_is_noticed() {
        let (mut writing, mut tail) = pair();
        writing.write_all(b"one\ntwo\n").unwrap();
        read(&mut tail);

        tail.file.write_all_at(b"O", 0).unwrap();

        assert!(tail.is_altered().unwrap());
    }
}
