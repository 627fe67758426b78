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
use legwork_core::{
    id::{Attempt, TaskId},
    redact::Redactor,
    secret::Secret,
};
use legwork_ports::{
    agent::FileReach,
    workspace::{
        CloneOrder, Cloned, Commit, CommitOrder, Committed, ConfigFile, Folders, FoundFiles, GitError,
        GitLimits, Leak, Placed, PlacedFile, PushAnswer, Rebase, SigningAgent, Workspace, WorkspaceError,
    },
};
use rustix::{fs::OFlags, process::geteuid};

use crate::agent::{GuardedAgent, landlock_abi, may_cover};

use super::{
    accounts,
    descent::directory_below,
    find,
    git::{self, Bench, socket_folder},
    metadata::{self, MetadataAccess, Tried},
    place,
    removal::remove_folder,
    users::{Lease, UidPolicy, end_leftovers, end_lost},
};

/// The machine's folders that everybody may leave files in. Programs use them, whatever `TMPDIR` says.
const SHARED_FOLDERS: [&str; 2] = ["/tmp", "/var/tmp"];

/// What workspaces are made with.
#[derive(Debug, Clone)]
pub struct WorkspaceConfig {
    /// An absolute path of this service's own, which is made when it is needed; the folder above it
    /// has to exist. One that belongs to somebody else, or that others may write to, is refused then.
    pub base: PathBuf,
    /// Who tasks run as.
    pub uids: UidPolicy,
    /// What runs git: a clone of the one that runs the agent.
    pub agent: GuardedAgent,
    /// Where git and ssh are sought.
    pub path: String,
    /// Environment for the service's own git: proxies and certificate authorities.
    pub network: BTreeMap<String, String>,
    /// Files and folders that no agent is to see, besides other tasks' folders.
    pub hidden: Vec<PathBuf>,
    /// What tasks may reach of Google's metadata server.
    pub metadata: MetadataAccess,
}

/// Makes the folders of attempts below one base folder, and gives each attempt a user of its own
/// where the policy says so.
#[derive(Debug, Clone)]
pub struct LocalWorkspace {
    base: PathBuf,
    uids: UidPolicy,
    bench: Bench,
    hidden: Vec<PathBuf>,
    metadata: MetadataAccess,
    leases: Arc<Mutex<BTreeMap<PathBuf, Lease>>>,
    /// What came of trying to reach the metadata server, by task.
    tried: Arc<Mutex<BTreeMap<PathBuf, Tried>>>,
}

impl LocalWorkspace {
    /// Makes nothing yet.
    pub fn new(config: WorkspaceConfig) -> Self {
        let WorkspaceConfig { base, uids, agent, path, network, mut hidden, metadata } = config;
        hidden.push(base.clone());
        Self {
            base,
            uids,
            bench: Bench { agent, path, network },
            hidden,
            metadata,
            leases: Arc::default(),
            tried: Arc::default(),
        }
    }

    fn root(&self, id: &TaskId, attempt: Attempt) -> PathBuf {
        self.base.join(format!("{id}.{attempt}"))
    }

