//! Making, filling and removing the folders of an attempt.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, lchown,
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use legwork_core::id::{Attempt, TaskId};
use legwork_ports::{
    agent::FileReach,
    workspace::{ConfigFile, Folders, Workspace, WorkspaceError},
};
use rustix::{fs::OFlags, process::geteuid};

use super::{
    descent::directory_below,
    removal::remove_folder,
    users::{Lease, UidPolicy, end_leftovers, end_lost},
};

/// Makes the folders of attempts below one base folder, and gives each attempt a user of its own
/// where the policy says so.
#[derive(Debug, Clone)]
pub struct LocalWorkspace {
    base: PathBuf,
    uids: UidPolicy,
    leases: Arc<Mutex<BTreeMap<PathBuf, Lease>>>,
}

impl LocalWorkspace {
    /// Takes the base folder, an absolute path of this service's own, which is made when it is
    /// needed; the folder above it has to exist. A base that belongs to somebody else, or that
    /// others may write to, is refused then.
    pub fn new(base: PathBuf, uids: UidPolicy) -> Self {
        Self { base, uids, leases: Arc::default() }
    }

    fn root(&self, id: &TaskId, attempt: Attempt) -> PathBuf {
        self.base.join(format!("{id}.{attempt}"))
    }

    fn leases(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Lease>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the base folder, or makes sure that it is ours alone.
    fn make_base(&self) -> io::Result<()> {
        match DirBuilder::new().mode(0o711).create(&self.base) {
            // Whatever mask this process has: tasks have to get through.
            Ok(()) => fs::set_permissions(&self.base, Permissions::from_mode(0o711))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let metadata = fs::symlink_metadata(&self.base)?;
        if !metadata.is_dir() || metadata.uid() != geteuid().as_raw() {
            return Err(io::Error::other("it is not a folder of this user"));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other("others may write to it"));
        }
        Ok(())
    }

    /// Returns the users that own a folder below the base: what lost tasks have left.
    fn users_in_base(&self) -> io::Result<Vec<u32>> {
        let roots = fs::read_dir(&self.base)?;
        Ok(roots.filter_map(|root| owner(&root.ok()?.path())).collect())
    }

    fn make(&self, root: PathBuf) -> Result<Folders, WorkspaceError> {
        self.make_base().map_err(failed("making the base folder", &self.base))?;
        self.take_away(&root)?;
        let taken = self.users_in_base().map_err(failed("listing", &self.base))?;
        let lease = Lease::take(&self.uids, &root, &taken).map_err(failed("finding a user", &root))?;
        let user = lease.as_ref().map(|lease| lease.user);
        if let Some(lease) = lease {
            self.leases().insert(root.clone(), lease);
        }
        let folder = |name: &str, mode: u32, owner: Option<u32>, group: Option<u32>| {
            let path = root.join(name);
            make_folder(&path, mode, owner, group).map_err(failed("making a folder", &path))?;
            Ok(path)
        };
        make_folder(&root, 0o711, None, None).map_err(failed("making a folder", &root))?;
        let config_mode = if user.is_some() { 0o750 } else { 0o700 };
        Ok(Folders {
            work: folder("work", 0o700, user, user)?,
            home: folder("home", 0o700, user, user)?,
            tmp: folder("tmp", 0o700, user, user)?,
            config: folder("config", config_mode, None, user)?,
            spool: folder("spool", 0o700, None, None)?,
            user,
            runs_as_root: user.is_none() && geteuid().is_root(),
            reach: FileReach::default(),
            root,
        })
    }

    /// Ends what runs as the attempt's user and removes its folder.
    fn take_away(&self, root: &Path) -> Result<(), WorkspaceError> {
        let lease = self.leases().remove(root);
        let ended = match (&lease, owner(root)) {
            (Some(lease), _) => end_leftovers(lease.user),
            (None, Some(owner)) => end_lost(&self.uids, root, owner),
            (None, None) => Ok(()),
        };
        let removed = remove_folder(root).map_err(failed("removing", root));
        if removed.is_err() || ended.is_err() {
            // Kept: nobody else is to have the user as long as something of the task is there.
            lease.map(|lease| self.leases().insert(root.to_path_buf(), lease));
            ended.map_err(failed("ending what ran in", root))?;
            return removed;
        }
        lease.map_or(Ok(()), Lease::give_back).map_err(failed("giving back the user of", root))
    }
}

#[async_trait]
impl Workspace for LocalWorkspace {
    async fn prepare(&self, id: &TaskId, attempt: Attempt) -> Result<Folders, WorkspaceError> {
        let (this, root) = (self.clone(), self.root(id, attempt));
        blocking(&self.base, move || this.make(root)).await
    }

