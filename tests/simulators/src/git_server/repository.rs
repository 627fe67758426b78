//! One bare repository: filled and looked into by tests, behind the back of
//! every server and hook.
//!
//! Commits are made from git's plumbing, in the repository itself: a push from
//! a clone would run the hooks that a test sets to refuse others.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::program::{ProgramError, must, run};

/// A file's mode in a tree.
const FILE: &str = "100644";
const EXECUTABLE: &str = "100755";
const SYMLINK: &str = "120000";
const GITLINK: &str = "160000";
/// An entry of this mode is taken out of the index.
const REMOVED: &str = "0";
/// Where a removed entry points.
const NO_OBJECT: &str = "0000000000000000000000000000000000000000";

/// Who commits; the time is that of the machine.
const IDENTITY: [(&str, &str); 4] = [
    ("GIT_AUTHOR_NAME", "Upstream"),
    ("GIT_AUTHOR_EMAIL", "upstream@example.com"),
    ("GIT_COMMITTER_NAME", "Upstream"),
    ("GIT_COMMITTER_EMAIL", "upstream@example.com"),
];

/// A bare repository. Every method ends the test with git's own words where
/// git fails.
#[derive(Debug, Clone)]
pub struct BareRepository {
    path: PathBuf,
    _folder: Arc<TempDir>,
}

/// A change of one path: its new mode and object.
struct Change<'a> {
    path: &'a str,
    mode: &'static str,
    object: String,
}

impl BareRepository {
    /// Takes a repository that exists in `folder`.
    pub(super) fn new(folder: Arc<TempDir>, path: PathBuf) -> Self {
        Self { path, _folder: folder }
    }

    /// Returns the absolute path, `….git`; a URL that git can clone on this machine.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Commits these files (path, content) on top of `branch` and returns the
    /// commit's full id.
    ///
    /// Other files stay. A branch that is missing begins with this commit,
    /// without a parent.
    pub fn commit(&self, branch: &str, message: &str, files: &[(&str, &[u8])]) -> String {
        self.commit_blobs(branch, message, files, FILE)
    }

    /// Commits executable files (path, content), like [`BareRepository::commit`].
    pub fn commit_executable(&self, branch: &str, message: &str, files: &[(&str, &[u8])]) -> String {
        self.commit_blobs(branch, message, files, EXECUTABLE)
    }

    /// Commits a symbolic link with exactly this target and returns the commit's id.
    pub fn commit_symlink(&self, branch: &str, path: &str, target: &str) -> String {
        let message = format!("Link {path}");
        self.commit_blobs(branch, &message, &[(path, target.as_bytes())], SYMLINK)
    }

    /// Commits a submodule: the link to `commit`, which need not exist, and its
    /// section in `.gitmodules`; returns the commit's id.
    pub fn commit_submodule(&self, branch: &str, path: &str, url: &str, commit: &str) -> String {
        let mut modules = self.file(&head_of(branch), ".gitmodules").unwrap_or_default();
        let section = format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n");
        modules.extend_from_slice(section.as_bytes());
        let changes = [
            Change { path: ".gitmodules", mode: FILE, object: self.blob(&modules) },
            Change { path, mode: GITLINK, object: commit.to_owned() },
        ];
        self.commit_changes(branch, &format!("Add submodule {path}"), &changes)
    }

    /// Commits the link to another repository's `commit` without a word about it
    /// in `.gitmodules`; returns the commit's id.
    pub fn commit_gitlink(&self, branch: &str, path: &str, commit: &str) -> String {
        let change = Change { path, mode: GITLINK, object: commit.to_owned() };
        self.commit_changes(branch, &format!("Link repository {path}"), &[change])
    }

    /// Commits the removal of these files and returns the commit's id.
    pub fn remove(&self, branch: &str, paths: &[&str]) -> String {
        let changes: Vec<_> =
            paths.iter().map(|path| Change { path, mode: REMOVED, object: NO_OBJECT.to_owned() }).collect();
        self.commit_changes(branch, &format!("Remove {}", paths.join(", ")), &changes)
    }

    /// Returns the subjects of all commits that `reference` reaches, newest first.
    pub fn log(&self, reference: &str) -> Vec<String> {
        lines(&self.git(&["log", "--format=%s", "--end-of-options", reference]))
    }

    /// Returns the full ids of all commits that `reference` reaches, newest first.
    pub fn shas(&self, reference: &str) -> Vec<String> {
        lines(&self.git(&["log", "--format=%H", "--end-of-options", reference]))
    }

    /// Returns the full id of a branch's newest commit, or `None` where there is no such branch.
    pub fn head(&self, branch: &str) -> Option<String> {
        self.resolve(&head_of(branch))
    }

    /// Returns the whole message of a commit, without newlines at its end.
    pub fn message(&self, reference: &str) -> String {
        self.git(&["log", "-1", "--format=%B", "--end-of-options", reference])
    }

