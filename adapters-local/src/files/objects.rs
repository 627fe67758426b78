//! Reading, writing and removing one object.
//!
//! The version of an object is the SHA-256 of its content: plain files have no generation, inode numbers
//! are used again, and times can be set back. An object that changed and changed back thus counts as
//! unchanged; every swap of the service writes something fresh.

use std::{
    collections::VecDeque,
    fs::{self, File, Metadata},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use legwork_core::{hex, time::Timestamp};
use legwork_ports::storage::{Object, Precondition, Version};
use sha2::{Digest as _, Sha256};

use super::{
    error::Failure,
    place::{Half, Places, make_folder},
};

/// How often a write is begun anew because its folder was removed as empty meanwhile.
const FOLDER_TRIES: u32 = 100;
/// Of how many files that are read in parts the version is remembered.
const REMEMBERED: usize = 16;
/// How much of a file is hashed at a time.
const HASHED_BYTES: usize = 64 * 1024;

/// Versions of files that were read in parts lately, each with the file's mark: a version is told by
/// the whole content, which would otherwise be read again for each part.
#[derive(Debug, Default)]
pub(super) struct Versions(Mutex<VecDeque<(String, Version)>>);

impl Versions {
    fn of(&self, file: &mut File, metadata: &Metadata) -> io::Result<Version> {
        let mark = mark(metadata);
        let known = |known: &VecDeque<(String, Version)>| {
            known.iter().find(|(of, _)| *of == mark).map(|(_, version)| version.clone())
        };
        if let Some(version) = known(&self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(version);
        }
        let mut hash = Sha256::new();
        let mut buffer = vec![0; HASHED_BYTES];
        loop {
            let count = file.read(&mut buffer)?;
            match buffer.get(..count) {
                Some(read) if count > 0 => hash.update(read),
                Some(_) | None => break,
            }
        }
        let version = Version::new(hex::encode(&hash.finalize()));
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.push_front((mark, version.clone()));
        known.truncate(REMEMBERED);
        Ok(version)
    }
}

/// Returns when a file was written.
pub(super) fn modified(metadata: &Metadata) -> Timestamp {
    let ms = metadata.mtime().saturating_mul(1000).saturating_add(metadata.mtime_nsec() / 1_000_000);
    Timestamp::from_unix_ms(u64::try_from(ms).unwrap_or(0))
}

/// Returns a text that differs after each write.
pub(super) fn mark(metadata: &Metadata) -> String {
    format!(
        "{}-{}-{}.{:09}-{}.{:09}",
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec()
    )
}

fn version_of(bytes: &[u8]) -> Version {
    Version::new(hex::encode(&Sha256::digest(bytes)))
}

/// Opens the file of a key. An open file is one state of the object: writes put another file in its
/// place.
fn open(places: &Places, key: &str) -> Result<(File, Metadata), Failure> {
    let file = match File::open(places.object(key)?) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(Failure::Missing);
        }
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(Failure::Missing) }
}

/// Reads a whole object.
pub(super) fn get(places: &Places, key: &str) -> Result<Object, Failure> {
    let (mut file, metadata) = open(places, key)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Object { version: version_of(&bytes), bytes: Bytes::from(bytes), modified: modified(&metadata) })
}

/// Reads a part of an object.
pub(super) fn get_range(
    places: &Places,
    versions: &Versions,
    key: &str,
    offset: u64,
    length: u64,
) -> Result<Object, Failure> {
    let (mut file, metadata) = open(places, key)?;
    let version = versions.of(&mut file, &metadata)?;
    let mut bytes = Vec::new();
    // The kernel takes no offset past 2^63.
    if offset < metadata.len() {
        file.seek(SeekFrom::Start(offset))?;
        file.take(length).read_to_end(&mut bytes)?;
    }
    Ok(Object { bytes: Bytes::from(bytes), version, modified: modified(&metadata) })
}

