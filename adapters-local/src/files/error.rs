//! What went wrong with a file, told in the words of the store.

use std::{
    io,
    path::{Path, PathBuf},
};

use legwork_ports::storage::StorageError;

/// The text is no name of an object, or of a folder of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is segments of 1 to 255 bytes with / between them, none of them . or ..")]
pub(super) struct InvalidKey;

/// Nothing can be written until somebody makes room.
#[derive(Debug, thiserror::Error)]
#[error("the disk is full: make room below {}", .folder.display())]
struct DiskFull {
    folder: PathBuf,
    source: io::Error,
}

/// What went wrong, before it is told for a key.
#[derive(Debug)]
pub(super) enum Failure {
    /// The precondition does not hold.
    Conflict,
    /// There is no such object.
    Missing,
    /// The key is none.
    Key(InvalidKey),
    /// A file that is to become an object cannot be read.
    Source(io::Error),
    /// A file of the store cannot be read or written.
    Io(io::Error),
}

impl From<InvalidKey> for Failure {
    fn from(error: InvalidKey) -> Self {
        Self::Key(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Failure {
    /// Tells the failure for a key of the store in this data folder.
    pub(super) fn into_error(self, key: &str, data_dir: &Path) -> StorageError {
        let key = key.to_owned();
        match self {
            Self::Conflict => StorageError::Conflict { key },
            Self::Missing => StorageError::NotFound { key },
            Self::Key(error) => {
                StorageError::Refused { key, advice: "use another name".to_owned(), source: Box::new(error) }
            }
            Self::Source(error) => {
                let advice = "give it a regular file that this user may read".to_owned();
                StorageError::Refused { key, advice, source: Box::new(error) }
            }
            Self::Io(error) => told(key, error, data_dir),
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what is not named here may pass")]
fn told(key: String, error: io::Error, data_dir: &Path) -> StorageError {
    use io::ErrorKind as Kind;
    let folder = data_dir.display();
    let advice = match error.kind() {
        Kind::PermissionDenied => {
            format!("make {folder} and all below it readable and writable for this user")
        }
        Kind::ReadOnlyFilesystem => {
            format!("put the data folder {folder} on a file system that can be written")
        }
        Kind::InvalidFilename => "use a shorter name".to_owned(),
        Kind::NotADirectory | Kind::IsADirectory | Kind::AlreadyExists => {
            "no name may be the folder of another one: use another name".to_owned()
        }
        Kind::StorageFull | Kind::QuotaExceeded => {
            let source = Box::new(DiskFull { folder: data_dir.to_owned(), source: error });
            return StorageError::Unavailable { key, source };
        }
        // Too many open files, an interrupted call, a failing disk: the next try may fare better.
        _ => return StorageError::Unavailable { key, source: Box::new(error) },
    };
    StorageError::Refused { key, advice, source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn told_as(errno: rustix::io::Errno) -> StorageError {
        Failure::Io(errno.into()).into_error("a/b", Path::new("/data"))
    }

    #[test]
    fn what_only_a_person_can_change_is_refused_with_advice() {
        for errno in [rustix::io::Errno::ACCESS, rustix::io::Errno::PERM, rustix::io::Errno::ROFS] {
            let error = told_as(errno);

            assert!(
                matches!(&error, StorageError::Refused { advice, .. } if advice.contains("/data")),
                "{error}"
            );
            assert!(!error.is_transient());
        }
    }

    #[test]
    fn a_full_disk_is_told_as_one_and_may_pass() {
        for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT] {
            let error = told_as(errno);

            assert!(error.is_transient());
            assert_eq!(error.source().unwrap().to_string(), "the disk is full: make room below /data");
        }
    }

    #[test]
    fn what_may_pass_by_itself_is_not_refused() {
        for errno in [rustix::io::Errno::MFILE, rustix::io::Errno::IO, rustix::io::Errno::NOENT] {
            assert!(told_as(errno).is_transient(), "{errno}");
        }
    }
}
