//! A git client for tests of the servers, with a home of its own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use super::program::{GIT_ENVIRONMENT, PATH};

/// A command that takes longer is stuck.
const PATIENCE: Duration = Duration::from_mins(1);

/// A folder in which git runs as somebody on another machine would run it.
pub(super) struct Client {
    folder: TempDir,
    ssh_options: Vec<String>,
}

impl Client {
    /// Comes without a key.
    pub(super) fn new() -> Self {
        Self { folder: TempDir::with_prefix("legwork-client-").unwrap(), ssh_options: Vec::new() }
    }

    /// Comes with this private key and trusts this server alone.
    pub(super) fn with_key(key: &str, known_hosts_line: &str) -> Self {
        let mut client = Self::new();
        client.write("key", key.as_bytes());
        client.write("known_hosts", known_hosts_line.as_bytes());
        let folder = client.folder.path().to_owned();
        fs::set_permissions(folder.join("key"), PermissionsExt::from_mode(0o600)).unwrap();
        let files =
            [("IdentityFile", folder.join("key")), ("UserKnownHostsFile", folder.join("known_hosts"))];
        client.ssh_options.extend(["-F", "none", "-o", "BatchMode=yes"].map(str::to_owned));
        client
            .ssh_options
            .extend(["-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"].map(str::to_owned));
        for (option, path) in files {
            client.ssh_options.extend(["-o".to_owned(), format!("{option}={}", path.display())]);
        }
        client
    }

    /// Runs git and returns its stdout, or its stderr where it fails.
    pub(super) async fn git(&self, arguments: &[&str]) -> Result<String, String> {
        self.run("git", arguments).await
    }

    /// Runs ssh likewise.
    pub(super) async fn ssh(&self, arguments: &[&str]) -> Result<String, String> {
        let options = self.ssh_options.iter().map(String::as_str);
        let all: Vec<_> = options.chain(arguments.iter().copied()).collect();
        self.run("ssh", &all).await
    }

    /// Writes a file in the clone and commits all there is.
    pub(super) async fn commit(&self, clone: &str, path: &str, content: &str) {
        self.write(&format!("{clone}/{path}"), content.as_bytes());
        self.git(&["-C", clone, "add", "--all"]).await.unwrap();
        self.git(&["-C", clone, "commit", "-m", &format!("Add {path}")]).await.unwrap();
    }

    /// Writes a file below the folder.
    pub(super) fn write(&self, path: &str, content: &[u8]) {
        fs::write(self.folder.path().join(path), content).unwrap();
    }

    /// Reads a file below the folder.
    pub(super) fn read_bytes(&self, path: &str) -> Vec<u8> {
        fs::read(self.folder.path().join(path)).unwrap()
    }

    /// Reads a text file below the folder.
    pub(super) fn read(&self, path: &str) -> String {
        String::from_utf8(self.read_bytes(path)).unwrap()
    }

    async fn run(&self, program: &str, arguments: &[impl AsRef<OsStr>]) -> Result<String, String> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path()).env_clear();
        command.env("PATH", PATH).env("HOME", self.folder.path()).envs(GIT_ENVIRONMENT);
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "Client");
            command.env(format!("GIT_{role}_EMAIL"), "client@example.com");
        }
        command.env("GIT_SSH_COMMAND", format!("ssh {}", self.ssh_options.join(" ")));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}
