//! Cloning a repository into a workspace.

use legwork_ports::workspace::CloneOrder;

use super::{
    Way, WorkspaceBench,
    bench::{SERVICE, holders, limits, order, telling},
};

/// The clone is the agent's own repository, with the branch checked out, and what was cloned is told.
pub async fn a_clone_is_the_agents_own_with_its_branch_checked_out(bench: &WorkspaceBench) {
    bench.upstream.commit("main", "first", &[("README.md", "hello\n")]);
    let sha = bench.upstream.commit("topic/one", "second", &[("a b/ü.txt", "deep\n")]);
    let order = order(bench.upstream.remote(Way::Token).await, "topic/one");

    let (folders, cloned) = bench.try_clone(&order, &limits()).await;

    let cloned = cloned.expect("a clone");
    assert_eq!((cloned.branch.as_str(), &cloned.commit), ("topic/one", &sha));
    assert_eq!(cloned.remote.url, order.remote.url);
    let look =
        "git rev-parse --abbrev-ref HEAD && git rev-parse HEAD && git status --porcelain && cat 'a b/ü.txt'";
    assert_eq!(bench.shell(&folders, look).await, format!("topic/one\n{sha}\ndeep\n"));
    let change = "echo x > x && git add x && git commit --quiet --message=own && git log --format=%s";
    assert_eq!(bench.shell(&folders, change).await, "own\nsecond\n");
}

/// The origin is the address without credentials, which are nowhere when the clone is done.
pub async fn a_clone_leaves_no_credentials(bench: &WorkspaceBench) {
    bench.upstream.commit("main", "first", &[("README.md", "hello\n")]);

    for way in [Way::Token, Way::Key] {
        let work = bench.clone_by(way).await;

        let remote = &work.cloned.remote;
        let secret = telling(remote.token.as_ref().or(remote.ssh_key.as_ref()).expect("a credential"));
        let origin = bench.shell(&work.folders, "git remote get-url origin").await;
        assert_eq!(origin.trim_end(), remote.url);
        assert!(!origin.contains(secret), "{way:?}: the address tells it");
        let found = holders(&work.folders.root, secret);
        assert!(found.is_empty(), "{way:?}: {found:?}");
    }
}

/// As many commits are fetched as were ordered, and all of all branches for 0. Commits whose parents
/// were not fetched are told.
pub async fn a_clone_has_as_many_commits_as_were_ordered(bench: &WorkspaceBench) {
    bench.upstream.commit("other", "elsewhere", &[("other.txt", "o\n")]);
    let shas =
        ["first", "second", "third"].map(|message| bench.upstream.commit("main", message, &[(message, "x")]));
    let [_, second, third] = &shas;
    let (main, other) = ("refs/remotes/origin/main\n", "refs/remotes/origin/other\n");

    for (depth, messages, shallow, branches) in [
        (1, "third\n", vec![third.clone()], main.to_owned()),
        (2, "third\nsecond\n", vec![second.clone()], main.to_owned()),
        (0, "third\nsecond\nfirst\n", Vec::new(), format!("{main}{other}")),
    ] {
        let remote = bench.upstream.remote(Way::Token).await;
        let order = CloneOrder { depth, ..order(remote, "main") };

        let (folders, cloned) = bench.try_clone(&order, &limits()).await;

        assert_eq!(cloned.expect("a clone").shallow, shallow, "{depth}");
        assert_eq!(bench.shell(&folders, "git log --format=%s").await, messages, "{depth}");
        let list = "git for-each-ref --format='%(refname)' refs/remotes";
        assert_eq!(bench.shell(&folders, list).await, branches, "{depth}");
    }
}

/// The newest commits of all branches that were fetched are told: the remote has them.
pub async fn what_the_remote_has_is_told(bench: &WorkspaceBench) {
    let other = bench.upstream.commit("other", "elsewhere", &[("other.txt", "o\n")]);
    let main = bench.upstream.commit("main", "first", &[("README.md", "hello\n")]);

    for (depth, mut expected) in [(1, vec![main.clone()]), (0, vec![main, other])] {
        let remote = bench.upstream.remote(Way::Token).await;
        let (_, cloned) = bench.try_clone(&CloneOrder { depth, ..order(remote, "main") }, &limits()).await;

        let mut known = cloned.expect("a clone").known;
        known.sort();
        expected.sort();
        assert_eq!(known, expected, "{depth}");
    }
}

/// An agent that names nobody commits as the order says; one that names somebody, as that one.
pub async fn an_agent_that_names_nobody_commits_all_the_same(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let commit = "env -u GIT_AUTHOR_NAME -u GIT_AUTHOR_EMAIL -u GIT_COMMITTER_NAME -u GIT_COMMITTER_EMAIL \
        git commit --quiet --allow-empty --message=own && git log -1 --format='%an <%ae> %cn <%ce>'";

    let unnamed = bench.shell(&work.folders, commit).await;
    let named = bench.shell(&work.folders, &format!("git config user.name Me && {commit}")).await;

    let (name, email) = SERVICE;
    assert_eq!(unnamed, format!("{name} <{email}> {name} <{email}>\n"));
    assert_eq!(named, format!("Me <{email}> Me <{email}>\n"));
}

/// Where only the network failed it is tried again.
pub async fn a_clone_is_tried_again_where_the_network_failed(bench: &WorkspaceBench) {
    bench.upstream.commit("main", "first", &[("README.md", "hello\n")]);
    bench.upstream.fail_next_request();

    let work = bench.clone_by(Way::Token).await;

    assert_eq!(bench.shell(&work.folders, "cat README.md").await, "hello\n");
}