    async fn configure(&self, folders: &Folders, files: Vec<ConfigFile>) -> Result<(), WorkspaceError> {
        let (config, user) = (folders.config.clone(), folders.user);
        blocking(&self.base, move || {
            for file in &files {
                let path = config.join(&file.name);
                write_file(&path, file, user).map_err(failed("writing", &path))?;
            }
            Ok(())
        })
        .await
    }

    async fn directory(&self, folders: &Folders, relative: Option<&str>) -> Result<PathBuf, WorkspaceError> {
        let (work, user) = (folders.work.clone(), folders.user);
        let relative = relative.map(str::to_owned);
        blocking(&self.base, move || {
            let relative = relative.as_deref().unwrap_or_default();
            directory_below(&work, relative, user).map_err(failed("entering", &work.join(relative)))
        })
        .await
    }

    async fn remove(&self, id: &TaskId, attempt: Attempt) -> Result<(), WorkspaceError> {
        let (this, root) = (self.clone(), self.root(id, attempt));
        blocking(&self.base, move || this.take_away(&root)).await
    }

    fn isolation(&self) -> Vec<(String, String)> {
        let held = self.leases().values().next().map(|lease| lease.user);
        let user = match (&self.uids, held) {
            (UidPolicy::Shared, _) => "shared".to_owned(),
            (UidPolicy::Pool { .. }, Some(user)) => format!("own uid {user}"),
            (UidPolicy::Pool { .. }, None) => "own uid".to_owned(),
        };
        let words = [
            ("user", user.as_str()),
            ("environment", "cleared"),
            ("noNewPrivileges", "yes"),
            ("landlock", "no"),
        ];
        words.map(|(name, word)| (name.to_owned(), word.to_owned())).to_vec()
    }
}

/// Returns who owns the folder that the agent of this attempt works in.
fn owner(root: &Path) -> Option<u32> {
    fs::symlink_metadata(root.join("work")).ok().map(|metadata| metadata.uid())
}

/// Makes a folder with exactly this mode; the owner comes last, while nobody else can get in.
fn make_folder(path: &Path, mode: u32, owner: Option<u32>, group: Option<u32>) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    if owner.is_none() && group.is_none() { Ok(()) } else { lchown(path, owner, group) }
}

fn write_file(path: &Path, file: &ConfigFile, user: Option<u32>) -> io::Result<()> {
    let is_segment = !matches!(file.name.as_str(), "" | "." | "..") && !file.name.contains(['/', '\0']);
    if !is_segment {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no name of a file"));
    }
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).map_err(io::Error::other)?;
    let mut opened: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)?;
    if user.is_some() {
        fchown(&opened, None, user)?;
        opened.set_permissions(Permissions::from_mode(0o640))?;
    }
    opened.write_all(&file.contents)
}

fn failed(action: &str, path: &Path) -> impl FnOnce(io::Error) -> WorkspaceError + use<> {
    let (action, path) = (action.to_owned(), path.display().to_string());
    move |source| WorkspaceError::Machine { action, path, source }
}

/// Runs file work where it may block.
async fn blocking<T: Send + 'static>(
    base: &Path,
    work: impl FnOnce() -> Result<T, WorkspaceError> + Send + 'static,
) -> Result<T, WorkspaceError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(failed("working on files", base)(io::Error::other(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As good as this test's user may: the superuser gets real users.
    fn workspace(folder: &Path) -> LocalWorkspace {
        LocalWorkspace::new(folder.join("base"), UidPolicy::detect())
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
    async fn the_log_tells_which_user_the_agent_has() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = workspace(folder.path());
        let folders = workspace.prepare(&id(), Attempt::FIRST).await.unwrap();

        let expected = folders.user.map_or("shared".to_owned(), |user| format!("own uid {user}"));

        assert!(workspace.isolation().contains(&("user".to_owned(), expected)));
    }
}
