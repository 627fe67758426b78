//! Taking commits out of the workspace: as a pack, which the service's git reads anew.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use legwork_ports::workspace::{Cloned, Folders, GitError, GitLimits, GitProblem};

use super::{
    clone::{at, init_bare},
    machine, make_folder, outgoing, outgoing_repository,
    runner::{Bench, Call, Git},
};

pub(in crate::workspace) async fn take_out(
    bench: &Bench,
    folders: &Folders,
    cloned: &Cloned,
    commit: &str,
    limits: &GitLimits,
) -> Result<(), GitError> {
    let mut git = Git::new(bench, folders, limits);
    let bare = outgoing_repository(folders);
    if !bare.exists() {
        make_folder(&outgoing(folders), 0o750, None, folders.user)?;
        init_bare(&mut git, &bare).await?;
    }
    let work = folders.work.clone();
    let git_dir = work.join(".git").to_string_lossy().into_owned();
    let pack = Call::agent(work, &PACK).env("GIT_DIR", git_dir);
    carry(&mut git, pack, format!("{commit}\n"), &bare).await?;
    note_shallow(&mut git, &bare, &cloned.shallow).await?;
    must_be_whole(&mut git, &bare, commit).await?;
    // So that fetching and pushing know what is here already.
    git.text(at(&bare, &["update-ref", "refs/legwork/work", commit])).await.map(drop)
}

/// Writes what is asked for on stdin, and all it needs, as one pack to stdout.
const PACK: [&str; 5] = ["pack-objects", "--revs", "--stdout", "--delta-base-offset", "-q"];

/// The call that packs in another repository of the agent's user.
pub(super) fn pack_in(call: impl Fn(&[&str]) -> Call) -> Call {
    call(&PACK)
}

/// Carries a pack from the agent's git to the service's.
pub(super) async fn carry(
    git: &mut Git<'_>,
    pack: Call,
    wanted: String,
    bare: &Path,
) -> Result<(), GitError> {
    let place = free_place(bare)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&place)
        .map_err(|error| machine("writing", &place, &error))?;
    let mut keep = |bytes: &[u8]| file.write_all(bytes);
    let packed = git.answer_into(pack.stdin(wanted), &mut keep).await?;
    if packed.code != Some(0) {
        return Err(packed.error(None));
    }
    drop(file);
    let name = place.to_string_lossy().into_owned();
    git.text(at(bare, &["index-pack", &name])).await.map(drop)
}

/// Notes which of the commits that are here have parents that are not: what the service saw when it
/// cloned counts, not what the agent's repository says.
async fn note_shallow(git: &mut Git<'_>, bare: &Path, shallow: &[String]) -> Result<(), GitError> {
    if shallow.is_empty() {
        return Ok(());
    }
    let wanted = shallow.join("\n") + "\n";
    let check = at(bare, &["cat-file", "--batch-check=%(objectname)"]).stdin(wanted);
    let found = git.text(check).await?;
    let here: String =
        found.lines().filter(|line| !line.contains(' ')).flat_map(|line| [line, "\n"]).collect();
    if here.is_empty() {
        return Ok(());
    }
    let place = bare.join("shallow");
    fs::write(&place, here).map_err(|error| machine("writing", &place, &error))
}

/// Returns a name for a pack that no other one has.
fn free_place(bare: &Path) -> Result<PathBuf, GitError> {
    let folder = bare.join("objects/pack");
    fs::create_dir_all(&folder).map_err(|error| machine("making a folder", &folder, &error))?;
    let places = (0..u32::MAX).map(|number| folder.join(format!("pack-incoming{number}.pack")));
    let mut free = places.filter(|place| !place.exists());
    free.next().ok_or_else(|| machine("finding a name", &folder, &io::ErrorKind::AlreadyExists.into()))
}

/// Whatever the agent's git has packed: everything that the commit needs has to be there.
pub(super) async fn must_be_whole(git: &mut Git<'_>, bare: &Path, commit: &str) -> Result<(), GitError> {
    let answer = git.answer(at(bare, &["rev-list", "--objects", "--quiet", commit])).await?;
    if answer.code == Some(0) {
        return Ok(());
    }
    Err(GitError { problem: GitProblem::Broken, words: answer.stderr.trim().to_owned() })
}
