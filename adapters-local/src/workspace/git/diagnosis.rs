//! What git, ssh and the forges say when something is wrong, and what they mean by it.

use legwork_ports::workspace::GitProblem;

/// Phrases and what they mean, in the order in which they are sought: what is said about the cause
/// comes before what is said about its effect.
const PHRASES: &[(&str, Meaning)] = &[
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", Meaning::HostKeyChanged),
    ("Host key verification failed", Meaning::HostKeyChanged),
    ("Permission denied (", Meaning::KeyRefused),
    ("Too many authentication failures", Meaning::KeyRefused),
    ("Load key ", Meaning::KeyRefused),
    ("couldn't find remote ref", Meaning::NoSuchBranch),
    ("Repository not found", Meaning::NoSuchRepository),
    ("does not appear to be a git repository", Meaning::NoSuchRepository),
    ("The project you were looking for could not be found", Meaning::NoSuchRepository),
    ("repository '", Meaning::NoSuchRepository),
    ("Authentication failed", Meaning::AccessRefused),
    ("could not read Username", Meaning::AccessRefused),
    ("could not read Password", Meaning::AccessRefused),
    ("The requested URL returned error: 401", Meaning::AccessRefused),
    ("The requested URL returned error: 403", Meaning::AccessRefused),
    ("The requested URL returned error: 404", Meaning::NoSuchRepository),
    ("cannot run ssh", Meaning::NoSsh),
    ("Could not resolve host", Meaning::Unreachable),
    ("Temporary failure in name resolution", Meaning::Unreachable),
    ("Failed to connect", Meaning::Unreachable),
    ("Connection refused", Meaning::Unreachable),
    ("Connection timed out", Meaning::Unreachable),
    ("Connection reset", Meaning::Unreachable),
    ("Connection closed", Meaning::Unreachable),
    ("Operation timed out", Meaning::Unreachable),
    ("Operation too slow", Meaning::Unreachable),
    ("No route to host", Meaning::Unreachable),
    ("Network is unreachable", Meaning::Unreachable),
    ("kex_exchange_identification", Meaning::Unreachable),
    ("The requested URL returned error: 429", Meaning::Unreachable),
    ("The requested URL returned error: 5", Meaning::Unreachable),
    ("unexpected disconnect", Meaning::Unreachable),
    ("the remote end hung up", Meaning::Unreachable),
    ("early EOF", Meaning::Unreachable),
    ("RPC failed", Meaning::Unreachable),
    ("Empty reply from server", Meaning::Unreachable),
    ("GnuTLS recv error", Meaning::Unreachable),
    ("not a git repository", Meaning::Broken),
    ("bad object", Meaning::Broken),
    ("missing blob", Meaning::Broken),
    ("unable to read tree", Meaning::Broken),
    ("fatal: unable to read ", Meaning::Broken),
];

#[derive(Debug, Clone, Copy)]
enum Meaning {
    HostKeyChanged,
    KeyRefused,
    NoSuchBranch,
    NoSuchRepository,
    AccessRefused,
    NoSsh,
    Unreachable,
    Broken,
}

/// Tells what is wrong by what was said, in English.
pub(super) fn diagnose(words: &str, branch: Option<&str>) -> GitProblem {
    let found = PHRASES.iter().find(|(phrase, _)| words.contains(phrase));
    match found.map(|(_, meaning)| *meaning) {
        Some(Meaning::HostKeyChanged) => GitProblem::HostKeyChanged,
        Some(Meaning::KeyRefused) => GitProblem::KeyRefused,
        Some(Meaning::NoSuchBranch) => {
            GitProblem::NoSuchBranch { branch: branch.unwrap_or_default().to_owned() }
        }
        Some(Meaning::NoSuchRepository) => GitProblem::NoSuchRepository,
        Some(Meaning::AccessRefused) => GitProblem::AccessRefused,
        Some(Meaning::NoSsh) => GitProblem::Missing { program: "ssh".to_owned() },
        Some(Meaning::Unreachable) => GitProblem::Unreachable,
        Some(Meaning::Broken) => GitProblem::Broken,
        None => GitProblem::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let unknown_host_key = "@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.\nfatal: Could not read from remote repository.";
        let cases = [
            (unknown_host_key, GitProblem::HostKeyChanged),
            (
                "git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.",
                GitProblem::KeyRefused,
            ),
            ("fatal: couldn't find remote ref refs/heads/x", GitProblem::NoSuchBranch { branch: "x".into() }),
            (
                "remote: Repository not found.\nfatal: repository 'https://h/r/' not found",
                GitProblem::NoSuchRepository,
            ),
            ("fatal: '/srv/x' does not appear to be a git repository", GitProblem::NoSuchRepository),
            ("fatal: Authentication failed for 'https://h/r/'", GitProblem::AccessRefused),
            (
                "fatal: could not read Username for 'https://h': terminal prompts disabled",
                GitProblem::AccessRefused,
            ),
            ("fatal: unable to access 'https://h/': Could not resolve host: h", GitProblem::Unreachable),
            ("ssh: connect to host h port 22: Connection refused", GitProblem::Unreachable),
            ("error: RPC failed; curl 56 GnuTLS recv error", GitProblem::Unreachable),
            (
                "fatal: unable to access 'http://h/': The requested URL returned error: 503",
                GitProblem::Unreachable,
            ),
            (
                "error: cannot run ssh: No such file or directory",
                GitProblem::Missing { program: "ssh".into() },
            ),
            ("fatal: unable to read 587be6b4c3f93f93c489c0111bba5596147a26cb", GitProblem::Broken),
            ("fatal: something new", GitProblem::Failed),
        ];

        for (words, problem) in cases {
            assert_eq!(diagnose(words, Some("x")), problem, "{words}");
        }
    }
}
