//! Taking commits out of the workspace, and looking through them before they leave.

use std::sync::Arc;

use legwork_core::redact::{Redactor, SecretKind};
use legwork_ports::workspace::{CloneOrder, GitProblem, Leak, Placed, PlacedFile};

use super::{
    Way, WorkspaceBench,
    bench::{OURS, Work, limits, order, private_file},
};

const SECRET: &str = "hunter2-hunter2-hunter2";

/// Looks through what a push of a commit would send to a remote that has what was cloned.
async fn find(bench: &WorkspaceBench, work: &Work, sha: &str, placed: &Placed) -> Option<Leak> {
    find_beyond(bench, work, &work.cloned.known, sha, placed).await
}

async fn find_beyond(
    bench: &WorkspaceBench,
    work: &Work,
    known: &[String],
    sha: &str,
    placed: &Placed,
) -> Option<Leak> {
    let secrets = Arc::new(Redactor::new([(SecretKind::Credential, SECRET)]));
    let found = bench.workspace.find_leak(&work.folders, known, sha, &secrets, placed, &limits()).await;
    found.expect("everything is looked through")
}

fn leak(commit: &str, path: &str) -> Leak {
    Leak { commit: Some(commit.to_owned()), path: Some(path.to_owned()) }
}

/// A commit of which something is missing, or all of it, is not taken out.
pub async fn a_commit_that_is_not_whole_is_not_taken_out(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let line = "echo x > file && git add file && git commit --quiet --message=own && git rev-parse HEAD \
        && name=$(git rev-parse HEAD:file) && rm -f .git/objects/${name%${name#??}}/${name#??}";
    let broken = bench.shell(&work.folders, line).await;

    for sha in [broken.trim_end(), "1234567890123456789012345678901234567890"] {
        let error = bench.take_out(&work, sha).await.expect_err("something is missing");
        assert_eq!(error.problem, GitProblem::Broken, "{sha}: {}", error.words);
    }
}

/// What holds neither a secret nor a placed file has no leak.
pub async fn what_holds_no_secret_has_no_leak(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let placed = Placed { files: vec![private_file(".env")], ..Placed::default() };

    let commit = bench.outgoing(&work, "mkdir a && echo hunter2 > a/file && rm shared.txt", "harmless").await;

    assert_eq!(find(bench, &work, &commit.sha, &placed).await, None);
}

/// A secret in a file is found, with the commit that brought it and the file.
pub async fn a_secret_in_a_file_is_found_where_it_is(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let line = format!("mkdir a && head -c 300000 /dev/zero > a/file && printf 'key={SECRET}' >> a/file");
    let first = bench.outgoing(&work, &line, "leaks").await;

    let second = bench.outgoing(&work, "echo x > other", "does not").await;

    assert_eq!(find(bench, &work, &second.sha, &Placed::default()).await, Some(leak(&first.sha, "a/file")));
}

/// A secret that a later commit has removed would be sent all the same.
pub async fn a_secret_that_was_removed_again_is_found(bench: &WorkspaceBench) {
    let work = bench.work().await;
    bench.outgoing(&work, &format!("echo {SECRET} > file"), "leaks").await;

    let removed = bench.outgoing(&work, "rm file", "removes it").await;

    let found = find(bench, &work, &removed.sha, &Placed::default()).await;
    assert_eq!(found.and_then(|leak| leak.path).as_deref(), Some("file"));
}

/// Secrets in messages and in names are found as those in files are.
pub async fn secrets_in_messages_and_names_are_found(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let told = bench.outgoing(&work, "echo x > one", &format!("uses {SECRET}")).await;
    let named = bench.outgoing(&work, &format!("mkdir a && echo x > a/{SECRET}.txt"), "harmless").await;

    let in_message = find(bench, &work, &told.sha, &Placed::default()).await;
    let known = std::slice::from_ref(&told.sha);
    let in_name = find_beyond(bench, &work, known, &named.sha, &Placed::default()).await;

    assert_eq!(in_message, Some(Leak { commit: Some(told.sha.clone()), path: None }));
    assert!(in_name.is_some(), "nothing is found");
}

