//! Key, token and known hosts as files, for as long as one call of the service's own git runs.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use legwork_ports::workspace::{Folders, GitError, Remote};
use rustix::fs::OFlags;
use url::Url;

use super::{hosts::FORGES, machine, make_folder, own_folder, runner::Call};

/// Whom GitHub lets in with a token of an app; any name does for a personal one.
const GITHUB_USER: &str = "x-access-token";
/// Whom GitLab lets in with a token.
const GITLAB_USER: &str = "oauth2";
/// Whom Bitbucket lets in with a token.
const BITBUCKET_USER: &str = "x-token-auth";

/// The files. Dropping this removes them.
#[derive(Debug)]
pub(super) struct Credentials {
    folder: PathBuf,
    key: Option<PathBuf>,
    known_hosts: PathBuf,
    /// The address that the token is for, as far as git compares it.
    token_for: Option<String>,
}

impl Credentials {
    /// Writes what the remote needs.
    pub(super) fn write(folders: &Folders, remote: &Remote, known_hosts: &str) -> Result<Self, GitError> {
        let folder = own_folder(folders);
        make_folder(&folder, 0o700, None, None)?;
        let mut this = Self { key: None, known_hosts: folder.join("known_hosts"), token_for: None, folder };
        let hosts = if known_hosts.is_empty() { FORGES } else { known_hosts };
        Self::put(&this.known_hosts, hosts)?;
        if let Some(key) = &remote.ssh_key {
            let path = this.folder.join("key");
            this.key = Some(path.clone());
            Self::put(&path, key.expose())?;
        }
        let user = remote.user.as_ref().map(|user| user.expose().as_str());
        if let Some((site, line)) =
            remote.token.as_ref().and_then(|token| stored(&remote.url, user, token.expose()))
        {
            this.token_for = Some(site);
            // The name and the place that git's own helper `store` has.
            Self::put(&this.folder.join(".git-credentials"), &line)?;
        }
        Ok(this)
    }

    fn put(path: &Path, text: &str) -> Result<(), GitError> {
        write_private(path, text).map_err(|error| machine("writing a file", path, &error))
    }

    /// Lets a call use them.
    pub(super) fn on(&self, mut call: Call) -> Call {
        let mut ssh = vec!["ssh".to_owned(), "-F".to_owned(), "none".to_owned()];
        let hosts = format!("UserKnownHostsFile={}", option_path(&self.known_hosts));
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=accept-new",
            "GlobalKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "ConnectTimeout=30",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=4",
            "UpdateHostKeys=no",
            hosts.as_str(),
        ] {
            ssh.extend(["-o".to_owned(), shell_quoted(option)]);
        }
        let identity = self.key.as_deref().map_or_else(|| "none".to_owned(), option_path);
        ssh.extend(["-o".to_owned(), shell_quoted(&format!("IdentityFile={identity}"))]);
        call = call.env("GIT_SSH_COMMAND", ssh.join(" ")).env("GIT_SSH_VARIANT", "ssh");
        if let Some(site) = &self.token_for {
            let settings = ["-c".to_owned(), format!("credential.{site}.helper=store")];
            call.args.splice(0..0, settings);
        }
        call
    }

    /// Returns the hosts that are known now.
    pub(super) fn known_hosts(&self) -> Result<String, GitError> {
        fs::read_to_string(&self.known_hosts)
            .map_err(|error| machine("reading the known hosts", &self.known_hosts, &error))
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        for name in ["key", ".git-credentials", "known_hosts", "known_hosts.old"] {
            // What was not written is not there; the folder goes with the task.
            fs::remove_file(self.folder.join(name)).ok();
        }
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).map_err(io::Error::other)?;
    let mut file: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)?;
    file.write_all(text.as_bytes())
}

/// Returns the site that a token is for, and the line that git's helper `store` finds it in.
fn stored(url: &str, user: Option<&str>, token: &str) -> Option<(String, String)> {
    let mut url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "https" | "http"))?;
    let user = match (user, url.username(), url.host_str()?) {
        (Some(user), _, _) => escaped(user),
        (None, "", host) if host.contains("gitlab") => GITLAB_USER.to_owned(),
        (None, "", "bitbucket.org") => BITBUCKET_USER.to_owned(),
        (None, "", _) => GITHUB_USER.to_owned(),
        (None, user, _) => user.to_owned(),
    };
    url.set_path("");
    url.set_query(None);
    url.set_fragment(None);
    url.set_username("").ok()?;
    let site = url.as_str().trim_end_matches('/').to_owned();
    url.set_username(&user).ok()?;
    url.set_password(Some(&escaped(token))).ok()?;
    Some((site, format!("{}\n", url.as_str().trim_end_matches('/'))))
}

/// Spells a text for an address, which keeps whatever looks as if it was escaped already.
fn escaped(text: &str) -> String {
    text.replace('%', "%25")
}

/// Quotes a word for the shell that git runs ssh with.
fn shell_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Spells a path for an option of ssh, where `%` and blanks have a meaning.
fn option_path(path: &Path) -> String {
    let path = path.to_string_lossy().replace('%', "%%");
    format!("\"{path}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_stored_for_its_site_alone() {
        let (site, line) = stored("https://github.com/o/r.git", None, "t/k:@n%41").unwrap();

        assert_eq!(site, "https://github.com");
        assert_eq!(line, "https://x-access-token:t%2Fk%3A%40n%2541@github.com\n");
    }

    #[test]
    fn who_is_named_logs_in() {
        let (site, line) = stored("https://gitlab.com/o/r.git", Some("me@work"), "t").unwrap();

        assert_eq!(site, "https://gitlab.com");
        assert_eq!(line, "https://me%40work:t@gitlab.com\n");
    }

    #[test]
    fn forges_have_their_own_names_for_tokens() {
        let line = |url| stored(url, None, "t").map(|(_, line)| line);

        assert_eq!(line("https://gitlab.com/o/r").as_deref(), Some("https://oauth2:t@gitlab.com\n"));
        assert_eq!(
            line("https://bitbucket.org/o/r").as_deref(),
            Some("https://x-token-auth:t@bitbucket.org\n")
        );
        assert_eq!(line("http://me@h:8080/r").as_deref(), Some("http://me:t@h:8080\n"));
        assert_eq!(line("ssh://git@h/r"), None);
        assert_eq!(line("git@h:r"), None);
    }

    #[test]
    fn paths_with_blanks_and_signs_reach_ssh_whole() {
        assert_eq!(option_path(Path::new("/a b/%c")), "\"/a b/%%c\"");
        assert_eq!(shell_quoted("it's"), "'it'\\''s'");
    }
}
