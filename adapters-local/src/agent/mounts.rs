//! What one command, and all that it starts, sees instead of the machine's own.
//!
//! A task's user has no name on this machine, and OpenSSH's client and some runtimes refuse to work
//! for a user without one: the command sees a table of users that has its own.
//!
//! Whatever is shared by everybody outlives who has left it there, and one day another task has the
//! same user. So the command's shared memory goes with its last process, and the machine's folders for
//! temporary files are covered by one that goes with the task.
//!
//! What must not be here: which files and folders are covered.

use std::{
    fs, io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use rustix::{
    fs::{Mode, OFlags, fstat, mkdirat, open, openat},
    process::geteuid,
    thread::{CapabilitySet, capabilities},
};

use super::{hidden_paths::hidden_places, wire::Files};

/// Where programs share memory or messages, and of which kind and with which options an empty one is.
const SHARED: [(&str, &str, Option<&str>); 2] =
    [("/dev/shm", "tmpfs", Some("mode=1777,size=1g")), ("/dev/mqueue", "mqueue", None)];
/// The mode of folders on the way to what is kept: to be passed through, and not to be looked into.
const ON_THE_WAY: u32 = 0o711;

/// Tells whether this process may give a command mounts of its own.
pub fn may_cover() -> bool {
    capabilities(None).is_ok_and(|held| held.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Gives this thread, and all that it will start, shared memory and mounts of its own, in which what is
/// covered lies over the machine's. What is kept stays in its place, and so do the folders of
/// `programs`. Returns whether this machine lets it be done; where it does not, nothing is covered.
///
/// A folder that is itself kept, or that something hidden would come into with what is kept, is not
/// covered.
pub(super) fn separate(files: &Files, programs: &[PathBuf]) -> io::Result<bool> {
    if !may_cover() {
        return Ok(false);
    }
    let nothing: Option<&str> = None;
    let parted = unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC)
        // What is mounted here is not mounted anywhere else; what the machine mounts still comes here.
        .and_then(|()| mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SLAVE, nothing));
    if parted.is_err() {
        // Some sandboxes refuse it to whoever has the right to do it.
        return Ok(false);
    }
    for (place, kind, options) in SHARED {
        match mount(Some(kind), place, Some(kind), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, options) {
            // What this machine lacks is shared by nobody.
            Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => {}
            Err(error) => return Err(about(Path::new(place))(error)),
        }
    }
    let kept = kept(files.kept.iter().map(PathBuf::from).chain(programs.iter().cloned()));
    let hidden: Vec<PathBuf> =
        files.hidden.iter().flat_map(|hidden| hidden_places(Path::new(hidden))).collect();
    for (place, with) in &files.covered {
        let (place, with) = (Path::new(place), Path::new(with));
        if with.is_dir() {
            cover_folder(place, with, &kept, &hidden)?;
        } else {
            bind(with, place)?;
        }
    }
    Ok(true)
}

/// Returns the folders among these, also where links to them lead, but none that is below another.
fn kept(named: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let places = named.filter_map(|path| Some([fs::canonicalize(&path).ok()?, path]));
    let mut kept: Vec<PathBuf> = places.flatten().filter(|path| path.is_dir()).collect();
    kept.sort();
    kept.dedup_by(|later, earlier| later.starts_with(&*earlier));
    kept
}

fn cover_folder(place: &Path, with: &Path, kept: &[PathBuf], hidden: &[PathBuf]) -> io::Result<()> {
    let place = fs::canonicalize(place)?;
    let below: Vec<&PathBuf> = kept.iter().filter(|kept| kept.starts_with(&place)).collect();
    let is_kept = kept.iter().any(|kept| place.starts_with(kept));
    // Landlock opens what lies over the place, and then everything below it as well.
    let would_open = below.iter().any(|kept| hidden.iter().any(|hidden| hidden.starts_with(kept)));
    if is_kept || would_open {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut held = Vec::new();
    for path in below {
        let way = path.strip_prefix(&place).map_err(io::Error::other)?;
        held.push((way, open(path, flags, Mode::empty())?));
    }
    bind(with, &place)?;
    let top = open(&place, flags, Mode::empty())?;
    for (way, folder) in &held {
        bind(&by_number(folder), &by_number(&make_way(&top, way)?))?;
    }
    Ok(())
}

/// Makes the folders that lead somewhere below `top`, and returns the last one. Everybody may have
/// written to `top`: nothing is made behind a link or in a folder of somebody else.
fn make_way(top: &OwnedFd, way: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut here = top.try_clone()?;
    for step in way.components() {
        let Component::Normal(name) = step else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path has dots"));
        };
        match mkdirat(&here, name, Mode::from_raw_mode(ON_THE_WAY)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        here = openat(&here, name, flags, Mode::empty())?;
        if fstat(&here)?.st_uid != geteuid().as_raw() {
            let reason = format!("{} is in the way", way.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
    }
    Ok(here)
}

fn bind(what: &Path, place: &Path) -> io::Result<()> {
    let nothing: Option<&str> = None;
    mount(Some(what), place, nothing, MsFlags::MS_BIND | MsFlags::MS_REC, nothing).map_err(about(place))
}

/// Returns a path to what is open, wherever it lies and whatever is mounted there meanwhile.
fn by_number(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn about(place: &Path) -> impl FnOnce(Errno) -> io::Error {
    move |error| io::Error::other(format!("mounting at {}: {error}", place.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn folder() -> (TempDir, OwnedFd) {
        let folder = tempfile::tempdir().unwrap();
        let top = open(folder.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (folder, top)
    }

    #[test]
    fn a_way_is_made_once_and_found_again() {
        let (folder, top) = folder();

        make_way(&top, Path::new("a/b")).unwrap();
        make_way(&top, Path::new("a/b/c")).unwrap();

        assert!(folder.path().join("a/b/c").is_dir());
    }

    #[test]
    fn no_way_leads_through_a_link_or_up() {
        let (folder, top) = folder();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), folder.path().join("link")).unwrap();
        symlink(outside.path().join("new"), folder.path().join("dangling")).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();

        for way in ["link", "link/a", "dangling", "dangling/a", "file", "file/a", "../a", "a/../../b"] {
            assert!(make_way(&top, Path::new(way)).is_err(), "{way}");
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_kept_is_named_once_with_where_its_links_lead() {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        for name in ["a/b", "a.b", "real"] {
            fs::create_dir_all(top.join(name)).unwrap();
        }
        fs::write(top.join("file"), "").unwrap();
        symlink("real", top.join("link")).unwrap();

        let kept =
            kept(["a/b", "a", "a.b", "a", "link", "file", "missing"].iter().map(|name| top.join(name)));

        assert_eq!(kept, ["a", "a.b", "link", "real"].map(|name| top.join(name)));
    }
}
