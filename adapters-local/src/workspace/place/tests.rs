//! What is put there, what is put back, and what is never touched.

use std::os::unix::fs::symlink;

use legwork_ports::agent::FileReach;
use tempfile::TempDir;

use super::*;

struct Fixture {
    folders: Folders,
    _folder: TempDir,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_path_buf();
    let work = root.join("work");
    fs::create_dir(&work).unwrap();
    let folders = Folders {
        home: root.join("home"),
        tmp: root.join("tmp"),
        config: root.join("config"),
        spool: root.join("spool"),
        root,
        work,
        user: None,
        runs_as_root: false,
        reach: FileReach::default(),
    };
    Fixture { folders, _folder: folder }
}

fn file(path: &str) -> PlacedFile {
    PlacedFile { path: path.to_owned(), contents: b"ours".to_vec(), is_private: true }
}

/// Everything below a folder: paths, and what files hold or links point to.
fn tree(folder: &Path) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    for entry in walkdir::WalkDir::new(folder).min_depth(1).sort_by_file_name() {
        let entry = entry.unwrap();
        let content = match entry.file_type() {
            kind if kind.is_file() => fs::read_to_string(entry.path()).unwrap(),
            kind if kind.is_symlink() => format!("-> {}", fs::read_link(entry.path()).unwrap().display()),
            _ => String::new(),
        };
        rows.push((entry.path().strip_prefix(folder).unwrap().display().to_string(), content));
    }
    rows
}

#[test]
fn everything_is_back_as_it_was() {
    let fixture = fixture();
    let work = &fixture.folders.work;
    fs::create_dir_all(work.join("app/.claude")).unwrap();
    fs::write(work.join("app/.claude/settings.json"), "theirs").unwrap();
    fs::write(work.join(".env"), "A=1").unwrap();
    symlink("/etc", work.join(".claude")).unwrap();
    let before = tree(work);
    let files = [".env", ".claude/commands/a.md", "app/.claude/settings.json", "app/.claude/agents/b.md"];

    let placed = place(&fixture.folders, files.map(file).to_vec()).unwrap();
    for path in files {
        assert_eq!(fs::read_to_string(work.join(path)).unwrap(), "ours");
    }
    let changed = put_back(&fixture.folders, &placed).unwrap();

    assert_eq!(changed, Vec::<String>::new());
    assert_eq!(tree(work), before);
}

#[test]
fn nothing_is_written_through_a_link() {
    let fixture = fixture();
    let outside = fixture.folders.root.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "theirs").unwrap();
    symlink(&outside, fixture.folders.work.join(".claude")).unwrap();
    symlink(outside.join("file"), fixture.folders.work.join(".env")).unwrap();
    symlink("dangling", fixture.folders.work.join("link")).unwrap();

    let files = vec![file(".env"), file(".claude/x.md"), file("link")];
    let placed = place(&fixture.folders, files).unwrap();
    put_back(&fixture.folders, &placed).unwrap();

    assert_eq!(tree(&outside), [("file".to_owned(), "theirs".to_owned())]);
}

#[test]
fn what_the_agent_wrote_there_is_told_and_gone() {
    let fixture = fixture();
    let work = &fixture.folders.work;
    fs::write(work.join(".env"), "A=1").unwrap();
    let placed = place(&fixture.folders, vec![file(".env"), file(".claude/a.md")]).unwrap();
    fs::write(work.join(".env"), "ours and more").unwrap();
    fs::remove_file(work.join(".claude/a.md")).unwrap();
    fs::write(work.join(".claude/mine.md"), "mine").unwrap();

    let changed = put_back(&fixture.folders, &placed).unwrap();

    assert_eq!(changed, [".env"]);
    let rows = [(".claude", ""), (".claude/mine.md", "mine"), (".env", "A=1")];
    assert_eq!(tree(work), rows.map(|(path, content)| (path.to_owned(), content.to_owned())));
}

