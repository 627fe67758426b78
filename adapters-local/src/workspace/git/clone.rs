//! Cloning: fetched into a bare repository by the service, checked out as the task's user.

use std::{fs, io, os::unix::fs::lchown, path::Path, time::Duration};

use legwork_ports::workspace::{CloneOrder, Cloned, Folders, GitError, GitLimits, GitProblem, Remote};
use walkdir::WalkDir;

use super::{
    credentials::Credentials,
    machine, make_folder, own_folder,
    runner::{Answer, Bench, Call, Git},
};

/// The pauses before fetching again where the network failed.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15)];
/// Shows commits, also where a tag is an object of its own.
const TIPS: &str = "--format=%(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)";

pub(in crate::workspace) async fn clone_repository(
    bench: &Bench,
    folders: &Folders,
    order: &CloneOrder,
    limits: &GitLimits,
) -> Result<Cloned, GitError> {
    let mut git = Git::new(bench, folders, limits);
    make_folder(&own_folder(folders), 0o700, None, None)?;
    let bare = own_folder(folders).join("clone.git");
    init_bare(&mut git, &bare).await?;

    let credentials = Credentials::write(folders, &order.remote, "")?;
    let fetched = fetch(&mut git, &credentials, &bare, order).await;
    let messages = match fetched {
        Err(GitError { problem: GitProblem::NoSuchBranch { branch }, words }) => {
            let advice = advise(&mut git, &credentials, &bare, &order.remote).await.unwrap_or_default();
            let words = [words, advice].join("\n").trim().to_owned();
            return Err(GitError { problem: GitProblem::NoSuchBranch { branch }, words });
        }
        fetched => fetched?.stderr,
    };
    let known_hosts = credentials.known_hosts()?;
    drop(credentials);

    let tip = format!("refs/remotes/origin/{}^{{commit}}", order.branch);
    let commit = git.text(at(&bare, &["rev-parse", "--verify", "--quiet", &tip])).await?;
    let head = format!("refs/heads/{}", order.branch);
    git.text(at(&bare, &["update-ref", &head, &commit])).await?;
    git.text(at(&bare, &["symbolic-ref", "HEAD", &head])).await?;
    let known = git.text(at(&bare, &["for-each-ref", TIPS, "refs/remotes", "refs/tags"])).await?;
    let known = known.lines().map(str::to_owned).collect();
    let shallow = read_lines(&bare.join("shallow"))?;
    hand_over(folders, &bare, order)?;
    let checkout = Call::agent(folders.work.clone(), &["reset", "--hard", "--quiet"]);
    git.text(checkout).await?;

    let CloneOrder { remote, branch, .. } = order.clone();
    Ok(Cloned { remote, branch, commit, known, shallow, known_hosts, messages })
}

/// Makes a bare repository with nothing in it, no hooks among it.
pub(super) async fn init_bare(git: &mut Git<'_>, path: &Path) -> Result<(), GitError> {
    let folder = path.parent().unwrap_or(path).to_path_buf();
    let place = path.to_string_lossy();
    let init = ["init", "--bare", "--quiet", "--template=", &place];
    git.text(Call::service(folder.clone(), &init).writing(folder)).await.map(drop)
}

/// A call of the service's own git in a bare repository.
pub(super) fn at(bare: &Path, args: &[&str]) -> Call {
    let folder = bare.parent().unwrap_or(bare).to_path_buf();
    Call::service(bare.to_path_buf(), args).env("GIT_DIR", bare.to_string_lossy()).writing(folder)
}

/// Fetches into a bare repository, again where the network failed.
pub(super) async fn fetch_with(
    git: &mut Git<'_>,
    call: impl Fn() -> Call,
    branch: &str,
) -> Result<Answer, GitError> {
    let mut pauses = PAUSES.iter();
    loop {
        let answer = git.answer(call()).await?;
        if answer.code == Some(0) {
            return Ok(answer);
        }
        let error = answer.error(Some(branch));
        match pauses.next() {
            Some(pause) if error.problem == GitProblem::Unreachable => {
                tracing::info!(words = error.words, "the remote could not be reached");
                git.pause(*pause, error).await?;
            }
            Some(_) | None => return Err(error),
        }
    }
}

async fn fetch(
    git: &mut Git<'_>,
    credentials: &Credentials,
    bare: &Path,
    order: &CloneOrder,
) -> Result<Answer, GitError> {
    let depth = format!("--depth={}", order.depth);
    let branch = &order.branch;
    let one = format!("+refs/heads/{branch}:refs/remotes/origin/{branch}");
    let args = if order.depth == 0 {
        vec![
            "fetch",
            "--progress",
            "--tags",
            "--",
            &order.remote.url,
            &one,
            "+refs/heads/*:refs/remotes/origin/*",
        ]
    } else {
        vec!["fetch", "--progress", "--no-tags", &depth, "--", &order.remote.url, &one]
    };
    let call = || {
        let mut call = credentials.on(at(bare, &args));
        call.shows_progress = true;
        call
    };
    fetch_with(git, call, branch).await
}

/// Tells which branch the remote has instead.
async fn advise(
    git: &mut Git<'_>,
    credentials: &Credentials,
    bare: &Path,
    remote: &Remote,
) -> Option<String> {
    let args = ["ls-remote", "--symref", "--", &remote.url, "HEAD"];
    let listed = git.text(credentials.on(at(bare, &args))).await.ok()?;
    let name = listed.strip_prefix("ref: refs/heads/")?.split_whitespace().next()?;
    Some(format!("The repository's default branch is {name}; name it in gitBranch"))
}

/// Makes the bare repository the task's own, with a working tree to come.
fn hand_over(folders: &Folders, bare: &Path, order: &CloneOrder) -> Result<(), GitError> {
    let hand_over = || -> io::Result<()> {
        fs::write(bare.join("config"), config(order))?;
        fs::remove_file(bare.join("FETCH_HEAD")).or_else(missing_is_fine)?;
        fs::create_dir(bare.join("info")).or_else(there_is_fine)?;
        let place = folders.work.join(".git");
        fs::rename(bare, &place)?;
        if let Some(user) = folders.user {
            for entry in WalkDir::new(&place) {
                lchown(entry.map_err(io::Error::from)?.path(), Some(user), Some(user))?;
            }
        }
        Ok(())
    };
    hand_over().map_err(|error| machine("handing the repository over", bare, &error))
}

fn config(order: &CloneOrder) -> String {
    let CloneOrder { remote, branch, depth, default_name, default_email } = order;
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let wanted = if *depth == 0 { "*" } else { branch };
    let refs = format!("+refs/heads/{wanted}:refs/remotes/origin/{wanted}");
    format!(
        "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n\
         [remote \"origin\"]\n\turl = {}\n\tfetch = {}\n\
         [branch {}]\n\tremote = origin\n\tmerge = {}\n\
         [user]\n\tname = {}\n\temail = {}\n",
        quoted(&remote.url),
        quoted(&refs),
        quoted(branch),
        quoted(&format!("refs/heads/{branch}")),
        quoted(default_name),
        quoted(default_email),
    )
}

fn read_lines(path: &Path) -> Result<Vec<String>, GitError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(machine("reading", path, &error)),
    }
}

fn missing_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn there_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}
