//! Uploaded files: which there are, what their contents may be called, and reading one of them.
//!
//! A file is read in pieces of bounded size, all of one state of its object: one that is replaced
//! meanwhile breaks off and is never mixed. What names mean was judged before; HTTP is the API's.

use std::{collections::HashMap, ops::Range, path::Path, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use legwork_core::{id::TaskId, layout, request::RelativePath, time::Timestamp};
use legwork_ports::storage::{Entry, StorageError, Version};

use crate::{
    Engine, QueryError,
    records::{Patience, Retries},
};

/// How much of a file is in memory at once, in bytes.
const PIECE_BYTES: u64 = 1024 * 1024;
/// How long a signed address opens the file.
const ADDRESS_LIVES: Duration = Duration::from_mins(15);
/// How often a file is looked at that is replaced at this very moment.
const OPEN_TRIES: u32 = 5;
/// Rows that are read to find one.
const FOUND_AT_ONCE: usize = 8;

/// A page of a task's uploaded files, by path in byte order.
#[derive(Debug)]
pub struct UploadPage {
    /// The files.
    pub files: Vec<ListedUpload>,
    /// Where the next page begins; nothing at the end.
    pub next_cursor: Option<String>,
}

/// An uploaded file as the store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUpload {
    /// The path below the task's uploads, prefix and all.
    pub path: String,
    /// Where it was in the workspace, as far as the record tells.
    pub original_path: Option<String>,
    /// The object's address for people and other programs.
    pub url: String,
    /// Content length in bytes.
    pub size_bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
}

/// A file that can be fetched.
#[derive(Debug)]
pub enum OpenedUpload {
    /// From the store itself, at this address, for 15 minutes. The address is a secret.
    Elsewhere {
        /// The address.
        url: String,
    },
    /// From here.
    Here(StoredUpload),
}

/// One state of an uploaded file.
#[derive(Debug, Clone)]
pub struct StoredUpload {
    engine: Engine,
    key: String,
    version: Version,
    size_bytes: u64,
}

/// Returns the media type by which a file of this name is stored and served.
///
/// Files come from an agent: what a browser runs, or renders with what it refers to, is bytes, and so is
/// everything unknown.
///
/// # Examples
/// ```
/// use legwork_engine::content_type;
/// assert_eq!(content_type("coverage/summary.TXT"), "text/plain; charset=utf-8");
/// assert_eq!(content_type("coverage/index.html"), "application/octet-stream");
/// ```
pub fn content_type(path: &str) -> &'static str {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "txt" | "log" | "md" | "diff" | "patch" | "toml" | "yaml" | "yml" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "json" => "application/json",
        "jsonl" | "ndjson" => "application/x-ndjson",
        "avif" => "image/avif",
        "gif" => "image/gif",
        "jpeg" | "jpg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "aac" => "audio/aac",
        "flac" => "audio/flac",
        "m4a" => "audio/mp4",
        "mp3" => "audio/mpeg",
        "oga" | "ogg" | "opus" => "audio/ogg",
        "wav" => "audio/wav",
        "mkv" => "video/matroska",
        "mov" => "video/quicktime",
        "mp4" => "video/mp4",
        "ogv" => "video/ogg",
        "webm" => "video/webm",
        "7z" => "application/x-7z-compressed",
        "bz2" => "application/x-bzip2",
        "gz" | "tgz" => "application/gzip",
        "tar" => "application/x-tar",
        "xz" => "application/x-xz",
        "zip" => "application/zip",
        "zst" => "application/zstd",
        _ => "application/octet-stream",
    }
}

impl Engine {
    /// Returns up to `limit` of a task's uploaded files, those after the cursor of an earlier page.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn uploaded_files(
        &self,
        id: &TaskId,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<UploadPage, QueryError> {
        // A prefix and a path may be longer together than either may be.
        let is_segment = |segment: &str| segment.parse::<RelativePath>().is_ok();
        if cursor.is_some_and(|cursor| !cursor.split('/').all(is_segment)) {
            return Err(QueryError::BadCursor);
        }
        let record = self.record(id).await?;
        let folder = layout::uploads(id);
        let after = cursor.map(|cursor| format!("{folder}{cursor}"));
        let storage = &self.ports().storage;
        let mut entries = storage.list(&folder, after.as_deref(), limit.saturating_add(1)).await?;
        let more = entries.len() > limit;
        entries.truncate(limit);

        let known = record.uploaded_files.into_iter().map(|file| (file.gcs_path, file.original_path));
        let mut known: HashMap<String, String> = known.collect();
        let files: Vec<ListedUpload> = entries
            .into_iter()
            .filter_map(|entry| {
                let url = storage.url(&entry.key);
                Some(ListedUpload {
                    path: entry.key.strip_prefix(&folder)?.to_owned(),
                    original_path: known.remove(&url),
                    url,
                    size_bytes: entry.size_bytes,
                    modified: entry.modified,
                })
            })
            .collect();
        let next_cursor = files.last().filter(|_| more).map(|file| file.path.clone());
        Ok(UploadPage { files, next_cursor })
    }

