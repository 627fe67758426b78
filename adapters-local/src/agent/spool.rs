//! The files between the worker and the command: what it reads, what it writes, what it complains.
//!
//! They have names only until the command has started. From then on they live as long as somebody
//! has them open: nothing is left of them whoever is killed, and they cannot be opened by name.

use std::{
    fs::{File, OpenOptions, Permissions, remove_file, set_permissions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use legwork_ports::agent::STDERR_TAIL_BYTES;
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

/// What file systems free at least; parts of it are zeroed and not freed.
pub(super) const BLOCK_BYTES: u64 = 4096;
/// How much of the end of the messages is never freed.
const KEPT_BYTES: u64 = 64 * 1024;

/// The files of one command. Dropping this takes their names away.
#[derive(Debug)]
pub(super) struct Spool {
    pub(super) output: File,
    pub(super) errors: File,
    pub(super) stdin_path: PathBuf,
    pub(super) output_path: PathBuf,
    pub(super) errors_path: PathBuf,
}

impl Spool {
    /// Makes the files in `folder`, and writes what the command is to read.
    ///
    /// The output is for the worker alone: the command inherits it open for appending, and opening
    /// what it inherited once more is refused to another user.
    pub(super) fn create(folder: &Path, stdin: &[u8]) -> io::Result<Self> {
        for number in 0..u32::MAX {
            let output_path = folder.join(format!("{number}.out"));
            let output = match create_new(&output_path) {
                Ok(output) => output,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            let errors_path = folder.join(format!("{number}.err"));
            let stdin_path = folder.join(format!("{number}.in"));
            let spool =
                Self { errors: create_new(&errors_path)?, output, stdin_path, output_path, errors_path };
            create_new(&spool.stdin_path)?.write_all(stdin)?;
            // Programs that read /dev/stdin open it anew, and may. The folder is closed to others.
            set_permissions(&spool.stdin_path, Permissions::from_mode(0o644))?;
            return Ok(spool);
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        for path in [&self.stdin_path, &self.output_path, &self.errors_path] {
            // What stays goes with its folder.
            drop(remove_file(path));
        }
    }
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Gives the space between two offsets back, as far as whole blocks reach, and returns whether
/// this file system can.
pub(super) fn punch(file: &File, from: u64, to: u64) -> io::Result<bool> {
    let (from, to) = (from - from % BLOCK_BYTES, to - to % BLOCK_BYTES);
    if to <= from {
        return Ok(true);
    }
    match fallocate(
        file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        from,
        to.saturating_sub(from),
    ) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Frees all but the end of a file that only its end is wanted of, and returns up to where.
pub(super) fn free_all_but_the_end(file: &File, freed: u64, at_least: u64) -> io::Result<u64> {
    let to = file.metadata()?.len().saturating_sub(KEPT_BYTES);
    if to < freed.saturating_add(at_least) {
        return Ok(freed);
    }
    punch(file, freed, to)?;
    Ok(to)
}

/// Returns the last [`STDERR_TAIL_BYTES`] as text, from the start of a character on.
pub(super) fn text_at_the_end(file: &File) -> io::Result<String> {
    let tail_bytes = u64::try_from(STDERR_TAIL_BYTES).unwrap_or(u64::MAX);
    let from = file.metadata()?.len().saturating_sub(tail_bytes);
    let mut tail = vec![0; STDERR_TAIL_BYTES];
    let read_bytes = read_at(file, &mut tail, from)?;
    tail.truncate(read_bytes);
    let is_inside = |byte: &u8| from > 0 && byte & 0xc0 == 0x80;
    let cut = tail.iter().take(3).take_while(|byte| is_inside(byte)).count();
    Ok(String::from_utf8_lossy(tail.get(cut..).unwrap_or_default()).into_owned())
}

/// Reads from an offset until the buffer is full or the file at its end.
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(u64::try_from(filled).map_err(io::Error::other)?)) {
            Ok(0) => break,
            Ok(read_bytes) => filled = filled.saturating_add(read_bytes),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_commands_never_share_their_files() {
        let folder = tempfile::tempdir().unwrap();

        let first = Spool::create(folder.path(), b"one").unwrap();
        let second = Spool::create(folder.path(), b"two").unwrap();

        assert_eq!(std::fs::read(&first.stdin_path).unwrap(), b"one");
        assert_eq!(std::fs::read(&second.stdin_path).unwrap(), b"two");
    }

    #[test]
    fn the_output_is_for_its_owner_alone_and_its_name_goes_with_the_spool() {
        let folder = tempfile::tempdir().unwrap();

        let spool = Spool::create(folder.path(), b"").unwrap();

        assert_eq!(spool.output.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        drop(spool);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_end_of_the_messages_starts_with_a_whole_character() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(folder.path(), b"").unwrap();
        spool.errors.write_all(b"x").unwrap();
        spool.errors.write_all("ä".repeat(STDERR_TAIL_BYTES).as_bytes()).unwrap();
        spool.errors.write_all(b"!").unwrap();

        let tail = text_at_the_end(&spool.errors).unwrap();

        assert!(tail.starts_with('ä') && tail.ends_with("ä!"), "{tail}");
        assert_eq!(tail.len(), STDERR_TAIL_BYTES - 1);
    }

    #[test]
    fn messages_that_grow_are_freed_but_for_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(folder.path(), b"").unwrap();
        spool.errors.write_all(&vec![b'm'; 3 * 1024 * 1024]).unwrap();

        let freed = free_all_but_the_end(&spool.errors, 0, 1024 * 1024).unwrap();

        assert_eq!(freed, 3 * 1024 * 1024 - KEPT_BYTES);
        assert_eq!(free_all_but_the_end(&spool.errors, freed, 1024 * 1024).unwrap(), freed);
        assert_eq!(text_at_the_end(&spool.errors).unwrap(), "m".repeat(STDERR_TAIL_BYTES));
    }
}
