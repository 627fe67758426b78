//! Secrets in files of their own: made on first use, by one process of many, and closed to others.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use legwork_core::{hex, secret::Secret};
use legwork_ports::clock::{IdSource as _, IdSourceExt as _};
use zeroize::Zeroizing;

use crate::clock::SystemIds;

/// Why a file of secrets cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// Other users may read or change it.
    #[error("other users have access to {path}: chmod 600 {path}", path = .path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing in it.
    #[error("{} is empty: remove it to have it made anew", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("{} cannot be used", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

impl From<SecretFileError> for io::Error {
    fn from(error: SecretFileError) -> Self {
        let kind = match &error {
            SecretFileError::OpenToOthers { .. } => io::ErrorKind::PermissionDenied,
            SecretFileError::Empty { .. } => io::ErrorKind::InvalidData,
            SecretFileError::Io { source, .. } => source.kind(),
        };
        Self::new(kind, error)
    }
}

/// Returns 64 hexadecimal digits of fresh randomness.
pub fn random_hex() -> String {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemIds.fill(bytes.as_mut_slice());
    hex::encode(bytes.as_slice())
}

/// Returns the file's text without blanks around it, making the file where there is none. Of several
/// processes that make it at once, one wins, and all return what it wrote.
///
/// # Errors
/// `OpenToOthers` where its mode gives anything to group or others; `Empty`; `Io` where it cannot be
/// read or made.
pub fn read_or_create(path: &Path, make: impl FnOnce() -> String) -> Result<Secret<String>, SecretFileError> {
    match read(path) {
        Err(SecretFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    let text = Zeroizing::new(make());
    create(path, &text).map_err(|source| SecretFileError::Io { path: path.to_owned(), source })?;
    read(path)
}

/// Returns the file's text without blanks around it.
///
/// # Errors
/// As [`read_or_create`]; `Io` also where there is no file.
pub fn read(path: &Path) -> Result<Secret<String>, SecretFileError> {
    let unusable = |source| SecretFileError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unusable)?;
    let metadata = file.metadata().map_err(unusable)?;
    if metadata.mode() & 0o077 != 0 {
        return Err(SecretFileError::OpenToOthers { path: path.to_owned() });
    }
    // Room for all of it at once: a text that grows leaves copies behind.
    let room = usize::try_from(metadata.len()).unwrap_or_default().saturating_add(1);
    let mut text = Zeroizing::new(String::with_capacity(room));
    file.read_to_string(&mut text).map_err(unusable)?;
    match text.trim() {
        "" => Err(SecretFileError::Empty { path: path.to_owned() }),
        text => Ok(Secret::new(text.to_owned())),
    }
}

/// Makes the file whole, unless somebody else just did.
fn create(path: &Path, text: &str) -> io::Result<()> {
    let folder = folder_of(path);
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let half = Half::write(path, text)?;
    // A link fails where the name is taken: the first one wins.
    match fs::hard_link(&half.0, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // Also for who came second: what it seals next may outlive a power failure.
    File::open(folder)?.sync_all()
}

/// Replaces the file's text whole and durably. Who calls it has to keep others from doing the same.
///
/// # Errors
/// `Io` where it cannot be written.
pub fn replace(path: &Path, text: &str) -> Result<(), SecretFileError> {
    Half::write(path, text)
        .and_then(|half| fs::rename(&half.0, path))
        .and_then(|()| File::open(folder_of(path))?.sync_all())
        .map_err(|source| SecretFileError::Io { path: path.to_owned(), source })
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A temporary file beside the one that is being written, removed when dropped.
struct Half(PathBuf);

impl Half {
    fn write(path: &Path, text: &str) -> io::Result<Self> {
        let mut name = OsString::from(path);
        name.push(format!(".{}.new", SystemIds.token().as_str()));
        let half = Self(PathBuf::from(name));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half.0)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        Ok(half)
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // It is gone where it was renamed.
        drop(fs::remove_file(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, os::unix::fs::PermissionsExt as _, sync::Barrier, thread};

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/secret");

        let first = read_or_create(&path, random_hex).unwrap();
        let second = read_or_create(&path, random_hex).unwrap();

        assert_eq!(first, second);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn of_many_who_make_it_at_once_one_wins_and_nothing_is_left_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let start = Barrier::new(16);

        let secrets: HashSet<String> = thread::scope(|scope| {
            let make = || {
                start.wait();
                read_or_create(&path, random_hex).unwrap().expose().clone()
            };
            let makers: Vec<_> = (0..16).map(|_| scope.spawn(make)).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });

        assert_eq!(secrets.len(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        for mode in [0o644, 0o640, 0o620, 0o601] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("secret");
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();

            let error = read_or_create(&path, random_hex).unwrap_err();

            assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
    }

    #[test]
    fn an_empty_file_is_not_taken_for_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        replace(&path, " ").unwrap();

        let error = read_or_create(&path, random_hex).unwrap_err();

        assert!(matches!(error, SecretFileError::Empty { .. }));
    }
}
