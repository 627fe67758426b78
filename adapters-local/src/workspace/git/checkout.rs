//! Keeping files of the service's out of what git sees, while the agent works.

use std::{fs::OpenOptions, io::Write as _, path::Path, time::Duration};

use legwork_ports::workspace::{Folders, GitError, GitLimits, Placed};
use tokio_util::sync::CancellationToken;

use super::{
    machine,
    runner::{Bench, Call, Git},
};

/// How long git may take to note a few files.
const AT_MOST: Duration = Duration::from_mins(1);

/// Keeps the files out of what is added: new ones by the list of excluded files, tracked ones by a mark.
pub(in crate::workspace) async fn hide(
    bench: &Bench,
    folders: &Folders,
    placed: &Placed,
) -> Result<(), GitError> {
    if !is_repository(&folders.work) {
        return Ok(());
    }
    let mut lines = String::new();
    for file in &placed.files {
        lines.extend(["/", &as_pattern(&file.path), "\n"]);
    }
    let exclude = folders.work.join(".git/info/exclude");
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(&exclude)
        .and_then(|mut file| file.write_all(lines.as_bytes()))
        .map_err(|error| machine("writing", &exclude, &error))?;
    mark(bench, folders, placed, "--skip-worktree").await
}

/// Lets git see again what is tracked.
pub(in crate::workspace) async fn unhide(
    bench: &Bench,
    folders: &Folders,
    placed: &Placed,
) -> Result<(), GitError> {
    if is_repository(&folders.work) {
        mark(bench, folders, placed, "--no-skip-worktree").await
    } else {
        Ok(())
    }
}

async fn mark(bench: &Bench, folders: &Folders, placed: &Placed, mark: &str) -> Result<(), GitError> {
    if placed.covered.is_empty() {
        return Ok(());
    }
    let limits = GitLimits { at_most: AT_MOST, stop: CancellationToken::new() };
    let mut git = Git::new(bench, folders, &limits);
    let mut args = vec!["--literal-pathspecs", "ls-files", "-z", "--"];
    args.extend(placed.covered.keys().map(String::as_str));
    let tracked = git.answer(Call::agent(folders.work.clone(), &args)).await?;
    if tracked.code != Some(0) || tracked.stdout.is_empty() {
        return Ok(());
    }
    // A lock that an agent left which was ended in the middle of something.
    let mut unlock = Call::agent(folders.work.clone(), &[]);
    unlock.program = "rm";
    unlock.args = ["-f", "--", ".git/index.lock"].map(str::to_owned).to_vec();
    git.answer(unlock).await?;
    let update = Call::agent(folders.work.clone(), &["update-index", mark, "-z", "--stdin"]);
    git.text(update.stdin(tracked.stdout)).await.map(drop)
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
