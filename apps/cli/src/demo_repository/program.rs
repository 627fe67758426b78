//! Runs git in a folder: with an environment of its own, for a bounded time.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use futures_util::future;
use tokio::{
    io::AsyncWriteExt as _,
    process::{ChildStdin, Command},
    time::timeout,
};

use crate::exit::UsageError;

/// How long one call may take. Each is about a handful of small files.
const PATIENCE: Duration = Duration::from_secs(30);
/// No configuration of the machine or of the user, no questions, English.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("LC_ALL", "C.UTF-8"),
];

/// The git that is installed.
#[derive(Debug, Clone)]
pub(crate) struct GitProgram {
    program: PathBuf,
    path: String,
}

impl GitProgram {
    /// Finds it in a list of folders as `PATH` has it.
    ///
    /// # Errors
    /// [`UsageError`] where it is in none of them.
    pub(crate) fn find(path: &str) -> Result<Self, UsageError> {
        // A folder that is named from where the user is means another one where git is run.
        let folders = path.split(':').map(Path::new).filter(|folder| folder.is_absolute());
        let program = folders.map(|folder| folder.join("git")).find(|program| program.is_file());
        program.map(|program| Self { program, path: path.to_owned() }).ok_or_else(|| {
            UsageError::new("git is not on PATH; install it, for instance with `apt-get install git`")
        })
    }

    /// Runs it in a folder; `protocol` is the version that a client asks for.
    ///
    /// # Errors
    /// Where it cannot be started, or takes too long and is ended.
    pub(super) async fn run(
        &self,
        folder: &Path,
        arguments: &[&str],
        stdin: &[u8],
        protocol: Option<&str>,
    ) -> io::Result<Output> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", &self.path)
            .envs(ENVIRONMENT)
            .envs(protocol.map(|version| ("GIT_PROTOCOL", version)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let pipe = child.stdin.take();
        // Both at once: git may answer before it has read everything.
        let both = future::join(feed(pipe, stdin), child.wait_with_output());
        let ((), output) = timeout(PATIENCE, both).await?;
        output
    }
}

async fn feed(pipe: Option<ChildStdin>, bytes: &[u8]) {
    if let Some(mut pipe) = pipe {
        // A git that wants no more tells by its exit code whether that is well.
        pipe.write_all(bytes).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_git_is_missing_the_user_is_told_how_to_install_it() {
        let empty = tempfile::tempdir().unwrap();

        let error = GitProgram::find(&format!("{}::relative", empty.path().display())).unwrap_err();

        assert!(error.to_string().contains("apt-get install git"), "{error}");
    }

    #[tokio::test]
    async fn git_sees_no_configuration_of_the_user() {
        let folder = tempfile::tempdir().unwrap();
        let git = GitProgram::find("/usr/local/bin:/usr/bin:/bin").unwrap();

        let listed = git.run(folder.path(), &["config", "--list", "--show-scope"], b"", None).await.unwrap();

        assert!(listed.status.success(), "{listed:?}");
        assert_eq!(String::from_utf8_lossy(&listed.stdout), "");
    }
}
