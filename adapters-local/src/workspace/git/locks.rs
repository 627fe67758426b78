//! Locks that a git has left which was ended halfway.

use legwork_ports::workspace::GitError;

use super::runner::{Call, Git};

/// What is run where the agent has worked: objects are many, and no lock is waited for there.
const FIND: &str = ".git -path .git/objects -prune -o -type f -name *.lock -exec rm -f -- {} +";

/// Removes them: nothing of the task runs that could still need them, and every git after it would fail.
pub(super) async fn remove_locks(git: &mut Git<'_>) -> Result<(), GitError> {
    let mut call = Call::agent(git.folders.work.clone(), &[]);
    call.program = "find";
    call.args = FIND.split(' ').map(str::to_owned).collect();
    // Where there is no repository, there are no locks.
    git.answer(call).await.map(drop)
}
