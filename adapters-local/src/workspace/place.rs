//! Putting files of the service's into the workspace for the time of the run, and taking them away.
//!
//! Nothing of the task runs meanwhile, but what lies there may be anything: links to the outside in
//! the place of files and folders. Whatever stands in the way is moved into a stash that the agent
//! cannot reach, links themselves and not what they point to, and is moved back afterwards.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, fchown, lchown},
    path::{Path, PathBuf},
};

use legwork_ports::workspace::{Folders, Placed, PlacedFile};
use rustix::fs::OFlags;

use super::removal::remove_folder;

/// Where what was moved away waits.
fn stash(folders: &Folders) -> PathBuf {
    folders.root.join("stash")
}

/// Puts the files there.
pub(super) fn place(folders: &Folders, files: Vec<PlacedFile>) -> io::Result<Placed> {
    check_all(files.iter().map(|file| file.path.as_str()))?;
    let mut placed = Placed::default();
    for file in files {
        put(folders, file, &mut placed)?;
    }
    Ok(placed)
}

/// Puts files there that something else stands in the place of by now; returns where something was.
pub(super) fn renew(
    folders: &Folders,
    placed: &mut Placed,
    files: Vec<PlacedFile>,
) -> io::Result<Vec<String>> {
    let again: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let others = placed.files.iter().map(|file| file.path.as_str()).filter(|path| !again.contains(path));
    check_all(others.chain(files.iter().map(|file| file.path.as_str())))?;
    let mut found = Vec::new();
    for file in files {
        if stands(folders, &file)? {
            continue;
        }
        let path = file.path.clone();
        placed.files.retain(|other| other.path != path);
        if put(folders, file, placed)? {
            found.push(path);
        }
    }
    placed.folders.sort();
    placed.folders.dedup();
    Ok(found)
}

/// Puts a file there, and tells whether something was in its place.
fn put(folders: &Folders, file: PlacedFile, placed: &mut Placed) -> io::Result<bool> {
    let mut was_taken = false;
    for parent in parents(&file.path) {
        was_taken |= make_parent(folders, parent, placed)?;
    }
    was_taken |= move_away(folders, &file.path, placed)?;
    let written = write(folders, &file);
    // Also one that is not whole has to be taken away.
    placed.files.push(file);
    written.map(|()| was_taken)
}

/// Tells whether a file is there as it was put there.
fn stands(folders: &Folders, file: &PlacedFile) -> io::Result<bool> {
    let place = folders.work.join(&file.path);
    let is_file = is_reached_without_links(&folders.work, &file.path)
        && fs::symlink_metadata(&place).is_ok_and(|metadata| metadata.is_file());
    Ok(is_file && holds(&place, &file.contents)?)
}

/// Makes sure that all paths are below the workspace, and none is another one or above it.
fn check_all<'p>(paths: impl Iterator<Item = &'p str>) -> io::Result<()> {
    let mut all = BTreeSet::new();
    for path in paths {
        check(path)?;
        if !all.insert(path) {
            return Err(refused("a path is given twice"));
        }
    }
    if all.iter().any(|path| parents(path).any(|parent| all.contains(parent))) {
        return Err(refused("a path is above another one"));
    }
    Ok(())
}

fn check(path: &str) -> io::Result<()> {
    let is_bad = |segment: &str| matches!(segment, "" | "." | "..") || segment.contains('\0');
    if path.split('/').any(is_bad) { Err(refused("it is no path below the workspace")) } else { Ok(()) }
}

fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// Returns the folders above a path, outermost first.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter_map(|(end, _)| path.get(..end))
}

/// Makes a folder unless it is there, and tells whether something else was in its place.
fn make_parent(folders: &Folders, path: &str, placed: &mut Placed) -> io::Result<bool> {
    let place = folders.work.join(path);
    if fs::symlink_metadata(&place).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(false);
    }
    let was_taken = move_away(folders, path, placed)?;
    DirBuilder::new().mode(0o755).create(&place)?;
    lchown(&place, folders.user, folders.user)?;
    placed.folders.push(path.to_owned());
    Ok(was_taken)
}

/// Moves what is at a path into the stash, and tells whether anything was there.
fn move_away(folders: &Folders, path: &str, placed: &mut Placed) -> io::Result<bool> {
    let place = folders.work.join(path);
    match fs::symlink_metadata(&place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found?,
    };
    let stash = stash(folders);
    match DirBuilder::new().mode(0o700).create(&stash) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut names = (0..u32::MAX).map(|number| number.to_string());
    let free = names.find(|name| fs::symlink_metadata(stash.join(name)).is_err());
    let name = free.ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))?;
    fs::rename(&place, stash.join(&name))?;
    // What was moved away from below it is there no more.
    placed.covered.retain(|covered, _| !parents(covered).any(|parent| parent == path));
    placed.covered.insert(path.to_owned(), name);
    Ok(true)
}

fn write(folders: &Folders, file: &PlacedFile) -> io::Result<()> {
    let mut opened =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(folders.work.join(&file.path))?;
    fchown(&opened, folders.user, folders.user)?;
    opened.write_all(&file.contents)
}

/// Takes the files away and puts back what was moved; returns where the agent had written.
pub(super) fn put_back(folders: &Folders, placed: &Placed) -> io::Result<Vec<String>> {
    let mut changed = Vec::new();
    for file in placed.files.iter().filter(|file| is_reached_without_links(&folders.work, &file.path)) {
        check(&file.path)?;
        let place = folders.work.join(&file.path);
        match fs::symlink_metadata(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Ok(metadata) if !metadata.is_file() || !holds(&place, &file.contents)? => {
                changed.push(file.path.clone());
            }
            Ok(_ours) => {}
            Err(error) => return Err(error),
        }
        remove(&place)?;
    }
    for folder in placed.folders.iter().rev() {
        if is_reached_without_links(&folders.work, folder) {
            // One in which the agent has put something stays.
            fs::remove_dir(folders.work.join(folder)).ok();
        }
    }
    for (path, name) in &placed.covered {
        let place = folders.work.join(path);
        make_way(folders, path)?;
        if fs::symlink_metadata(&place).is_ok() {
            changed.push(path.clone());
            remove(&place)?;
        }
        fs::rename(stash(folders).join(name), &place)?;
    }
    changed.sort();
    changed.dedup();
    Ok(changed)
}

/// Makes the folders above a path again, where the agent has removed or replaced them.
fn make_way(folders: &Folders, path: &str) -> io::Result<()> {
    for parent in parents(path).map(|parent| folders.work.join(parent)) {
        match fs::symlink_metadata(&parent) {
            Ok(metadata) if metadata.is_dir() => continue,
            Ok(_) => fs::remove_file(&parent)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        DirBuilder::new().mode(0o755).create(&parent)?;
        lchown(&parent, folders.user, folders.user)?;
    }
    Ok(())
}

fn is_reached_without_links(work: &Path, path: &str) -> bool {
    parents(path)
        .all(|parent| fs::symlink_metadata(work.join(parent)).is_ok_and(|metadata| metadata.is_dir()))
}

fn holds(place: &Path, contents: &[u8]) -> io::Result<bool> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(place)?;
    let limit = u64::try_from(contents.len()).unwrap_or(u64::MAX).saturating_add(1);
    let mut held = Vec::new();
    file.take(limit).read_to_end(&mut held)?;
    Ok(held == contents)
}

fn remove(place: &Path) -> io::Result<()> {
    if fs::symlink_metadata(place)?.is_dir() { remove_folder(place) } else { fs::remove_file(place) }
}

#[cfg(test)]
mod tests;