    /// Returns a commit's author as `Name <address>`.
    pub fn author(&self, reference: &str) -> String {
        self.git(&["log", "-1", "--format=%an <%ae>", "--end-of-options", reference])
    }

    /// Returns a commit's committer as `Name <address>`.
    pub fn committer(&self, reference: &str) -> String {
        self.git(&["log", "-1", "--format=%cn <%ce>", "--end-of-options", reference])
    }

    /// Returns a file's content (a link's target), or `None` where there is no such file.
    pub fn file(&self, reference: &str, path: &str) -> Option<Vec<u8>> {
        let object = self.resolve(&format!("{reference}:{path}"))?;
        Some(must(self.run(&["cat-file", "blob", &object], &[], b"")))
    }

    /// Returns the paths of all files, links and submodules, sorted by bytes.
    pub fn files(&self, reference: &str) -> Vec<String> {
        let listed = must(self.run(&["ls-tree", "-r", "-z", "--name-only", reference], &[], b""));
        let paths = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect()
    }

    /// Returns the names of all branches, sorted.
    pub fn branches(&self) -> Vec<String> {
        lines(&self.git(&["for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads"]))
    }

    /// Sets a hook, such as `pre-receive` or `update`, to a shell script.
    ///
    /// A script that does not name its interpreter is run by `/bin/sh`. What it
    /// prints reaches whoever pushes, each line after `remote: `.
    pub fn set_hook(&self, name: &str, script: &str) {
        let script =
            if script.starts_with("#!") { script.to_owned() } else { format!("#!/bin/sh\n{script}\n") };
        let folder = self.path.join("hooks");
        let hook = folder.join(name);
        must(fs::create_dir_all(folder));
        must(fs::write(&hook, script));
        must(fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)));
    }

    /// Refuses every push to `branch` in GitHub's words; other branches of the same
    /// push are taken.
    pub fn protect(&self, branch: &str) {
        self.set_hook(
            "update",
            &format!(
                "[ \"$1\" = 'refs/heads/{branch}' ] || exit 0\n\
                 echo \"error: GH006: Protected branch update failed for $1.\" >&2\n\
                 echo 'error: Changes must be made through a pull request.' >&2\n\
                 exit 1"
            ),
        );
    }

    /// Runs git in the repository and returns its stdout without white space at the end.
    pub fn git(&self, arguments: &[&str]) -> String {
        self.git_with_input(arguments, b"")
    }

    /// Runs git with this on its stdin, such as what `git fast-import` or `git mktree` read; else like
    /// [`BareRepository::git`].
    pub fn git_with_input(&self, arguments: &[&str], stdin: &[u8]) -> String {
        let stdout = must(self.run(arguments, &[], stdin));
        String::from_utf8_lossy(&stdout).trim_end().to_owned()
    }

    fn run(
        &self,
        arguments: &[&str],
        variables: &[(&str, &str)],
        stdin: &[u8],
    ) -> Result<Vec<u8>, ProgramError> {
        let mut all = IDENTITY.to_vec();
        all.extend_from_slice(variables);
        run("git", &self.path, arguments, &all, stdin)
    }

    /// The full id of what `expression` names, if it names something.
    fn resolve(&self, expression: &str) -> Option<String> {
        let arguments = ["rev-parse", "--verify", "--quiet", "--end-of-options", expression];
        match self.run(&arguments, &[], b"") {
            // Quiet and this status mean that there is no such object.
            Err(ProgramError::Failed { status, .. }) if status.code() == Some(1) => None,
            found => Some(String::from_utf8_lossy(&must(found)).trim_end().to_owned()),
        }
    }

    fn blob(&self, content: &[u8]) -> String {
        let written = must(self.run(&["hash-object", "-w", "--stdin"], &[], content));
        String::from_utf8_lossy(&written).trim_end().to_owned()
    }

    fn commit_blobs(
        &self,
        branch: &str,
        message: &str,
        files: &[(&str, &[u8])],
        mode: &'static str,
    ) -> String {
        let changes: Vec<_> =
            files.iter().map(|(path, content)| Change { path, mode, object: self.blob(content) }).collect();
        self.commit_changes(branch, message, &changes)
    }

    /// Commits through an index of its own, which a bare repository does not have.
    fn commit_changes(&self, branch: &str, message: &str, changes: &[Change<'_>]) -> String {
        let scratch = must(TempDir::with_prefix("legwork-index-"));
        let index = scratch.path().join("index").to_string_lossy().into_owned();
        let indexed = |arguments: &[&str], stdin: &[u8]| {
            let stdout = must(self.run(arguments, &[("GIT_INDEX_FILE", &index)], stdin));
            String::from_utf8_lossy(&stdout).trim_end().to_owned()
        };
        let parent = self.head(branch);
        if let Some(parent) = &parent {
            indexed(&["read-tree", parent], b"");
        }
        let entries: Vec<_> = changes
            .iter()
            .map(|Change { path, mode, object }| format!("{mode} {object}\t{path}\0"))
            .collect();
        indexed(&["update-index", "-z", "--index-info"], entries.concat().as_bytes());
        let tree = indexed(&["write-tree"], b"");
        let mut arguments = vec!["commit-tree", &tree, "-m", message];
        if let Some(parent) = &parent {
            arguments.extend(["-p", parent]);
        }
        let commit = self.git(&arguments);
        self.git(&["update-ref", &head_of(branch), &commit]);
        commit
    }
}

