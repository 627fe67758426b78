//! Pushing what was taken out.

use legwork_core::secret::Secret;
use legwork_ports::workspace::{Cloned, GitProblem, PushAnswer, Remote};

use super::{
    Way, WorkspaceBench,
    bench::{Work, limits, order},
};

/// A public key of a host that none of the remotes has.
const ANOTHER_HOSTS_KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

/// A push adds the commit, with everything it needs, to what the branch has.
pub async fn a_push_adds_the_commit_to_the_branch(bench: &WorkspaceBench) {
    bench.upstream.commit("main", "first", &[("README.md", "hello\n")]);

    for (way, messages) in [(Way::Token, vec!["one", "first"]), (Way::Key, vec!["two", "one", "first"])] {
        let work = bench.clone_by(way).await;
        let message = messages.first().expect("a message");
        let commit = bench.outgoing(&work, &format!("mkdir -p a && echo {message} > a/file"), message).await;

        let answer = bench.push(&work, &commit.sha, "main").await.expect("an answer");

        assert_eq!(answer, PushAnswer::Pushed, "{way:?}");
        assert_eq!(bench.upstream.head("main"), Some(commit.sha), "{way:?}");
        assert_eq!(bench.upstream.messages("main"), messages, "{way:?}");
        assert_eq!(bench.upstream.file("main", "a/file"), Some(format!("{message}\n")), "{way:?}");
        assert_eq!(bench.upstream.file("main", "README.md").as_deref(), Some("hello\n"), "{way:?}");
    }
}

/// A push begins a branch that is missing, and leaves the others alone.
pub async fn a_push_may_begin_a_branch(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let commit = bench.outgoing(&work, "echo x > file", "own").await;

    let answer = bench.push(&work, &commit.sha, "tasks/new").await.expect("an answer");

    assert_eq!(answer, PushAnswer::Pushed);
    assert_eq!(bench.upstream.head("tasks/new"), Some(commit.sha));
    assert_eq!(bench.upstream.head("main"), Some(work.cloned.commit));
}

/// A branch that has moved on is left alone, and told.
pub async fn a_branch_that_has_moved_on_is_left_alone(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let commit = bench.outgoing(&work, "echo x > file", "own").await;
    let theirs = bench.upstream.commit("main", "theirs", &[("theirs.txt", "t\n")]);

    let answer = bench.push(&work, &commit.sha, "main").await.expect("an answer");

    assert_eq!(answer, PushAnswer::Behind);
    assert_eq!(bench.upstream.head("main"), Some(theirs));
}

/// A push is never by force: history that the agent has written anew stays here.
pub async fn history_that_was_rewritten_is_not_forced(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let line = "git commit --quiet --amend --message=anew && echo x > file";
    let commit = bench.outgoing(&work, line, "own").await;

    let answer = bench.push(&work, &commit.sha, "main").await.expect("an answer");

    assert_eq!(answer, PushAnswer::Behind);
    assert_eq!(bench.upstream.head("main"), Some(work.cloned.commit));
}

/// A refusal is told in the remote's own words.
pub async fn a_refusal_is_told_in_the_remotes_words(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let commit = bench.outgoing(&work, "echo x > file", "own").await;
    bench.upstream.refuse("Changes must be made through a pull request.");

    let answer = bench.push(&work, &commit.sha, "main").await.expect("an answer");

    let PushAnswer::Refused { words } = &answer else { panic!("not refused: {answer:?}") };
    assert!(words.contains("Changes must be made through a pull request."), "{words}");
    assert_eq!(bench.upstream.head("main"), Some(work.cloned.commit));
}

/// A name that another branch is in the way of is refused, in the remote's words: no rebase would help.
pub async fn a_name_that_another_branch_is_in_the_way_of_is_refused(bench: &WorkspaceBench) {
    bench.upstream.commit("main", "first", &[("README.md", "hello\n")]);

    for way in [Way::Token, Way::Key] {
        let work = bench.clone_by(way).await;
        let commit = bench.outgoing(&work, "echo x > file", "own").await;

        let answer = bench.push(&work, &commit.sha, "main/topic").await.expect("an answer");

        let PushAnswer::Refused { words } = &answer else { panic!("{way:?}: not refused: {answer:?}") };
        assert!(words.contains("'refs/heads/main' exists"), "{way:?}: {words}");
    }
}

