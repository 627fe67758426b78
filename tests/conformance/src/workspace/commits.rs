//! Committing what the task has changed.

use legwork_ports::workspace::{CloneOrder, CommitOrder, GitProblem};

use super::{
    Way, WorkspaceBench,
    bench::{AGENT, Work, commit_of, limits, order, private_file},
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

/// Globs are those by which files are found: a leading `./`, alternatives, a folder's own name. Where
/// something has changed and no glob matches it, that is told.
pub async fn globs_of_a_commit_are_those_of_files(bench: &WorkspaceBench) {
    let work = bench.work().await;
    bench.shell(&work.folders, "mkdir -p a/b && touch one.txt two.md three.rs a/x a/b/y b").await;
    let some = commit_of(&["./one.txt", "*.{md,none}", "a"]);

    let told = bench.try_commit(&work.folders, Some(&work.cloned), Some(&commit_of(&["none/*"]))).await;
    let committed = bench.try_commit(&work.folders, Some(&work.cloned), Some(&some)).await;

    let told = told.expect("nothing stands against it");
    assert_eq!((told.commit, told.problems.len()), (None, 1));
    assert_eq!(committed.expect("it is committed").problems, Vec::<String>::new());
    let shown = bench.shell(&work.folders, "git show --name-only --format= HEAD").await;
    assert_eq!(shown, "a/b/y\na/x\none.txt\ntwo.md\n");
}

/// What is excepted stays as the last commit has it, whatever the agent has done there and staged.
pub async fn what_is_excepted_is_not_committed(bench: &WorkspaceBench) {
    bench.upstream.commit("main", "before", &[("gone", "1\n"), ("staged", "1\n"), ("folder/deep", "1\n")]);
    let work = bench.work().await;
    let line = "rm gone && echo 2 > staged && git add staged && rm -r folder && echo new > new && git add new \
        && echo x > other";
    bench.shell(&work.folders, line).await;
    let except = ["gone", "staged", "folder", "new", "none"].map(str::to_owned).to_vec();
    let asked_for: [&[&str]; 2] = [&[], &["**"]];

    for globs in asked_for {
        let order = CommitOrder { except: except.clone(), ..commit_of(globs) };
        bench.shell(&work.folders, &format!("echo {} >> other", globs.len())).await;

        bench.commit(&work, Some(&order)).await.expect("a commit");

        let shown = bench.shell(&work.folders, "git show --name-only --format= HEAD").await;
        assert_eq!(shown, "other\n", "{globs:?}");
    }
    let kept = "git show HEAD:gone HEAD:staged HEAD:folder/deep";
    assert_eq!(bench.shell(&work.folders, kept).await, "1\n1\n1\n");
}

/// Files that a merge of the agent's brings to the paths of placed files stay in the repository.
pub async fn what_is_merged_onto_placed_files_is_not_removed(bench: &WorkspaceBench) {
    bench.upstream.commit("main", "first", &[("README.md", "hello\n")]);
    let order = CloneOrder { depth: 0, ..order(bench.upstream.remote(Way::Token).await, "main") };
    let (folders, cloned) = bench.try_clone(&order, &limits()).await;
    let work = Work { folders, cloned: cloned.expect("a clone") };
    let paths = [".env", "a/b"];
    let placed = bench.workspace.place(&work.folders, paths.map(private_file).to_vec()).await;
    let placed = placed.expect("they are placed");
    let line = "git checkout --quiet -b theirs && rm -r .env a && mkdir a && echo T > .env && echo T > a/b \
        && git add --force .env a/b && git commit --quiet --message=theirs && git checkout --quiet main \
        && git merge --quiet theirs && cat .env a/b && echo new > new.txt";
    let merged = bench.shell(&work.folders, line).await;

    bench.workspace.put_back(&work.folders, &placed).await.expect("all is put back");
    let order = CommitOrder { except: placed.paths(), ..commit_of(&[]) };
    bench.commit(&work, Some(&order)).await.expect("a commit");

    assert_eq!(merged, "T\nT\n");
    let look = "git show --name-status --format= HEAD && git ls-tree -r --name-only HEAD";
    let expected = "A\tnew.txt\n.env\nREADME.md\na/b\nnew.txt\n";
    assert_eq!(bench.shell(&work.folders, look).await, expected);
}

/// Repositories that the agent has made in the workspace are left out and told, whether they have commits
/// or not. What links to others in the last commit is committed as everything else.
pub async fn repositories_in_the_workspace_are_left_out_and_told(bench: &WorkspaceBench) {
    bench.upstream.link("main", "module", &"1".repeat(40));
    let work = bench.work().await;
    let line = "git init --quiet empty && : > empty/file && mkdir deep && : > deep/file && git init --quiet deep/own \
        && cd deep/own && : > file && git add file && git commit --quiet --message=own";
    bench.shell(&work.folders, line).await;

    let committed = bench.try_commit(&work.folders, Some(&work.cloned), Some(&commit_of(&[]))).await;

    let committed = committed.expect("it is committed");
    assert!(committed.commit.is_some(), "nothing is committed");
    let told: Vec<&str> = committed.problems.iter().filter_map(|problem| problem.split(' ').next()).collect();
    assert_eq!(told, ["deep/own", "empty"]);
    let look =
        "git show --name-status --format= HEAD && git ls-tree --format='%(objectmode) %(path)' HEAD module";
    assert_eq!(bench.shell(&work.folders, look).await, "A\tdeep/file\n160000 module\n");
}

/// Files in the place of folders, folders in the place of files, and links in the place of either are
/// committed as they are.
pub async fn whatever_takes_anothers_place_is_committed(bench: &WorkspaceBench) {
    let files = [("file", "1\n"), ("folder/x", "1\n"), ("linked/x", "1\n"), ("plain", "1\n")];
    bench.upstream.commit("main", "before", &files);
    let work = bench.work().await;
    let line = "rm file && mkdir file && echo 2 > file/y && rm -r folder && echo 2 > folder && rm plain \
        && ln -s README.md plain && rm -r linked && mkdir new && echo 1 > new/x && ln -s new linked";
    bench.shell(&work.folders, line).await;

    bench.commit(&work, Some(&commit_of(&[]))).await.expect("a commit");

    let look = "git status --porcelain && git ls-tree -r --format='%(objectmode) %(path)' HEAD";
    let expected = "100644 README.md\n100644 file/y\n100644 folder\n120000 linked\n100644 new/x\n120000 plain\n\
        100644 shared.txt\n";
    assert_eq!(bench.shell(&work.folders, look).await, expected);
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

    assert_eq!(none.commit, None);
    assert_eq!(some.commit.expect("a commit").message, "the task's work");
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
