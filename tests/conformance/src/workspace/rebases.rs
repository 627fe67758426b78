//! Putting the task's work on top of what the remote has by now.

use legwork_ports::workspace::{Commit, GitError, GitProblem, PushAnswer, Rebase};

use super::{
    Way, WorkspaceBench,
    bench::{Work, limits},
};

async fn try_rebase(
    bench: &WorkspaceBench,
    work: &Work,
    commit: &Commit,
    branch: &str,
) -> Result<Rebase, GitError> {
    bench.workspace.rebase(&work.folders, &work.cloned, commit, branch, &limits()).await
}

/// Puts the work on top of `main` and pushes the result, which has been taken out.
async fn rebase_and_push(bench: &WorkspaceBench, work: &Work, commit: &Commit) -> Rebase {
    let rebase = try_rebase(bench, work, commit, "main").await.expect("an answer");
    let rebased = rebase.commit.as_ref().expect("it is put on top");
    let answer = bench.push(work, &rebased.sha, "main").await.expect("an answer");
    assert_eq!(answer, PushAnswer::Pushed);
    rebase
}

/// Both sides' work is kept; where both changed the same lines, the task's stand, and the file is told.
pub async fn both_sides_are_kept_and_the_tasks_lines_stand(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let line = "printf 'one\\ntask\\nthree\\n' > shared.txt && echo t > task.txt";
    let commit = bench.outgoing(&work, line, "work of the task").await;
    let files = [("shared.txt", "one\nremote\nthree\n"), ("remote.txt", "r\n")];
    let theirs = bench.upstream.commit("main", "theirs", &files);

    let rebase = rebase_and_push(bench, &work, &commit).await;

    assert_eq!(rebase.remote_sha, theirs);
    assert_eq!(rebase.conflict_files, ["shared.txt"]);
    assert_eq!(bench.upstream.messages("main"), ["work of the task", "theirs", "first"]);
    for (path, expected) in [
        ("shared.txt", "one\ntask\nthree\n"),
        ("task.txt", "t\n"),
        ("remote.txt", "r\n"),
        ("README.md", "hello\n"),
    ] {
        assert_eq!(bench.upstream.file("main", path).as_deref(), Some(expected), "{path}");
    }
}

/// Where the sides have not met there are no conflicts.
pub async fn sides_that_do_not_meet_have_no_conflicts(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let line = "sed -i s/one/ONE/ shared.txt && git commit --quiet --all --message=one && sed -i s/hello/task/ README.md";
    let commit = bench.outgoing(&work, line, "two").await;
    let theirs = bench.upstream.commit("main", "theirs", &[("remote.txt", "r\n")]);

    let rebase = rebase_and_push(bench, &work, &commit).await;

    assert_eq!(rebase.remote_sha, theirs);
    assert!(rebase.conflict_files.is_empty(), "{:?}", rebase.conflict_files);
    assert_eq!(bench.upstream.messages("main"), ["two", "one", "theirs", "first"]);
}

/// Where one side changed what the other removed, the task's side stands as well, also where a later
/// commit makes the file anew.
pub async fn removals_stand_as_lines_do(bench: &WorkspaceBench) {
    bench.upstream.commit("main", "before", &[("removed", "1\n"), ("kept", "1\n"), ("anew", "1\n")]);
    let work = bench.work().await;
    let line = "git rm --quiet removed anew && echo task > kept && git commit --quiet --all --message=one \
        && echo task > anew";
    let commit = bench.outgoing(&work, line, "two").await;
    bench.upstream.commit("main", "theirs", &[("removed", "2\n"), ("anew", "2\n")]);
    bench.upstream.remove("main", "kept");

    let rebase = rebase_and_push(bench, &work, &commit).await;

    let mut conflicts = rebase.conflict_files;
    conflicts.sort();
    assert_eq!(conflicts, ["anew", "kept", "removed"]);
    assert_eq!(bench.upstream.file("main", "removed"), None);
    for path in ["kept", "anew"] {
        assert_eq!(bench.upstream.file("main", path).as_deref(), Some("task\n"), "{path}");
    }
}

/// A file that one side has made a folder of is told by a name that it has.
pub async fn files_that_became_folders_are_told_by_their_names(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let line = "rm shared.txt && mkdir shared.txt && echo t > shared.txt/task";
    let commit = bench.outgoing(&work, line, "own").await;
    bench.upstream.commit("main", "theirs", &[("shared.txt", "changed\n")]);

    let rebase = try_rebase(bench, &work, &commit, "main").await.expect("an answer");

    assert_eq!(rebase.conflict_files, ["shared.txt"]);
}

