//! What is said about files in a workspace.

use std::collections::BTreeMap;

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
