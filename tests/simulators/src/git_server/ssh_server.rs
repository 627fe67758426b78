//! OpenSSH's server in front of bare repositories, with keys of its own.
//!
//! Whoever holds an authorised key logs in as the user that runs the test, and
//! gets nothing but `git shell`, as at a forge.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::getuid;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::keys::{Form, KeyPair};
use super::program::{GIT_ENVIRONMENT, PATH, must, run, text};
use super::repositories::BareRepositories;
use super::sessions::{Sessions, accept};

/// Where `sshd` locks itself in before a login, which it wants to exist; only
/// root's does.
const PRIVILEGE_SEPARATION_FOLDER: &str = "/run/sshd";

/// A running SSH server on a free port of 127.0.0.1; it and every session end
/// when it is dropped.
#[derive(Debug)]
pub struct SshServer {
    address: SocketAddr,
    user: String,
    folder: TempDir,
    repositories: BareRepositories,
    host_key: KeyPair,
    host_keys_made: usize,
    client_key: KeyPair,
    sessions: Arc<Sessions>,
    _accepting: JoinSet<()>,
}

impl SshServer {
    /// Starts with a host key and one authorised client key, both Ed25519.
    pub async fn start(repositories: &BareRepositories) -> Self {
        let folder = must(TempDir::with_prefix("legwork-sshd-"));
        if getuid().is_root() {
            must(fs::create_dir_all(PRIVILEGE_SEPARATION_FOLDER));
        }
        let user = must(run("id", folder.path(), &["-un"], &[], b""));
        let host_key = KeyPair::make(folder.path(), "host_key_0", Form::Ed25519);
        let client_key = KeyPair::make(folder.path(), "client_key", Form::Ed25519);
        must(fs::write(folder.path().join("authorized_keys"), client_key.public_line()));
        must(fs::write(folder.path().join("serve"), forced_command(folder.path())));
        let sessions = Arc::new(Sessions {
            configuration: folder.path().join("sshd_config"),
            log: folder.path().join("log"),
            connections: AtomicUsize::new(0),
        });
        must(fs::write(&sessions.configuration, configuration(folder.path(), &host_key)));
        let listener = must(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await);
        let address = must(listener.local_addr());
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&sessions)));
        Self {
            address,
            user: String::from_utf8_lossy(&user).trim_end().to_owned(),
            folder,
            repositories: repositories.clone(),
            host_key,
            host_keys_made: 1,
            client_key,
            sessions,
            _accepting: accepting,
        }
    }

    /// Returns `ssh://<user>@127.0.0.1:<port>/<absolute path>/<name>.git`.
    pub fn url(&self, name: &str) -> String {
        let path = self.repositories.repository_path(name);
        format!("ssh://{}@{}{}", self.user, self.address, path.display())
    }

    /// Returns the port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns the authorised private key, Ed25519, as OpenSSH writes it.
    pub fn client_key(&self) -> String {
        self.client_key.private_text()
    }

    /// Makes another private key, RSA in PEM form, authorises it and returns it.
    pub fn client_key_pem(&self) -> String {
        let folder = must(TempDir::new_in(self.folder.path()));
        let key = KeyPair::make(folder.path(), "client_key", Form::RsaPem);
        let authorised = self.folder.path().join("authorized_keys");
        must(fs::write(&authorised, text(&authorised) + &key.public_line()));
        key.private_text()
    }

    /// Makes a private key that opens nothing here, Ed25519, and returns it.
    pub fn unauthorised_key(&self) -> String {
        let folder = must(TempDir::new_in(self.folder.path()));
        KeyPair::make(folder.path(), "unauthorised_key", Form::Ed25519).private_text()
    }

    /// Returns the server's line for `known_hosts`, without a newline.
    pub fn known_hosts_line(&self) -> String {
        let key = self.host_key.public_line();
        format!("[{}]:{} {}", self.address.ip(), self.address.port(), key.trim_end())
    }

    /// Puts another host key in the old one's place; open connections stay.
    pub fn change_host_key(&mut self) {
        let name = format!("host_key_{}", self.host_keys_made);
        self.host_keys_made += 1;
        self.host_key = KeyPair::make(self.folder.path(), &name, Form::Ed25519);
        must(fs::write(&self.sessions.configuration, configuration(self.folder.path(), &self.host_key)));
    }

    /// Returns how many connections were accepted, whether a login followed or not.
    pub fn connections(&self) -> usize {
        self.sessions.connections.load(Ordering::SeqCst)
    }

    /// Returns what clients asked for after a login, such as
    /// `git-upload-pack '/…/project.git'`, in order.
    pub fn commands(&self) -> Vec<String> {
        text(&self.folder.path().join("commands")).lines().map(str::to_owned).collect()
    }

    /// Returns all that `sshd` has logged: accepted and failed logins with the
    /// fingerprints of their keys.
    pub fn log(&self) -> String {
        text(&self.sessions.log)
    }
}

