//! Making and removing folders, and what the agent may do in them.

use std::{collections::BTreeSet, fs};

use legwork_core::id::Attempt;
use legwork_ports::workspace::ConfigFile;

use super::{
    WorkspaceBench,
    bench::{id, quoted, tree},
};

/// The longest word about isolation: it is one of a line's.
const MAX_WORD_BYTES: usize = 64;

fn config_file(name: &str, contents: &str) -> ConfigFile {
    ConfigFile { name: name.to_owned(), contents: contents.into() }
}

/// The folders are made empty, below the attempt's own.
pub async fn folders_are_made_empty(bench: &WorkspaceBench) {
    let folders = bench.folders().await;

    for folder in [&folders.work, &folders.home, &folders.tmp, &folders.spool] {
        assert!(folder.starts_with(&folders.root), "{}", folder.display());
        assert!(tree(folder).is_empty(), "{}", folder.display());
    }
    assert!(folders.config.is_dir(), "{}", folders.config.display());
}

/// What an earlier process of the same attempt left is gone.
pub async fn what_an_earlier_process_left_is_gone(bench: &WorkspaceBench) {
    let before = bench.folders().await;
    let line = "mkdir -p deep/er && : > deep/er/file && ln -s / link && : > $HOME/file && mkfifo fifo && chmod 0 deep";
    bench.shell(&before, line).await;
    bench.workspace.configure(&before, vec![config_file("old.json", "{}")]).await.expect("it is written");

    let after = bench.other.prepare(&id(), Attempt::FIRST).await.expect("folders are made");

    assert_eq!(after.root, before.root);
    assert!(tree(&after.work).is_empty() && tree(&after.home).is_empty(), "files are left");
    assert!(!after.config.join("old.json").exists(), "a config file is left");
}

/// Work, home and the temporary folder are the agent's own, the others are not, and the spool is closed
/// to it.
pub async fn the_agent_changes_its_own_folders_alone(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    let free = !bench.is_held(&folders);

    for own in [&folders.work, &folders.home, &folders.tmp] {
        let line = format!("cd {} && mkdir new && : > new/file && rm -r new", quoted(own));
        assert!(bench.succeeds(&folders, &line).await, "{}", own.display());
    }
    for ours in [&folders.root, &folders.config, &folders.spool] {
        let line = format!(": > {}/new", quoted(ours));
        assert_eq!(bench.succeeds(&folders, &line).await, free, "{}", ours.display());
    }
    let look = format!("ls {}", quoted(&folders.spool));
    assert_eq!(bench.succeeds(&folders, &look).await, free, "the spool");
}

/// Attempts have folders of their own: what the one's agent holds, the other's does not reach.
pub async fn no_attempt_reaches_into_another_one(bench: &WorkspaceBench) {
    let one = bench.folders().await;
    let other = bench.folders_of(Attempt::FIRST.next()).await;
    bench.shell(&one, "echo x > file; echo x > $HOME/file").await;
    bench.workspace.configure(&one, vec![config_file("file", "x")]).await.expect("it is written");
    let free = !bench.is_held(&other);

    assert_ne!(one.root, other.root);
    for folder in [&one.work, &one.home, &one.config] {
        let read = format!("cat {}/file", quoted(folder));
        assert!(bench.succeeds(&one, &read).await, "{}", folder.display());
        assert_eq!(bench.succeeds(&other, &read).await, free, "{}", folder.display());
    }
}

/// The agent reads config files whole, and neither changes nor removes them.
pub async fn config_files_are_the_agents_to_read_and_not_to_change(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    let files = vec![config_file("settings.json", "{\"a\": \"ä\"}\n"), config_file("empty", "")];

    bench.workspace.configure(&folders, files).await.expect("they are written");

    let free = !bench.is_held(&folders);
    let path = quoted(&folders.config.join("settings.json"));
    let read = format!("cat {path} {}", quoted(&folders.config.join("empty")));
    assert_eq!(bench.shell(&folders, &read).await, "{\"a\": \"ä\"}\n");
    for change in [format!("echo x >> {path}"), format!("mv {path} {path}.moved"), format!("rm -f {path}*")] {
        assert_eq!(bench.succeeds(&folders, &change).await, free, "{change}");
    }
}

/// A config file's name is one segment: nothing is written outside of the folder.
pub async fn a_config_file_stays_in_its_folder(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    let absolute = bench.outside.join("file").display().to_string();
    let before = tree(&folders.root);

    for name in ["", ".", "..", "../file", "a/file", "../work/file", absolute.as_str()] {
        let written = bench.workspace.configure(&folders, vec![config_file(name, "x")]).await;
        assert!(written.is_err(), "{name:?}");
    }

    assert_eq!(tree(&folders.root), before);
    assert!(tree(&bench.outside).is_empty(), "something was written outside");
}

