//! Keeping files of the service's out of what git sees, while the agent works.

use std::{path::Path, time::Duration};

use legwork_ports::workspace::{Folders, GitError, GitLimits, Placed};
use tokio_util::sync::CancellationToken;

use super::{
    locks::remove_locks,
    runner::{Bench, Call, Git},
};

/// How long git may take to note a few files.
const AT_MOST: Duration = Duration::from_mins(1);
/// Adds to the list of excluded files.
const EXCLUDE: &str = "mkdir -p .git/info && cat >> .git/info/exclude";

/// Keeps the files out of what is added: new ones by the list of excluded files, tracked ones by a mark,
/// because an excluded file is lost with an index that is made anew.
pub(in crate::workspace) async fn hide(
    bench: &Bench,
    folders: &Folders,
    placed: &Placed,
) -> Result<(), GitError> {
    if !is_repository(&folders.work) {
        return Ok(());
    }
    let mut git = Git::new(bench, folders, &limits());
    let tracked = tracked(&mut git, placed).await?;
    let is_tracked = |path: &str| tracked.split(|byte| *byte == 0).any(|tracked| tracked == path.as_bytes());
    // A last line may lack its end.
    let mut lines = "\n".to_owned();
    for file in placed.files.iter().filter(|file| !is_tracked(&file.path)) {
        lines.extend(["/", &as_pattern(&file.path), "\n"]);
    }
    // As the agent's user: wherever the task's links lead, the service writes nothing there.
    let mut exclude = Call::agent(folders.work.clone(), &[]).stdin(lines);
    exclude.program = "sh";
    exclude.args = vec!["-c".to_owned(), EXCLUDE.to_owned()];
    git.text(exclude).await?;
    mark(&mut git, tracked, "--skip-worktree").await
}

/// Lets git see again what is tracked, where it can. What is committed does not depend on it.
pub(in crate::workspace) async fn unhide(bench: &Bench, folders: &Folders, placed: &Placed) {
    if !is_repository(&folders.work) {
        return;
    }
    let mut git = Git::new(bench, folders, &limits());
    let unhidden = match tracked(&mut git, placed).await {
        Ok(tracked) => mark(&mut git, tracked, "--no-skip-worktree").await,
        Err(error) => Err(error),
    };
    if let Err(error) = unhidden {
        tracing::warn!(error = %error, "git was not told to see again what was covered");
    }
}

fn limits() -> GitLimits {
    GitLimits { at_most: AT_MOST, stop: CancellationToken::new() }
}

/// Returns what git knows of what was covered: paths that end in a zero byte each.
async fn tracked(git: &mut Git<'_>, placed: &Placed) -> Result<Vec<u8>, GitError> {
    if placed.covered.is_empty() {
        return Ok(Vec::new());
    }
    let mut args = vec!["--literal-pathspecs", "ls-files", "-z", "--"];
    args.extend(placed.covered.keys().map(String::as_str));
    let tracked = git.answer(in_workspace(git.folders, &args)).await?;
    // What is no repository by now knows of nothing.
    Ok(if tracked.code == Some(0) { tracked.stdout } else { Vec::new() })
}

async fn mark(git: &mut Git<'_>, paths: Vec<u8>, mark: &str) -> Result<(), GitError> {
    if paths.is_empty() {
        return Ok(());
    }
    remove_locks(git).await?;
    let update = in_workspace(git.folders, &["update-index", mark, "-z", "--stdin"]);
    git.text(update.stdin(paths)).await.map(drop)
}

/// A call of git in the workspace, whatever its configuration says about where its files are.
pub(super) fn in_workspace(folders: &Folders, args: &[&str]) -> Call {
    let work = folders.work.to_string_lossy().into_owned();
    Call::agent(folders.work.clone(), args).env("GIT_DIR", format!("{work}/.git")).env("GIT_WORK_TREE", work)
}

fn is_repository(work: &Path) -> bool {
    work.join(".git").symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
}

/// Spells a path for a list of excluded files, where some characters have a meaning.
fn as_pattern(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '!' | '#' | '\\' | ' ') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_of_patterns_stand_for_themselves() {
        assert_eq!(as_pattern("a b/[x]*.md"), "a\\ b/\\[x\\]\\*.md");
    }
}