#[test]
fn links_that_the_agent_made_in_the_way_are_not_followed() {
    let fixture = fixture();
    let (work, outside) = (&fixture.folders.work, fixture.folders.root.join("outside"));
    fs::create_dir_all(work.join("a")).unwrap();
    fs::write(work.join("a/b"), "theirs").unwrap();
    let placed = place(&fixture.folders, vec![file("a/b")]).unwrap();
    fs::remove_dir_all(work.join("a")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("b"), "ours").unwrap();
    symlink(&outside, work.join("a")).unwrap();

    put_back(&fixture.folders, &placed).unwrap();

    assert_eq!(fs::read_to_string(outside.join("b")).unwrap(), "ours");
    assert_eq!(fs::read_to_string(work.join("a/b")).unwrap(), "theirs");
}

#[test]
fn paths_that_leave_the_workspace_are_refused() {
    let fixture = fixture();

    for path in ["", "/etc/x", "../x", "a/../../x", "a//b", "./a"] {
        assert!(place(&fixture.folders, vec![file(path)]).is_err(), "{path}");
    }
}

#[test]
fn paths_in_each_others_way_are_refused_before_anything_is_done() {
    let fixture = fixture();
    fs::write(fixture.folders.work.join("a"), "theirs").unwrap();

    for paths in [["a", "a"], ["a", "a/b"], ["a/b/c", "a"]] {
        let error = place(&fixture.folders, paths.map(file).to_vec()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{paths:?}");
    }

    assert_eq!(tree(&fixture.folders.work), [("a".to_owned(), "theirs".to_owned())]);
    assert!(place(&fixture.folders, ["a", "a-b", "ab"].map(file).to_vec()).is_ok());
}

#[test]
fn what_stands_in_the_place_of_a_file_is_covered_again_and_put_back() {
    let fixture = fixture();
    let work = &fixture.folders.work;
    fs::write(work.join("over"), "before").unwrap();
    let paths = ["over", "new", "kept", "gone", "folder"];
    let mut placed = place(&fixture.folders, paths.map(file).to_vec()).unwrap();
    fs::write(work.join("over"), "after").unwrap();
    fs::write(work.join("new"), "mine").unwrap();
    fs::remove_file(work.join("gone")).unwrap();
    fs::remove_file(work.join("folder")).unwrap();
    fs::create_dir(work.join("folder")).unwrap();
    fs::write(work.join("folder/mine"), "mine").unwrap();

    let mut found = renew(&fixture.folders, &mut placed, paths.map(file).to_vec()).unwrap();
    for path in paths {
        assert_eq!(fs::read_to_string(work.join(path)).unwrap(), "ours", "{path}");
    }
    let changed = put_back(&fixture.folders, &placed).unwrap();

    found.sort();
    assert_eq!(found, ["folder", "new", "over"]);
    assert!(changed.is_empty(), "{changed:?}");
    let rows = [("folder", ""), ("folder/mine", "mine"), ("new", "mine"), ("over", "after")];
    assert_eq!(tree(work), rows.map(|(path, content)| (path.to_owned(), content.to_owned())));
}

#[test]
fn a_folder_that_became_a_link_is_covered_again_and_not_followed() {
    let fixture = fixture();
    let (work, outside) = (&fixture.folders.work, fixture.folders.root.join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::create_dir(work.join("a")).unwrap();
    fs::write(work.join("a/b"), "theirs").unwrap();
    let mut placed = place(&fixture.folders, vec![file("a/b")]).unwrap();
    fs::remove_dir_all(work.join("a")).unwrap();
    symlink(&outside, work.join("a")).unwrap();

    let found = renew(&fixture.folders, &mut placed, vec![file("a/b")]).unwrap();
    let seen = fs::read_to_string(work.join("a/b")).unwrap();
    put_back(&fixture.folders, &placed).unwrap();

    assert_eq!((found, seen.as_str()), (vec!["a/b".to_owned()], "ours"));
    assert!(tree(&outside).is_empty());
    assert_eq!(tree(work), [("a".to_owned(), format!("-> {}", outside.display()))]);
}

#[test]
fn a_file_that_was_not_placed_before_is_added() {
    let fixture = fixture();
    let work = &fixture.folders.work;
    let mut placed = place(&fixture.folders, vec![file("a/one")]).unwrap();

    let found = renew(&fixture.folders, &mut placed, vec![file("a/b/two")]).unwrap();
    assert_eq!(fs::read_to_string(work.join("a/b/two")).unwrap(), "ours");
    put_back(&fixture.folders, &placed).unwrap();

    assert_eq!((found.len(), tree(work).len()), (0, 0));
}
