//! Data keys wrapped by keys in a file: the key service of one machine.
//!
//! `keys.json` holds all keys, the primary one wrapping and all of them unwrapping, so that rotation
//! loses nothing. It is read anew for each call: another process may have rotated. A wrapped key is a
//! format byte, the key's id (8 bytes), a nonce (12), the ciphertext (32) and its tag (16), sealed by
//! AES-256-GCM with the bound data.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use aes_gcm::{
    Aes256Gcm, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use legwork_core::{envelope::DataKey, hex, secret::Secret, time::Timestamp};
use legwork_ports::{
    clock::{Clock as _, IdSource as _},
    keys::{Keys, KeysError},
};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    clock::{SystemClock, SystemIds},
    secret_file::{self, SecretFileError},
};

/// The only format there is, of the file and of wrapped keys.
const FORMAT: u8 = 1;
const ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;
const KEY_BYTES: usize = 32;

/// Why the key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It cannot be read or written, or is open to others.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// Its text is no key file.
    #[error("{} is not a key file ({reason}): restore it from a copy", .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What does not fit; nothing of the content.
        reason: String,
    },
}

impl KeyFileError {
    fn is_transient(&self) -> bool {
        match self {
            Self::File(SecretFileError::Io { source, .. }) => !matches!(
                source.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
            ),
            Self::File(_) | Self::Corrupt { .. } => false,
        }
    }

    fn into_keys_error(self, path: &Path) -> KeysError {
        if self.is_transient() {
            return KeysError::Unavailable { source: Box::new(self) };
        }
        let path = path.display();
        let advice = match &self {
            Self::File(SecretFileError::OpenToOthers { .. }) => format!("chmod 600 {path}"),
            Self::File(_) => format!("have {path} there, readable by this user"),
            Self::Corrupt { .. } => format!("restore {path} from a copy"),
        };
        KeysError::Refused { advice, source: Box::new(self) }
    }
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    version: u8,
    primary: String,
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    id: String,
    created: Timestamp,
    key: String,
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl StoredKey {
    fn fresh() -> Self {
        let mut id = [0; ID_BYTES];
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        SystemIds.fill(&mut id);
        SystemIds.fill(key.as_mut_slice());
        Self { id: hex::encode(&id), created: SystemClock::new().now(), key: STANDARD.encode(key.as_slice()) }
    }

    fn id(&self) -> Option<[u8; ID_BYTES]> {
        hex::decode(&self.id)?.try_into().ok()
    }

    fn cipher(&self) -> Option<Aes256Gcm> {
        // Decoded into a place of its own size, so that no copy is left behind.
        let mut bytes = Zeroizing::new([0; KEY_BYTES + 1]);
        let length = STANDARD.decode_slice(self.key.as_bytes(), bytes.as_mut_slice()).ok()?;
        Aes256Gcm::new_from_slice(bytes.get(..length)?).ok()
    }
}

impl KeyFile {
    fn fresh() -> Self {
        let key = StoredKey::fresh();
        Self { version: FORMAT, primary: key.id.clone(), keys: vec![key] }
    }

    fn parse(text: &str) -> Result<Self, String> {
        // The reader's own words may quote what it read: of a file of secrets only the place is told.
        let place = |error: serde_json::Error| format!("line {}, column {}", error.line(), error.column());
        let file: Self = serde_json::from_str(text).map_err(place)?;
        if file.version != FORMAT {
            return Err(format!("version {}", file.version));
        }
        if let Some(broken) = file.keys.iter().position(|key| key.id().is_none() || key.cipher().is_none()) {
            return Err(format!("key {broken} is no 32 bytes in base64 with an id of 16 digits"));
        }
        file.primary_key().is_some().then_some(()).ok_or("it lacks the primary key")?;
        Ok(file)
    }