    /// Opens an uploaded file; nothing where the task has none of this path. `content_disposition` is
    /// what the store answers with where it serves the file itself.
    ///
    /// # Errors
    /// [`QueryError`]; `NotFound` means the task.
    pub async fn open_upload(
        &self,
        id: &TaskId,
        path: &RelativePath,
        content_disposition: &str,
    ) -> Result<Option<OpenedUpload>, QueryError> {
        self.record(id).await?;
        let storage = &self.ports().storage;
        let key = layout::upload(id, None, path);
        for _ in 0..OPEN_TRIES {
            let Some(entry) = self.upload_entry(id, &key).await? else { return Ok(None) };
            if let Some(url) = storage.signed_url(&key, ADDRESS_LIVES, content_disposition).await? {
                return Ok(Some(OpenedUpload::Elsewhere { url }));
            }
            // The last byte and none after it: the state that was read has the size that was listed.
            let last = match storage.get_range(&key, entry.size_bytes.saturating_sub(1), 2).await {
                Ok(last) => last,
                // Removed since it was listed.
                Err(StorageError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            if length(&last.bytes) == entry.size_bytes.min(1) {
                return Ok(Some(OpenedUpload::Here(StoredUpload {
                    engine: self.clone(),
                    key,
                    version: last.version,
                    size_bytes: entry.size_bytes,
                })));
            }
        }
        Err(replaced())
    }

    /// Returns the row of one file; nothing where there is none.
    async fn upload_entry(&self, id: &TaskId, key: &str) -> Result<Option<Entry>, StorageError> {
        let folder = layout::uploads(id);
        let mut after = just_before(key);
        loop {
            let entries = self.ports().storage.list(&folder, Some(&after), FOUND_AT_ONCE).await?;
            let more = entries.len() == FOUND_AT_ONCE;
            let Some(last) = entries.last().map(|entry| entry.key.clone()) else { return Ok(None) };
            let found = entries.into_iter().find(|entry| entry.key == key);
            if found.is_some() || !more || last.as_str() > key {
                return Ok(found);
            }
            after = last;
        }
    }
}

impl StoredUpload {
    /// Returns the length in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns a text that tells this state of the file from others. Opaque.
    pub fn version(&self) -> &str {
        self.version.as_str()
    }

    /// Returns these bytes of the file in pieces of at most 1 MiB. It ends with an error where the file
    /// was replaced meanwhile, or the store does not answer for a while.
    pub fn bytes(self, range: Range<u64>) -> BoxStream<'static, Result<Bytes, QueryError>> {
        let end = range.end.min(self.size_bytes);
        let pieces = stream::try_unfold((self, range.start), move |(upload, offset)| async move {
            let wanted = end.saturating_sub(offset).min(PIECE_BYTES);
            if wanted == 0 {
                return Ok(None);
            }
            let piece = upload.piece(offset, wanted).await?;
            Ok(Some((piece, (upload, offset.saturating_add(wanted)))))
        });
        pieces.boxed()
    }

    async fn piece(&self, offset: u64, wanted: u64) -> Result<Bytes, QueryError> {
        let ports = self.engine.ports();
        let mut retries = Retries::new(ports, Patience::Short);
        loop {
            match ports.storage.get_range(&self.key, offset, wanted).await {
                Ok(piece) if piece.version == self.version && length(&piece.bytes) == wanted => {
                    return Ok(piece.bytes);
                }
                Ok(_) | Err(StorageError::NotFound { .. }) => return Err(replaced()),
                Err(error) => retries.pause(error).await?,
            }
        }
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn replaced() -> QueryError {
    QueryError::Unavailable { source: "the file was replaced or removed meanwhile".into() }
}

/// Returns a text after which a list soon comes to this key, and not past it.
fn just_before(key: &str) -> String {
    let mut before = key.to_owned();
    let last = before.pop().map_or(0, u32::from);
    // Where no character precedes it, the list only begins earlier.
    if let Some(earlier) = last.checked_sub(1).and_then(char::from_u32) {
        before.extend([earlier, char::MAX]);
    }
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_would_run_or_render_is_bytes() {
        let active = "html htm xhtml xht shtml svg svgz xml xsl xslt rss atom js mjs cjs css wasm pdf swf mht \
                      mhtml eml htc hta webmanifest ics vbs exe";

        for name in active.split_whitespace().flat_map(|end| [format!("a.{end}"), format!("a.txt.{end}")]) {
            assert_eq!(content_type(&name), "application/octet-stream", "{name}");
        }
        for name in ["txt", ".txt", "a", "a.", "a.txt/b", "a.html\u{0}", "a.txt ", "a.png.HTML"] {
            assert_eq!(content_type(name), "application/octet-stream", "{name:?}");
        }
    }

    #[test]
    fn harmless_files_have_their_types() {
        assert_eq!(content_type("b/a.PNG"), "image/png");
        assert_eq!(content_type("a.html.json"), "application/json");
        assert_eq!(content_type("a.tar.gz"), "application/gzip");
    }

    #[test]
    fn a_list_after_what_is_just_before_a_key_begins_with_it() {
        for key in ["a/b", "a/b c", "a/ ", "a/ü", "a/\u{e000}", "a/\u{10FFFF}"] {
            let before = just_before(key);

            assert!(before.as_str() < key, "{key:?}");
            assert!(before.starts_with("a/"), "{key:?}");
        }
        assert!(just_before("a/b9").as_str() > "a/b8");
    }
}
