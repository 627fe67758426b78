//! Closing the address of Google's metadata server to tasks: who reaches it gets the worker's credentials.
//!
//! A rule of the kernel's routing for the task's user alone (`ip-rule(8)`, `uidrange`), which needs neither
//! netfilter nor a network of the task's own. On Google Cloud the same address answers names, so that port 53
//! stays open. Whether it holds is not concluded but tried, as that user.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use rustix::{
    process::{Uid, geteuid},
    thread::set_thread_res_uid,
};

/// <https://cloud.google.com/compute/docs/metadata/querying-metadata>
const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];
const PORT: u16 = 80;
/// How long a try may take: the server is on the machine itself, or on its host.
const PATIENCE: Duration = Duration::from_secs(1);
/// Where `ip` is sought.
const PATH: &str = "/usr/sbin:/sbin:/usr/bin:/bin";
/// Before the kernel's own tables of routes, 32766 and 32767. Names stay open by the smaller number.
const NAMES_PRIORITY: &str = "90";
const CLOSED_PRIORITY: &str = "91";

/// What tasks may reach of Google's metadata server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataAccess {
    /// There is none here.
    Unguarded,
    /// It is closed to the user of each task, where there is one, and tried.
    Closed,
}

/// What came of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tried {
    Blocked,
    Reachable,
}

impl Tried {
    /// Returns the word for the task's log.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Reachable => "reachable",
        }
    }
}

/// Closes the address to a user. Where that fails, a warning says why; a try tells what it comes to.
pub(super) fn close(user: u32) {
    for rule in rules(user) {
        match change("add", &rule) {
            Ok(()) => {}
            // A task that was killed has left it.
            Err(error) if error.to_string().contains("File exists") => {}
            Err(error) => {
                let rule = rule.join(" ");
                tracing::warn!(%error, rule, "the metadata address could not be closed to a task");
            }
        }
    }
}

/// Undoes [`close`] for the next task that has this user.
pub(super) fn open(user: u32) {
    for rule in rules(user) {
        if let Err(error) = change("del", &rule) {
            tracing::debug!(%error, "there was no such rule");
        }
    }
}

/// Tries to reach the address as this user, or as this process's own.
pub(super) fn tried(user: Option<u32>) -> Tried {
    // A thread of its own: the kernel keeps users by thread, and this one does not get its own back.
    let trying = std::thread::Builder::new().name("metadata".to_owned()).spawn(move || try_as(user));
    match trying.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(tried))) => tried,
        // What could not be tried is not said to hold.
        Ok(Ok(Err(_)) | Err(_)) | Err(_) => Tried::Reachable,
    }
}

fn try_as(user: Option<u32>) -> io::Result<Tried> {
    if let Some(user) = user.filter(|user| *user != geteuid().as_raw()) {
        let user = Uid::from_raw(user);
        set_thread_res_uid(user, user, user)?;
    }
    let is_there = |address: &IpAddr| {
        match TcpStream::connect_timeout(&SocketAddr::new(*address, PORT), PATIENCE) {
            Ok(_) => true,
            // Somebody has answered.
            Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        }
    };
    Ok(if ADDRESSES.iter().any(is_there) { Tried::Reachable } else { Tried::Blocked })
}

/// Returns the rules that close the addresses to a user, as arguments of `ip`.
fn rules(user: u32) -> Vec<Vec<String>> {
    let rule = |address: IpAddr, priority: &str, what: &[&str], fate: &[&str]| {
        let (family, bits) = if address.is_ipv4() { ("-4", 32) } else { ("-6", 128) };
        let (to, users) = (format!("{address}/{bits}"), format!("{user}-{user}"));
        let selector = ["priority", priority, "to", &to, "uidrange", &users];
        let words = std::iter::once(family).chain(selector).chain(what.iter().copied());
        words.chain(fate.iter().copied()).map(str::to_owned).collect()
    };
    let names = ["udp", "tcp"].map(|protocol| {
        rule(ADDRESSES[0], NAMES_PRIORITY, &["ipproto", protocol, "dport", "53"], &["lookup", "main"])
    });
    let closed = ADDRESSES.map(|address| rule(address, CLOSED_PRIORITY, &[], &["prohibit"]));
    names.into_iter().chain(closed).collect()
}

fn change(verb: &str, rule: &[String]) -> io::Result<()> {
    let (family, selector) = rule.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    #[expect(clippy::disallowed_types, reason = "this adapter starts it with an environment of its own")]
    let done = std::process::Command::new("ip")
        .args([family.as_str(), "rule", verb])
        .args(selector)
        .env_clear()
        .env("PATH", PATH)
        .output()?;
    if done.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&done.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_names_is_closed_to_the_user_alone() {
        let rules: Vec<String> = rules(58_500).iter().map(|rule| rule.join(" ")).collect();

        assert_eq!(
            rules,
            [
                "-4 priority 90 to 169.254.169.254/32 uidrange 58500-58500 ipproto udp dport 53 lookup main",
                "-4 priority 90 to 169.254.169.254/32 uidrange 58500-58500 ipproto tcp dport 53 lookup main",
                "-4 priority 91 to 169.254.169.254/32 uidrange 58500-58500 prohibit",
                "-6 priority 91 to fd20:ce::254/128 uidrange 58500-58500 prohibit",
            ]
        );
    }
}