/// Fails where a precondition does not hold.
fn check(target: &Path, precondition: &Precondition) -> Result<(), Failure> {
    let holds = match precondition {
        Precondition::Always => true,
        Precondition::Absent => match fs::symlink_metadata(target) {
            Ok(metadata) => metadata.is_dir(),
            Err(error) if is_missing(&error) => true,
            Err(error) => return Err(error.into()),
        },
        Precondition::Unchanged(version) => match fs::read(target) {
            Ok(bytes) => version_of(&bytes) == *version,
            Err(error) if is_missing(&error) || error.kind() == io::ErrorKind::IsADirectory => false,
            Err(error) => return Err(error.into()),
        },
    };
    if holds { Ok(()) } else { Err(Failure::Conflict) }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Writes a whole object where the precondition holds.
pub(super) fn put(
    places: &Places,
    key: &str,
    bytes: &[u8],
    precondition: &Precondition,
) -> Result<Version, Failure> {
    let target = places.object(key)?;
    // Syncing is dear: who has lost already does not do it.
    check(&target, precondition)?;
    let mut half = places.half()?;
    half.file.write_all(bytes)?;
    half.finish()?;
    publish(places, key, &half, &target, precondition)?;
    Ok(version_of(bytes))
}

/// Writes an object from a file, in bounded memory.
pub(super) fn put_file(places: &Places, key: &str, mut source: File) -> Result<u64, Failure> {
    let target = places.object(key)?;
    if !source.metadata().map_err(Failure::Source)?.is_file() {
        return Err(Failure::Source(io::Error::from(io::ErrorKind::InvalidInput)));
    }
    let mut half = places.half()?;
    let size_bytes = io::copy(&mut source, &mut half.file)?;
    half.finish()?;
    publish(places, key, &half, &target, &Precondition::Always)?;
    Ok(size_bytes)
}

/// Puts a finished temporary file into its place and makes that durable.
#[expect(clippy::wildcard_enum_match_arm, reason = "of many kinds of errors two can be helped")]
fn publish(
    places: &Places,
    key: &str,
    half: &Half,
    target: &Path,
    precondition: &Precondition,
) -> Result<(), Failure> {
    let folder = target.parent().unwrap_or(&places.objects);
    let lock = places.lock(key)?;
    check(target, precondition)?;
    let mut unsynced = vec![folder.to_owned()];
    let mut tries = 0;
    while let Err(error) = fs::rename(&half.path, target) {
        tries += 1;
        let helped = match error.kind() {
            // Nothing was put there before, or somebody removed the folder as empty.
            io::ErrorKind::NotFound => make_folders(&places.objects, folder, &mut unsynced),
            // A folder that held objects once; one that still does is not removed.
            io::ErrorKind::IsADirectory => fs::remove_dir(target),
            _ => return Err(error.into()),
        };
        // Others make and remove folders meanwhile: what helps, and what hinders, is told by the next try.
        if tries > FOLDER_TRIES || helped.is_err_and(|error| !is_passing(&error)) {
            return Err(error.into());
        }
    }
    // Whoever swaps next syncs the folder after us in any case.
    drop(lock);
    for folder in unsynced {
        match File::open(folder).and_then(|folder| folder.sync_all()) {
            // The object was deleted already, and its folder with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// Makes the missing folders up to the store's own, and notes those that got a new entry.
fn make_folders(root: &Path, folder: &Path, unsynced: &mut Vec<PathBuf>) -> io::Result<()> {
    let missing = folder.ancestors().take_while(|path| *path != root && !path.is_dir());
    unsynced.extend(missing.filter_map(Path::parent).map(Path::to_owned));
    make_folder(folder)
}

/// Returns whether an error may come from somebody who makes or removes the same folder.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists)
}

/// Removes an object, and its folders where they held nothing else, except for those at the top.
///
/// Nothing is synced: after a power failure a removed object may be there again.
pub(super) fn delete(places: &Places, key: &str) -> Result<(), Failure> {
    let target = places.object(key)?;
    let lock = places.lock(key)?;
    match fs::remove_file(&target) {
        Ok(()) => {}
        Err(error) if is_missing(&error) || error.kind() == io::ErrorKind::IsADirectory => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    drop(lock);
    let is_top = |folder: &Path| folder == places.objects || folder.parent() == Some(&places.objects);
    for folder in target.ancestors().skip(1).take_while(|folder| !is_top(folder)) {
        // A folder that holds something is not removed, nor are those above it.
        if fs::remove_dir(folder).is_err() {
            break;
        }
    }
    Ok(())
}