/// The agent starts at the top of the workspace, or in a folder below it, made where it is missing.
/// Links inside lead on.
pub async fn the_agent_starts_at_the_top_or_below(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    bench.shell(&folders, "mkdir there && echo kept > there/file && ln -s there link").await;
    let top = fs::canonicalize(&folders.work).expect("the workspace");

    for (relative, expected) in
        [(None, ""), (Some("there"), "there"), (Some("new/er"), "new/er"), (Some("link/sub"), "there/sub")]
    {
        let found = bench.workspace.directory(&folders, relative).await.expect("a folder");

        assert_eq!(found, top.join(expected));
        let line = format!("cd {} && : > mine", quoted(&found));
        assert!(bench.succeeds(&folders, &line).await, "{relative:?} is not the agent's");
    }
    assert_eq!(bench.shell(&folders, "cat there/file").await, "kept\n");
}

/// Links that leave the workspace are refused, and nothing is made behind them.
pub async fn links_that_leave_the_workspace_lead_nowhere(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    let outside = bench.outside.display();
    let line = format!("ln -s '{outside}' out && ln -s '{outside}/missing' dangling && ln -s .. up");
    bench.shell(&folders, &line).await;

    for relative in ["out", "out/new", "dangling", "dangling/new", "up", "up/home", "up/work"] {
        let found = bench.workspace.directory(&folders, Some(relative)).await;
        assert!(found.is_err(), "{relative}: {found:?}");
    }

    assert!(tree(&bench.outside).is_empty(), "something was made outside");
}

/// Nothing is left of what was removed, whatever the agent made of it, and other attempts stay.
pub async fn nothing_is_left_of_what_was_removed(bench: &WorkspaceBench) {
    let one = bench.folders().await;
    let other = bench.folders_of(Attempt::FIRST.next()).await;
    bench.shell(&other, "echo kept > file").await;
    let line = "mkdir -p a/b/c && : > a/b/c/file && mkfifo a/fifo && : > ' -rf' && chmod 0 a/b/c a/b a";
    bench.shell(&one, line).await;

    bench.workspace.remove(&id(), Attempt::FIRST).await.expect("it is removed");

    assert!(fs::symlink_metadata(&one.root).is_err(), "{} is left", one.root.display());
    assert_eq!(bench.shell(&other, "cat file").await, "kept\n");
}

/// Removing what is not there succeeds, whether it ever was there or not.
pub async fn removing_what_is_not_there_succeeds(bench: &WorkspaceBench) {
    bench.folders().await;
    bench.workspace.remove(&id(), Attempt::FIRST).await.expect("it is removed");

    let again = bench.workspace.remove(&id(), Attempt::FIRST).await;
    let never = bench.workspace.remove(&id(), Attempt::FIRST.next()).await;

    assert!(again.is_ok() && never.is_ok(), "{again:?}, {never:?}");
}

/// What another process made is removed as well.
pub async fn what_another_process_made_is_removed(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    bench.shell(&folders, ": > file").await;

    bench.other.remove(&id(), Attempt::FIRST).await.expect("it is removed");

    assert!(fs::symlink_metadata(&folders.root).is_err(), "{} is left", folders.root.display());
}

/// Nothing outside is touched, whatever links the agent made.
pub async fn removing_touches_nothing_outside(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    fs::create_dir(bench.outside.join("folder")).expect("a folder");
    fs::write(bench.outside.join("folder/file"), "kept").expect("a file");
    let before = tree(&bench.outside);
    let outside = bench.outside.display();
    let line = format!(
        "ln -s '{outside}' whole && ln -s '{outside}/folder' $HOME/folder && ln -s '{outside}/folder/file' file"
    );
    bench.shell(&folders, &line).await;

    bench.workspace.remove(&id(), Attempt::FIRST).await.expect("it is removed");

    assert!(fs::symlink_metadata(&folders.root).is_err(), "{} is left", folders.root.display());
    assert_eq!(tree(&bench.outside), before);
}

/// The isolation is told in short words, each by a name of its own.
pub async fn isolation_is_told_in_short_words(bench: &WorkspaceBench) {
    let folders = bench.folders().await;

    let words = bench.workspace.isolation(Some(&folders));

    let names: BTreeSet<&str> = words.iter().map(|(name, _)| name.as_str()).collect();
    assert!(!words.is_empty(), "nothing is told");
    assert_eq!(names.len(), words.len(), "{words:?}");
    for text in words.iter().flat_map(|(name, word)| [name, word]) {
        let is_short = (1..=MAX_WORD_BYTES).contains(&text.len()) && !text.contains(char::is_control);
        assert!(is_short, "{text:?}");
    }
}
