//! The repository elsewhere, as its owner and as others see it.

use std::fmt;

use async_trait::async_trait;
use legwork_ports::workspace::Remote;

/// A way to a repository elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Over https or http, with the token that opens it.
    Token,
    /// Over ssh, with the key that opens it.
    Key,
    /// To a host that refuses every connection.
    Closed,
    /// To a host that takes every request and never answers.
    Silent,
}

/// A repository that is cloned from and pushed to, and what its owner does to it meanwhile.
#[async_trait]
pub trait Upstream: fmt::Debug + Send + Sync + 'static {
    /// Returns its address by one of the ways, and what opens it there.
    async fn remote(&self, way: Way) -> Remote;

    /// Waits until the silent host was asked for something.
    async fn silent_host_was_asked(&self);

    /// Makes the host of [`Way::Token`] fail the next request as one does that is overloaded.
    fn fail_next_request(&self);

    /// Returns who was let in last at the host of [`Way::Token`].
    fn last_user(&self) -> Option<String>;

    /// Commits files, path and content, on top of a branch and returns the commit's name. Other files
    /// stay. A branch that is missing begins with this commit.
    fn commit(&self, branch: &str, message: &str, files: &[(&str, &str)]) -> String;

    /// Commits the removal of a file and returns the commit's name.
    fn remove(&self, branch: &str, path: &str) -> String;

    /// Commits the link to another repository's commit and returns the commit's name.
    fn link(&self, branch: &str, path: &str, commit: &str) -> String;

    /// Refuses every push from now on, in these words.
    fn refuse(&self, words: &str);

    /// Returns the newest commit of a branch, or nothing where there is no such branch.
    fn head(&self, branch: &str) -> Option<String>;

    /// Returns the whole messages of a branch's commits, newest first, without newlines at their ends.
    fn messages(&self, branch: &str) -> Vec<String>;

    /// Returns what a file holds, or nothing where there is no such file.
    fn file(&self, branch: &str, path: &str) -> Option<String>;

    /// Returns the commit that a link to another repository points to.
    fn linked(&self, branch: &str, path: &str) -> Option<String>;
}
