//! A task's uploaded files: their list, and each as a download.
//!
//! An agent wrote them, and their names. A download is saved and never shown: no answer here is one that
//! a browser runs under the service's own origin, and no name adds anything to a header.

#[cfg(test)]
mod tests;

use std::{fmt::Write as _, ops::Range};

use axum::{
    body::Body,
    extract::{FromRequestParts, Path, State},
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use legwork_core::{id::TaskId, request::RelativePath, time::Timestamp};
use legwork_engine::{OpenedUpload, StoredUpload, content_type};

use super::{
    Api,
    input::{Params, Task},
};
use crate::answer::{ApiError, json, query_error};

/// Files of a page where the client names no number, and at most.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
/// What a file may do in a browser that shows it all the same: nothing.
const SANDBOX: HeaderValue = HeaderValue::from_static("sandbox");
/// Nothing here is for others to keep.
const NOT_KEPT: HeaderValue = HeaderValue::from_static("private, no-store");

fn bad(code: &str, message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, code, message)
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct ListQuery {
    limit: Option<String>,
    cursor: Option<String>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    files: Vec<Row<'a>>,
    next_cursor: Option<&'a str>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_path: Option<&'a str>,
    gcs_path: &'a str,
    size_bytes: u64,
    modified: Timestamp,
}

pub(super) async fn list(
    State(api): State<Api>,
    Task(id): Task,
    Params(query): Params<ListQuery>,
) -> Result<Response, ApiError> {
    let limit = match query.limit.filter(|text| !text.is_empty()) {
        None => DEFAULT_LIMIT,
        Some(word) => word
            .parse()
            .ok()
            .filter(|limit| (1..=MAX_LIMIT).contains(limit))
            .ok_or_else(|| bad("invalid_limit", "limit must be a whole number from 1 to 1000"))?,
    };
    let cursor = query.cursor.filter(|text| !text.is_empty());
    let page = api.engine.uploaded_files(&id, limit, cursor.as_deref()).await;
    let page = page.map_err(|error| query_error(error, Some(&id)))?;
    let files = page.files.iter().map(|file| Row {
        path: &file.path,
        original_path: file.original_path.as_deref(),
        gcs_path: &file.url,
        size_bytes: file.size_bytes,
        modified: file.modified,
    });
    Ok(json(StatusCode::OK, &Page { files: files.collect(), next_cursor: page.next_cursor.as_deref() }))
}

/// The file that a path names.
#[derive(Debug)]
pub(super) struct Name {
    task: TaskId,
    path: RelativePath,
}

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // Decoded once, and judged as decoded.
        let Ok(Path((task, path))) = Path::<(String, String)>::from_request_parts(parts, state).await else {
            return Err(bad("invalid_path", "The path must be UTF-8"));
        };
        let task = task.parse().map_err(ApiError::bad_task_id)?;
        match path.parse() {
            Ok(path) => Ok(Self { task, path }),
            Err(error) => Err(bad("invalid_path", format!("The path must be {error}"))),
        }
    }
}

pub(super) async fn download(
    State(api): State<Api>,
    name: Name,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Name { task, path } = name;
    let disposition = disposition(path.as_str());
    let opened = api.engine.open_upload(&task, &path, &disposition).await;
    match opened.map_err(|error| query_error(error, Some(&task)))? {
        Some(OpenedUpload::Elsewhere { url }) => redirect(&url),
        Some(OpenedUpload::Here(file)) if method == Method::HEAD => {
            let size = file.size_bytes();
            Ok(answer(StatusCode::OK, &file, &path, &disposition, size, Body::empty()))
        }
        Some(OpenedUpload::Here(file)) => Ok(serve(&task, &file, &path, &disposition, &headers)),
        None => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "file_not_found",
            "The task has no such file; GET /tasks/{taskId}/files lists them",
        )),
    }
}

fn redirect(url: &str) -> Result<Response, ApiError> {
    // The address is a secret: it is told to the client alone.
    let location = HeaderValue::try_from(url).map_err(|_| {
        ApiError::new(StatusCode::BAD_GATEWAY, "refused", "The store gave an address that cannot be told")
    })?;
    let mut response = StatusCode::FOUND.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    headers.insert(header::CACHE_CONTROL, NOT_KEPT);
    Ok(response)
}

