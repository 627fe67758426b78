//! Listing keys in byte order, whatever order the file system gives.

use std::{
    fs::{self, DirEntry},
    io,
    os::unix::fs::MetadataExt as _,
};

use legwork_ports::storage::Entry;

use super::{modified, place::Places};

/// Returns up to `limit` entries below `prefix`, strictly after `after`.
pub(super) fn list(
    places: &Places,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> io::Result<Vec<Entry>> {
    let folder = prefix.trim_end_matches('/');
    let root = if folder.is_empty() { places.objects.clone() } else { places.object(folder)? };
    let key_prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let mut found = Vec::new();
    // A stack of what is still to be visited, the next one last: no recursion, whatever the depth.
    let mut open = children(&root, &key_prefix, after)?;
    while let Some((key, entry, is_folder)) = open.pop() {
        if found.len() >= limit {
            break;
        }
        if is_folder {
            open.extend(children(&entry.path(), &key, after)?);
        } else if let Some(row) = row(&key, &entry)? {
            found.push(row);
        }
    }
    Ok(found)
}

/// Returns what is in a folder in descending order. A folder's key ends in `/`, which gives the order of
/// whole keys: `a-b` before `a/b`.
fn children(
    folder: &std::path::Path,
    prefix: &str,
    after: Option<&str>,
) -> io::Result<Vec<(String, DirEntry, bool)>> {
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
        // Keys are text: other names were not put here by us.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Ok(kind) = entry.file_type() else { continue };
        let is_folder = kind.is_dir();
        let key = if is_folder { format!("{prefix}{name}/") } else { format!("{prefix}{name}") };
        let wanted = after.is_none_or(|after| key.as_str() > after || (is_folder && after.starts_with(&key)));
        if wanted && (is_folder || kind.is_file()) {
            children.push((key, entry, is_folder));
        }
    }
    children.sort_unstable_by(|a, b| b.0.cmp(&a.0));
    Ok(children)
}

fn row(key: &str, entry: &DirEntry) -> io::Result<Option<Entry>> {
    let metadata = match entry.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let change_mark = format!(
        "{}-{}-{}.{:09}-{}.{:09}",
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec()
    );
    Ok(Some(Entry {
        key: key.to_owned(),
        size_bytes: metadata.len(),
        modified: modified(&metadata),
        change_mark,
    }))
}
