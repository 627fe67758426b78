//! A task's uploaded files: which there are, and one of them as a download.
//!
//! What is in them comes from an agent. No browser is to run it on this origin: each is an attachment, in
//! a sandbox, and of a type that runs nothing.

use std::ops::Range;

use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use legwork_core::request::RelativePath;
use legwork_engine::{OpenedUpload, StoredUpload, content_type};

use super::{
    Api,
    input::{Params, Task},
};
use crate::answer::{ApiError, json, query_error};

/// Files of a page where the client names no number, and at most.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

#[derive(Debug, serde::Deserialize)]
pub(super) struct FilesQuery {
    limit: Option<String>,
    cursor: Option<String>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    files: Vec<Row>,
    next_cursor: Option<String>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_path: Option<String>,
    gcs_path: String,
    size_bytes: u64,
    modified: String,
}

fn bad(code: &str, message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, code, message)
}

pub(super) async fn list(
    State(api): State<Api>,
    Task(id): Task,
    Params(query): Params<FilesQuery>,
) -> Result<Response, ApiError> {
    let text = |value: Option<String>| value.filter(|text| !text.is_empty());
    let limit = match text(query.limit) {
        None => DEFAULT_LIMIT,
        Some(word) => word
            .parse()
            .ok()
            .filter(|limit| (1..=MAX_LIMIT).contains(limit))
            .ok_or_else(|| bad("invalid_limit", "limit must be a whole number from 1 to 1000"))?,
    };
    let cursor = text(query.cursor);
    let page = api.engine.uploaded_files(&id, limit, cursor.as_deref()).await;
    let page = page.map_err(|error| query_error(error, Some(&id)))?;
    let files = page.files.into_iter().map(|file| Row {
        path: file.path,
        original_path: file.original_path,
        gcs_path: file.url,
        size_bytes: file.size_bytes,
        modified: file.modified.to_string(),
    });
    Ok(json(StatusCode::OK, &Page { files: files.collect(), next_cursor: page.next_cursor }))
}

pub(super) async fn download(
    State(api): State<Api>,
    Path((task, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = task.parse().map_err(ApiError::bad_task_id)?;
    let path: RelativePath = path.parse().map_err(|_: legwork_core::request::InvalidRelativePath| {
        bad("invalid_path", "a path is segments, none of them empty, `.` or `..`, without control characters")
    })?;
    let disposition = disposition(path.as_str());
    let opened = api.engine.open_upload(&id, &path, &disposition).await;
    let mut response = match opened.map_err(|error| query_error(error, Some(&id)))? {
        None => {
            return Err(ApiError::new(StatusCode::NOT_FOUND, "file_not_found", "The task has no such file"));
        }
        Some(OpenedUpload::Elsewhere { url }) => redirect(&url)?,
        Some(OpenedUpload::Here(upload)) => send(upload, headers.get(header::RANGE), &path),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    // It is ASCII without control characters.
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

fn redirect(url: &str) -> Result<Response, ApiError> {
    let location = HeaderValue::from_str(url).map_err(|_: header::InvalidHeaderValue| {
        ApiError::new(StatusCode::BAD_GATEWAY, "store_failed", "The store's address for the file is unusable")
    })?;
    let mut response = StatusCode::FOUND.into_response();
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

fn send(upload: StoredUpload, range: Option<&HeaderValue>, path: &RelativePath) -> Response {
    let size = upload.size_bytes();
    let wanted = range.and_then(|range| range.to_str().ok()).and_then(|range| part(range, size));
    let (status, range) = match wanted {
        None => (StatusCode::OK, 0..size),
        Some(Part::Bytes(range)) => (StatusCode::PARTIAL_CONTENT, range),
        Some(Part::Outside) => {
            let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
            insert(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"));
            return response;
        }
    };
    let name = path.as_str().to_owned();
    let body = upload.bytes(range.clone()).map(move |piece| {
        piece.map_err(|error| {
            tracing::warn!(path = name, error = %error, "a file broke off while it was sent");
            std::io::Error::other(error)
        })
    });
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = status;
    insert(&mut response, header::CONTENT_LENGTH, &range.end.saturating_sub(range.start).to_string());
    insert(&mut response, header::CONTENT_TYPE, content_type(path.as_str()));
    insert(&mut response, header::ACCEPT_RANGES, "bytes");
    if status == StatusCode::PARTIAL_CONTENT {
        let last = range.end.saturating_sub(1);
        insert(&mut response, header::CONTENT_RANGE, &format!("bytes {}-{last}/{size}", range.start));
    }
    response
}

/// Values are made here and are ASCII.
fn insert(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// What a client asks for of a file.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Bytes(Range<u64>),
    Outside,
}

/// Reads a `Range` of one part; nothing where it is none that is known, which means all of it.
fn part(range: &str, size: u64) -> Option<Part> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let found = if first.is_empty() {
        let length: u64 = last.parse().ok()?;
        size.saturating_sub(length)..size
    } else {
        let first: u64 = first.parse().ok()?;
        let end = if last.is_empty() { size } else { last.parse::<u64>().ok()?.saturating_add(1).min(size) };
        first..end
    };
    Some(if found.start < found.end { Part::Bytes(found) } else { Part::Outside })
}

/// Names a download as RFC 6266 has it, in ASCII: whatever the name holds, it ends no quote and no line.
fn disposition(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ');
    let fallback: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(['%', hex(byte >> 4), hex(byte & 0x0f)]);
        }
    }
    format!("attachment; filename=\"{fallback}\"; filename*=UTF-8''{encoded}")
}

fn hex(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_neither_its_quotes_nor_its_line() {
        assert_eq!(
            disposition("a/b \"x\";\u{fc}.html"),
            "attachment; filename=\"b _x___.html\"; filename*=UTF-8''b%20%22x%22%3B%C3%BC.html"
        );
    }

    #[test]
    fn one_range_is_understood() {
        assert_eq!(part("bytes=0-1", 10), Some(Part::Bytes(0..2)));
        assert_eq!(part("bytes=4-", 10), Some(Part::Bytes(4..10)));
        assert_eq!(part("bytes=-3", 10), Some(Part::Bytes(7..10)));
        assert_eq!(part("bytes=9-100", 10), Some(Part::Bytes(9..10)));
        assert_eq!(part("bytes=10-", 10), Some(Part::Outside));
        assert_eq!(part("bytes=5-4", 10), Some(Part::Outside));
        for other in ["bytes=0-1,3-4", "lines=0-1", "bytes=a-b", "bytes=-", "bytes"] {
            assert_eq!(part(other, 10), None, "{other}");
        }
    }
}
