//! Pushing, and what the remote says to it.

use legwork_ports::workspace::{Cloned, Folders, GitError, GitLimits, GitProblem, PushAnswer};

use super::{
    clone::at,
    credentials::Credentials,
    outgoing_repository,
    runner::{Answer, Bench, Git},
};

/// The pauses before pushing again where the network failed: what the remote has by then is no matter.
const PAUSES: [std::time::Duration; 2] =
    [std::time::Duration::from_secs(1), std::time::Duration::from_secs(5)];

/// What stands in brackets where somebody else was faster.
const RACES: &[&str] = &[
    "cannot lock ref",
    "failed to update ref",
    "reference already exists",
    "incorrect old value provided",
    "non-fast-forward",
    "fetch first",
    "stale info",
];

/// What the remote says where a branch is in the way of another one's name, such as `a` in that of `a/b`.
const IN_THE_WAY: &str = "exists; cannot create";

/// The most that is told of a remote's words, in bytes.
const MAX_WORDS_BYTES: usize = 2 * 1024;

pub(in crate::workspace) async fn push(
    bench: &Bench,
    folders: &Folders,
    cloned: &Cloned,
    commit: &str,
    branch: &str,
    limits: &GitLimits,
) -> Result<PushAnswer, GitError> {
    let mut git = Git::new(bench, folders, limits);
    let bare = outgoing_repository(folders);
    let refs = format!("{commit}:refs/heads/{branch}");
    let args = ["push", "--porcelain", "--no-verify", "--no-follow-tags", "--", &cloned.remote.url, &refs];
    let mut pauses = PAUSES.iter();
    loop {
        let credentials = Credentials::write(folders, &cloned.remote, &cloned.known_hosts)?;
        let answer = git.answer(credentials.on(at(&bare, &args))).await?;
        drop(credentials);
        if let Some(answer) = understood(&answer) {
            return Ok(answer);
        }
        let error = answer.error(Some(branch));
        match pauses.next() {
            Some(pause) if error.problem == GitProblem::Unreachable => git.pause(*pause, error).await?,
            Some(_) | None => return Err(error),
        }
    }
}

/// What the remote has said about the branch, if it came to that.
fn understood(answer: &Answer) -> Option<PushAnswer> {
    if answer.code == Some(0) {
        return Some(PushAnswer::Pushed);
    }
    let text = answer.text();
    let rejection = text.lines().find_map(|line| line.strip_prefix("!\t"))?;
    let reason = rejection.split('\t').next_back().unwrap_or(rejection);
    let is_race = RACES.iter().any(|race| reason.contains(race)) && !answer.stderr.contains(IN_THE_WAY);
    if reason.starts_with("[rejected]") || is_race {
        return Some(PushAnswer::Behind);
    }
    let said = answer.stderr.lines().filter_map(|line| line.strip_prefix("remote:")).map(str::trim);
    let said: Vec<&str> = said.filter(|line| !line.is_empty()).collect();
    let mut words = [&[reason], said.as_slice()].concat().join("\n");
    while words.len() > MAX_WORDS_BYTES {
        words.pop();
    }
    Some(PushAnswer::Refused { words })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(stdout: &str, stderr: &str) -> Option<PushAnswer> {
        understood(&Answer { code: Some(1), stdout: stdout.as_bytes().to_vec(), stderr: stderr.to_owned() })
    }

    #[test]
    fn who_was_slower_is_behind() {
        for reason in [
            "[rejected] (fetch first)",
            "[rejected] (non-fast-forward)",
            "[remote rejected] (cannot lock ref 'refs/heads/main': is at 1 but expected 2)",
            "[remote rejected] (incorrect old value provided)",
        ] {
            let stdout = format!("To ssh://h/r\n!\tabc:refs/heads/main\t{reason}\nDone\n");
            assert_eq!(answer(&stdout, ""), Some(PushAnswer::Behind), "{reason}");
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_remotes_words() {
        let stdout = "To h\n!\tabc:refs/heads/main\t[remote rejected] (pre-receive hook declined)\nDone\n";

        let answer = answer(
            stdout,
            "remote: error: GH006: Protected branch        \nremote: \nerror: failed to push\n",
        );

        let words =
            "[remote rejected] (pre-receive hook declined)\nerror: GH006: Protected branch".to_owned();
        assert_eq!(answer, Some(PushAnswer::Refused { words }));
    }

    #[test]
    fn a_branch_that_another_ones_name_is_in_the_way_of_is_refused() {
        let stdout = "To h\n!\tabc:refs/heads/main/x\t[remote rejected] (failed to update ref)\nDone\n";
        let said = "error: cannot lock ref 'refs/heads/main/x': 'refs/heads/main' exists; cannot create 'refs/heads/main/x'";

        let answer = answer(stdout, &format!("remote: {said}        \nerror: failed to push\n"));

        let words = format!("[remote rejected] (failed to update ref)\n{said}");
        assert_eq!(answer, Some(PushAnswer::Refused { words }));
    }

    #[test]
    fn without_a_word_about_the_branch_there_is_no_answer() {
        assert_eq!(answer("", "fatal: unable to access 'https://h/': Could not resolve host: h"), None);
    }
}