fn head_of(branch: &str) -> String {
    format!("refs/heads/{branch}")
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use crate::git_server::BareRepositories;

    #[test]
    fn a_commit_keeps_the_files_that_it_does_not_name() {
        let repositories = BareRepositories::new();
        let repository = repositories.repository("project");
        let first = repository.commit("main", "First", &[("a.txt", b"a\n"), ("b/c d.bin", &[0, 255])]);

        let second = repository.commit("main", "Second", &[("a.txt", b"changed\n")]);

        assert_eq!(repository.log("main"), ["Second", "First"]);
        assert_eq!(repository.shas("main"), [second.clone(), first]);
        assert_eq!(repository.head("main"), Some(second));
        assert_eq!(repository.files("main"), ["a.txt", "b/c d.bin"]);
        assert_eq!(repository.file("main", "a.txt").unwrap(), b"changed\n");
        assert_eq!(repository.file("main", "b/c d.bin").unwrap(), [0, 255]);
        assert_eq!(repository.author("main"), "Upstream <upstream@example.com>");
    }

    #[test]
    fn what_is_missing_is_none() {
        let repositories = BareRepositories::new();
        let repository = repositories.repository("owner/project");

        repository.commit("main", "First", &[("a.txt", b"a\n")]);

        assert_eq!(repository.head("other"), None);
        assert_eq!(repository.file("main", "b.txt"), None);
        assert_eq!(repository.branches(), ["main"]);
        assert_eq!(repository.path(), repositories.path().join("owner/project.git"));
    }

    #[test]
    fn a_missing_branch_begins_without_the_files_of_others() {
        let repositories = BareRepositories::new();
        let repository = repositories.repository("project");
        repository.commit("main", "First", &[("a.txt", b"a\n")]);

        repository.commit("feature/x", "Apart", &[("b.txt", b"b\n")]);

        assert_eq!(repository.branches(), ["feature/x", "main"]);
        assert_eq!(repository.log("feature/x"), ["Apart"]);
        assert_eq!(repository.files("feature/x"), ["b.txt"]);
    }

    #[test]
    fn a_removed_file_is_gone() {
        let repositories = BareRepositories::new();
        let repository = repositories.repository("project");
        repository.commit("main", "First", &[("a.txt", b"a\n"), ("b.txt", b"b\n")]);

        repository.remove("main", &["a.txt"]);

        assert_eq!(repository.files("main"), ["b.txt"]);
        assert_eq!(repository.message("main"), "Remove a.txt");
    }

    #[test]
    fn links_and_submodules_have_their_modes() {
        let repositories = BareRepositories::new();
        let repository = repositories.repository("project");
        let commit = "1234567890123456789012345678901234567890";

        repository.commit_symlink("main", "link", "/etc/passwd");
        repository.commit_executable("main", "Add a program", &[("run.sh", b"#!/bin/sh\n")]);
        repository.commit_submodule("main", "lib", "https://example.com/lib.git", commit);
        repository.commit_gitlink("main", "stray", commit);

        let tree = repository.git(&["ls-tree", "--format=%(objectmode) %(path)", "main"]);
        assert_eq!(tree, "100644 .gitmodules\n160000 lib\n120000 link\n100755 run.sh\n160000 stray");
        assert_eq!(repository.file("main", "link").unwrap(), b"/etc/passwd");
        let modules = repository.git(&["config", "--blob", "main:.gitmodules", "submodule.lib.url"]);
        assert_eq!(modules, "https://example.com/lib.git");
    }

    #[test]
    fn git_reads_its_input() {
        let repositories = BareRepositories::new();
        let repository = repositories.repository("project");

        let blob = repository.git_with_input(&["hash-object", "-w", "--stdin"], b"hello\n");

        assert_eq!(repository.git(&["cat-file", "blob", &blob]), "hello");
    }

    #[test]
    fn a_failure_carries_the_words_of_git() {
        let repositories = BareRepositories::new();
        let repository = repositories.repository("project");

        let failure = repository.run(&["log", "nowhere"], &[], b"").unwrap_err();

        assert!(failure.to_string().contains("unknown revision"), "{failure}");
    }
}
