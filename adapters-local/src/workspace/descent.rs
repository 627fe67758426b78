//! Finding or making the folder in which the agent starts, below a repository that may hold links to
//! anywhere. Nothing must run meanwhile that could change it.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, lchown},
    path::{Path, PathBuf},
};

/// Returns the folder below `work` without links in its path. Missing folders are made, for `user`.
pub(super) fn directory_below(work: &Path, relative: &str, user: Option<u32>) -> io::Result<PathBuf> {
    let top = fs::canonicalize(work)?;
    let mut here = top.clone();
    for segment in relative.split('/').filter(|segment| !segment.is_empty()) {
        if matches!(segment, "." | "..") {
            return Err(refused("the path has dots"));
        }
        let next = here.join(segment);
        // One at a time: a folder is never made behind a link that leaves the workspace.
        match DirBuilder::new().mode(0o755).create(&next) {
            Ok(()) if user.is_some() => lchown(&next, user, user)?,
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        here = fs::canonicalize(&next)?;
        if !here.starts_with(&top) {
            return Err(refused("a link leaves the workspace"));
        }
        if !here.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
    }
    Ok(here)
}

fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn missing_folders_are_made() {
        let folder = tempfile::tempdir().unwrap();

        let found = directory_below(folder.path(), "a/b", None).unwrap();

        assert_eq!(found, folder.path().canonicalize().unwrap().join("a/b"));
        assert!(found.is_dir());
    }

    #[test]
    fn links_inside_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("real")).unwrap();
        symlink("real", folder.path().join("link")).unwrap();

        let found = directory_below(folder.path(), "link/sub", None).unwrap();

        assert_eq!(found, folder.path().canonicalize().unwrap().join("real/sub"));
    }

    #[test]
    fn links_to_the_outside_are_refused_and_nothing_is_made_behind_them() {
        let folder = tempfile::tempdir().unwrap();
        let (work, outside) = (folder.path().join("work"), folder.path().join("outside"));
        fs::create_dir(&work).unwrap();
        fs::create_dir(&outside).unwrap();
        symlink(&outside, work.join("link")).unwrap();
        symlink("..", work.join("up")).unwrap();
        symlink("nowhere", work.join("dangling")).unwrap();
        fs::write(work.join("file"), "").unwrap();

        for relative in ["link", "link/made", "up", "up/outside", "dangling", "file", "..", "a/../.."] {
            assert!(directory_below(&work, relative, None).is_err(), "{relative}");
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}
