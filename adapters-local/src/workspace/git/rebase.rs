//! Putting the task's work on top of what the remote has by now.
//!
//! That is done in a repository made for it, of the agent's user, with no configuration of the agent's:
//! whatever the work consists of, nothing of it is run.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::lchown,
    path::{Path, PathBuf},
};

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
/// What an entry of the index begins with that is to be none.
const NO_OBJECT: &[u8] = b"0 0000000000000000000000000000000000000000";

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
    if rebased == remote_sha && merge.would_be_lost(&cloned.commit, &remote_sha).await? {
        tracing::warn!("nothing of the work is left on top of the remote's");
        return Ok(Rebase { commit: None, remote_sha, conflict_files });
    }
    merge.take_out(&bare, &rebased, &remote_sha).await?;
    must_be_whole(&mut merge.git, &bare, &rebased).await?;
    // Where nothing was left of the newest commit, it is another one that is the newest now.
    let message = merge.text(&["log", "-1", "--no-show-signature", "--format=%B", &rebased]).await?;
    let commit = Commit { sha: rebased, message, committer: commit.committer.clone() };
    Ok(Rebase { commit: Some(commit), remote_sha, conflict_files })
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
        let names = names.map(|name| String::from_utf8_lossy(name).into_owned());
        let sides = [remote_sha, self.commit.sha.as_str()];
        let files: BTreeSet<String> = names.map(|name| original(&name, sides).to_owned()).collect();
        Ok(files.into_iter().collect())
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

    /// Tells whether the work, of which a rebase has left nothing, would change what the remote has: a
    /// commit without a past, as amending makes one in a shallow clone, does not tell what it has removed.
    async fn would_be_lost(&mut self, base: &str, onto: &str) -> Result<bool, GitError> {
        let base = format!("--merge-base={base}");
        let args = ["merge-tree", "--write-tree", "--no-messages", &base, onto, &self.commit.sha];
        let call = self.call(&args);
        let merged = self.git.answer(call).await?;
        match merged.code {
            Some(0) => {
                let tree = format!("{onto}^{{tree}}");
                Ok(self.text(&["rev-parse", "--verify", "--quiet", &tree]).await? != merged.text())
            }
            Some(1) => Ok(true),
            // Where this git cannot tell, the rebase counts.
            Some(_) | None => Ok(false),
        }
    }

    /// Decides for this side wherever git has left it open, and commits that. Returns whether anything
    /// was.
    async fn decide(&mut self) -> Result<bool, GitError> {
        let call = self.call(&["ls-files", "--unmerged", "-z"]);
        let open = self.git.answer(call).await?;
        let decided = decided(&open.stdout);
        if decided.is_empty() {
            return Ok(false);
        }
        let call = self.call(&["update-index", "-z", "--index-info"]).stdin(decided);
        self.git.text(call).await?;
        // What was decided is there, and nothing else: the next commit may bring a file anew.
        self.text(&["checkout-index", "--force", "--all"]).await?;
        self.text(&["clean", "-ffdxq"]).await?;
        // A rebase that goes on by itself takes lines that begin with # out of the message.
        let commit = self.call(&[
            "commit",
            "--quiet",
            "--no-verify",
            "--allow-empty-message",
            "--cleanup=verbatim",
            "--reuse-message=REBASE_HEAD",
        ]);
        // It fails where nothing is left of the commit, which the rebase then leaves out.
        self.git.answer(commit).await?;
        Ok(true)
    }

    async fn take_out(&mut self, bare: &Path, rebased: &str, onto: &str) -> Result<(), GitError> {
        let wanted = format!("{rebased}\n^{onto}\n");
        let pack = pack_in(|args| self.call(args));
        carry(&mut self.git, pack, wanted, bare).await
    }
}

/// Returns the name that a file has in one of the commits. Where both sides' files have the same name and
/// cannot be brought together, git calls the one `name~commit`.
fn original<'n>(name: &'n str, sides: [&str; 2]) -> &'n str {
    let parts = sides.iter().filter_map(|side| name.rsplit_once(&format!("~{side}")));
    // A number follows where that name is taken, too.
    let mut bare = parts.filter(|(_, rest)| rest.is_empty() || rest.starts_with('_'));
    bare.next().map_or(name, |(bare, _)| bare)
}

/// Makes entries for the index of those that are open. Each of these is mode, name, side, tab and path.
/// What is being put on top is side 3: of each path its entry stays, or none.
fn decided(open: &[u8]) -> Vec<u8> {
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    for row in open.split(|byte| *byte == 0).filter(|row| !row.is_empty()) {
        let tab = row.iter().position(|byte| *byte == b'\t').unwrap_or(row.len());
        let (facts, path) = row.split_at(tab);
        removed.extend_from_slice(NO_OBJECT);
        removed.extend_from_slice(path);
        removed.push(0);
        if let Some(object) = facts.strip_suffix(b" 3") {
            kept.extend_from_slice(object);
            kept.extend_from_slice(path);
            kept.push(0);
        }
    }
    removed.extend(kept);
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_names_that_a_commit_has() {
        let sides = ["aa11", "bb22"];

        for (name, expected) in [
            ("x", "x"),
            ("x~aa11", "x"),
            ("a/x~y~bb22", "a/x~y"),
            ("x~bb22_0", "x"),
            ("x~cc33", "x~cc33"),
            ("x~aa11.txt", "x~aa11.txt"),
        ] {
            assert_eq!(original(name, sides), expected);
        }
    }

    #[test]
    fn of_what_is_open_the_side_that_is_put_on_top_stays() {
        let open = b"100644 aa 1\tboth\x00100644 bb 2\tboth\x00160000 cc 3\tboth\x00100644 dd 1\tgone\x00";

        let both = "0 0000000000000000000000000000000000000000\tboth\0";
        let gone = "0 0000000000000000000000000000000000000000\tgone\0";
        let expected = [both, both, both, gone, "160000 cc\tboth\0"].concat();
        assert_eq!(String::from_utf8(decided(open)).unwrap(), expected);
        assert!(decided(b"").is_empty());
    }
}