    fn leases(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Lease>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tried(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Tried>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
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
        if self.metadata == MetadataAccess::Closed {
            if let Some(user) = user {
                metadata::close(user);
            }
            let tried = metadata::tried(user);
            self.tried().insert(root.clone(), tried);
        }
        let folder = |name: &str, mode: u32, owner: Option<u32>, group: Option<u32>| {
            let path = root.join(name);
            make_folder(&path, mode, owner, group).map_err(failed("making a folder", &path))?;
            Ok(path)
        };
        make_folder(&root, 0o711, None, None).map_err(failed("making a folder", &root))?;
        let socket_folder = socket_folder(&root);
        remove_folder(&socket_folder).map_err(failed("removing", &socket_folder))?;
        let config_mode = if user.is_some() { 0o750 } else { 0o700 };
        let (work, home) = (folder("work", 0o700, user, user)?, folder("home", 0o700, user, user)?);
        let (tmp, config) = (folder("tmp", 0o700, user, user)?, folder("config", config_mode, None, user)?);
        let mut reach = FileReach {
            writable: vec![work.clone(), home.clone(), tmp.clone()],
            readable: vec![config.clone()],
            hidden: self.hidden.clone(),
            covered: Vec::new(),
            kept: vec![root.clone(), socket_folder],
        };
        if let Some(user) = user {
            reach.covered =
                accounts::write(&config, user, &home).map_err(failed("naming the task's user", &config))?;
            // Not the user's own, so that it cannot move what is kept there.
            let public = folder("public", 0o1777, None, None)?;
            let shared = SHARED_FOLDERS.map(PathBuf::from).into_iter().filter(|place| place.is_dir());
            reach.covered.extend(shared.map(|place| (place, public.clone())));
            reach.writable.push(public);
        }
        Ok(Folders {
            work,
            home,
            tmp,
            config,
            spool: folder("spool", 0o700, None, None)?,
            user,
            runs_as_root: user.is_none() && geteuid().is_root(),
            reach,
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
        let removed = remove_folder(root)
            .and_then(|()| remove_folder(&socket_folder(root)))
            .map_err(failed("removing", root));
        if removed.is_err() || ended.is_err() {
            // Kept: nobody else is to have the user as long as something of the task is there.
            lease.map(|lease| self.leases().insert(root.to_path_buf(), lease));
            ended.map_err(failed("ending what ran in", root))?;
            return removed;
        }
        self.tried().remove(root);
        if let (MetadataAccess::Closed, Some(lease)) = (self.metadata, &lease) {
            metadata::open(lease.user);
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

    async fn clone_repository(
        &self,
        folders: &Folders,
        order: &CloneOrder,
        limits: &GitLimits,
    ) -> Result<Cloned, GitError> {
        git::clone_repository(&self.bench, folders, order, limits).await
    }

    async fn place(&self, folders: &Folders, files: Vec<PlacedFile>) -> Result<Placed, WorkspaceError> {
        let (theirs, work) = (folders.clone(), folders.work.clone());
        let placed = blocking(&self.base, move || {
            place::place(&theirs, files).map_err(failed("putting files into", &work))
        })
        .await?;
        git::hide(&self.bench, folders, &placed).await.map_err(git_failed(&folders.work))?;
        Ok(placed)
    }

    async fn renew(
        &self,
        folders: &Folders,
        placed: &mut Placed,
        files: Vec<PlacedFile>,
    ) -> Result<Vec<String>, WorkspaceError> {
        let (theirs, mut so_far, work) = (folders.clone(), placed.clone(), folders.work.clone());
        let (so_far, renewed) = blocking(&self.base, move || {
            let renewed = place::renew(&theirs, &mut so_far, files);
            Ok((so_far, renewed))
        })
        .await?;
        *placed = so_far;
        let found = renewed.map_err(failed("putting files into", &work))?;
        // The task may have made anything of its repository. What the service commits does not depend on it.
        if let Err(error) = git::hide(&self.bench, folders, placed).await {
            tracing::warn!(error = %error, "git was not told to pass over what is covered again");
        }
        Ok(found)
    }

    async fn put_back(&self, folders: &Folders, placed: &Placed) -> Result<Vec<String>, WorkspaceError> {
        let (theirs, files, work) = (folders.clone(), placed.clone(), folders.work.clone());
        let changed = blocking(&self.base, move || {
            place::put_back(&theirs, &files).map_err(failed("taking files out of", &work))
        })
        .await?;
        git::unhide(&self.bench, folders, placed).await;
        Ok(changed)
    }

    async fn open_signing_agent(
        &self,
        folders: &Folders,
        key: &Secret<String>,
    ) -> Result<Box<dyn SigningAgent>, GitError> {
        git::open_signing_agent(&self.bench, folders, key).await
    }

    async fn commit(
        &self,
        folders: &Folders,
        cloned: Option<&Cloned>,
        order: Option<&CommitOrder>,
        limits: &GitLimits,
    ) -> Result<Committed, GitError> {
        git::commit(&self.bench, folders, cloned, order, limits).await
    }

    async fn take_out(
        &self,
        folders: &Folders,
        cloned: &Cloned,
        commit: &str,
        limits: &GitLimits,
    ) -> Result<(), GitError> {
        git::take_out(&self.bench, folders, cloned, commit, limits).await
    }

    async fn find_leak(
        &self,
        folders: &Folders,
        known: &[String],
        commit: &str,
        secrets: &Arc<Redactor>,
        placed: &Placed,
        limits: &GitLimits,
    ) -> Result<Option<Leak>, GitError> {
        git::find_leak(&self.bench, folders, known, commit, secrets, placed, limits).await
    }

    async fn push(
        &self,
        folders: &Folders,
        cloned: &Cloned,
        commit: &str,
        branch: &str,
        limits: &GitLimits,
    ) -> Result<PushAnswer, GitError> {
        git::push(&self.bench, folders, cloned, commit, branch, limits).await
    }

    async fn rebase(
        &self,
        folders: &Folders,
        cloned: &Cloned,
        commit: &Commit,
        branch: &str,
        limits: &GitLimits,
    ) -> Result<Rebase, GitError> {
        git::rebase(&self.bench, folders, cloned, commit, branch, limits).await
    }

    async fn find_files(&self, folders: &Folders, globs: &[String]) -> Result<FoundFiles, WorkspaceError> {
        let (work, globs) = (folders.work.clone(), globs.to_vec());
        blocking(&self.base, move || Ok(find::find_files(&work, &globs))).await
    }

    async fn open_file(&self, folders: &Folders, path: &str) -> Result<File, WorkspaceError> {
        let (work, path) = (folders.work.clone(), path.to_owned());
        blocking(&self.base, move || {
            find::open_file(&work, &path).map_err(failed("opening", &work.join(&path)))
        })
        .await
    }

    async fn remove(&self, id: &TaskId, attempt: Attempt) -> Result<(), WorkspaceError> {
        let (this, root) = (self.clone(), self.root(id, attempt));
        blocking(&self.base, move || this.take_away(&root)).await
    }

    fn isolation(&self, folders: Option<&Folders>) -> Vec<(String, String)> {
        let is_shared = self.uids == UidPolicy::Shared;
        let user = match folders.and_then(|folders| folders.user) {
            _ if is_shared => "shared".to_owned(),
            Some(user) => format!("own uid {user}"),
            None => "own uid".to_owned(),
        };
        let mounts = if !is_shared && may_cover() { "own" } else { "shared" };
        let landlock = landlock_abi().map_or("no".to_owned(), |abi| format!("ABI {abi}"));
        let words = [
            ("user", user.as_str()),
            ("environment", "cleared"),
            ("noNewPrivileges", "yes"),
            ("mounts", mounts),
            ("landlock", &landlock),
        ];
        let tried = folders.and_then(|folders| self.tried().get(&folders.root).copied());
        let metadata = tried.map(|tried| ("metadata", tried.word()));
        let words = words.into_iter().chain(metadata);
        words.map(|(name, word)| (name.to_owned(), word.to_owned())).collect()
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

/// Makes an error about files of one about git.
fn git_failed(path: &Path) -> impl FnOnce(GitError) -> WorkspaceError + use<> {
    let path = path.to_path_buf();
    move |error| failed("using git", &path)(io::Error::other(format!("{error}: {}", error.words)))
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
mod tests;
