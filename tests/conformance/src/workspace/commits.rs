//! Committing what the task has changed.

use legwork_ports::workspace::{CloneOrder, CommitOrder, GitProblem};

use super::{
    Way, WorkspaceBench,
    bench::{AGENT, Work, commit_of, limits, order},
};

/// Where nothing was changed there is no commit.
pub async fn nothing_changed_is_no_commit(bench: &WorkspaceBench) {
    let work = bench.work().await;

    let unasked = bench.commit(&work, None).await;
    let asked = bench.commit(&work, Some(&commit_of(&[]))).await;

    assert_eq!((unasked, asked), (None, None));
}

/// What the task has changed, made and removed is committed, with the message as it was given.
pub async fn what_the_task_has_changed_is_committed(bench: &WorkspaceBench) {
    let work = bench.work().await;
    bench.shell(&work.folders, "echo more >> README.md && echo new > new.txt && rm shared.txt").await;
    let message = "the task's work\n\n# No comment, but a heading\n\ntext";
    let order = CommitOrder { message: message.to_owned(), ..commit_of(&[]) };

    let commit = bench.commit(&work, Some(&order)).await.expect("a commit");

    assert_eq!(commit.message, message);
    let look = "git rev-parse HEAD && git status --porcelain && git show --name-status --format= HEAD \
        && git log -1 --format=%B && git rev-parse --abbrev-ref HEAD";
    let expected = format!("{}\nM\tREADME.md\nA\tnew.txt\nD\tshared.txt\n{message}\n\nmain\n", commit.sha);
    assert_eq!(bench.shell(&work.folders, look).await, expected);
}

/// The newest commit of the task's is found, whoever made it, whether something is to be committed or
/// not.
pub async fn a_commit_of_the_agents_own_is_found(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let line = "for n in 1 2; do echo $n > file && git add file && git commit --quiet --message=own$n; done \
        && git rev-parse HEAD";
    let sha = bench.shell(&work.folders, line).await;

    let unasked = bench.commit(&work, None).await.expect("a commit");
    let asked = bench.commit(&work, Some(&commit_of(&[]))).await.expect("a commit");

    let (name, email) = &unasked.committer;
    assert_eq!((unasked.sha.as_str(), unasked.message.as_str()), (sha.trim_end(), "own2"));
    assert_eq!((name.as_str(), email.as_str()), AGENT);
    assert_eq!(unasked, asked);
}

/// A commit that the remote has is not the task's, also where the agent has gone back to it.
pub async fn an_older_commit_is_not_the_tasks(bench: &WorkspaceBench) {
    for message in ["first", "second"] {
        bench.upstream.commit("main", message, &[("file", message)]);
    }
    let order = CloneOrder { depth: 0, ..order(bench.upstream.remote(Way::Token).await, "main") };
    let (folders, cloned) = bench.try_clone(&order, &limits()).await;
    let work = Work { folders, cloned: cloned.expect("a clone") };
    bench.shell(&work.folders, "git checkout --quiet HEAD~1").await;

    assert_eq!(bench.commit(&work, Some(&commit_of(&[]))).await, None);
}

/// Globs choose what is committed, and nothing else is, whatever the agent has staged.
pub async fn globs_choose_what_is_committed(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let line = "mkdir -p src/deep docs && touch src/a src/deep/b docs/x.md top.md other && git add other docs \
        && echo more >> README.md && rm shared.txt";
    bench.shell(&work.folders, line).await;

    let none = bench.commit(&work, Some(&commit_of(&["none/**"]))).await;
    let some = bench.commit(&work, Some(&commit_of(&["src/**", "*.md", "shared.txt"]))).await;

    assert_eq!(none, None);
    assert!(some.is_some(), "something was changed");
    let shown = bench.shell(&work.folders, "git show --name-status --format= HEAD").await;
    assert_eq!(shown, "M\tREADME.md\nD\tshared.txt\nA\tsrc/a\nA\tsrc/deep/b\nA\ttop.md\n");
    let left = bench.shell(&work.folders, "git status --porcelain | cut -c4-").await;
    assert_eq!(left, "docs/\nother\n");
}

/// Who commits is whom the repository names, else whom the order does.
pub async fn who_commits_is_whom_the_repository_names(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let in_file = "printf '[user]\\nname = File\\nemail = file@example.com\\n' > .gitconfig";

    for (line, expected) in [
        ("echo 1 > file", ("Service", "service@example.com")),
        ("git config user.name Repository && echo 2 > file", ("Repository", "service@example.com")),
        ("git config user.email r@example.com && echo 3 > file", ("Repository", "r@example.com")),
        (in_file, ("File", "file@example.com")),
    ] {
        bench.shell(&work.folders, line).await;

        let commit = bench.commit(&work, Some(&commit_of(&[]))).await.expect("a commit");

        let (name, email) = &commit.committer;
        assert_eq!((name.as_str(), email.as_str()), expected, "{line}");
        let author = bench.shell(&work.folders, "git log -1 --format='%an <%ae>'").await;
        assert_eq!(author, format!("{name} <{email}>\n"), "{line}");
    }
}

/// A repository that the agent made itself is committed to.
pub async fn a_repository_that_the_agent_made_is_committed_to(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    bench.shell(&folders, "git init --quiet && echo x > file").await;

    let none = bench.try_commit(&folders, None, None).await.expect("it is a repository");
    let some = bench.try_commit(&folders, None, Some(&commit_of(&[]))).await.expect("it is committed");

    assert_eq!(none, None);
    assert_eq!(some.expect("a commit").message, "the task's work");
    assert_eq!(bench.shell(&folders, "git show --name-only --format= HEAD").await, "file\n");
}

/// What the agent has configured runs as the agent's user and sees no credentials.
pub async fn what_the_agent_configured_runs_as_the_agent_and_sees_no_credentials(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let line = "git config filter.tell.clean 'id -u > \"$HOME/who\"; env > \"$HOME/env\"; cat' \
        && echo '* filter=tell' > .gitattributes && echo x > file && id -u";
    let agent = bench.shell(&work.folders, line).await;

    bench.commit(&work, Some(&commit_of(&[]))).await.expect("a commit");

    let token = work.cloned.remote.token.as_ref().expect("a token").expose();
    assert_eq!(bench.shell(&work.folders, "cat $HOME/who").await, agent);
    let seen = bench.shell(&work.folders, "cat $HOME/env").await;
    assert!(seen.contains("HOME=") && !seen.contains(token.as_str()), "{seen}");
}

/// A workspace that is no repository is told as such.
pub async fn a_workspace_that_is_no_repository_is_broken(bench: &WorkspaceBench) {
    let work = bench.work().await;
    bench.shell(&work.folders, "rm -rf .git && echo x > file").await;

    for order in [None, Some(&commit_of(&[]))] {
        let committed = bench.try_commit(&work.folders, Some(&work.cloned), order).await;
        let error = committed.expect_err("no repository");
        assert_eq!(error.problem, GitProblem::Broken, "{}", error.words);
    }
}
