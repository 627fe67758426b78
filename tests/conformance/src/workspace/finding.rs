//! Finding files that leave the workspace, and opening them.

use std::{io::Read as _, time::Duration};

use legwork_ports::workspace::{Folders, FoundFiles};
use tokio::time::timeout;

use super::{WorkspaceBench, bench::PATIENCE};

/// How long opening a file may take: nobody is waited for.
const AT_ONCE: Duration = Duration::from_secs(10);

async fn find(bench: &WorkspaceBench, folders: &Folders, globs: &[&str]) -> FoundFiles {
    let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
    let finding = timeout(PATIENCE, bench.workspace.find_files(folders, &globs));
    finding.await.expect("in time").expect("files are found")
}

async fn paths(bench: &WorkspaceBench, folders: &Folders, globs: &[&str]) -> Vec<String> {
    find(bench, folders, globs).await.files.into_iter().map(|file| file.path).collect()
}

/// `*` stays in a folder, `**` does not.
pub async fn files_are_found_by_stars_that_stay_in_folders_and_stars_that_do_not(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    bench.shell(&folders, "mkdir -p b/d && touch a.log b/c.log b/d/e.log b/d/f.txt").await;

    let cases: [(&str, &[&str]); 6] = [
        ("*.log", &["a.log"]),
        ("*/*.log", &["b/c.log"]),
        ("**/*.log", &["a.log", "b/c.log", "b/d/e.log"]),
        ("b/**", &["b/c.log", "b/d/e.log", "b/d/f.txt"]),
        ("b/d/f.txt", &["b/d/f.txt"]),
        ("none/**", &[]),
    ];

    for (glob, expected) in cases {
        assert_eq!(paths(bench, &folders, &[glob]).await, expected, "{glob}");
    }
}

/// Names with a leading dot match; `.git` and `node_modules` are never entered, whatever is asked for.
pub async fn names_with_dots_are_found_and_some_folders_never_entered(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    let line = "mkdir -p .dir .git a/.git node_modules/x a/node_modules && touch .dot .dir/file .git/config \
        a/.git/config node_modules/x/y a/node_modules/z a/file";
    bench.shell(&folders, line).await;

    assert_eq!(paths(bench, &folders, &["**"]).await, [".dir/file", ".dot", "a/file"]);
    assert_eq!(paths(bench, &folders, &["*"]).await, [".dot"]);
    let never = [".git/config", "**/.git/*", "node_modules/**", "a/node_modules/z"];
    assert!(paths(bench, &folders, &never).await.is_empty(), "what is never entered is found");
}

/// Links are not followed, and only regular files are found.
pub async fn links_are_not_followed_to_find_files(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    let line = "mkdir real && touch real/file && ln -s real linked && ln -s real/file link && ln -s / machine \
        && ln -s . loop && mkfifo fifo";
    bench.shell(&folders, line).await;

    let found = paths(bench, &folders, &["**", "linked/*", "machine/etc/*", "loop/real/*"]).await;

    assert_eq!(found, ["real/file"]);
}

/// Each file is found once, however many globs match it, with its size.
pub async fn a_file_is_found_once_with_its_size(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    bench.shell(&folders, "printf 12345 > b.log && : > a.log").await;

    let found = find(bench, &folders, &["*.log", "b.*", "**", "b.log"]).await;

    let found: Vec<(String, u64)> =
        found.files.into_iter().map(|file| (file.path, file.size_bytes)).collect();
    assert_eq!(found, [("a.log".to_owned(), 0), ("b.log".to_owned(), 5)]);
}

/// What is no name for an object, and a glob that is none, are told; everything else is found.
pub async fn what_cannot_be_found_is_told(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    bench.shell(&folders, "touch ok \"$(printf 'two\\nlines')\" 'back\\slash'").await;

    let found = find(bench, &folders, &["[", "**"]).await;

    let paths: Vec<&str> = found.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["ok"]);
    assert_eq!(found.problems.len(), 3, "{:?}", found.problems);
}

/// A regular file is opened for reading.
pub async fn a_regular_file_is_opened(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    bench.shell(&folders, "mkdir a && echo content > 'a/b c.txt'").await;

    let mut file = bench.workspace.open_file(&folders, "a/b c.txt").await.expect("it is opened");

    let mut content = String::new();
    file.read_to_string(&mut content).expect("it is read");
    assert_eq!(content, "content\n");
}

/// What is no regular file, and what is behind a link or outside, is not opened; nobody is waited for.
pub async fn what_is_no_regular_file_is_not_opened(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    let line = "mkdir a && echo x > a/file && ln -s a/file link && ln -s a folder && ln -s /etc/passwd out \
        && mkfifo fifo && echo x > $HOME/file";
    bench.shell(&folders, line).await;

    for path in ["link", "folder/file", "out", "fifo", "a", "../home/file", "/etc/passwd", "missing", ""] {
        let opened = timeout(AT_ONCE, bench.workspace.open_file(&folders, path)).await;
        assert!(opened.expect("it waits for nobody").is_err(), "{path:?} is opened");
    }
}
