//! What stands against a clone, and clones that are ended.

use std::time::Duration;

use legwork_core::secret::Secret;
use legwork_ports::workspace::{GitLimits, GitProblem, Remote};
use tokio::time::{sleep, timeout};

use super::{
    Way, WorkspaceBench,
    bench::{limits, order, processes_with, tree},
};

/// How long what was ended early may take until it has ended: as long as a command that is stopped.
const ENDS_WITHIN: Duration = legwork_ports::agent::STOP_DEADLINE;

async fn problem(bench: &WorkspaceBench, remote: Remote, branch: &str, limits: &GitLimits) -> GitProblem {
    let order = order(remote, branch);
    let (folders, cloned) = bench.try_clone(&order, limits).await;
    let error = cloned.expect_err("something stands against it");
    let left = processes_with(&folders.root);
    assert!(left.is_empty(), "{error}: processes are left: {left:?}");
    assert!(tree(&folders.work).is_empty(), "{error}: files are left");
    error.problem
}

/// What stands against a clone is named. Nothing asks a person for what is missing: that would take
/// all the time there is.
pub async fn what_stands_against_a_clone_is_named(bench: &WorkspaceBench) {
    bench.upstream.commit("main", "first", &[("README.md", "hello\n")]);
    let (token, key) = (bench.upstream.remote(Way::Token).await, bench.upstream.remote(Way::Key).await);
    let missing = |remote: &Remote| Remote { url: format!("{}-missing", remote.url), ..remote.clone() };
    let secret = |text: &str| Some(Secret::new(text.to_owned()));
    let folders = bench.folders().await;
    let unknown_key = Some(bench.key(&folders, "").await);
    let no_such_branch = GitProblem::NoSuchBranch { branch: "none".to_owned() };

    for (remote, branch, expected) in [
        (token.clone(), "none", no_such_branch.clone()),
        (key.clone(), "none", no_such_branch),
        (missing(&token), "main", GitProblem::NoSuchRepository),
        (missing(&key), "main", GitProblem::NoSuchRepository),
        (Remote { token: secret("wrong"), ..token.clone() }, "main", GitProblem::AccessRefused),
        (Remote { token: None, ..token }, "main", GitProblem::AccessRefused),
        (Remote { ssh_key: unknown_key, ..key.clone() }, "main", GitProblem::KeyRefused),
        (Remote { ssh_key: secret("no key"), ..key.clone() }, "main", GitProblem::KeyRefused),
        (Remote { ssh_key: None, ..key }, "main", GitProblem::KeyRefused),
    ] {
        let url = remote.url.clone();
        assert_eq!(problem(bench, remote, branch, &limits()).await, expected, "{url} {branch}");
    }
}

/// A key with a passphrase is refused: nobody is asked for it.
pub async fn a_key_with_a_passphrase_is_refused_without_a_question(bench: &WorkspaceBench) {
    bench.upstream.commit("main", "first", &[("README.md", "hello\n")]);
    let folders = bench.folders().await;
    let locked = Some(bench.key(&folders, "passphrase").await);
    let remote = Remote { ssh_key: locked, ..bench.upstream.remote(Way::Key).await };

    assert_eq!(problem(bench, remote, "main", &limits()).await, GitProblem::KeyRefused);
}

/// A host that cannot be reached is told as such, also where there is no time to try everything again.
pub async fn a_host_that_cannot_be_reached_is_told_in_time(bench: &WorkspaceBench) {
    let remote = bench.upstream.remote(Way::Closed).await;
    let limits = GitLimits { at_most: Duration::from_secs(5), ..limits() };

    let told = timeout(limits.at_most + ENDS_WITHIN, problem(bench, remote, "main", &limits)).await;

    assert_eq!(told.expect("an answer in time"), GitProblem::Unreachable);
}

/// A clone that takes longer than it may is ended, and nothing of it lives.
pub async fn a_clone_that_takes_too_long_is_ended(bench: &WorkspaceBench) {
    let remote = bench.upstream.remote(Way::Silent).await;
    let limits = GitLimits { at_most: Duration::from_millis(500), ..limits() };

    let told = timeout(limits.at_most + ENDS_WITHIN, problem(bench, remote, "main", &limits)).await;

    assert_eq!(told.expect("an end in time"), GitProblem::TimedOut { after: limits.at_most });
}

/// A clone is ended early where that is wished, and nothing of it lives.
pub async fn a_clone_is_ended_early_where_that_is_wished(bench: &WorkspaceBench) {
    let remote = bench.upstream.remote(Way::Silent).await;
    let limits = limits();

    let ended = async {
        bench.upstream.silent_host_was_asked().await;
        limits.stop.cancel();
        sleep(ENDS_WITHIN).await;
    };

    tokio::select! {
        told = problem(bench, remote, "main", &limits) => assert_eq!(told, GitProblem::Stopped),
        () = ended => panic!("it goes on"),
    }
}

/// A clone is ended early as well while it waits to try again.
pub async fn a_clone_that_waits_for_its_next_try_is_ended_early(bench: &WorkspaceBench) {
    let remote = bench.upstream.remote(Way::Closed).await;
    let limits = limits();

    // Whatever it does by then: whoever tries a host again that refuses at once, mostly waits.
    let ended = async {
        sleep(Duration::from_millis(1500)).await;
        limits.stop.cancel();
        sleep(Duration::from_secs(2)).await;
    };

    tokio::select! {
        told = problem(bench, remote, "main", &limits) => assert_eq!(told, GitProblem::Stopped),
        () = ended => panic!("it goes on"),
    }
}
