//! Putting files of the service's into the workspace for the time of the run, and taking them away.
//!
//! Nothing of the task runs meanwhile, but what lies there may be anything: links to the outside in
//! the place of files and folders. Whatever stands in the way is moved into a stash that the agent
//! cannot reach, links themselves and not what they point to, and is moved back afterwards.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, fchown, lchown},
    path::{Path, PathBuf},
};

use legwork_ports::workspace::{Folders, Placed, PlacedFile};
use rustix::fs::OFlags;

use super::removal::remove_folder;

/// Where what was moved away waits.
fn stash(folders: &Folders) -> PathBuf {
    folders.root.join("stash")
}

/// Puts the files there.
pub(super) fn place(folders: &Folders, files: Vec<PlacedFile>) -> io::Result<Placed> {
    let mut placed = Placed::default();
    for file in files {
        let parents = file.path.match_indices('/').filter_map(|(end, _)| file.path.get(..end));
        for parent in parents {
            make_parent(folders, parent, &mut placed)?;
        }
        move_away(folders, &file.path, &mut placed)?;
        write(folders, &file)?;
        placed.files.push(file);
    }
    Ok(placed)
}

fn check(path: &str) -> io::Result<()> {
    let is_bad = |segment: &str| matches!(segment, "" | "." | "..") || segment.contains('\0');
    if path.split('/').any(is_bad) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no path below the workspace"));
    }
    Ok(())
}

fn make_parent(folders: &Folders, path: &str, placed: &mut Placed) -> io::Result<()> {
    check(path)?;
    let place = folders.work.join(path);
    match fs::symlink_metadata(&place) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => move_away(folders, path, placed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    DirBuilder::new().mode(0o755).create(&place)?;
    lchown(&place, folders.user, folders.user)?;
    placed.folders.push(path.to_owned());
    Ok(())
}

/// Moves what is at a path into the stash.
fn move_away(folders: &Folders, path: &str, placed: &mut Placed) -> io::Result<()> {
    check(path)?;
    let place = folders.work.join(path);
    match fs::symlink_metadata(&place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    match DirBuilder::new().mode(0o700).create(stash(folders)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let name = placed.covered.len().to_string();
    fs::rename(&place, stash(folders).join(&name))?;
    placed.covered.insert(path.to_owned(), name);
    Ok(())
}

fn write(folders: &Folders, file: &PlacedFile) -> io::Result<()> {
    let mut opened =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(folders.work.join(&file.path))?;
    fchown(&opened, folders.user, folders.user)?;
    opened.write_all(&file.contents)
}

/// Takes the files away and puts back what was moved; returns where the agent had written.
pub(super) fn put_back(folders: &Folders, placed: &Placed) -> io::Result<Vec<String>> {
    let mut changed = Vec::new();
    for file in placed.files.iter().filter(|file| is_reached_without_links(&folders.work, &file.path)) {
        let place = folders.work.join(&file.path);
        match fs::symlink_metadata(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Ok(metadata) if !metadata.is_file() || !holds(&place, &file.contents)? => {
                changed.push(file.path.clone());
            }
            Ok(_ours) => {}
            Err(error) => return Err(error),
        }
        remove(&place)?;
    }
    for folder in placed.folders.iter().rev() {
        if is_reached_without_links(&folders.work, folder) {
            // One in which the agent has put something stays.
            fs::remove_dir(folders.work.join(folder)).ok();
        }
    }
    for (path, name) in &placed.covered {
        let place = folders.work.join(path);
        make_way(folders, path)?;
        if fs::symlink_metadata(&place).is_ok() {
            changed.push(path.clone());
            remove(&place)?;
        }
        fs::rename(stash(folders).join(name), &place)?;
    }
    changed.sort();
    changed.dedup();
    Ok(changed)
}

/// Makes the folders above a path again, where the agent has removed or replaced them.
fn make_way(folders: &Folders, path: &str) -> io::Result<()> {
    let parents = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
    for parent in parents.map(|parent| folders.work.join(parent)) {
        match fs::symlink_metadata(&parent) {
            Ok(metadata) if metadata.is_dir() => continue,
            Ok(_) => fs::remove_file(&parent)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        DirBuilder::new().mode(0o755).create(&parent)?;
        lchown(&parent, folders.user, folders.user)?;
    }
    Ok(())
}

fn is_reached_without_links(work: &Path, path: &str) -> bool {
    let mut parents = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
    parents.all(|parent| fs::symlink_metadata(work.join(parent)).is_ok_and(|metadata| metadata.is_dir()))
}

fn holds(place: &Path, contents: &[u8]) -> io::Result<bool> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(place)?;
    let limit = u64::try_from(contents.len()).unwrap_or(u64::MAX).saturating_add(1);
    let mut held = Vec::new();
    file.take(limit).read_to_end(&mut held)?;
    Ok(held == contents)
}

fn remove(place: &Path) -> io::Result<()> {
    if fs::symlink_metadata(place)?.is_dir() { remove_folder(place) } else { fs::remove_file(place) }
}

#[cfg(test)]
mod tests {
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
}