/// Everything that `sshd` is to know; nothing is taken from `/etc/ssh`.
fn configuration(folder: &Path, host_key: &KeyPair) -> String {
    let folder = folder.display();
    let host_key = host_key.private_path().display();
    format!(
        "HostKey \"{host_key}\"\n\
         AuthorizedKeysFile \"{folder}/authorized_keys\"\n\
         AuthenticationMethods publickey\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PermitRootLogin yes\n\
         StrictModes no\n\
         UsePAM no\n\
         UseDNS no\n\
         PermitTTY no\n\
         PermitUserRC no\n\
         DisableForwarding yes\n\
         PrintMotd no\n\
         PidFile none\n\
         LogLevel VERBOSE\n\
         AcceptEnv GIT_PROTOCOL\n\
         ForceCommand /bin/sh \"{folder}/serve\"\n"
    )
}

/// The script that every login runs in place of what the client asked for.
fn forced_command(folder: &Path) -> String {
    let exports: Vec<_> =
        GIT_ENVIRONMENT.iter().map(|(name, value)| format!("export {name}='{value}'")).collect();
    let (folder, exports) = (folder.display(), exports.join("\n"));
    // The repositories may have been given to another user by the test.
    format!(
        "export PATH='{PATH}' HOME='{folder}'\n\
         {exports}\n\
         export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'\n\
         printf '%s\\n' \"$SSH_ORIGINAL_COMMAND\" >>\"$HOME/commands\"\n\
         exec git shell -c \"$SSH_ORIGINAL_COMMAND\"\n"
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;

    use super::*;
    use crate::git_server::client::Client;

    #[tokio::test]
    async fn a_clone_with_the_authorised_key_has_the_files() {
        let repositories = BareRepositories::new();
        let repository = repositories.repository("project");
        repository.commit("main", "First", &[("a.txt", b"a\n")]);
        let server = SshServer::start(&repositories).await;
        let client = Client::with_key(&server.client_key(), &server.known_hosts_line());

        client.git(&["clone", &server.url("project"), "copy"]).await.unwrap();

        assert_eq!(client.read("copy/a.txt"), "a\n");
        assert_eq!(server.connections(), 1);
        assert_eq!(server.commands(), [format!("git-upload-pack '{}'", repository.path().display())]);
        assert!(server.log().contains("Accepted publickey"), "{}", server.log());
    }

    #[tokio::test]
    async fn a_push_with_the_key_in_pem_form_arrives() {
        let repositories = BareRepositories::new();
        let repository = repositories.repository("project");
        repository.commit("main", "First", &[("a.txt", b"a\n")]);
        let server = SshServer::start(&repositories).await;
        let key = server.client_key_pem();
        let client = Client::with_key(&key, &server.known_hosts_line());
        client.git(&["clone", &server.url("project"), "copy"]).await.unwrap();

        client.commit("copy", "b.txt", "b\n").await;
        client.git(&["-C", "copy", "push", "origin", "main:work"]).await.unwrap();

        assert!(key.starts_with("-----BEGIN RSA PRIVATE KEY-----"), "{key}");
        assert_eq!(repository.log("work"), ["Add b.txt", "First"]);
        assert_eq!(repository.log("main"), ["First"]);
    }

    #[tokio::test]
    async fn a_key_that_is_not_authorised_is_refused() {
        let repositories = BareRepositories::new();
        repositories.repository("project");
        let server = SshServer::start(&repositories).await;
        let client = Client::with_key(&server.unauthorised_key(), &server.known_hosts_line());

        let refused = client.git(&["clone", &server.url("project"), "copy"]).await.unwrap_err();

        assert!(refused.contains("Permission denied (publickey)"), "{refused}");
        assert_eq!(server.commands(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_changed_host_key_is_noticed() {
        let repositories = BareRepositories::new();
        repositories.repository("project");
        let mut server = SshServer::start(&repositories).await;
        let client = Client::with_key(&server.client_key(), &server.known_hosts_line());
        client.git(&["ls-remote", &server.url("project")]).await.unwrap();

        server.change_host_key();
        let refused = client.git(&["ls-remote", &server.url("project")]).await.unwrap_err();

        assert!(refused.contains("REMOTE HOST IDENTIFICATION HAS CHANGED"), "{refused}");
        let informed = Client::with_key(&server.client_key(), &server.known_hosts_line());
        informed.git(&["ls-remote", &server.url("project")]).await.unwrap();
    }

    #[tokio::test]
    async fn a_login_gets_no_shell() {
        let repositories = BareRepositories::new();
        let server = SshServer::start(&repositories).await;
        let client = Client::with_key(&server.client_key(), &server.known_hosts_line());

        let url = format!("ssh://{}@127.0.0.1:{}", server.user, server.port());
        let refused = client.ssh(&[&url, "cat /etc/hostname"]).await.unwrap_err();

        assert!(refused.contains("unrecognized command 'cat /etc/hostname'"), "{refused}");
    }

    #[tokio::test]
    async fn a_missing_repository_is_named() {
        let repositories = BareRepositories::new();
        let server = SshServer::start(&repositories).await;
        let client = Client::with_key(&server.client_key(), &server.known_hosts_line());

        let refused = client.git(&["ls-remote", &server.url("nothing")]).await.unwrap_err();

        assert!(refused.contains("nothing.git' does not appear to be a git repository"), "{refused}");
    }

    #[tokio::test]
    async fn a_dropped_server_ends_sessions_and_port() {
        let repositories = BareRepositories::new();
        let server = SshServer::start(&repositories).await;
        let address = server.address;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut greeting = [0; 8];
        stream.read_exact(&mut greeting).await.unwrap();

        drop(server);

        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert_eq!(&greeting, b"SSH-2.0-");
        assert!(ended.is_ok());
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_dropped_server_ends_what_a_push_waits_for() {
        let repositories = BareRepositories::new();
        let repository = repositories.repository("project");
        repository.commit("main", "First", &[("a.txt", b"a\n")]);
        let reached = repositories.path().join("reached");
        repository.set_hook("pre-receive", &format!("echo $$ >'{}'; exec sleep 600", reached.display()));
        let server = SshServer::start(&repositories).await;
        let client = Client::with_key(&server.client_key(), &server.known_hosts_line());
        client.git(&["clone", &server.url("project"), "copy"]).await.unwrap();
        client.commit("copy", "b.txt", "b\n").await;

        let push = client.git(&["-C", "copy", "push"]);
        let dropped_when_reached = async {
            while !text(&reached).ends_with('\n') {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            drop(server);
        };
        let (pushed, ()) = tokio::join!(push, dropped_when_reached);

        let hook = Path::new("/proc").join(text(&reached).trim());
        assert!(pushed.is_err());
        while fs::read_to_string(hook.join("cmdline")).is_ok_and(|line| line.starts_with("sleep")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(repository.log("main"), ["First"]);
    }
}
