//! Files of the service's where the agent works, for the time of its run.

use std::{collections::BTreeMap, fs};

use legwork_ports::workspace::PlacedFile;

use super::{
    WorkspaceBench,
    bench::{OURS, commit_of, private_file, tree},
};

/// Placed files lie over whatever is there, and all of that is put back.
pub async fn what_lay_under_placed_files_is_put_back(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    let line = "mkdir -p app/folder && echo theirs > app/file && : > app/folder/x && ln -s app link \
        && ln -s app/file linked && echo theirs > over";
    bench.shell(&folders, line).await;
    let before = tree(&folders.work);
    let paths = ["over", "app/file", "app/folder", "link/below", "linked", "new/er/file", "new/other"];

    let placed = bench.workspace.place(&folders, paths.map(private_file).to_vec()).await;
    let placed = placed.expect("they are placed");
    let seen = bench.shell(&folders, &format!("cat {}", paths.join(" "))).await;
    let changed = bench.workspace.put_back(&folders, &placed).await.expect("all is put back");

    assert_eq!(seen, OURS.repeat(paths.len()));
    assert!(changed.is_empty(), "{changed:?}");
    assert_eq!(tree(&folders.work), before);
}

/// Nothing is written through a link, neither when files are placed nor when they are taken away.
pub async fn nothing_is_written_through_a_link(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    fs::write(bench.outside.join("file"), "kept").expect("a file");
    let before = tree(&bench.outside);
    let outside = bench.outside.display();
    let line = format!(
        "ln -s '{outside}' folder && ln -s '{outside}/file' file && ln -s '{outside}/new' dangling && mkdir -p a \
            && ln -s '{outside}' a/b"
    );
    bench.shell(&folders, &line).await;
    let paths = ["folder/file", "file", "dangling", "a/b/new"];

    let placed = bench.workspace.place(&folders, paths.map(private_file).to_vec()).await;
    let placed = placed.expect("they are placed");
    let seen = bench.shell(&folders, &format!("cat {}", paths.join(" "))).await;
    let meanwhile = tree(&bench.outside);
    bench.workspace.put_back(&folders, &placed).await.expect("all is put back");

    assert_eq!(seen, OURS.repeat(paths.len()));
    assert_eq!((&meanwhile, &tree(&bench.outside)), (&before, &before));
}

/// What the agent wrote over placed files is told, by their paths, and is gone. What it put beside
/// them stays.
pub async fn what_was_written_over_placed_files_is_told_and_gone(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    bench.shell(&folders, "echo theirs > more").await;
    let paths = ["more", "folder", "link", "left/alone"];
    let placed = bench.workspace.place(&folders, paths.map(private_file).to_vec()).await;
    let placed = placed.expect("they are placed");
    let line = "echo mine >> more && rm folder && mkdir folder && : > folder/mine && ln -sf /etc/hostname link \
        && echo mine > left/mine";
    bench.shell(&folders, line).await;

    let mut changed = bench.workspace.put_back(&folders, &placed).await.expect("all is put back");

    changed.sort();
    assert_eq!(changed, ["folder", "link", "more"]);
    let left = [("left", ""), ("left/mine", "mine\n"), ("more", "theirs\n")];
    let left = left.map(|(path, holds)| (folders.work.join(path), holds.as_bytes().to_vec()));
    assert_eq!(tree(&folders.work), BTreeMap::from(left));
}

/// Placed files that the agent has removed are no news, and what they lay over is back.
pub async fn placed_files_that_the_agent_removed_are_no_news(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    bench.shell(&folders, "mkdir a && echo theirs > a/b").await;
    let before = tree(&folders.work);
    let paths = ["a/b", "new/file"];
    let placed = bench.workspace.place(&folders, paths.map(private_file).to_vec()).await;
    let placed = placed.expect("they are placed");
    bench.shell(&folders, "rm -r a new").await;

    let changed = bench.workspace.put_back(&folders, &placed).await.expect("all is put back");

    assert!(changed.is_empty(), "{changed:?}");
    assert_eq!(tree(&folders.work), before);
}

