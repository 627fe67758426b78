//! Data keys wrapped by keys in a file: the key service of one machine.
//!
//! `keys.json` holds all keys, the newest one wrapping and all of them unwrapping, so that rotation
//! loses nothing. A wrapped key is a format byte, the key's id (8 bytes), a nonce (12), the
//! ciphertext (32) and its tag (16), sealed by AES-256-GCM with the bound data.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aes_gcm::{
    Aes256Gcm, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use legwork_core::{envelope::DataKey, hex, secret::Secret};
use legwork_ports::{
    clock::IdSource as _,
    keys::{Keys, KeysError},
};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{clock::SystemIds, secret_file};

/// The only format there is.
const FORMAT: u8 = 1;
const ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;

#[derive(Serialize, Deserialize)]
struct KeyFile {
    version: u32,
    primary: String,
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct StoredKey {
    id: String,
    key: String,
}

/// The keys of this machine.
#[derive(Debug, Clone)]
pub struct FileKeys {
    path: PathBuf,
}

impl FileKeys {
    /// Opens the file, making it with one key where there is none.
    ///
    /// # Errors
    /// Where the file cannot be read or made, may be read by others, or holds no keys.
    pub fn open(path: &Path) -> io::Result<Self> {
        let keys = Self { path: path.to_owned() };
        drop(keys.read()?);
        Ok(keys)
    }

    /// Adds a key that wraps from now on; older ones still unwrap.
    ///
    /// # Errors
    /// Where the file cannot be replaced.
    pub fn rotate(&self) -> io::Result<()> {
        let mut file = self.read()?;
        let key = fresh_key();
        file.primary.clone_from(&key.id);
        file.keys.push(key);
        let half = self.path.with_extension("json.new");
        if let Err(error) = fs::remove_file(&half)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let text = serde_json::to_string_pretty(&file)?;
        drop(secret_file::read_or_create(&half, || text)?);
        fs::rename(&half, &self.path)
    }

    /// Reads the file each time: another process may have rotated.
    fn read(&self) -> io::Result<KeyFile> {
        let text = secret_file::read_or_create(&self.path, || {
            let key = fresh_key();
            let file = KeyFile { version: 1, primary: key.id.clone(), keys: vec![key] };
            // Strings and a number always serialise.
            serde_json::to_string_pretty(&file).unwrap_or_default()
        })?;
        let file: KeyFile = serde_json::from_str(text.expose()).map_err(|error| {
            // The error itself would tell where in a file of secrets it stumbled, and no more.
            io::Error::other(format!("{} is not a key file: {error}", self.path.display()))
        })?;
        if file.version != 1 || !file.keys.iter().any(|key| key.id == file.primary) {
            return Err(io::Error::other(format!("{} holds no primary key", self.path.display())));
        }
        Ok(file)
    }

    async fn read_later(&self) -> Result<KeyFile, KeysError> {
        let keys = self.clone();
        let read = tokio::task::spawn_blocking(move || keys.read()).await;
        let refused = |source: io::Error| KeysError::Refused {
            advice: format!("make {} readable by this user", self.path.display()),
            source: Box::new(source),
        };
        read.map_err(|error| refused(io::Error::other(error)))?.map_err(refused)
    }
}

fn fresh_key() -> StoredKey {
    let mut id = [0; ID_BYTES];
    let mut key = Zeroizing::new([0; 32]);
    SystemIds.fill(&mut id);
    SystemIds.fill(key.as_mut_slice());
    StoredKey { id: hex::encode(&id), key: STANDARD.encode(key.as_slice()) }
}

fn cipher(file: &KeyFile, id: &str) -> Option<Aes256Gcm> {
    let stored = file.keys.iter().find(|key| key.id == id)?;
    let bytes = Zeroizing::new(STANDARD.decode(stored.key.as_str()).ok()?);
    Aes256Gcm::new_from_slice(&bytes).ok()
}

#[async_trait]
impl Keys for FileKeys {
    async fn wrap(&self, key: &DataKey, bound: &[u8]) -> Result<Vec<u8>, KeysError> {
        let file = self.read_later().await?;
        let refused = || KeysError::Refused {
            advice: format!("restore {} from a copy", self.path.display()),
            source: "the primary key is not 32 bytes".into(),
        };
        let cipher = cipher(&file, &file.primary).ok_or_else(refused)?;
        let id = hex::decode(&file.primary).filter(|id| id.len() == ID_BYTES).ok_or_else(refused)?;
        let mut nonce = [0; NONCE_BYTES];
        SystemIds.fill(&mut nonce);
        let payload = Payload { msg: key.expose(), aad: bound };
        let sealed = cipher.encrypt(&Nonce::from(nonce), payload).map_err(|_| refused())?;
        Ok([&[FORMAT], id.as_slice(), &nonce, &sealed].concat())
    }

    async fn unwrap(&self, wrapped: &[u8], bound: &[u8]) -> Result<DataKey, KeysError> {
        let file = self.read_later().await?;
        let (format, rest) = wrapped.split_first().ok_or(KeysError::Rejected)?;
        let (id, rest) = rest.split_at_checked(ID_BYTES).ok_or(KeysError::Rejected)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES).ok_or(KeysError::Rejected)?;
        if *format != FORMAT {
            return Err(KeysError::Rejected);
        }
        let cipher = cipher(&file, &hex::encode(id)).ok_or(KeysError::Rejected)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| KeysError::Rejected)?;
        let opened = cipher.decrypt(&Nonce::from(nonce), Payload { msg: sealed, aad: bound });
        let opened = Zeroizing::new(opened.map_err(|_| KeysError::Rejected)?);
        let key: [u8; 32] = opened.as_slice().try_into().map_err(|_| KeysError::Rejected)?;
        Ok(Secret::new(key))
    }
}
