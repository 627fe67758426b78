//! Objects as plain files below a data folder.
//!
//! An object is a file with exactly its bytes, so other programs can read it. A put writes a temporary
//! file, syncs it, renames it into place and syncs the folder. A swap does the same under an advisory
//! lock, shared by all processes and freed by their death. The version of an object is the hash of its
//! content: plain files have no generation, and every swap of the service writes something fresh.
//!
//! For local disks: advisory locks and file events on network file systems vary.

mod listing;
mod news;
mod place;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use legwork_core::{hex, time::Timestamp};
use legwork_ports::{
    clock::IdSourceExt as _,
    storage::{Entry, Key, Object, Precondition, Storage, StorageError, Version},
};
use sha2::{Digest as _, Sha256};

use self::{news::News, place::Places};
use crate::clock::SystemIds;

/// Temporary files older than this were left by a process that died.
const LEFTOVER_AGE: Duration = Duration::from_hours(24);
/// How often a write is begun anew because its folder vanished meanwhile.
const FOLDER_TRIES: u32 = 5;

/// A store in files. Clones share what they watch.
#[derive(Debug, Clone)]
pub struct FileStorage {
    places: Arc<Places>,
    news: Arc<News>,
}

impl FileStorage {
    /// Opens the store below a data folder, making what is missing.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let data_dir = std::path::absolute(data_dir)?;
        let places = Places::new(&data_dir);
        for folder in [&places.objects, &places.temporary, &places.locks] {
            make_folder(folder)?;
        }
        // Says at once what would otherwise fail with the first task.
        let probe = places.temporary_file();
        drop(create(&probe)?);
        fs::remove_file(&probe)?;
        places.remove_leftovers(LEFTOVER_AGE);
        let news = News::new(&places.objects);
        Ok(Self { places: Arc::new(places), news: Arc::new(news) })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        key: &str,
        act: impl FnOnce(&Places) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StorageError> {
        let places = Arc::clone(&self.places);
        let done = tokio::task::spawn_blocking(move || act(&places)).await;
        let result = done.unwrap_or_else(|error| Err(Failure::Io(io::Error::other(error))));
        result.map_err(|failure| failure.into_error(key, &self.places.objects))
    }
}

