//! Putting the task's work on top of what the remote has by now.
//!
//! That is done in a repository made for it, of the agent's user, with no configuration of the agent's:
//! whatever the work consists of, nothing of it is run.

use std::{
    fs,
    os::unix::fs::lchown,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use legwork_ports::workspace::{Cloned, Commit, Folders, GitError, GitLimits, GitProblem, Rebase};

use super::{
    clone::{at, fetch_with},
    credentials::Credentials,
    machine, make_folder, merge_folder, outgoing, outgoing_repository,
    runner::{Bench, Call, Git},
    take_out::{carry, must_be_whole, pack_in},
};

/// How often a rebase may stop for what git does not decide alone, such as a file that one side
/// changed and the other one removed.
const MAX_STOPS: usize = 200;
/// Where the remote's branch is kept.
const FETCHED: &str = "refs/legwork/fetched";

pub(in crate::workspace) async fn rebase(
    bench: &Bench,
    folders: &Folders,
    cloned: &Cloned,
    commit: &Commit,
    branch: &str,
    limits: &GitLimits,
) -> Result<Rebase, GitError> {
    let mut git = Git::new(bench, folders, limits);
    let bare = outgoing_repository(folders);
    let remote_sha = fetch(&mut git, folders, cloned, branch).await?;
    let place = merge_folder(folders);
    let _gone = fs::remove_dir_all(&place);
    make_folder(&place, 0o700, folders.user, folders.user)?;
    let mut merge = Merge { git, folders, place, commit };
    merge.begin(&bare).await?;
    let conflict_files = merge.conflicts(&remote_sha).await?;
    let rebased = match merge.rebase(&cloned.commit, &remote_sha).await {
        Ok(rebased) => rebased,
        Err(error) if matches!(error.problem, GitProblem::Stopped | GitProblem::TimedOut { .. }) => {
            return Err(error);
        }
        Err(error) => {
            tracing::warn!(words = error.words, "the work could not be put on top of the remote's");
            return Ok(Rebase { commit: None, remote_sha, conflict_files });
        }
    };
    merge.take_out(&bare, &rebased, &remote_sha).await?;
    must_be_whole(&mut merge.git, &bare, &rebased).await?;
    Ok(Rebase { commit: Some(rebased), remote_sha, conflict_files })
}

/// Fetches the branch, and all that a shallow clone has left out.
async fn fetch(
    git: &mut Git<'_>,
    folders: &Folders,
    cloned: &Cloned,
    branch: &str,
) -> Result<String, GitError> {
    let bare = outgoing_repository(folders);
    let refs = format!("+refs/heads/{branch}:{FETCHED}");
    let mut args = vec!["fetch", "--no-tags"];
    if bare.join("shallow").exists() {
        args.push("--unshallow");
    }
    args.extend(["--", &cloned.remote.url, &refs]);
    let credentials = Credentials::write(folders, &cloned.remote, &cloned.known_hosts)?;
    fetch_with(git, || credentials.on(at(&bare, &args)), branch).await?;
    drop(credentials);
    git.text(at(&bare, &["rev-parse", "--verify", "--quiet", &format!("{FETCHED}^{{commit}}")])).await
}

/// A repository that borrows the objects of what was taken out.
struct Merge<'a> {
    git: Git<'a>,
    folders: &'a Folders,
    place: PathBuf,
    commit: &'a Commit,
}