/// Links that the agent made on the way to placed files are not followed when things are put back.
pub async fn links_in_the_way_are_not_followed_when_things_are_put_back(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    for name in ["b", "file"] {
        fs::write(bench.outside.join(name), OURS).expect("a file");
    }
    let before = tree(&bench.outside);
    bench.shell(&folders, "mkdir a && echo theirs > a/b").await;
    let paths = ["a/b", "new/file"];
    let placed = bench.workspace.place(&folders, paths.map(private_file).to_vec()).await;
    let placed = placed.expect("they are placed");
    let outside = bench.outside.display();
    bench.shell(&folders, &format!("rm -r a new && ln -s '{outside}' a && ln -s '{outside}' new")).await;

    bench.workspace.put_back(&folders, &placed).await.expect("all is put back");

    assert_eq!(tree(&bench.outside), before);
    assert_eq!(bench.shell(&folders, "cat a/b").await, "theirs\n");
}

/// Paths that are in each other's way are refused before anything is done.
pub async fn paths_in_each_others_way_are_not_placed(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    bench.shell(&folders, "echo theirs > a").await;
    let before = tree(&folders.work);

    for paths in [["b", "b"], ["a", "a/b"], ["new/er/file", "new"]] {
        let placed = bench.workspace.place(&folders, paths.map(private_file).to_vec()).await;
        assert!(placed.is_err(), "{paths:?}");
    }

    assert_eq!(tree(&folders.work), before);
}

/// What the task has put in the place of placed files by now is covered once more and told, and put back
/// in the end in place of what was there before. A file that is there as it was placed stays.
pub async fn what_took_the_place_of_placed_files_is_covered_again(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    bench.shell(&folders, "mkdir a && echo before > a/over").await;
    let paths = ["a/over", "written", "gone", "folder", "kept"];
    let placed = bench.workspace.place(&folders, paths.map(private_file).to_vec()).await;
    let mut placed = placed.expect("they are placed");
    let line =
        "echo after > a/over && echo mine > written && rm gone folder && mkdir folder && : > folder/mine";
    bench.shell(&folders, line).await;
    let again = [paths.as_slice(), &["b/new"]].concat();
    let again: Vec<PlacedFile> = again.into_iter().map(private_file).collect();

    let mut told = bench.workspace.renew(&folders, &mut placed, again).await.expect("they are covered");
    let seen = bench.shell(&folders, "cat a/over written gone folder kept b/new").await;
    let changed = bench.workspace.put_back(&folders, &placed).await.expect("all is put back");

    told.sort();
    assert_eq!(told, ["a/over", "folder", "written"]);
    assert_eq!(seen, OURS.repeat(6));
    assert!(changed.is_empty(), "{changed:?}");
    let left = [("a", ""), ("a/over", "after\n"), ("folder", ""), ("folder/mine", ""), ("written", "mine\n")];
    let left = left.map(|(path, holds)| (folders.work.join(path), holds.as_bytes().to_vec()));
    assert_eq!(tree(&folders.work), BTreeMap::from(left));
}

/// Links that the task has put in the way are not followed when files are covered once more.
pub async fn nothing_is_covered_again_through_a_link(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    fs::write(bench.outside.join("file"), "kept").expect("a file");
    let before = tree(&bench.outside);
    let paths = ["folder/file", "file"];
    let placed = bench.workspace.place(&folders, paths.map(private_file).to_vec()).await;
    let mut placed = placed.expect("they are placed");
    let outside = bench.outside.display();
    let line = format!("rm -r folder file && ln -s '{outside}' folder && ln -s '{outside}/file' file");
    bench.shell(&folders, &line).await;

    let again = paths.map(private_file).to_vec();
    bench.workspace.renew(&folders, &mut placed, again).await.expect("they are covered");
    let seen = bench.shell(&folders, "cat folder/file file").await;
    let meanwhile = tree(&bench.outside);
    bench.workspace.put_back(&folders, &placed).await.expect("all is put back");

    assert_eq!(seen, OURS.repeat(2));
    assert_eq!((&meanwhile, &tree(&bench.outside)), (&before, &before));
    let links = bench.shell(&folders, "readlink folder file").await;
    assert_eq!(links, format!("{outside}\n{outside}/file\n"));
}

