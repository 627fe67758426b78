//! Brings a task's files into a folder: whole or not at all, and nowhere else.
//!
//! Names come from the service, which got them from an agent: neither is believed.

mod place;
mod target;

use std::{io, path::Path};

use indicatif::ProgressBar;
use legwork_core::id::TaskId;
use tokio::io::AsyncWriteExt as _;

use crate::{client::Client, client_error::ClientError};
pub(crate) use place::{Overwrite, PlaceError};
pub(crate) use target::{UnsafeName, target};

use place::Partial;

/// A file that the service lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Its path below the task's files.
    pub(crate) name: String,
    /// Its size in bytes.
    pub(crate) size_bytes: u64,
}

/// A file did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    /// Its name would lead out of the folder, or nowhere.
    #[error(transparent)]
    Name(#[from] UnsafeName),
    /// It has no place in the folder.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The service does not hand it out.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It cannot be written.
    #[error("cannot be written")]
    Write {
        /// Why.
        source: io::Error,
    },
    /// What came is not what was listed.
    #[error("{got} bytes came in place of {expected}")]
    Size {
        /// The size that was listed.
        expected: u64,
        /// How many bytes came, at least.
        got: u64,
    },
}

/// Fetches one file to where [`target`] says; until it is whole it has another name. Each byte that
/// came is counted on the bar.
///
/// # Errors
/// [`DownloadError`]; then nothing of the file is left, nor where the wait is dropped.
pub(crate) async fn fetch(
    client: &Client,
    task: &TaskId,
    wanted: &Wanted,
    dir: &Path,
    overwrite: Overwrite,
    bar: &ProgressBar,
) -> Result<(), DownloadError> {
    let write_failed = |source| DownloadError::Write { source };
    let (root, path) = (dir.to_owned(), target(dir, &wanted.name)?);
    let begun = tokio::task::spawn_blocking(move || Partial::begin(&root, &path, overwrite)).await;
    let (partial, file) = begun.map_err(|panicked| write_failed(panicked.into()))??;
    let mut file = tokio::fs::File::from_std(file);
    let mut body = client.open_file(task, &wanted.name).await?;
    let mut got = 0_u64;
    let size = |got| DownloadError::Size { expected: wanted.size_bytes, got };
    while let Some(bytes) = body.next().await? {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        got = got.saturating_add(length);
        if got > wanted.size_bytes {
            return Err(size(got));
        }
        file.write_all(&bytes).await.map_err(write_failed)?;
        bar.inc(length);
    }
    if got < wanted.size_bytes {
        return Err(size(got));
    }
    // Writes go on behind the file's back until it is flushed.
    file.flush().await.map_err(write_failed)?;
    let finished = tokio::task::spawn_blocking(move || partial.finish()).await;
    Ok(finished.map_err(|panicked| write_failed(panicked.into()))??)
}
