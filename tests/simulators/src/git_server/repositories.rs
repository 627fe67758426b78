//! The folder that holds the bare repositories of one test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::program::{must, run};
use super::repository::BareRepository;

/// Holds bare repositories; they are deleted when this, every repository and
/// every server that was made from it are dropped.
#[derive(Debug, Clone)]
pub struct BareRepositories {
    folder: Arc<TempDir>,
}

impl BareRepositories {
    /// Makes an empty folder.
    #[expect(clippy::new_without_default, reason = "a default should not write to the disk")]
    pub fn new() -> Self {
        Self { folder: Arc::new(must(TempDir::with_prefix("legwork-repositories-"))) }
    }

    /// Returns the absolute path of the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Creates the empty repository `<name>.git` whose first branch is `main`.
    ///
    /// The name may contain slashes (`owner/project`) and else is made of
    /// letters, digits, dots, dashes and underscores. It may be pushed to.
    pub fn repository(&self, name: &str) -> BareRepository {
        let path = self.repository_path(name);
        let created: [&str; 5] = ["init", "--quiet", "--bare", "--initial-branch=main", "--template="];
        let mut arguments: Vec<_> = created.iter().map(PathBuf::from).collect();
        arguments.push(path.clone());
        must(run("git", self.path(), &arguments, &[], b""));
        let repository = BareRepository::new(Arc::clone(&self.folder), path);
        repository.git(&["config", "http.receivepack", "true"]);
        repository
    }

    /// Returns where the repository of this name is.
    pub(super) fn repository_path(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.git"))
    }
}
