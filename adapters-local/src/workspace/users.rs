//! Users of their own for tasks, so that no task can reach another one or the service.
//!
//! A user is a number: nothing is written into the machine's list of users. Which numbers are in use
//! is held by locks on files, one for each, in a folder that all services of this machine share. A
//! lock ends with its process; the file tells which folder the user has last worked in, and as long
//! as that exists, nobody else gets the user. The one that was used least
//! recently comes first: what a task may have left elsewhere on the machine is found by none soon.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    process::geteuid,
};

use crate::agent::tree::end_user;

/// The first user of the pool. Debian's policy gives people and services numbers up to 59999 from
/// below, systemd's dynamic users begin at 61184: this stretch is the least likely to be taken.
pub const UID_FIRST: u32 = 58_500;
/// How many users the pool has: more than tasks run at once on one machine.
pub const UID_COUNT: u32 = 1_000;

/// How long processes of a former task may take to end.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest path that a lock file may hold: Linux's `PATH_MAX`.
const PATH_BYTES: u64 = 4096;

/// Who tasks run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UidPolicy {
    /// As this process's own user.
    Shared,
    /// Each as a user of its own out of a pool.
    Pool {
        /// The first user.
        first: u32,
        /// How many users there are.
        count: u32,
        /// The folder of the locks. Services of one machine that share users must share it.
        locks: PathBuf,
    },
}

impl UidPolicy {
    /// Returns the best that this process may do: users of their own for the superuser where
    /// [`UID_FIRST`] and the numbers after it exist here (a container may have too few), else
    /// its own user.
    pub fn detect() -> Self {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        if geteuid().is_root() && is_mapped(&map, UID_FIRST, UID_COUNT) {
            let locks = PathBuf::from("/run/legwork-uids");
            Self::Pool { first: UID_FIRST, count: UID_COUNT, locks }
        } else {
            Self::Shared
        }
    }
}

/// Reads the kernel's table of users: first number inside, first outside, how many.
fn is_mapped(map: &str, first: u32, count: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().filter_map(|text| text.parse::<u64>().ok());
        let (inside, length) = (numbers.next(), numbers.nth(1));
        let end = u64::from(first).saturating_add(u64::from(count));
        inside.zip(length).is_some_and(|(inside, length)| {
            inside <= u64::from(first) && end <= inside.saturating_add(length)
        })
    })
}

/// Ends every process of a task's user, whoever started it, within a few seconds.
///
/// To be called only by who knows that no other task has this user now.
///
/// # Errors
/// Where some are left, or processes cannot be looked at, or for the superuser.
pub fn end_leftovers(user: u32) -> io::Result<()> {
    match end_user(user, PATIENCE)? {
        0 => Ok(()),
        left => Err(io::Error::other(format!("{left} processes of uid {user} could not be ended"))),
    }
}

/// A user that is held for one task. Dropping it lets others have it.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) user: u32,
    file: File,
}

impl Lease {
    /// Takes, of the users that are free, clean and not in `taken`, the one that was used least
    /// recently, and ends what still runs as it.
    pub(super) fn take(policy: &UidPolicy, root: &Path, taken: &[u32]) -> io::Result<Option<Self>> {
        let UidPolicy::Pool { first, count, locks } = policy else {
            return Ok(None);
        };
        make_folder_of_locks(locks)?;
        let pool = *first..first.saturating_add(*count);
        let mut users: Vec<u32> = pool.filter(|user| !taken.contains(user)).collect();
        users.sort_by_cached_key(|user| last_used(locks, *user));
        for user in users {
            let mut file = open_lock(locks, user)?;
            if !try_lock(&file)? {
                continue;
            }
            let former = read_root(&mut file)?;
            let is_clean = former.as_os_str().is_empty() || former == root || !former.exists();
            if is_clean && end_leftovers(user).is_ok() {
                write_root(&mut file, root)?;
                return Ok(Some(Self { user, file }));
            }
        }
        Err(io::Error::other("every user of the pool is in use"))
    }

    /// Notes that nothing of the task is left, and lets others have the user.
    pub(super) fn give_back(mut self) -> io::Result<()> {
        write_root(&mut self.file, Path::new(""))
    }
}

/// Ends what a task has left running that another process has worked on, if its user can be told
/// from its folder and is still its own.
pub(super) fn end_lost(policy: &UidPolicy, root: &Path, owner: u32) -> io::Result<()> {
    let UidPolicy::Pool { first, count, locks } = policy else {
        return Ok(());
    };
    if !(*first..first.saturating_add(*count)).contains(&owner) {
        return Ok(());
    }
    make_folder_of_locks(locks)?;
    let mut file = open_lock(locks, owner)?;
    // Free: nobody can take the user while we hold it. Not free: either its worker hangs and still
    // holds it, or another task has it, which made sure that nothing was left.
    let is_free = try_lock(&file)?;
    let is_its_own = read_root(&mut file)? == root;
    if is_free || is_its_own { end_leftovers(owner) } else { Ok(()) }
}