/// A user that was named logs in with the token.
pub async fn whoever_is_named_logs_in_with_the_token(bench: &WorkspaceBench) {
    bench.upstream.commit("main", "first", &[("README.md", "hello\n")]);
    let remote = bench.upstream.remote(Way::Token).await;
    let remote = Remote { user: Some(Secret::new("some one@work".to_owned())), ..remote };
    let (folders, cloned) = bench.try_clone(&order(remote, "main"), &limits()).await;
    let work = Work { folders, cloned: cloned.expect("a clone") };
    let commit = bench.outgoing(&work, "echo x > file", "own").await;

    let answer = bench.push(&work, &commit.sha, "main").await.expect("an answer");

    assert_eq!(answer, PushAnswer::Pushed);
    assert_eq!(bench.upstream.last_user().as_deref(), Some("some one@work"));
}

/// What stands against a push, other than the branch, is named.
pub async fn what_stands_against_a_push_is_named(bench: &WorkspaceBench) {
    let Work { folders, cloned } = bench.work().await;
    let mut work = Work { folders, cloned: cloned.clone() };
    let commit = bench.outgoing(&work, "echo x > file", "own").await;
    let url = format!("{}-missing", cloned.remote.url);
    let wrong = Some(Secret::new("wrong".to_owned()));

    for (remote, expected) in [
        (Remote { url, ..cloned.remote.clone() }, GitProblem::NoSuchRepository),
        (Remote { token: wrong, ..cloned.remote.clone() }, GitProblem::AccessRefused),
        (Remote { token: None, ..cloned.remote.clone() }, GitProblem::AccessRefused),
    ] {
        work.cloned.remote = remote;
        let error = bench.push(&work, &commit.sha, "main").await.expect_err("something stands against it");
        assert_eq!(error.problem, expected, "{}", error.words);
    }
    assert_eq!(bench.upstream.head("main"), Some(cloned.commit));
}

/// A host whose key is not the one that was met is not spoken to.
pub async fn a_host_with_another_key_is_not_spoken_to(bench: &WorkspaceBench) {
    bench.upstream.commit("main", "first", &[("README.md", "hello\n")]);
    let Work { folders, cloned } = bench.clone_by(Way::Key).await;
    let lines = cloned.known_hosts.lines().filter_map(|line| line.split(' ').next());
    let lines: Vec<String> =
        lines.map(|hosts| format!("{hosts} ssh-ed25519 {ANOTHER_HOSTS_KEY}\n")).collect();
    let work = Work { folders, cloned: Cloned { known_hosts: lines.concat(), ..cloned } };
    let commit = bench.outgoing(&work, "echo x > file", "own").await;

    let error = bench.push(&work, &commit.sha, "main").await.expect_err("another host");

    assert_eq!(error.problem, GitProblem::HostKeyChanged, "{}", error.words);
    assert_eq!(bench.upstream.head("main"), Some(work.cloned.commit));
}

/// What the agent has configured neither runs for a push nor leads it elsewhere.
pub async fn what_the_agent_configured_changes_no_push(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let line = "for scope in --local --global; do \
            git config $scope url.http://127.0.0.1:9/.insteadOf http:// && \
            git config $scope remote.origin.pushurl http://127.0.0.1:9/ && \
            git config $scope credential.helper \"!touch $HOME/called; false\" && \
            git config $scope core.hooksPath $HOME/hooks || exit; \
        done && mkdir -p $HOME/hooks .git/hooks && printf '#!/bin/sh\\ntouch \"%s/called\"\\nexit 1\\n' \"$HOME\" \
        | tee $HOME/hooks/pre-push > .git/hooks/pre-push && chmod +x $HOME/hooks/pre-push .git/hooks/pre-push \
        && echo x > file";
    let commit = bench.outgoing(&work, line, "own").await;

    let answer = bench.push(&work, &commit.sha, "main").await.expect("an answer");

    assert_eq!(answer, PushAnswer::Pushed);
    assert_eq!(bench.upstream.head("main"), Some(commit.sha));
    assert!(!work.folders.home.join("called").exists(), "something of the agent's was run");
}
