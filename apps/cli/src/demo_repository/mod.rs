//! The repository of `legwork demo`: a guest book with one commit, made and read by git itself.

mod program;
mod smart_http;

pub(crate) use program::GitProgram;
pub(crate) use smart_http::serve;

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// What its folder is called, and the last segment of its URL.
pub(crate) const NAME: &str = "demo.git";
/// Its only branch: the one that a request means which names none.
const BRANCH: &str = "main";
/// Who made the first commit.
const COMMITTER: &str = "Legwork demo <demo@legwork.invalid>";
/// How the first commit is called.
const FIRST_MESSAGE: &str = "Open the guest book\n";
/// What the first commit holds as `README.md`.
const GUEST_BOOK: &str = "# Guest book\n\nWhoever works here signs below.\n\n\
    - Legwork, who put the book on the table\n";
/// Names, messages and files of the newest two commits; of many files, some.
const HISTORY: [&str; 5] = ["log", "--oneline", "--stat=72,50,10", "-2", BRANCH];

/// A bare repository.
#[derive(Debug, Clone)]
pub(crate) struct DemoRepository {
    git: GitProgram,
    path: PathBuf,
}

impl DemoRepository {
    /// Makes it below a folder, closed to other users.
    ///
    /// # Errors
    /// Where nothing can be written there, or git fails.
    pub(crate) async fn make(git: GitProgram, folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(NAME);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("{} cannot be made", path.display()))?;
        let this = Self { git, path };
        let branch = format!("--initial-branch={BRANCH}");
        this.run(&["init", "--quiet", "--bare", "--template=", &branch], "").await?;
        this.run(&["fast-import", "--quiet", "--date-format=now"], &first_commit()).await?;
        Ok(this)
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what git says of the newest two commits.
    ///
    /// # Errors
    /// Where git fails.
    pub(crate) async fn history(&self) -> anyhow::Result<String> {
        self.run(&HISTORY, "").await
    }

    async fn run(&self, arguments: &[&str], stdin: &str) -> anyhow::Result<String> {
        let command = || format!("git {}", arguments.join(" "));
        let ran = self.git.run(&self.path, arguments, stdin.as_bytes(), None).await;
        let output = ran.with_context(|| format!("{} cannot be run", command()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(anyhow::Error::msg(format!("{} failed: {words}", command())))
    }
}

/// The first commit as `git fast-import` reads it.
fn first_commit() -> String {
    format!(
        "commit refs/heads/{BRANCH}\n\
         committer {COMMITTER} now\n\
         data {}\n{FIRST_MESSAGE}\
         M 100644 inline README.md\n\
         data {}\n{GUEST_BOOK}",
        FIRST_MESSAGE.len(),
        GUEST_BOOK.len(),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn the_repository_begins_with_one_commit_that_holds_the_guest_book() {
        let folder = tempfile::tempdir().unwrap();
        let git = GitProgram::find("/usr/local/bin:/usr/bin:/bin").unwrap();

        let repository = DemoRepository::make(git, folder.path()).await.unwrap();

        let history = repository.history().await.unwrap();
        assert!(history.lines().next().unwrap().ends_with(" Open the guest book"), "{history}");
        assert_eq!(history.lines().filter(|line| !line.starts_with(' ')).count(), 1, "{history}");
        assert_eq!(repository.run(&["show", "main:README.md"], "").await.unwrap(), GUEST_BOOK);
    }

    #[tokio::test]
    async fn the_repository_is_closed_to_other_users() {
        let folder = tempfile::tempdir().unwrap();
        let git = GitProgram::find("/usr/local/bin:/usr/bin:/bin").unwrap();

        let repository = DemoRepository::make(git, folder.path()).await.unwrap();

        assert_eq!(repository.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[tokio::test]
    async fn what_git_says_of_a_failure_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let git = GitProgram::find("/usr/local/bin:/usr/bin:/bin").unwrap();
        let repository = DemoRepository::make(git, folder.path()).await.unwrap();

        let error = repository.run(&["log", "nowhere"], "").await.unwrap_err();

        assert!(error.to_string().starts_with("git log nowhere failed: fatal: "), "{error}");
    }
}