/// Answers with the file, or with the part that is asked for.
fn serve(
    task: &TaskId,
    file: &StoredUpload,
    path: &RelativePath,
    disposition: &str,
    asked: &HeaderMap,
) -> Response {
    let size = file.size_bytes();
    let (status, range) = match part(asked, etag(file).as_ref(), size) {
        Part::Whole => (StatusCode::OK, 0..size),
        Part::Some(range) => (StatusCode::PARTIAL_CONTENT, range),
        Part::None => {
            let message = format!("The file has {size} bytes");
            let refusal = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", message);
            let mut response = refusal.into_response();
            set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{size}"));
            return response;
        }
    };
    let task = task.clone();
    let pieces = file.clone().bytes(range.clone()).map(move |piece| {
        piece.map_err(|error| {
            tracing::warn!(task.id = %task, error = %error, "a file broke off while it was sent");
            std::io::Error::other(error)
        })
    });
    let length = range.end.saturating_sub(range.start);
    let mut response = answer(status, file, path, disposition, length, Body::from_stream(pieces));
    if status == StatusCode::PARTIAL_CONTENT {
        let last = range.end.saturating_sub(1);
        set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes {}-{last}/{size}", range.start));
    }
    response
}

fn answer(
    status: StatusCode,
    file: &StoredUpload,
    path: &RelativePath,
    disposition: &str,
    length: u64,
    body: Body,
) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(path.as_str())));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    set(headers, header::CONTENT_DISPOSITION, disposition);
    headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    headers.insert(header::CACHE_CONTROL, NOT_KEPT);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(etag) = etag(file) {
        headers.insert(header::ETAG, etag);
    }
    response
}

/// Sets a header, unless the text cannot be the value of one.
fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// Returns the strong tag of the file's state; nothing where the store's name for it cannot be one.
fn etag(file: &StoredUpload) -> Option<HeaderValue> {
    let version = Some(file.version()).filter(|text| text.bytes().all(|b| b.is_ascii_graphic() && b != b'"'));
    HeaderValue::try_from(format!("\"{}\"", version?)).ok()
}

/// Returns the header by which a browser saves a file under its last name (RFC 6266, RFC 8187).
fn disposition(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    // Some browsers decode what looks percent-encoded in here; none takes quotes alike.
    let plain = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\\' | '%');
    let mut text = "attachment; filename=\"".to_owned();
    text.extend(name.chars().map(|c| if plain(c) { c } else { '_' }));
    text.push_str("\"; filename*=UTF-8''");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            write!(text, "%{byte:02X}").ok();
        }
    }
    text
}

/// How much of a file is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// All of it.
    Whole,
    /// These bytes.
    Some(Range<u64>),
    /// Bytes that it does not have.
    None,
}

/// Reads which part is asked for (RFC 9110, section 14). What is not one range of bytes, or is meant for
/// another state of the file, asks for all of it.
fn part(headers: &HeaderMap, etag: Option<&HeaderValue>, size: u64) -> Part {
    if headers.get(header::IF_RANGE).is_some_and(|condition| Some(condition) != etag) {
        return Part::Whole;
    }
    let mut ranges = headers.get_all(header::RANGE).iter();
    match (ranges.next().and_then(|value| value.to_str().ok()), ranges.next()) {
        (Some(range), None) => parse_range(range, size).unwrap_or(Part::Whole),
        (None, _) | (Some(_), Some(_)) => Part::Whole,
    }
}

/// Reads one range; nothing if it is none.
fn parse_range(text: &str, size: u64) -> Option<Part> {
    let (unit, range) = text.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(length)) if first.is_empty() => size.saturating_sub(length)..size,
        (Some(_) | None, Some(_) | None) => return None,
    };
    Some(if range.is_empty() { Part::None } else { Part::Some(range) })
}

/// Reads digits; more than fit are the largest number.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}
