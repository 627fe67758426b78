//! What each attempt gets, and what is refused.

use super::*;

/// As good as this test's user may: the superuser gets real users.
fn workspace(folder: &Path) -> LocalWorkspace {
    LocalWorkspace::new(WorkspaceConfig {
        base: folder.join("base"),
        uids: UidPolicy::detect(),
        agent: GuardedAgent::new(PathBuf::new()),
        path: String::new(),
        network: BTreeMap::new(),
        hidden: Vec::new(),
        metadata: MetadataAccess::Unguarded,
    })
}

fn id() -> TaskId {
    "nightly-42".parse().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[tokio::test]
async fn the_agents_folders_are_its_own_and_the_others_are_not() {
    let folder = tempfile::tempdir().unwrap();

    let folders = workspace(folder.path()).prepare(&id(), Attempt::FIRST).await.unwrap();

    let agent = folders.user.unwrap_or(geteuid().as_raw());
    for own in [&folders.work, &folders.home, &folders.tmp] {
        assert_eq!((mode(own), fs::metadata(own).unwrap().uid()), (0o700, agent), "{}", own.display());
    }
    for ours in [&folders.root, &folders.spool, &folders.config] {
        assert_eq!(fs::metadata(ours).unwrap().uid(), geteuid().as_raw(), "{}", ours.display());
    }
    assert_eq!((mode(&folders.root), mode(&folders.spool)), (0o711, 0o700));
}

#[tokio::test]
async fn config_files_are_for_the_agents_user_to_read_alone() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = workspace(folder.path());
    let folders = workspace.prepare(&id(), Attempt::FIRST).await.unwrap();
    let file = ConfigFile { name: "settings.json".to_owned(), contents: b"{}".to_vec() };

    workspace.configure(&folders, vec![file]).await.unwrap();

    let path = folders.config.join("settings.json");
    assert_eq!(fs::read(&path).unwrap(), b"{}");
    assert_eq!(mode(&path), if folders.user.is_some() { 0o640 } else { 0o600 });
    let group = folders.user.unwrap_or(rustix::process::getegid().as_raw());
    assert_eq!(fs::metadata(&path).unwrap().gid(), group);
}

#[tokio::test]
async fn a_config_file_stays_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = workspace(folder.path());
    let folders = workspace.prepare(&id(), Attempt::FIRST).await.unwrap();

    for name in ["", ".", "..", "../other/x", "a/b", "/etc/x"] {
        let file = ConfigFile { name: name.to_owned(), contents: Vec::new() };
        assert!(workspace.configure(&folders, vec![file]).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn preparing_again_removes_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = workspace(folder.path());
    let before = workspace.prepare(&id(), Attempt::FIRST).await.unwrap();
    fs::write(before.work.join("old"), "x").unwrap();

    let after = workspace.prepare(&id(), Attempt::FIRST).await.unwrap();

    assert_eq!(fs::read_dir(&after.work).unwrap().count(), 0);
}

#[tokio::test]
async fn two_attempts_share_neither_folder_nor_user() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = workspace(folder.path());

    let one = workspace.prepare(&id(), Attempt::FIRST).await.unwrap();
    let two = workspace.prepare(&id(), Attempt::FIRST.next()).await.unwrap();

    assert_ne!(one.root, two.root);
    assert!(one.user.is_none() || one.user != two.user);
}

#[tokio::test]
async fn a_lost_attempt_is_removed_by_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let lost = workspace(folder.path()).prepare(&id(), Attempt::FIRST).await.unwrap();

    workspace(folder.path()).remove(&id(), Attempt::FIRST).await.unwrap();

    assert!(!lost.root.exists());
    workspace(folder.path()).remove(&id(), Attempt::FIRST).await.unwrap();
}

#[tokio::test]
async fn a_base_that_others_may_write_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    fs::create_dir(&base).unwrap();
    fs::set_permissions(&base, Permissions::from_mode(0o777)).unwrap();

    let prepared = workspace(folder.path()).prepare(&id(), Attempt::FIRST).await;

    assert!(prepared.is_err());
}

#[tokio::test]
async fn a_link_in_the_place_of_the_base_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("elsewhere"), folder.path().join("base")).unwrap();

    let prepared = workspace(folder.path()).prepare(&id(), Attempt::FIRST).await;

    assert!(prepared.is_err());
}

#[tokio::test]
async fn the_agent_starts_where_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = workspace(folder.path());
    let folders = workspace.prepare(&id(), Attempt::FIRST).await.unwrap();

    let at_the_top = workspace.directory(&folders, None).await.unwrap();
    let below = workspace.directory(&folders, Some("a/b")).await.unwrap();

    assert_eq!(below, at_the_top.join("a/b"));
    assert_eq!(fs::metadata(&below).unwrap().uid(), folders.user.unwrap_or(geteuid().as_raw()));
}

#[tokio::test]
async fn what_lies_over_the_machines_folders_is_writable_and_not_the_agents_own() {
    let folder = tempfile::tempdir().unwrap();

    let folders = workspace(folder.path()).prepare(&id(), Attempt::FIRST).await.unwrap();

    let covers: Vec<&PathBuf> =
        folders.reach.covered.iter().map(|(_, with)| with).filter(|with| with.is_dir()).collect();
    assert_eq!(covers.is_empty(), folders.user.is_none());
    for with in covers {
        assert_eq!((mode(with), fs::metadata(with).unwrap().uid()), (0o1777, geteuid().as_raw()));
        assert!(with.starts_with(&folders.root) && folders.reach.writable.contains(with));
    }
}

#[tokio::test]
async fn the_log_tells_which_user_the_agent_has() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = workspace(folder.path());
    let folders = workspace.prepare(&id(), Attempt::FIRST).await.unwrap();

    let expected = folders.user.map_or("shared".to_owned(), |user| format!("own uid {user}"));

    assert!(workspace.isolation(Some(&folders)).contains(&("user".to_owned(), expected)));
}
