//! Puts a file where it belongs, going down one folder at a time and through no link: what stands in the
//! folder may be there to lead elsewhere.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Component, Path},
};

use rustix::{
    fs::{self, AtFlags, Mode, OFlags, RenameFlags},
    io::Errno,
};

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overwrite {
    /// It stays, and the new one is refused.
    Never,
    /// It is replaced.
    Always,
}

/// There is no place for the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// Something has its name already.
    #[error("is there already; --force overwrites it")]
    Exists,
    /// On the way to it stands a link or a file.
    #[error("{folder} is a link or a file, where a folder is needed")]
    NotAFolder {
        /// Its name.
        folder: String,
    },
    /// The file system refuses.
    #[error("cannot be created")]
    Refused {
        /// Why.
        source: io::Error,
    },
}

impl From<Errno> for PlaceError {
    fn from(error: Errno) -> Self {
        if error == Errno::EXIST { Self::Exists } else { Self::Refused { source: error.into() } }
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A file that is being written, under a name of its own beside its place; it is removed when this is
/// dropped unfinished.
#[derive(Debug)]
pub(super) struct Partial {
    folder: OwnedFd,
    temporary: String,
    name: OsString,
    overwrite: Overwrite,
    is_finished: bool,
}

impl Partial {
    /// Makes the folders and the file; `path` is `dir` and plain segments, and `dir` itself may be a link.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub(super) fn begin(dir: &Path, path: &Path, overwrite: Overwrite) -> Result<(Self, File), PlaceError> {
        let refused = |source| PlaceError::Refused { source };
        std::fs::create_dir_all(dir).map_err(refused)?;
        let not_below = || refused(io::Error::other("it is not below the folder"));
        let below = path.strip_prefix(dir).map_err(|_prefix| not_below())?;
        let mut segments = below.components().map(|part| match part {
            Component::Normal(segment) => Ok(segment),
            Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => {
                Err(not_below())
            }
        });
        let name = segments.next_back().ok_or_else(not_below)??;
        // An empty path is the folder that the program runs in.
        let root = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let mut folder = fs::open(root, FOLDER, Mode::empty())?;
        for segment in segments {
            folder = enter(&folder, segment?)?;
        }
        if overwrite == Overwrite::Never && fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(PlaceError::Exists);
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| refused(io::Error::other(error)))?;
        let temporary = format!(".legwork-{:016x}.part", u64::from_ne_bytes(random));
        let file = fs::openat(&folder, &temporary, NEW_FILE, Mode::from_raw_mode(0o666))?;
        let name = name.to_owned();
        Ok((Self { folder, temporary, name, overwrite, is_finished: false }, File::from(file)))
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// [`PlaceError::Exists`] where the name was taken meanwhile and stays.
    pub(super) fn finish(mut self) -> Result<(), PlaceError> {
        let folder = &self.folder;
        match self.overwrite {
            Overwrite::Always => fs::renameat(folder, &self.temporary, folder, &self.name)?,
            Overwrite::Never => {
                let flags = RenameFlags::NOREPLACE;
                match fs::renameat_with(folder, &self.temporary, folder, &self.name, flags) {
                    // Some file systems cannot; a second name is refused where it is taken, too.
                    Err(Errno::INVAL | Errno::NOSYS) => {
                        fs::linkat(folder, &self.temporary, folder, &self.name, AtFlags::empty())?;
                        return Ok(());
                    }
                    renamed => renamed?,
                }
            }
        }
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_finished {
            // What cannot be removed is at least not taken for the whole file: its name says so.
            let _removed = fs::unlinkat(&self.folder, &self.temporary, AtFlags::empty());
        }
    }
}

/// Opens a folder inside another one, making it where there is none, and following no link.
fn enter(folder: &OwnedFd, name: &OsStr) -> Result<OwnedFd, PlaceError> {
    match fs::mkdirat(folder, name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    match fs::openat(folder, name, FOLDER.union(OFlags::NOFOLLOW), Mode::empty()) {
        Err(Errno::NOTDIR | Errno::LOOP) => {
            Err(PlaceError::NotAFolder { folder: name.to_string_lossy().into_owned() })
        }
        opened => Ok(opened?),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::fs::symlink};

    use super::*;

    /// Puts a file with the content `new` to `name` below a folder.
    fn put(dir: &Path, name: &str, overwrite: Overwrite) -> Result<(), PlaceError> {
        let (partial, mut file) = Partial::begin(dir, &dir.join(name), overwrite)?;
        file.write_all(b"new").unwrap();
        partial.finish()
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn folders_are_made_on_the_way() {
        let dir = tempfile::tempdir().unwrap();

        put(&dir.path().join("out"), "a/b/c.txt", Overwrite::Never).unwrap();

        assert_eq!(std::fs::read(dir.path().join("out/a/b/c.txt")).unwrap(), b"new");
        assert_eq!(names(&dir.path().join("out/a/b")), ["c.txt"]);
    }

    #[test]
    fn a_file_that_is_there_is_only_replaced_by_force() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "old").unwrap();

        let refused = put(dir.path(), "a", Overwrite::Never);

        assert!(matches!(refused, Err(PlaceError::Exists)), "{refused:?}");
        assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"old");
        put(dir.path(), "a", Overwrite::Always).unwrap();
        assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"new");
    }

    #[test]
    fn a_file_that_came_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (partial, _file) = Partial::begin(dir.path(), &dir.path().join("a"), Overwrite::Never).unwrap();
        std::fs::write(dir.path().join("a"), "old").unwrap();

        let refused = partial.finish();

        assert!(matches!(refused, Err(PlaceError::Exists)), "{refused:?}");
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn links_lead_nowhere() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path(), dir.path().join("folder")).unwrap();
        symlink(outside.path().join("file"), dir.path().join("file")).unwrap();

        let through = put(dir.path(), "folder/x", Overwrite::Always);
        let onto = put(dir.path(), "file", Overwrite::Never);
        put(dir.path(), "file", Overwrite::Always).unwrap();

        assert!(matches!(through, Err(PlaceError::NotAFolder { .. })), "{through:?}");
        assert!(matches!(onto, Err(PlaceError::Exists)), "{onto:?}");
        assert_eq!(names(outside.path()), [""; 0]);
        assert!(std::fs::symlink_metadata(dir.path().join("file")).unwrap().is_file());
    }

    #[test]
    fn nothing_is_left_of_a_file_that_breaks_off() {
        let dir = tempfile::tempdir().unwrap();

        drop(Partial::begin(dir.path(), &dir.path().join("a"), Overwrite::Never).unwrap());

        assert_eq!(names(dir.path()), [""; 0]);
    }
}
