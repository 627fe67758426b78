//! Uploading files: each is looked through before it leaves.

use std::{
    io::{self, Read as _},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use legwork_core::{
    layout,
    record::UploadedFile,
    request::{RelativePath, UploadAction},
};
use legwork_ports::workspace::FoundFile;

use super::{
    actions::{Actions, Done, Failure},
    stage::chain,
};
use crate::uploads::content_type;

/// The first pause before an upload is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// Uploads at once.
const UPLOADS_AT_ONCE: usize = 8;
/// How often one upload is tried.
const UPLOAD_TRIES: u32 = 5;
/// Problems that are told of one search for files.
const MAX_PROBLEMS: usize = 20;
/// How much of a file is looked through at once, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// What files of the service's hold that are known by it.
type Own = Arc<Vec<Vec<u8>>>;

impl Actions<'_> {
    /// Uploads what the globs match.
    pub(super) async fn upload(&self, upload: &UploadAction, done: &mut Done) {
        if let Err(failure) = self.claim("upload").await {
            return self.note(done, failure).await;
        }
        let found = match self.stage.worker.workspace.find_files(self.folders, &upload.glob_patterns).await {
            Ok(found) => found,
            Err(error) => return self.note(done, Failure { action: "upload", error: chain(&error) }).await,
        };
        let left_out = found.problems.len().saturating_sub(MAX_PROBLEMS);
        for error in found.problems.into_iter().take(MAX_PROBLEMS) {
            self.note(done, Failure { action: "upload", error }).await;
        }
        if left_out > 0 {
            let error = format!("{left_out} more files could not be looked at");
            self.note(done, Failure { action: "upload", error }).await;
        }
        tracing::info!(task.id = %self.stage.claimed.record.task_id, files = found.files.len(), "uploading");
        let prefix = upload.prefix.as_ref();
        let own = self.scene.placed.files.iter().filter(|file| file.is_known_by_content());
        let own: Own = Arc::new(own.map(|file| file.contents.clone()).collect());
        let mut uploads = stream::iter(found.files)
            .map(|file| self.upload_one(prefix, file, &own))
            .buffer_unordered(UPLOADS_AT_ONCE);
        while let Some(uploaded) = uploads.next().await {
            match uploaded {
                Ok(file) => done.uploaded_files.push(file),
                Err(failure) => self.note(done, failure).await,
            }
        }
        done.uploaded_files.sort_by(|one, other| one.original_path.cmp(&other.original_path));
    }

    async fn upload_one(
        &self,
        prefix: Option<&RelativePath>,
        file: FoundFile,
        own: &Own,
    ) -> Result<UploadedFile, Failure> {
        let path = file.path;
        let failed = |error: String| Failure { action: "upload", error: format!("{path}: {error}") };
        if self.masked(&path) != path {
            return Err(failed("its name holds a secret of the request; it was left out".to_owned()));
        }
        let below = prefix.map_or_else(|| path.clone(), |prefix| format!("{}/{path}", prefix.as_str()));
        // What is uploaded can be fetched again: prefix and path together are one path of `/files`.
        let below: RelativePath =
            below.parse().map_err(|_| failed("it is no name for an upload, or too long".to_owned()))?;
        self.claim("upload").await.map_err(|failure| failed(failure.error))?;
        let uploading = async {
            if self.holds_secret(&path, own).await? {
                return Err("it holds a secret of the request; it was left out".to_owned());
            }
            let key = layout::upload(&self.stage.claimed.record.task_id, None, &below);
            let size_bytes = self.put(&key, &path).await?;
            let gcs_path = self.stage.engine.ports().storage.url(&key);
            Ok(UploadedFile { original_path: path.clone(), gcs_path, size_bytes })
        };
        let uploaded = tokio::select! {
            biased;
            uploaded = uploading => uploaded,
            // A put that is dropped leaves the object whole or not at all.
            () = self.cut.cancelled() => Err(self.cut_short()),
        };
        uploaded.map_err(failed)
    }

    /// Looks through a file for secrets, and tells whether it is a copy of a file of the service's.
    async fn holds_secret(&self, path: &str, own: &Own) -> Result<bool, String> {
        let opened = self.stage.worker.workspace.open_file(self.folders, path).await;
        let mut file = opened.map_err(|error| chain(&error))?;
        let (redactor, own, cut) = (Arc::clone(&self.stage.redactor), Arc::clone(own), self.cut.clone());
        let looked = tokio::task::spawn_blocking(move || -> io::Result<bool> {
            let mut search = redactor.search();
            let mut copies = Copies::of(&own);
            let mut piece = vec![0; PIECE_BYTES];
            while !cut.is_cancelled() {
                let length = file.read(&mut piece)?;
                if length == 0 {
                    return Ok(copies.is_one());
                }
                let read = piece.get(..length).unwrap_or_default();
                copies.feed(read);
                if search.feed(read) {
                    return Ok(true);
                }
            }
            Err(io::ErrorKind::Interrupted.into())
        });
        looked.await.map_err(io::Error::other).flatten().map_err(|error| chain(&error))
    }

    async fn put(&self, key: &str, path: &str) -> Result<u64, String> {
        let ports = self.stage.engine.ports();
        let mut tries = 0_u32;
        loop {
            let opened = self.stage.worker.workspace.open_file(self.folders, path).await;
            let file = opened.map_err(|error| chain(&error))?;
            tries = tries.saturating_add(1);
            match ports.storage.put_file(key, file, content_type(path)).await {
                Ok(size_bytes) => return Ok(size_bytes),
                Err(error) if error.is_transient() && tries < UPLOAD_TRIES => {
                    ports.clock.sleep(PAUSE.saturating_mul(1 << tries.min(6))).await;
                }
                Err(error) => return Err(chain(&error)),
            }
        }
    }
}

/// Compares bytes that come in pieces with whole contents.
struct Copies<'c> {
    /// Of each that has been the same so far: what is still to come.
    left: Vec<&'c [u8]>,
}

impl<'c> Copies<'c> {
    fn of(contents: &'c [Vec<u8>]) -> Self {
        Self { left: contents.iter().map(Vec::as_slice).collect() }
    }

    fn feed(&mut self, piece: &[u8]) {
        self.left = self.left.iter().filter_map(|left| left.strip_prefix(piece)).collect();
    }

    /// Tells whether all of it was the same as one of the contents.
    fn is_one(&self) -> bool {
        self.left.iter().any(|left| left.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: bool) {
        let contents = [b"PIN='1234'\n".to_vec(), b"PIN='12345678'\n".to_vec()];

        for size in 1..=bytes.len() {
            let mut copies = Copies::of(&contents);
            bytes.chunks(size).for_each(|piece| copies.feed(piece));
            assert_eq!(copies.is_one(), expected, "pieces of {size}");
        }
    }

    #[test]
    fn a_copy_is_known_wherever_the_pieces_are_cut() {
        check(b"PIN='1234'\n", true);
        check(b"PIN='12345678'\n", true);
    }

    #[test]
    fn what_is_shorter_longer_or_other_is_no_copy() {
        check(b"PIN='1234'", false);
        check(b"PIN='1234'\nmore", false);
        check(b"PIN='4321'\n", false);
    }
}
