//! What this machine needs to run tasks: the agent's program, git, and how well it is held.

use std::path::{Path, PathBuf};

use legwork_adapters_local::{
    agent::{landlock_abi, may_cover},
    workspace::UidPolicy,
};
use tokio::process::Command;

use super::{Finding, in_time};
use crate::config::Config;

/// The oldest git whose options the service uses.
const GIT: (u32, u32) = (2, 39);

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let (agent, git) = tokio::join!(in_time("agent", agent(config)), in_time("git", git(config)));
    vec![agent, git, isolation()]
}

/// Runs a program for its version; nothing where it cannot be run or says none.
async fn version(program: &Path, path: &str) -> Option<String> {
    let asked = Command::new(program)
        .arg("--version")
        .env_clear()
        .env("PATH", path)
        .env("HOME", std::env::temp_dir())
        .kill_on_drop(true)
        .output()
        .await
        .ok()
        .filter(|asked| asked.status.success())?;
    let text = String::from_utf8_lossy(&asked.stdout).into_owned();
    let line = text.lines().next()?.trim();
    (!line.is_empty() && !line.contains(char::is_control)).then(|| line.to_owned())
}

/// Finds a program as the worker does: by its name in the agent's `PATH`, or by its path.
fn found(program: &str, path: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|place| place.is_file());
    }
    path.split(':').map(|folder| Path::new(folder).join(program)).find(|place| place.is_file())
}

async fn agent(config: &Config) -> Finding {
    let program = &config.claude_command;
    let install = "npm install -g @anthropic-ai/claude-code, or set CLAUDE_COMMAND to its path";
    let Some(place) = found(program, &config.agent_path) else {
        return Finding::fails("agent", format!("there is no {program} on PATH"), install);
    };
    match version(&place, &config.agent_path).await {
        Some(version) => Finding::works("agent", format!("{}: {version}", place.display())),
        None => Finding::fails("agent", format!("{} does not tell its version", place.display()), install),
    }
}

async fn git(config: &Config) -> Finding {
    let install = "install git 2.39 or later";
    let Some(place) = found("git", &config.agent_path) else {
        return Finding::fails("git", "there is no git on PATH: tasks with a repository will fail", install);
    };
    let Some(version) = version(&place, &config.agent_path).await else {
        return Finding::fails("git", format!("{} does not tell its version", place.display()), install);
    };
    if numbers(&version).is_some_and(|found| found < GIT) {
        return Finding::warning("git", format!("{version} has not been tried"), install);
    }
    Finding::works("git", version)
}

/// Reads `2.39` out of `git version 2.39.5`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let numbers = version.split_whitespace().nth(2)?;
    let mut parts = numbers.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn isolation() -> Finding {
    let is_shared = UidPolicy::detect() == UidPolicy::Shared;
    let kernel = landlock_abi();
    let held = kernel.map_or("without Landlock".to_owned(), |abi| format!("held by Landlock (ABI {abi})"));
    let mend = "run the service as root, where tasks get users of their own, on a kernel with Landlock \
                (5.13 or later, `lsm=landlock`)";
    match (is_shared, kernel) {
        (false, _) => {
            let mounts = if may_cover() { "mounts of its own" } else { "this machine's mounts" };
            Finding::works("isolation", format!("each task has a user of its own, {mounts}, {held}"))
        }
        (true, Some(_)) => Finding::warning(
            "isolation",
            format!("tasks run as the service's own user, {held}: they share its processes"),
            mend,
        ),
        (true, None) => Finding::warning(
            "isolation",
            "tasks run as the service's own user, without Landlock: no boundary against a hostile agent",
            mend,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_git_is_read_whoever_built_it() {
        assert_eq!(numbers("git version 2.39.5"), Some((2, 39)));
        assert_eq!(numbers("git version 2.39.5 (Apple Git-154)"), Some((2, 39)));
        assert_eq!(numbers("git version unknown"), None);
    }

    #[test]
    fn a_program_is_sought_in_every_folder_of_the_path() {
        assert_eq!(found("sh", "/nonexistent:/bin"), Some(PathBuf::from("/bin/sh")));
        assert_eq!(found("/bin/sh", ""), Some(PathBuf::from("/bin/sh")));
        assert_eq!(found("no-such-program", "/bin"), None);
    }
}
