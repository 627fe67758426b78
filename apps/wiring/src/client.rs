//! What client commands on the same machine may take from the service's data folder.

use std::{
    io,
    path::{Path, PathBuf},
};

use legwork_adapters_local::secret_file;

use crate::{
    config::default_data_dir,
    values::{EnvFile, Values},
};

/// The file of the API token in the data folder.
pub const TOKEN_FILE: &str = "api-token";
/// The file of the callback secret in the data folder.
pub const CALLBACK_SECRET_FILE: &str = "callback-secret";

fn folder(data_dir: Option<&Path>) -> Option<PathBuf> {
    match data_dir {
        Some(folder) => Some(folder.to_owned()),
        None => default_data_dir(&Values::read([], &EnvFile::Never).ok()?),
    }
}

fn read(data_dir: Option<&Path>, file: &str) -> Option<String> {
    let text = std::fs::read_to_string(folder(data_dir)?.join(file)).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Returns the local service's API token, if this user may read it.
pub fn local_token(data_dir: Option<&Path>) -> Option<String> {
    read(data_dir, TOKEN_FILE)
}

/// Returns the local service's callback secret, if this user may read it.
pub fn local_callback_secret(data_dir: Option<&Path>) -> Option<String> {
    read(data_dir, CALLBACK_SECRET_FILE)
}

/// Returns the local service's API token, making it where there is none yet.
///
/// # Errors
/// Where the data folder cannot be written, or the file is open to others.
pub fn local_token_or_create(data_dir: Option<&Path>) -> io::Result<String> {
    let folder = folder(data_dir).ok_or_else(|| io::Error::other("no data folder: set LEGWORK_DATA_DIR"))?;
    let secret = secret_file::read_or_create(&folder.join(TOKEN_FILE), secret_file::random_hex)?;
    Ok(secret.expose().clone())
}