/// What went wrong, before it is told for a key.
enum Failure {
    Io(io::Error),
    Conflict,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Failure {
    fn into_error(self, key: &str, folder: &Path) -> StorageError {
        let key = key.to_owned();
        let error = match self {
            Self::Conflict => return StorageError::Conflict { key },
            Self::Io(error) => error,
        };
        let refused = |advice: String, error| StorageError::Refused {
            key: key.clone(),
            advice,
            source: Box::new(error),
        };
        #[expect(clippy::wildcard_enum_match_arm, reason = "kinds of IO errors are many and open")]
        match error.kind() {
            io::ErrorKind::NotFound => StorageError::NotFound { key },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                refused(format!("make {} writable by this user", folder.display()), error)
            }
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename | io::ErrorKind::NotADirectory => {
                refused("the name cannot be an object's".to_owned(), error)
            }
            // A full disk may be emptied: what waits is tried again.
            _ => StorageError::Unavailable { key, source: Box::new(error) },
        }
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn version_of(bytes: &[u8]) -> Version {
    Version::new(hex::encode(&Sha256::digest(bytes)))
}

fn modified(metadata: &fs::Metadata) -> Timestamp {
    let ms = metadata.mtime().saturating_mul(1000).saturating_add(metadata.mtime_nsec() / 1_000_000);
    Timestamp::from_unix_ms(u64::try_from(ms).unwrap_or(0))
}

/// Puts a finished temporary file into its place and makes that durable.
fn publish(half: &Path, target: &Path, root: &Path) -> io::Result<()> {
    let folder = target.parent().unwrap_or(root);
    let mut tries = 0;
    loop {
        let made = !folder.exists();
        make_folder(folder)?;
        match fs::rename(half, target) {
            Ok(()) => {
                File::open(folder)?.sync_all()?;
                if made && let Some(above) = folder.parent() {
                    File::open(above)?.sync_all()?;
                }
                return Ok(());
            }
            // Somebody removed the folder as empty in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < FOLDER_TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Writes a whole object under the lock of its key.
fn put(places: &Places, key: &str, bytes: &[u8], precondition: &Precondition) -> Result<Version, Failure> {
    let target = places.object(key)?;
    let half = places.temporary_file();
    let written = create(&half).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let put = written.map_err(Failure::from).and_then(|()| {
        let _lock = places.lock(key)?;
        let fits = match precondition {
            Precondition::Always => true,
            Precondition::Absent => !target.exists(),
            Precondition::Unchanged(version) => match fs::read(&target) {
                Ok(stands) => version_of(&stands) == *version,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(error.into()),
            },
        };
        if !fits {
            return Err(Failure::Conflict);
        }
        publish(&half, &target, &places.objects)?;
        Ok(())
    });
    if put.is_err() {
        // It may be gone already; a leftover is removed later.
        drop(fs::remove_file(&half));
    }
    put.map(|()| version_of(bytes))
}

fn get(places: &Places, key: &str, range: Option<(u64, u64)>) -> Result<Object, Failure> {
    let mut file = File::open(places.object(key)?)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotFound).into());
    }
    let mut bytes = Vec::new();
    let version = if let Some((offset, length)) = range {
        file.seek(io::SeekFrom::Start(offset))?;
        file.take(length).read_to_end(&mut bytes)?;
        // Of a part alone no content can be told: the inode changes with every put.
        Version::new(format!("{}-{}", metadata.ino(), metadata.mtime_nsec()))
    } else {
        file.read_to_end(&mut bytes)?;
        version_of(&bytes)
    };
    Ok(Object { bytes: Bytes::from(bytes), version, modified: modified(&metadata) })
}

fn put_file(places: &Places, key: &str, from: &Path) -> Result<u64, Failure> {
    let target = places.object(key)?;
    let mut source = File::open(from)?;
    let half = places.temporary_file();
    let copied = create(&half).and_then(|mut file| {
        let size = io::copy(&mut source, &mut file)?;
        file.sync_all()?;
        let _lock = places.lock(key)?;
        publish(&half, &target, &places.objects)?;
        Ok(size)
    });
    if copied.is_err() {
        drop(fs::remove_file(&half));
    }
    Ok(copied?)
}

fn delete(places: &Places, key: &str) -> Result<(), Failure> {
    let target = places.object(key)?;
    match fs::remove_file(&target) {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

#[async_trait]
impl Storage for FileStorage {
    async fn get(&self, key: &Key) -> Result<Object, StorageError> {
        let name = key.to_owned();
        self.blocking(key, move |places| get(places, &name, None)).await
    }

    async fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Object, StorageError> {
        let name = key.to_owned();
        self.blocking(key, move |places| get(places, &name, Some((offset, length)))).await
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        precondition: Precondition,
    ) -> Result<Version, StorageError> {
        let name = key.to_owned();
        let put = self.blocking(key, move |places| put(places, &name, &bytes, &precondition)).await;
        if put.is_ok() {
            self.news.tell();
        }
        put
    }

    async fn put_file(&self, key: &Key, file: &Path, _content_type: &str) -> Result<u64, StorageError> {
        let (name, from) = (key.to_owned(), file.to_owned());
        let put = self.blocking(key, move |places| put_file(places, &name, &from)).await;
        if put.is_ok() {
            self.news.tell();
        }
        put
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        let (below, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.blocking(prefix, move |places| Ok(listing::list(places, &below, after.as_deref(), limit)?)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        let name = key.to_owned();
        self.blocking(key, move |places| delete(places, &name)).await
    }

    async fn signed_url(&self, _: &Key, _: Duration, _: &str) -> Result<Option<String>, StorageError> {
        Ok(None)
    }

    fn url(&self, key: &Key) -> String {
        let path = self.places.objects.join(key);
        let folder = if key.ends_with('/') { "/" } else { "" };
        let url = url::Url::from_file_path(&path).map_or_else(|()| path.display().to_string(), String::from);
        format!("{}{folder}", url.trim_end_matches('/'))
    }

    async fn changed(&self, prefix: &str, at_most: Duration) {
        self.news.wait(&self.places.objects.join(prefix), at_most).await;
    }
}

/// Returns a fresh name for a temporary file.
fn temporary_name() -> String {
    SystemIds.token().as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn objects_are_plain_files_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let bytes = Bytes::from_static(b"{}\n");

        storage.put("sessions/t/x.jsonl", bytes.clone(), Precondition::Always).await.unwrap();

        let path = folder.path().join("objects/sessions/t/x.jsonl");
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(storage.url("sessions/t/").ends_with("/objects/sessions/t/"));
    }

    #[tokio::test]
    async fn names_that_would_leave_the_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();

        for key in ["../x", "a/../../x", "/x", "a//b", "", "a/.", "a\0b"] {
            let refused = storage.put(key, Bytes::new(), Precondition::Always).await.unwrap_err();
            assert!(matches!(refused, StorageError::Refused { .. }), "{key:?}: {refused}");
        }
    }

    #[tokio::test]
    async fn a_process_that_died_while_it_wrote_leaves_nothing_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        fs::write(folder.path().join("tmp").join("half"), b"half").unwrap();

        let listed = storage.list("", None, 10).await.unwrap();

        assert!(listed.is_empty());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();

        assert!(FileStorage::open(&file.join("data")).is_err());
    }
}
