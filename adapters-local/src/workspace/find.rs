//! Finding and opening files that leave the workspace.

use std::{fs::File, io, path::Path};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use legwork_core::request::RelativePath;
use legwork_ports::workspace::{FoundFile, FoundFiles};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use walkdir::WalkDir;

/// The most files that one task may have matched.
pub const MAX_FOUND_FILES: usize = 10_000;
/// Folders that are never entered.
const NEVER: [&str; 2] = [".git", "node_modules"];

/// Finds the regular files that the globs match.
pub(super) fn find_files(work: &Path, globs: &[String]) -> FoundFiles {
    let mut found = FoundFiles::default();
    let set = set(globs, &mut found.problems);
    let walk = WalkDir::new(work).min_depth(1).follow_links(false).sort_by_file_name();
    let entered = walk.into_iter().filter_entry(|entry| {
        !(entry.file_type().is_dir() && NEVER.iter().any(|never| entry.file_name() == *never))
    });
    for entry in entered {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                found.problems.push(format!("cannot look there: {error}"));
                continue;
            }
        };
        let Ok(path) = entry.path().strip_prefix(work) else { continue };
        if !entry.file_type().is_file() || !set.is_match(path) {
            continue;
        }
        let name = path.to_str().and_then(|path| path.parse::<RelativePath>().ok());
        let Some(name) = name else {
            found.problems.push(format!("{} is no name for an upload", path.display()));
            continue;
        };
        if found.files.len() >= MAX_FOUND_FILES {
            found.problems.push(format!("more than {MAX_FOUND_FILES} files match; the others are left out"));
            break;
        }
        let size_bytes = entry.metadata().map_or(0, |metadata| metadata.len());
        found.files.push(FoundFile { path: name.as_str().to_owned(), size_bytes });
    }
    found
}

fn set(globs: &[String], problems: &mut Vec<String>) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let mut spelled = glob.trim_start_matches("./").to_owned();
        // A folder is everything in it.
        if spelled.ends_with('/') {
            spelled.push_str("**");
        }
        match GlobBuilder::new(&spelled).literal_separator(true).backslash_escape(true).build() {
            Ok(built) => drop(set.add(built)),
            Err(error) => problems.push(format!("the glob {glob} is none: {}", error.kind())),
        }
    }
    set.build().unwrap_or_else(|error| {
        problems.push(format!("the globs cannot be used: {error}"));
        GlobSet::empty()
    })
}

/// Opens a regular file below the workspace, through no link, without waiting for anybody.
pub(super) fn open_file(work: &Path, path: &str) -> io::Result<File> {
    let folder = open(work, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH, Mode::empty())?;
    let file = openat2(
        folder,
        path,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok(File::from(file))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Read as _,
        os::unix::{ffi::OsStrExt as _, fs::symlink},
    };

    use tempfile::TempDir;

    use super::*;

    fn workspace(files: &[&str]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        folder
    }

    fn found(work: &Path, globs: &[&str]) -> Vec<String> {
        let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
        find_files(work, &globs).files.into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn a_star_stays_in_its_folder_and_two_do_not() {
        let work = workspace(&["a.log", "b/c.log", "b/d/e.log", "b/d/f.txt"]);

        assert_eq!(found(work.path(), &["*.log"]), ["a.log"]);
        assert_eq!(found(work.path(), &["**/*.log"]), ["a.log", "b/c.log", "b/d/e.log"]);
        assert_eq!(found(work.path(), &["b/"]), ["b/c.log", "b/d/e.log", "b/d/f.txt"]);
        assert_eq!(found(work.path(), &["./b/*.log", "{a,x}.log"]), ["a.log", "b/c.log"]);
    }

    #[test]
    fn names_with_a_leading_dot_match_and_what_is_not_the_tasks_does_not() {
        let work =
            workspace(&[".hidden", ".dir/x", ".git/config", "node_modules/y", "a/node_modules/z", "a/.git"]);

        assert_eq!(found(work.path(), &["**"]), [".dir/x", ".hidden", "a/.git"]);
        assert_eq!(found(work.path(), &[".git/config", "node_modules/**", "../**", "/etc/*"]), [""; 0]);
    }

    #[test]
    fn a_file_is_found_once_however_many_globs_match() {
        let work = workspace(&["a.log"]);

        assert_eq!(found(work.path(), &["*.log", "a.*", "**"]), ["a.log"]);
    }

    #[test]
    fn only_regular_files_are_found() {
        let work = workspace(&["a.log"]);
        symlink("/etc/passwd", work.path().join("link.log")).unwrap();
        symlink("/etc", work.path().join("etc")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            work.path().join("fifo.log"),
            FileType::Fifo,
            Mode::from_raw_mode(0o666),
            0,
        )
        .unwrap();

        assert_eq!(found(work.path(), &["**"]), ["a.log"]);
    }

    #[test]
    fn names_that_are_none_for_objects_are_told() {
        let work = workspace(&["a\nb", "ok", "back\\slash"]);
        fs::write(work.path().join(std::ffi::OsStr::from_bytes(b"latin\xe9")), "").unwrap();

        let found = find_files(work.path(), &["**".to_owned()]);

        assert_eq!(found.files.len(), 1);
        assert_eq!(found.problems.len(), 3, "{:?}", found.problems);
    }

    #[test]
    fn a_glob_that_is_none_is_told_and_the_others_match() {
        let work = workspace(&["a.log"]);

        let found = find_files(work.path(), &["[".to_owned(), "*.log".to_owned()]);

        assert_eq!((found.files.len(), found.problems.len()), (1, 1));
    }

    #[test]
    fn what_is_no_regular_file_below_is_not_opened() {
        let work = workspace(&["a", "d/b"]);
        symlink("/etc/passwd", work.path().join("link")).unwrap();
        symlink("d", work.path().join("dlink")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            work.path().join("fifo"),
            FileType::Fifo,
            Mode::from_raw_mode(0o666),
            0,
        )
        .unwrap();

        let mut text = String::new();
        open_file(work.path(), "d/b").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "d/b");
        for path in ["link", "dlink/b", "fifo", "d", "../x", "/etc/passwd", "missing"] {
            assert!(open_file(work.path(), path).is_err(), "{path}");
        }
    }
}