/// Where the branch has all of the work already, what it has is told: there is nothing to push.
pub async fn of_work_that_the_branch_has_nothing_is_left(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let commit = bench.outgoing(&work, "echo same > new.txt", "own").await;
    let theirs = bench.upstream.commit("main", "theirs", &[("new.txt", "same\n")]);

    let rebase = try_rebase(bench, &work, &commit, "main").await.expect("an answer");

    assert_eq!(rebase.remote_sha, theirs);
    let left = rebase.commit.expect("it is put on top");
    assert_eq!((left.sha, left.message.as_str()), (theirs, "theirs"));
}

/// Work that a rebase would lose is told to be none: a commit without a past does not tell what it removes.
pub async fn work_that_a_rebase_would_lose_is_none(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let line = "git rm --quiet shared.txt && git commit --quiet --amend --message=anew && git rev-parse HEAD";
    let sha = bench.shell(&work.folders, line).await.trim_end().to_owned();
    bench.take_out(&work, &sha).await.expect("it is taken out");
    let committer = ("Agent".to_owned(), "agent@example.com".to_owned());
    let commit = Commit { sha, message: "anew".to_owned(), committer };

    let rebase = try_rebase(bench, &work, &commit, "main").await.expect("an answer");

    assert_eq!((rebase.commit, rebase.remote_sha), (None, work.cloned.commit));
}

/// Where nothing is left of the newest commit, the one before it is told, with its message.
pub async fn the_newest_commit_that_is_left_is_told(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let line =
        "echo 1 > one.txt && git add one.txt && git commit --quiet --message=one && echo same > new.txt";
    let commit = bench.outgoing(&work, line, "two").await;
    bench.upstream.commit("main", "theirs", &[("new.txt", "same\n")]);

    let rebase = rebase_and_push(bench, &work, &commit).await;

    assert_eq!(rebase.commit.expect("it is put on top").message, "one");
    assert_eq!(bench.upstream.messages("main"), ["one", "theirs", "first"]);
}

/// Where both sides let a link to another repository point elsewhere, the task's stands.
pub async fn what_the_task_points_to_stands(bench: &WorkspaceBench) {
    let [base, task, remote] = ["1", "2", "3"].map(|digit| digit.repeat(40));
    bench.upstream.link("main", "library", &base);
    let work = bench.work().await;
    let line =
        format!("git update-index --cacheinfo 160000,{task},library && git commit --quiet --message=link");
    let commit = bench.outgoing(&work, &format!("{line} && echo x > file"), "own").await;
    bench.upstream.link("main", "library", &remote);

    let rebase = rebase_and_push(bench, &work, &commit).await;

    assert_eq!(rebase.conflict_files, ["library"]);
    assert_eq!(bench.upstream.linked("main", "library"), Some(task));
    assert_eq!(bench.upstream.file("main", "file").as_deref(), Some("x\n"));
}

/// A message is kept as it is, whatever it holds and whatever had to be decided.
pub async fn a_message_is_kept_by_a_rebase_whatever_it_holds(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let message = "#1: a title\n\n# No comment, but a heading\n\n#2\ntext";
    let commit = bench.outgoing(&work, "rm shared.txt", message).await;
    bench.upstream.commit("main", "theirs", &[("shared.txt", "changed\n")]);

    rebase_and_push(bench, &work, &commit).await;

    assert_eq!(bench.upstream.messages("main"), [message, "theirs", "first"]);
    assert_eq!(bench.upstream.file("main", "shared.txt"), None);
}

/// Work that cannot be put on top of what the remote has is told to be none, and nothing is pushed.
pub async fn work_that_cannot_be_put_on_top_is_none(bench: &WorkspaceBench) {
    let unrelated = bench.upstream.commit("other", "unrelated", &[("other.txt", "o\n")]);
    let work = bench.work().await;
    // Nothing of what was cloned is below it, and nothing of it on the other branch.
    let commit = bench.outgoing(&work, "git checkout --quiet --orphan alone && echo x > file", "own").await;

    let rebase = try_rebase(bench, &work, &commit, "other").await.expect("an answer");

    let expected = Rebase { commit: None, remote_sha: unrelated.clone(), conflict_files: Vec::new() };
    assert_eq!(rebase, expected);
    assert_eq!(bench.upstream.head("other"), Some(unrelated));
}

/// A branch that is missing is named.
pub async fn a_branch_that_is_missing_is_named_by_a_rebase(bench: &WorkspaceBench) {
    bench.upstream.commit("main", "first", &[("README.md", "hello\n")]);
    let work = bench.clone_by(Way::Token).await;
    let commit = bench.outgoing(&work, "echo x > file", "own").await;

    let error = try_rebase(bench, &work, &commit, "none").await.expect_err("no such branch");

    assert_eq!(error.problem, GitProblem::NoSuchBranch { branch: "none".to_owned() }, "{}", error.words);
}
