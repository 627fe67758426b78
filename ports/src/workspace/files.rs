//! What is said about files in a workspace.

use std::collections::BTreeMap;

/// A private file with less in it than this many bytes may be anybody's.
const MIN_TELLING_BYTES: usize = 8;

/// A file that the service puts where the agent works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedFile {
    /// Its `/`-separated path below the workspace: no segment empty, `.` or `..`.
    pub path: String,
    /// Its whole content.
    pub contents: Vec<u8>,
    /// Whether it is taken for the service's own wherever its content turns up, not only at its path.
    pub is_private: bool,
}

impl PlacedFile {
    /// Tells whether a file elsewhere is taken for a copy because it holds the same: this one is private,
    /// and holds enough. What is blank or very short may be anybody's.
    pub fn is_known_by_content(&self) -> bool {
        self.is_private && self.contents.trim_ascii().len() >= MIN_TELLING_BYTES
    }
}

/// The files that were put there, and what was moved away for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// The files.
    pub files: Vec<PlacedFile>,
    /// What was moved away: the path below the workspace, and the name in the stash.
    pub covered: BTreeMap<String, String>,
    /// Paths that were made: folders, outermost first.
    pub folders: Vec<String>,
}

impl Placed {
    /// Returns the paths that are the service's own for the time of the run: those of its files, and those
    /// that something was moved away from.
    pub fn paths(&self) -> Vec<String> {
        let files = self.files.iter().map(|file| &file.path);
        let mut paths: Vec<String> = files.chain(self.covered.keys()).cloned().collect();
        paths.sort();
        paths.dedup();
        paths
    }
}

/// A file that a glob matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Its `/`-separated path below the workspace.
    pub path: String,
    /// Its size in bytes when it was found.
    pub size_bytes: u64,
}

/// What globs match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundFiles {
    /// Regular files, each once, in the order of their paths.
    pub files: Vec<FoundFile>,
    /// What could not be looked at or is no name for an object, in words for people.
    pub problems: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(contents: &str, is_private: bool, expected: bool) {
        let file = PlacedFile { path: ".env".to_owned(), contents: contents.into(), is_private };

        assert_eq!(file.is_known_by_content(), expected, "{contents:?}");
    }

    #[test]
    fn a_private_file_is_known_by_its_content_unless_that_may_be_anybodys() {
        check("PIN='1234'\n", true, true);
        check("PIN='1234'\n", false, false);
        check("", true, false);
        check(" \n\n\t\n\n\n\n\n\n", true, false);
        check("todo\n", true, false);
    }

    #[test]
    fn the_services_paths_are_each_told_once() {
        let file = |path: &str| PlacedFile { path: path.to_owned(), contents: Vec::new(), is_private: true };
        let covered = [("b", "0"), ("a/c", "1")].map(|(path, name)| (path.to_owned(), name.to_owned()));
        let placed =
            Placed { files: vec![file("b"), file("a/d")], covered: covered.into(), folders: Vec::new() };

        assert_eq!(placed.paths(), ["a/c", "a/d", "b"]);
    }
}
