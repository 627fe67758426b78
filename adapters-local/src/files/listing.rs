//! Listing keys in byte order, whatever order the file system gives.

use std::{
    cmp::Ordering,
    collections::BinaryHeap,
    fs::{self, DirEntry},
    io,
    path::Path,
};

use legwork_ports::storage::Entry;

use super::{
    error::Failure,
    objects::{mark, modified},
    place::Places,
};

/// Something found and not yet listed.
struct Found {
    /// A folder's ends in `/`. That gives the order of whole keys: `a-b` before `a/b`.
    key: String,
    entry: DirEntry,
    is_folder: bool,
}

// The greatest comes out of a heap first, and wanted is the least: hence backwards.
impl Ord for Found {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Found {}

/// Returns up to `limit` entries below `prefix`, strictly after `after`.
///
/// Reads each folder on the way once and asks for the state of listed files only.
pub(super) fn list(
    places: &Places,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Entry>, Failure> {
    let root = places.folder(prefix)?;
    let key_prefix =
        if prefix.is_empty() || prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") };
    let mut rows = Vec::new();
    let mut open = BinaryHeap::from(children(&root, &key_prefix, after)?);
    while rows.len() < limit
        && let Some(found) = open.pop()
    {
        if found.is_folder {
            open.extend(children(&found.entry.path(), &found.key, after)?);
        } else if let Some(row) = row(found)? {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Returns what a folder holds that is not before `after` altogether.
fn children(folder: &Path, prefix: &str, after: Option<&str>) -> io::Result<Vec<Found>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Nothing was put below it yet, or it was removed meanwhile.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut children = Vec::new();
    for entry in entries {
        let entry = entry?;
        // Keys are text: other names were not put here by a store.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let is_folder = kind.is_dir();
        let key = if is_folder { format!("{prefix}{name}/") } else { format!("{prefix}{name}") };
        let wanted =
            after.is_none_or(|after| key.as_str() > after || (is_folder && after.starts_with(key.as_str())));
        if wanted && (is_folder || kind.is_file()) {
            children.push(Found { key, entry, is_folder });
        }
    }
    Ok(children)
}

/// Returns the row of a file; nothing where it was removed meanwhile.
fn row(found: Found) -> io::Result<Option<Entry>> {
    let metadata = match found.entry.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(Entry {
        key: found.key,
        size_bytes: metadata.len(),
        modified: modified(&metadata),
        change_mark: mark(&metadata),
    }))
}
