//! Turning "everything but these paths" into a list of what is allowed.
//!
//! The kernel can only allow a folder with everything below it. So each folder that something
//! hidden lies below is split: what else is in it is allowed one by one, and the folder itself,
//! which nobody can list then, is not.
//!
//! What must not be here: opening files, and what is allowed to be done with them.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

/// The most entries of a folder that are allowed one by one: each takes a rule of the kernel's and
/// an open file, for every command that is started.
const MAX_SPLIT_ENTRIES: usize = 4096;
/// How many links the kernel follows on the way to a file: `MAXSYMLINKS` of Linux.
const MAX_LINKS: usize = 40;
/// A folder that everybody may write to and in which nobody may remove what is another's.
const SHARED_FOLDER: u32 = 0o1002;

/// Returns files and folders that, each with everything below it, hold all of `top` but what is
/// hidden, as far as folders can be listed. All paths are absolute and without links.
///
/// `list` returns the paths of a folder's entries. Where it fails, nothing of that folder is allowed
/// but what is found on the way to a hidden path.
pub(super) fn allowed(
    top: &Path,
    hidden: &[PathBuf],
    list: &impl Fn(&Path) -> io::Result<Vec<PathBuf>>,
) -> Vec<PathBuf> {
    if hidden.iter().any(|hidden| top.starts_with(hidden)) {
        return Vec::new();
    }
    let below: Vec<PathBuf> = hidden.iter().filter(|hidden| hidden.starts_with(top)).cloned().collect();
    if below.is_empty() {
        return vec![top.to_path_buf()];
    }
    let on_the_way: BTreeSet<PathBuf> = below
        .iter()
        .filter_map(|hidden| hidden.strip_prefix(top).ok()?.components().next())
        .map(|name| top.join(name))
        .collect();
    let mut found = list(top).unwrap_or_default();
    found.retain(|entry| !on_the_way.contains(entry));
    found.extend(on_the_way.iter().flat_map(|entry| allowed(entry, &below, list)));
    found
}

/// Returns the entries of a folder that is to be split: none where it is too large or shared by
/// everybody, because other people's temporary files are not the command's business.
pub(super) fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if fs::metadata(folder)?.mode() & SHARED_FOLDER == SHARED_FOLDER {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder)?.take(MAX_SPLIT_ENTRIES.saturating_add(1));
    let entries: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    Ok(if entries.len() > MAX_SPLIT_ENTRIES { Vec::new() } else { entries })
}

/// Returns where a path lies and, where that is a link, also where it leads: what is put there
/// instead of the link is hidden too. Nothing of it needs to exist.
pub(super) fn hidden_places(path: &Path) -> Vec<PathBuf> {
    let mut places = Vec::new();
    let mut next = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        let place = match (next.parent(), next.file_name()) {
            (Some(parent), Some(name)) => real(parent).join(name),
            (Some(_) | None, _) => real(&next),
        };
        let target = fs::read_link(&place);
        places.push(place.clone());
        let Ok(target) = target else { break };
        next = place.parent().unwrap_or(&place).join(target);
    }
    places
}

/// Returns the path without links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    if let Ok(real) = fs::canonicalize(path) {
        return real;
    }
    let Some(parent) = path.parent() else {
        return path.to_path_buf();
    };
    let mut place = real(parent);
    match path.components().next_back() {
        Some(Component::Normal(name)) => place.push(name),
        Some(Component::ParentDir) => drop(place.pop()),
        Some(Component::CurDir | Component::RootDir | Component::Prefix(_)) | None => {}
    }
    place
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// A made-up tree: every path that a file or folder is at.
    type Tree = BTreeSet<PathBuf>;

    fn list(tree: &Tree) -> impl Fn(&Path) -> io::Result<Vec<PathBuf>> {
        |folder| {
            let is_there = folder == Path::new("/") || tree.contains(folder);
            let entries = tree.iter().filter(|path| path.parent() == Some(folder)).cloned().collect();
            is_there.then_some(entries).ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }

    fn tree(paths: &[PathBuf]) -> Tree {
        paths.iter().flat_map(|path| path.ancestors()).map(Path::to_path_buf).collect()
    }

    /// Short names from a small alphabet, so that paths meet.
    fn paths(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<PathBuf>> {
        vec("(/[abc]{1,2}){1,4}".prop_map(PathBuf::from), count)
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_allowed_and_everything_unrelated_is(there in paths(0..24), hidden in paths(0..5)) {
            let tree = tree(&there);

            let found = allowed(Path::new("/"), &hidden, &list(&tree));

            for path in tree.iter().chain(&hidden) {
                let is_allowed = found.iter().any(|allowed| path.starts_with(allowed));
                let is_hidden = hidden.iter().any(|hidden| path.starts_with(hidden));
                let is_split = hidden.iter().any(|hidden| hidden.starts_with(path));
                prop_assert_eq!(is_allowed, !is_hidden && !is_split, "{}", path.display());
            }
        }

        #[test]
        fn what_is_put_at_a_hidden_path_later_is_hidden(there in paths(0..24), hidden in paths(1..5)) {
            let tree = tree(&there);

            let found = allowed(Path::new("/"), &hidden, &list(&tree));

            for later in hidden.iter().map(|hidden| hidden.join("later")) {
                prop_assert!(!found.iter().any(|allowed| later.starts_with(allowed)), "{}", later.display());
            }
        }
    }

    #[test]
    fn a_folder_that_cannot_be_listed_hides_its_entries_but_not_what_is_below_the_way() {
        let tree = tree(&["/tmp/other", "/tmp/mine/base", "/tmp/mine/open", "/usr"].map(PathBuf::from));
        let known = list(&tree);
        let list = |folder: &Path| if folder == Path::new("/tmp") { Ok(Vec::new()) } else { known(folder) };

        let found = allowed(Path::new("/"), &[PathBuf::from("/tmp/mine/base")], &list);

        assert_eq!(found, ["/usr", "/tmp/mine/open"].map(PathBuf::from));
    }

    #[test]
    fn shared_and_very_large_folders_are_not_taken_apart() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "").unwrap();

        assert_eq!(entries(folder.path()).unwrap(), [folder.path().join("a")]);
        for number in 0..MAX_SPLIT_ENTRIES {
            fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        assert_eq!(entries(folder.path()).unwrap(), Vec::<PathBuf>::new());

        let shared = tempfile::tempdir().unwrap();
        fs::write(shared.path().join("a"), "").unwrap();
        fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(entries(shared.path()).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_link_is_hidden_with_what_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(top.join("real")).unwrap();
        symlink("real", top.join("folder")).unwrap();
        symlink("../missing", top.join("real/link")).unwrap();
        symlink("round", top.join("round")).unwrap();

        let hidden = |path: &str| hidden_places(&top.join(path));

        assert_eq!(hidden("folder/link"), [top.join("real/link"), top.join("missing")]);
        assert_eq!(hidden("folder/new/deep"), [top.join("real/new/deep")]);
        assert_eq!(hidden("new/../other/x"), [top.join("other/x")]);
        assert_eq!(hidden("folder"), [top.join("folder"), top.join("real")]);
        assert!(hidden("round").iter().all(|place| *place == top.join("round")));
        assert_eq!(hidden_places(Path::new("/")), [PathBuf::from("/")]);
    }
}