/// Files that are covered once more are kept out of commits as those that were covered at first, whatever
/// has become of the repository meanwhile.
pub async fn files_that_are_covered_again_are_kept_out_of_commits(bench: &WorkspaceBench) {
    let work = bench.work().await;
    let file = || PlacedFile { is_private: false, ..private_file("a/settings.json") };
    let placed = bench.workspace.place(&work.folders, vec![file()]).await;
    let mut placed = placed.expect("it is placed");
    let line = "git checkout --quiet -b theirs && echo theirs > a/settings.json && git add --force a/settings.json \
        && git commit --quiet --message=theirs && rm -r .git/info && : > .git/index.lock";
    bench.shell(&work.folders, line).await;

    bench.workspace.renew(&work.folders, &mut placed, vec![file()]).await.expect("it is covered");
    let line = "cat a/settings.json && echo x > new.txt && git add --all && git commit --quiet --message=own \
        && git show --name-only --format= HEAD";
    let seen = bench.shell(&work.folders, line).await;
    bench.workspace.put_back(&work.folders, &placed).await.expect("all is put back");

    assert_eq!(seen, format!("{OURS}new.txt\n"));
    assert_eq!(bench.shell(&work.folders, "cat a/settings.json && git status --porcelain").await, "theirs\n");
}

/// In a repository placed files are kept out of commits, whether they lie over tracked files or not.
pub async fn placed_files_are_kept_out_of_commits(bench: &WorkspaceBench) {
    bench.upstream.commit("main", "before", &[(".env", "A=1\n")]);
    let work = bench.work().await;
    let paths = [".env", ".claude/a [b]*.md"];
    let placed = bench.workspace.place(&work.folders, paths.map(private_file).to_vec()).await;
    let placed = placed.expect("they are placed");

    let line = "echo new > new.txt && git add --all && git commit --quiet --message=own \
        && git show --name-status --format= HEAD && git status --porcelain";
    let committed_by_the_agent = bench.shell(&work.folders, line).await;
    bench.workspace.put_back(&work.folders, &placed).await.expect("all is put back");
    let newest = bench.commit(&work, Some(&commit_of(&[]))).await.expect("a commit");

    assert_eq!(committed_by_the_agent, "A\tnew.txt\n");
    assert_eq!(newest.message, "own", "there is nothing more to commit");
}

/// A git of the agent's that was ended halfway leaves locks, which stand in the way of nobody.
pub async fn a_git_that_was_ended_halfway_stands_in_nobodys_way(bench: &WorkspaceBench) {
    bench.upstream.commit("main", "before", &[(".env", "A=1\n")]);
    let work = bench.work().await;
    let placed = bench.workspace.place(&work.folders, vec![private_file(".env")]).await;
    let placed = placed.expect("it is placed");
    let locks =
        ".git/index.lock .git/HEAD.lock .git/refs/heads/main.lock .git/packed-refs.lock .git/config.lock";
    bench.shell(&work.folders, &format!("echo new > new.txt && touch {locks}")).await;

    let changed = bench.workspace.put_back(&work.folders, &placed).await.expect("all is put back");
    let committed = bench.commit(&work, Some(&commit_of(&[]))).await.expect("a commit");

    assert!(changed.is_empty(), "{changed:?}");
    assert_eq!(committed.message, "the task's work");
    let shown = bench.shell(&work.folders, "git show --name-only --format= HEAD && cat .env").await;
    assert_eq!(shown, "new.txt\nA=1\n");
}