/// A secret that the remote has is no leak of this push's.
pub async fn a_secret_that_the_remote_has_is_no_leak(bench: &WorkspaceBench) {
    bench.upstream.commit("main", "theirs", &[("old.txt", SECRET)]);
    let work = bench.clone_by(Way::Token).await;
    let commit = bench.outgoing(&work, "echo x > new.txt", "harmless").await;

    let beyond = find(bench, &work, &commit.sha, &Placed::default()).await;
    let of_all = find_beyond(bench, &work, &[], &commit.sha, &Placed::default()).await;

    assert_eq!(beyond, None);
    assert_eq!(of_all.and_then(|leak| leak.path).as_deref(), Some("old.txt"));
}

/// A secret that any branch of the remote's has is none either, where all of them were cloned.
pub async fn a_secret_of_another_branch_is_no_leak(bench: &WorkspaceBench) {
    bench.upstream.commit("main", "first", &[("README.md", "hello\n")]);
    bench.upstream.commit("other", "theirs", &[("old.txt", SECRET)]);
    let order = CloneOrder { depth: 0, ..order(bench.upstream.remote(Way::Token).await, "main") };
    let (folders, cloned) = bench.try_clone(&order, &limits()).await;
    let work = Work { folders, cloned: cloned.expect("a clone") };
    let merge =
        "git merge --quiet --allow-unrelated-histories --message=merge origin/other && echo x > new.txt";
    let commit = bench.outgoing(&work, merge, "harmless").await;

    let beyond_all = find(bench, &work, &commit.sha, &Placed::default()).await;
    let known = std::slice::from_ref(&work.cloned.commit);
    let beyond_one = find_beyond(bench, &work, known, &commit.sha, &Placed::default()).await;

    assert_eq!(beyond_all, None);
    assert_eq!(beyond_one.and_then(|leak| leak.path).as_deref(), Some("old.txt"));
}

/// A copy of a private file is found wherever it is.
pub async fn a_copy_of_a_private_file_is_found(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let placed = bench.workspace.place(&work.folders, vec![private_file(".env")]).await;
    let placed = placed.expect("it is placed");

    let commit = bench.outgoing(&work, "mkdir a && cp .env a/copy.txt", "copies").await;

    let found = find(bench, &work, &commit.sha, &placed).await;
    assert_eq!(found, Some(leak(&commit.sha, "a/copy.txt")));
}

/// What a private file holds may be anybody's where it is next to nothing; at its path it is found.
pub async fn a_private_file_with_next_to_nothing_in_it_is_found_at_its_path_alone(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let empty = |path: &str| PlacedFile { contents: Vec::new(), ..private_file(path) };
    let brief = PlacedFile { contents: b"todo\n".to_vec(), ..private_file("a/brief.md") };
    let placed = bench.workspace.place(&work.folders, vec![empty("a/empty.md"), brief]).await;
    let placed = placed.expect("they are placed");

    let elsewhere = bench.outgoing(&work, ": > __init__.py && echo todo > notes.md", "the same").await;
    let at_its_path = bench.outgoing(&work, "git add --force a/empty.md", "the file").await;

    assert_eq!(find(bench, &work, &elsewhere.sha, &placed).await, None);
    let found = find(bench, &work, &at_its_path.sha, &placed).await;
    assert_eq!(found, Some(leak(&at_its_path.sha, "a/empty.md")));
}

/// A file that is not private is found at its path; elsewhere its content may be anybody's.
pub async fn a_file_that_is_not_private_is_found_at_its_path_alone(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let file = PlacedFile { is_private: false, ..private_file("a/settings.json") };
    let placed = bench.workspace.place(&work.folders, vec![file]).await.expect("it is placed");

    let elsewhere = bench.outgoing(&work, &format!("printf '{OURS}' > other.json"), "the same").await;
    let at_its_path = bench.outgoing(&work, "git add --force a/settings.json", "the file").await;

    assert_eq!(find(bench, &work, &elsewhere.sha, &placed).await, None);
    let found = find(bench, &work, &at_its_path.sha, &placed).await;
    assert_eq!(found, Some(leak(&at_its_path.sha, "a/settings.json")));
}