impl Merge<'_> {
    fn call(&self, args: &[&str]) -> Call {
        let (name, email) = &self.commit.committer;
        let objects = outgoing_repository(self.folders).join("objects");
        Call::agent(self.place.clone(), args)
            .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", objects.to_string_lossy())
            .env("GIT_COMMITTER_NAME", name)
            .env("GIT_COMMITTER_EMAIL", email)
            .writing(self.place.clone())
            .reading(outgoing(self.folders))
    }

    async fn text(&mut self, args: &[&str]) -> Result<String, GitError> {
        let call = self.call(args);
        self.git.text(call).await
    }

    async fn begin(&mut self, bare: &Path) -> Result<(), GitError> {
        self.text(&["init", "--quiet", "--template="]).await?;
        let shallow = bare.join("shallow");
        if shallow.exists() {
            let place = self.place.join(".git/shallow");
            fs::copy(&shallow, &place)
                .and_then(|_| lchown(&place, self.folders.user, self.folders.user))
                .map_err(|error| machine("copying", &place, &error))?;
        }
        Ok(())
    }

    /// Returns the files that both sides have changed in the same places.
    async fn conflicts(&mut self, remote_sha: &str) -> Result<Vec<String>, GitError> {
        let args = [
            "merge-tree",
            "--write-tree",
            "--name-only",
            "--no-messages",
            "-z",
            remote_sha,
            &self.commit.sha,
        ];
        let call = self.call(&args);
        let answer = self.git.answer(call).await?;
        // Where this git cannot tell, or there is no common past, none are told.
        if answer.code != Some(1) {
            return Ok(Vec::new());
        }
        let names = answer.stdout.split(|byte| *byte == 0).skip(1).filter(|name| !name.is_empty());
        let mut files: Vec<String> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        files.dedup();
        Ok(files)
    }

    /// Puts everything since `base` on top of `onto`; where both change the same lines, this side's stand.
    async fn rebase(&mut self, base: &str, onto: &str) -> Result<String, GitError> {
        self.text(&["checkout", "--quiet", "--detach", onto]).await?;
        let sha = self.commit.sha.clone();
        let args =
            ["rebase", "--quiet", "--strategy-option=theirs", "--empty=drop", "--onto", onto, base, &sha];
        let call = self.call(&args);
        let mut answer = self.git.answer(call).await?;
        for _ in 0..MAX_STOPS {
            if answer.code == Some(0) {
                return self.text(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).await;
            }
            if !self.decide().await? {
                break;
            }
            let call = self.call(&["rebase", "--continue"]);
            answer = self.git.answer(call).await?;
        }
        Err(answer.error(None))
    }

    /// Decides for this side wherever git has left it open. Returns whether anything was.
    async fn decide(&mut self) -> Result<bool, GitError> {
        let call = self.call(&["ls-files", "--unmerged", "-z"]);
        let open = self.git.answer(call).await?;
        let (mut ours, mut removed) = (Vec::new(), Vec::new());
        // Each row: mode, name, side, tab, path; side 3 is what is being put on top.
        let rows = open.stdout.split(|byte| *byte == 0).filter(|row| !row.is_empty());
        for row in rows {
            let tab = row.iter().position(|byte| *byte == b'\t').unwrap_or(row.len());
            let (facts, path) = row.split_at(tab);
            let path = path.get(1..).unwrap_or_default();
            let list = if facts.ends_with(b" 3") { &mut ours } else { &mut removed };
            list.extend_from_slice(path);
            list.push(0);
        }
        if ours.is_empty() && removed.is_empty() {
            return Ok(false);
        }
        let from_stdin = ["--pathspec-from-file=-", "--pathspec-file-nul"];
        let all = [ours.clone(), removed].concat();
        let unlisted = ["--literal-pathspecs", "rm", "--quiet", "--cached", "--ignore-unmatch", "-r"];
        if !ours.is_empty() {
            let call = self
                .call(&[&["--literal-pathspecs", "checkout", "--theirs"], from_stdin.as_slice()].concat());
            let call = call.stdin(Bytes::from(ours.clone()));
            self.git.text(call).await?;
        }
        let call = self.call(&[unlisted.as_slice(), &from_stdin].concat()).stdin(Bytes::from(all));
        self.git.text(call).await?;
        if !ours.is_empty() {
            let call =
                self.call(&[&["--literal-pathspecs", "add", "--force"], from_stdin.as_slice()].concat());
            self.git.text(call.stdin(Bytes::from(ours))).await?;
        }
        Ok(true)
    }

    async fn take_out(&mut self, bare: &Path, rebased: &str, onto: &str) -> Result<(), GitError> {
        let wanted = format!("{rebased}\n^{onto}\n");
        let pack = pack_in(|args| self.call(args));
        carry(&mut self.git, pack, wanted, bare).await
    }
}
