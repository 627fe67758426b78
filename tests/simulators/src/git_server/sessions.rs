//! The `sshd` processes of one server, one a connection.
//!
//! They run in `sshd`'s inetd mode, which takes a connection that somebody else
//! accepted: so no other process can take the port first, and nothing listens
//! any more when the owner is gone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use super::program::PATH;

/// Debian's place; it is not on the path of users other than root.
const SSHD: &str = "/usr/sbin/sshd";

/// What a session needs, and what counts the sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    /// Where the configuration is; each session reads it anew.
    pub(super) configuration: PathBuf,
    /// Where the sessions append what they have to say.
    pub(super) log: PathBuf,
    /// How many connections were accepted.
    pub(super) connections: AtomicUsize,
}

/// Gives each connection to an `sshd` of its own, for ever.
pub(super) async fn accept(listener: TcpListener, sessions: Arc<Sessions>) {
    let mut running = JoinSet::new();
    loop {
        // Both arms only take what is ready: a dropped one loses nothing.
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _peer)) = accepted {
                sessions.connections.fetch_add(1, Ordering::SeqCst);
                running.spawn(serve(stream, Arc::clone(&sessions)));
            },
            Some(_ended) = running.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, sessions: Arc<Sessions>) {
    // A session that cannot be started shows to the client, as a closed connection.
    if let Ok(mut session) = Session::start(stream, &sessions) {
        drop(session.0.wait().await);
    }
}

/// An `sshd` with all that it started; ended when dropped.
struct Session(Child);

impl Session {
    fn start(stream: TcpStream, sessions: &Sessions) -> io::Result<Self> {
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        let input = OwnedFd::from(stream);
        let output = input.try_clone()?;
        let child = Command::new(SSHD)
            .arg("-i")
            .arg("-f")
            .arg(&sessions.configuration)
            .arg("-E")
            .arg(&sessions.log)
            .env_clear()
            .env("PATH", PATH)
            .stdin(input)
            .stdout(output)
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A process that was not waited for keeps its id, so this hits no other.
        let running = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let Some(first) = running else { return };
        // `sshd` starts its user's part and the shell in sessions of their own.
        for pid in with_descendants(first) {
            // One that ended meanwhile is no failure.
            kill_process(pid, Signal::KILL).unwrap_or_default();
        }
    }
}

/// This process and all below it, the lowest first.
fn with_descendants(first: Pid) -> Vec<Pid> {
    let parents = parents();
    let mut found = vec![first];
    let mut unseen = vec![first];
    while let Some(parent) = unseen.pop() {
        let children = parents.iter().filter(|(_, held)| **held == parent.as_raw_nonzero().get());
        let children: Vec<_> = children.filter_map(|(child, _)| Pid::from_raw(*child)).collect();
        unseen.extend(&children);
        found.extend(children);
    }
    found.reverse();
    found
}

/// The parent of every process.
fn parents() -> BTreeMap<i32, i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
        Some((pid, parent))
    })
    .collect()
}