/// Makes the folder, or makes sure that nobody else has made it.
fn make_folder_of_locks(locks: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(locks) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let metadata = fs::symlink_metadata(locks)?;
    if metadata.is_dir() && metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(io::Error::other("the folder of the locks belongs to somebody else"))
    }
}

fn lock_path(locks: &Path, user: u32) -> PathBuf {
    locks.join(format!("{user}.lock"))
}

/// Returns when the user was last taken or given back; nothing where it never was.
fn last_used(locks: &Path, user: u32) -> Option<SystemTime> {
    fs::symlink_metadata(lock_path(locks, user)).and_then(|lock| lock.modified()).ok()
}

fn open_lock(locks: &Path, user: u32) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).map_err(io::Error::other)?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(lock_path(locks, user))
}

fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn read_root(file: &mut File) -> io::Result<PathBuf> {
    let mut root = String::new();
    file.rewind()?;
    file.take(PATH_BYTES).read_to_string(&mut root)?;
    Ok(PathBuf::from(root))
}

fn write_root(file: &mut File, root: &Path) -> io::Result<()> {
    let text = root.to_str().ok_or_else(|| io::Error::other("the folder's name is not UTF-8"))?;
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool far from the real one, of users whose processes do not exist.
    fn pool(folder: &Path, first: u32, count: u32) -> UidPolicy {
        UidPolicy::Pool { first, count, locks: folder.join("uids") }
    }

    #[test]
    fn the_users_of_a_small_container_are_not_used() {
        assert!(is_mapped("         0          0 4294967295\n", 58_500, 1_000));
        assert!(is_mapped("0 1000 1\n1 100000 65536\n", 58_500, 1_000));
        assert!(!is_mapped("0 1000 1\n", 58_500, 1_000));
        assert!(!is_mapped("", 58_500, 1_000));
    }

    #[test]
    fn two_tasks_never_share_a_user() {
        let folder = tempfile::tempdir().unwrap();
        let policy = pool(folder.path(), 1_990_000_000, 2);

        let one = Lease::take(&policy, Path::new("/a"), &[]).unwrap().unwrap();
        let two = Lease::take(&policy, Path::new("/b"), &[]).unwrap().unwrap();

        assert_ne!(one.user, two.user);
        assert!(Lease::take(&policy, Path::new("/c"), &[]).is_err());
        one.give_back().unwrap();
        assert!(Lease::take(&policy, Path::new("/c"), &[]).is_ok());
    }

    #[test]
    fn a_user_rests_as_long_as_there_are_others() {
        let folder = tempfile::tempdir().unwrap();
        let policy = pool(folder.path(), 1_990_000_200, 3);
        let take_and_give_back = || {
            let lease = Lease::take(&policy, Path::new("/a"), &[]).unwrap().unwrap();
            let user = lease.user;
            lease.give_back().unwrap();
            user
        };

        let users = [(); 4].map(|()| take_and_give_back());

        assert_eq!(users, [1_990_000_200, 1_990_000_201, 1_990_000_202, 1_990_000_200]);
    }

    #[test]
    fn a_user_whose_last_folder_is_still_there_is_not_given_away() {
        let folder = tempfile::tempdir().unwrap();
        let policy = pool(folder.path(), 1_990_000_100, 2);
        let root = folder.path().join("lost.1");
        fs::create_dir(&root).unwrap();
        let lost = Lease::take(&policy, &root, &[]).unwrap().unwrap().user;

        let next = Lease::take(&policy, Path::new("/b"), &[]).unwrap().unwrap().user;

        assert_ne!(next, lost);
        fs::remove_dir(&root).unwrap();
        assert_eq!(Lease::take(&policy, Path::new("/c"), &[next]).unwrap().unwrap().user, lost);
    }

    #[test]
    fn without_a_pool_there_is_no_user() {
        assert!(Lease::take(&UidPolicy::Shared, Path::new("/a"), &[]).unwrap().is_none());
    }

    #[test]
    fn a_folder_of_locks_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let locks = folder.path().join("uids");
        fs::create_dir(&locks).unwrap();
        fs::set_permissions(&locks, fs::Permissions::from_mode(0o777)).unwrap();

        assert!(make_folder_of_locks(&locks).is_err());
    }
}
