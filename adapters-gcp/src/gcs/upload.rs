//! Files of any size as objects: in parts, a few at once, so that memory stays bounded.
//!
//! Parts of an upload that was neither completed nor given up (its process died) stay until the bucket's
//! lifecycle rule for incomplete uploads removes them.

use std::{
    fs::File,
    io::{self, Read as _},
};

use bytes::Bytes;
use object_store::{
    Attribute, Attributes, MultipartUpload, ObjectStore as _, PutMultipartOptions, PutOptions, PutPayload,
    gcp::GoogleCloudStorage, path::Path,
};
use tokio::task::JoinSet;

/// At least 5 MiB for all parts but the last; see <https://cloud.google.com/storage/quotas#requests>.
const PART_BYTES: u64 = 8 * 1024 * 1024;
/// Below the 10,000 that are allowed: a file may grow while it is read.
const PARTS: u64 = 9_000;
const AT_ONCE: usize = 4;

/// Why a file did not become an object.
#[derive(Debug)]
pub(super) enum UploadError {
    /// The file cannot be read.
    File(io::Error),
    /// The store did not take it.
    Store(object_store::Error),
}

impl From<object_store::Error> for UploadError {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error)
    }
}

/// Stores a file from where it is read next to its end; returns how many bytes that were.
pub(super) async fn store_file(
    store: &GoogleCloudStorage,
    path: &Path,
    file: File,
    content_type: &str,
) -> Result<u64, UploadError> {
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::ContentType, content_type.to_owned().into());
    let (file, first) = read_part(file, PART_BYTES).await?;
    if length(&first) < PART_BYTES {
        let size_bytes = length(&first);
        let options = PutOptions { attributes, ..PutOptions::default() };
        store.put_opts(path, PutPayload::from(first), options).await?;
        return Ok(size_bytes);
    }
    let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
    let mut upload = store.put_multipart_opts(path, options).await?;
    let stored = store_parts(upload.as_mut(), file, first).await;
    if stored.is_err()
        && let Err(error) = upload.abort().await
    {
        tracing::debug!(%error, "An upload in parts could not be given up; its parts expire.");
    }
    stored
}

async fn store_parts(
    upload: &mut dyn MultipartUpload,
    mut file: File,
    first: Bytes,
) -> Result<u64, UploadError> {
    let expected = file.metadata().map_err(UploadError::File)?.len();
    let part_bytes = PART_BYTES.max(expected / PARTS + 1);
    let mut size_bytes = 0;
    let mut part = first;
    // Dropped on an error: parts in flight end with it.
    let mut in_flight = JoinSet::new();
    while !part.is_empty() {
        size_bytes += length(&part);
        if in_flight.len() >= AT_ONCE {
            ended(in_flight.join_next().await)?;
        }
        in_flight.spawn(upload.put_part(PutPayload::from(part)));
        (file, part) = read_part(file, part_bytes).await?;
    }
    while !in_flight.is_empty() {
        ended(in_flight.join_next().await)?;
    }
    upload.complete().await?;
    Ok(size_bytes)
}

type Part = Result<object_store::Result<()>, tokio::task::JoinError>;

fn ended(part: Option<Part>) -> Result<(), object_store::Error> {
    match part {
        Some(Ok(stored)) => stored,
        Some(Err(source)) => Err(object_store::Error::JoinError { source }),
        None => Ok(()),
    }
}

/// Reads up to so many bytes, fewer only at the end of the file.
async fn read_part(file: File, wanted: u64) -> Result<(File, Bytes), UploadError> {
    let read = tokio::task::spawn_blocking(move || -> io::Result<(File, Bytes)> {
        let mut part = Vec::new();
        (&file).take(wanted).read_to_end(&mut part)?;
        Ok((file, Bytes::from(part)))
    });
    read.await.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(UploadError::File)
}

fn length(part: &Bytes) -> u64 {
    u64::try_from(part.len()).unwrap_or(u64::MAX)
}
