//! Finding and opening files that leave the workspace.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::Path,
};

use legwork_core::request::RelativePath;
use legwork_ports::workspace::{FoundFile, FoundFiles};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use walkdir::WalkDir;

use super::globs;

/// The most files that one task may have matched.
pub const MAX_FOUND_FILES: usize = 10_000;
/// How many files and folders are looked at in one workspace.
const MAX_LOOKED_AT: usize = 2_000_000;
/// How many folders deep is looked. Each level has a folder open: one that had to be closed meanwhile
/// would be kept in memory, however large an agent has made it.
const MAX_DEPTH: usize = 128;
/// How many problems are told one by one.
const MAX_PROBLEMS: usize = 20;
/// What is never entered where it is a folder, and never found where it is a file.
const NEVER: [&str; 2] = [".git", "node_modules"];

/// Finds the regular files that the globs match. Memory is bounded, whatever the agent has left there.
pub(super) fn find_files(work: &Path, globs: &[String]) -> FoundFiles {
    find_among(work, globs, MAX_LOOKED_AT)
}

fn find_among(work: &Path, globs: &[String], at_most: usize) -> FoundFiles {
    let mut problems = Problems::default();
    let set = globs::set(globs, |problem| problems.tell(problem));
    let walk = WalkDir::new(work)
        .min_depth(1)
        .max_depth(MAX_DEPTH)
        .max_open(MAX_DEPTH.saturating_add(2))
        .follow_links(false)
        .into_iter()
        .filter_entry(|entry| NEVER.iter().all(|never| entry.file_name() != *never));
    let mut paths = BTreeSet::new();
    let (mut is_more, mut is_endless) = (false, false);
    for (looked_at, entry) in walk.enumerate() {
        if looked_at >= at_most {
            is_endless = true;
            break;
        }
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                problems.tell(format!("cannot look there: {error}"));
                continue;
            }
        };
        let Ok(path) = entry.path().strip_prefix(work) else { continue };
        if entry.file_type().is_dir() && entry.depth() >= MAX_DEPTH {
            problems.tell(format!("{} is too deep to be looked into", path.display()));
        }
        if !entry.file_type().is_file() || !set.is_match(path) {
            continue;
        }
        let name = path.to_str().and_then(|path| path.parse::<RelativePath>().ok());
        let Some(name) = name else {
            problems.tell(format!("{} is no name for an upload", path.display()));
            continue;
        };
        paths.insert(name.as_str().to_owned());
        if paths.len() > MAX_FOUND_FILES {
            // The walk has no order, and what is left out is not to depend on it.
            drop(paths.pop_last());
            is_more = true;
        }
    }
    let more = is_more.then(|| format!("more than {MAX_FOUND_FILES} files match; the others are left out"));
    let unseen = is_endless
        .then(|| format!("there are more than {at_most} files and folders; not all were looked at"));
    let files = paths.into_iter().map(|path| FoundFile { size_bytes: size(&work.join(&path)), path });
    FoundFiles { files: files.collect(), problems: problems.into_words().chain(more).chain(unseen).collect() }
}

fn size(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.len())
}

/// What could not be looked at, as far as it is told.
#[derive(Debug, Default)]
struct Problems {
    told: Vec<String>,
    untold: usize,
}

impl Problems {
    fn tell(&mut self, problem: String) {
        if self.told.len() < MAX_PROBLEMS {
            self.told.push(problem);
        } else {
            self.untold = self.untold.saturating_add(1);
        }
    }

    fn into_words(self) -> impl Iterator<Item = String> {
        let untold = (self.untold > 0).then(|| format!("{} more like these", self.untold));
        self.told.into_iter().chain(untold)
    }
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
        let work = workspace(&[
            ".hidden",
            ".dir/x",
            ".git/config",
            "node_modules/y",
            "a/node_modules/z",
            "a/.github",
        ]);

        assert_eq!(found(work.path(), &["**"]), [".dir/x", ".hidden", "a/.github"]);
        assert_eq!(found(work.path(), &[".git/config", "node_modules/**", "../**", "/etc/*"]), [""; 0]);
    }

    #[test]
    fn a_file_in_the_place_of_a_repository_or_of_packages_is_not_found() {
        let work = workspace(&["a/.git", "a/b", "node_modules"]);

        assert_eq!(found(work.path(), &["**", "a/.git", "node_modules"]), ["a/b"]);
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
    fn many_problems_are_counted_and_some_of_them_told() {
        let names: Vec<String> = (0..MAX_PROBLEMS + 7).map(|number| format!("a\n{number}")).collect();
        let work = workspace(&names.iter().map(String::as_str).collect::<Vec<_>>());

        let found = find_files(work.path(), &["**".to_owned()]);

        assert_eq!(found.problems.len(), MAX_PROBLEMS + 1);
        assert_eq!(found.problems.last().unwrap(), "7 more like these");
    }

    #[test]
    fn what_lies_too_deep_is_not_found_and_that_is_told() {
        let (deep, deeper) = ("d/".repeat(MAX_DEPTH - 1), "d/".repeat(MAX_DEPTH));
        let work = workspace(&[format!("{deep}a").as_str(), format!("{deeper}a").as_str()]);

        let found = find_files(work.path(), &["**/a".to_owned()]);

        assert_eq!(found.files.iter().map(|file| &file.path).collect::<Vec<_>>(), [&format!("{deep}a")]);
        assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
    }

    #[test]
    fn of_too_many_files_the_first_are_found() {
        let work = workspace(&["z", "a"]);
        for number in 0..MAX_FOUND_FILES {
            fs::write(work.path().join(format!("m{number}")), "").unwrap();
        }

        let found = find_files(work.path(), &["*".to_owned()]);

        assert_eq!((found.files.len(), found.problems.len()), (MAX_FOUND_FILES, 1));
        assert_eq!(found.files[0], FoundFile { path: "a".to_owned(), size_bytes: 1 });
        assert!(found.files.iter().all(|file| file.path != "z"));
    }

    #[test]
    fn a_workspace_without_end_is_not_looked_through() {
        let work = workspace(&["a", "b", "c", "d"]);

        let found = find_among(work.path(), &["*".to_owned()], 3);

        assert_eq!((found.files.len(), found.problems.len()), (3, 1), "{:?}", found.problems);
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