    fn to_json(&self) -> String {
        // Strings, times and a number always serialise.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    fn primary_key(&self) -> Option<&StoredKey> {
        self.keys.iter().find(|key| key.id == self.primary)
    }
}

/// The keys of this machine.
#[derive(Debug, Clone)]
pub struct FileKeys {
    path: PathBuf,
}

impl FileKeys {
    /// Opens the file, making it with one key where there is none. Of several processes that make it at
    /// once, one wins, and all use what it wrote.
    ///
    /// # Errors
    /// `File` where the file cannot be read or made, or is open to others; `Corrupt`.
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        secret_file::read_or_create(path, || KeyFile::fresh().to_json())?;
        let keys = Self { path: path.to_owned() };
        keys.read()?;
        Ok(keys)
    }

    /// Adds a key that wraps from now on; older ones still unwrap. Blocks, also for another process that
    /// rotates.
    ///
    /// # Errors
    /// `File` where the file cannot be read or replaced; `Corrupt`.
    pub fn rotate(&self) -> Result<(), KeyFileError> {
        let path = self.path.with_extension("lock");
        // Two that read the same keys would each lose what the other one added.
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .and_then(|lock| lock.lock().map(|()| lock))
            .map_err(|source| SecretFileError::Io { path, source })?;
        let mut file = self.read()?;
        let key = StoredKey::fresh();
        file.primary.clone_from(&key.id);
        file.keys.push(key);
        secret_file::replace(&self.path, &Zeroizing::new(file.to_json()))?;
        drop(lock);
        Ok(())
    }

    /// Reads the file, which is not made here: without the keys that were in it nothing sealed opens.
    fn read(&self) -> Result<KeyFile, KeyFileError> {
        let text = secret_file::read(&self.path)?;
        KeyFile::parse(text.expose())
            .map_err(|reason| KeyFileError::Corrupt { path: self.path.clone(), reason })
    }

    async fn read_later(&self) -> Result<KeyFile, KeysError> {
        let keys = self.clone();
        let read = tokio::task::spawn_blocking(move || keys.read()).await;
        read.map_err(|error| KeysError::Unavailable { source: Box::new(error) })?
            .map_err(|error| error.into_keys_error(&self.path))
    }

    fn corrupt(&self, reason: &str) -> KeysError {
        KeyFileError::Corrupt { path: self.path.clone(), reason: reason.to_owned() }
            .into_keys_error(&self.path)
    }
}

#[async_trait]
impl Keys for FileKeys {
    async fn wrap(&self, key: &DataKey, bound: &[u8]) -> Result<Vec<u8>, KeysError> {
        let file = self.read_later().await?;
        let primary = file.primary_key().ok_or_else(|| self.corrupt("it lacks the primary key"))?;
        let (id, cipher) =
            primary.id().zip(primary.cipher()).ok_or_else(|| self.corrupt("the primary key is unusable"))?;
        let mut nonce = [0; NONCE_BYTES];
        SystemIds.fill(&mut nonce);
        let payload = Payload { msg: key.expose(), aad: bound };
        // Refused are only texts of more than 64 GiB, and bound data of more than that.
        let sealed = cipher
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| self.corrupt("the bound data is too long"))?;
        Ok([&[FORMAT], id.as_slice(), &nonce, &sealed].concat())
    }

    async fn unwrap(&self, wrapped: &[u8], bound: &[u8]) -> Result<DataKey, KeysError> {
        let file = self.read_later().await?;
        open(&file, wrapped, bound).ok_or(KeysError::Rejected)
    }
}

fn open(file: &KeyFile, wrapped: &[u8], bound: &[u8]) -> Option<DataKey> {
    let (format, rest) = wrapped.split_first()?;
    let (id, rest) = rest.split_first_chunk::<ID_BYTES>()?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
    let key = file.keys.iter().find(|key| *format == FORMAT && key.id().as_ref() == Some(id))?;
    let payload = Payload { msg: sealed, aad: bound };
    let opened = Zeroizing::new(key.cipher()?.decrypt(&Nonce::from(*nonce), payload).ok()?);
    Some(Secret::new(opened.as_slice().try_into().ok()?))
}
