//! Cloud Storage by its XML interface: one bucket whose objects are in memory.
//!
//! The wire is that of <https://cloud.google.com/storage/docs/xml-api/overview>, with addresses in path
//! style. What is not implemented is answered with 501, never ignored.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use tokio::time::Instant;

use super::checksum::{crc32c, hex, md5};
use super::gcs_signed;
use super::gcs_upload::Upload;
use super::gcs_xml::{self, Listed, XmlError};
use super::time::{http_date, now};
use super::wire::Call;

/// The only bucket.
pub(super) const BUCKET: &str = "legwork-test";

/// A page of a listing has at most so many objects.
const PAGE: usize = 1000;

/// One object may be written once in this time
/// (<https://cloud.google.com/storage/quotas#objects>).
const BETWEEN_WRITES: Duration = Duration::from_secs(1);

/// A key has at most so many bytes.
const KEY_BYTES: usize = 1024;

pub(super) const GENERATION_MATCH: &str = "x-goog-if-generation-match";

pub(super) type Outcome = Result<Response, XmlError>;

/// The bucket.
#[derive(Debug, Default)]
pub(super) struct Storage {
    shelf: Mutex<Shelf>,
}

/// What the bucket holds, and its limits.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    pub(super) objects: BTreeMap<String, Object>,
    pub(super) uploads: BTreeMap<String, Upload>,
    pub(super) uploads_begun: u64,
    written: BTreeMap<String, Instant>,
    writes: u64,
    /// Whether an object may be written only once a second.
    pub(super) limits_writes: bool,
    /// A smaller page than Google's.
    pub(super) page: Option<usize>,
}

/// An object with what was said of it when it was written.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) bytes: Bytes,
    generation: u64,
    e_tag: String,
    changed: Timestamp,
    /// What the writer said and every reader hears.
    headers: HeaderMap,
}

impl Storage {
    pub(super) fn answer(&self, call: &Call) -> Response {
        self.shelf().answer(call).unwrap_or_else(IntoResponse::into_response)
    }

    /// Puts an object there, whatever limits there are.
    pub(super) fn put_object(&self, key: &str, bytes: Bytes) {
        let e_tag = format!("\"{}\"", hex(&md5(&bytes)));
        let mut all = self.shelf();
        let limits_writes = std::mem::replace(&mut all.limits_writes, false);
        drop(all.store(key, bytes, e_tag, HeaderMap::new()));
        all.limits_writes = limits_writes;
    }

    pub(super) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn answer(&mut self, call: &Call) -> Outcome {
        let Some(path) = call.path.as_deref() else {
            return Err(XmlError::invalid("the path is no UTF-8".to_owned()));
        };
        let path = path.strip_prefix('/').unwrap_or(path);
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        if bucket != BUCKET {
            return Err(XmlError::new(404, "NoSuchBucket", "The specified bucket does not exist."));
        }
        known_headers_only(call)?;
        if key.is_empty() {
            return if call.method == "GET" { self.list(call) } else { Err(not_allowed()) };
        }
        let of_upload = call.parameter("uploadId").is_some();
        match (call.method.as_str(), key) {
            ("GET" | "HEAD", key) if !of_upload => self.get(call, key),
            ("PUT", key) if of_upload => self.put_part(call, key),
            ("PUT", key) => self.put(call, key),
            ("POST", key) if of_upload => self.complete_upload(call, key),
            ("POST", key) if call.parameter("uploads").is_some() => self.begin_upload(call, key),
            ("DELETE", key) if of_upload => self.abort_upload(call, key),
            ("DELETE", key) => self.delete(call, key),
            _ => Err(not_allowed()),
        }
    }

    fn list(&self, call: &Call) -> Outcome {
        only(call, &["list-type", "prefix", "start-after", "continuation-token", "max-keys"])?;
        if call.parameter("list-type") != Some("2") {
            return Err(XmlError::not_implemented("a listing without list-type=2".to_owned()));
        }
        let prefix = call.parameter("prefix").unwrap_or_default();
        let after = match call.parameter("continuation-token") {
            Some(token) => read_token(token)?,
            None => call.parameter("start-after").unwrap_or_default().to_owned(),
        };
        let wanted = match call.parameter("max-keys").map(str::parse::<usize>) {
            None => PAGE,
            Some(Ok(wanted)) if wanted > 0 => wanted,
            Some(_) => return Err(XmlError::invalid("max-keys is no positive number".to_owned())),
        };
        let limit = wanted.min(self.page.unwrap_or(PAGE));
        let start = if after.as_str() >= prefix && !after.is_empty() {
            Bound::Excluded(after.as_str())
        } else {
            Bound::Included(prefix)
        };
        let found = self.objects.range::<str, _>((start, Bound::Unbounded));
        let mut found = found.take_while(|(key, _)| key.starts_with(prefix));
        let page: Vec<_> = found.by_ref().take(limit).map(|(key, object)| object.listed(key)).collect();
        let next = found.next().and(page.last()).map(|last| write_token(last.key));
        Ok(gcs_xml::page(BUCKET, prefix, &page, next.as_deref()))
    }

    fn get(&self, call: &Call, key: &str) -> Outcome {
        let known = ["generation", "response-content-disposition", "response-content-type"];
        let unsigned = call.query.iter().map(|(name, _)| name.as_str());
        let mut unsigned = unsigned.filter(|name| !gcs_signed::is_of_a_signature(name));
        if let Some(name) = unsigned.find(|name| !known.contains(name)) {
            return Err(XmlError::not_implemented(format!("the query parameter {name}")));
        }
        gcs_signed::check(call, now())?;
        let object = self.objects.get(key).ok_or_else(|| no_such_key(key))?;
        if call.parameter("generation").is_some_and(|wanted| wanted != object.generation.to_string()) {
            return Err(no_such_key(key));
        }
        self.check_generation(call, key)?;
        let mut headers = object.to_headers();
        for (parameter, name) in [
            ("response-content-disposition", "content-disposition"),
            ("response-content-type", "content-type"),
        ] {
            if let Some(value) = call.parameter(parameter) {
                set(&mut headers, name, value);
            }
        }
        let size = object.bytes.len();
        let (status, part) = match call.header("range") {
            None => (StatusCode::OK, 0..size),
            Some(range) => (StatusCode::PARTIAL_CONTENT, read_range(range, size)?),
        };
        if status == StatusCode::PARTIAL_CONTENT {
            let last = part.end.saturating_sub(1);
            set(&mut headers, "content-range", &format!("bytes {}-{last}/{size}", part.start));
        }
        set(&mut headers, "content-length", &part.len().to_string());
        // What is read of a range that was checked is within the object.
        let body = if call.method == "HEAD" { Bytes::new() } else { object.bytes.slice(part) };
        Ok((status, headers, Body::from(body)).into_response())
    }

    fn put(&mut self, call: &Call, key: &str) -> Outcome {
        only(call, &[])?;
        check_key(key)?;
        check_digests(call)?;
        self.check_generation(call, key)?;
        let e_tag = format!("\"{}\"", hex(&md5(&call.body)));
        let object = self.store(key, call.body.clone(), e_tag, kept_headers(call))?;
        let mut headers = object.to_headers();
        headers.remove(header::CONTENT_TYPE);
        headers.remove(header::LAST_MODIFIED);
        Ok((StatusCode::OK, headers).into_response())
    }

    fn delete(&mut self, call: &Call, key: &str) -> Outcome {
        only(call, &[])?;
        if !self.objects.contains_key(key) {
            return Err(no_such_key(key));
        }
        self.check_generation(call, key)?;
        self.spend_write(key)?;
        self.objects.remove(key);
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    /// Puts an object in its place, as far as its write rate allows.
    pub(super) fn store(
        &mut self,
        key: &str,
        bytes: Bytes,
        e_tag: String,
        headers: HeaderMap,
    ) -> Result<Object, XmlError> {
        self.spend_write(key)?;
        self.writes += 1;
        // Google's generations are microseconds: longer than what fits a float, and never used twice.
        let generation = 1_700_000_000_000_000 + self.writes;
        let object = Object { bytes, generation, e_tag, changed: now(), headers };
        self.objects.insert(key.to_owned(), object.clone());
        Ok(object)
    }

    fn spend_write(&mut self, key: &str) -> Result<(), XmlError> {
        let too_early = |last: &Instant| last.elapsed() < BETWEEN_WRITES;
        if self.limits_writes && self.written.get(key).is_some_and(too_early) {
            return Err(XmlError::slow_down(format!(
                "The object {BUCKET}/{key} exceeded the rate limit for object mutation operations (create, \
                 update, and delete). Please reduce your request rate. See \
                 https://cloud.google.com/storage/docs/gcs429."
            )));
        }
        self.written.insert(key.to_owned(), Instant::now());
        Ok(())
    }

    fn check_generation(&self, call: &Call, key: &str) -> Result<(), XmlError> {
        let Some(wanted) = call.header(GENERATION_MATCH) else {
            return Ok(());
        };
        let Ok(wanted) = wanted.parse::<u64>() else {
            return Err(XmlError::invalid(format!("{wanted} is no generation")));
        };
        if self.objects.get(key).map_or(0, |object| object.generation) == wanted {
            return Ok(());
        }
        let message = "At least one of the pre-conditions you specified did not hold.";
        Err(XmlError::new(412, "PreconditionFailed", message))
    }
}

impl Object {
    fn listed<'a>(&'a self, key: &'a str) -> Listed<'a> {
        Listed {
            key,
            generation: self.generation,
            changed: self.changed,
            e_tag: &self.e_tag,
            size_bytes: self.bytes.len(),
        }
    }

    pub(super) fn to_headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        set(&mut headers, "etag", &self.e_tag);
        set(&mut headers, "last-modified", &http_date(self.changed));
        set(&mut headers, "x-goog-generation", &self.generation.to_string());
        set(&mut headers, "x-goog-metageneration", "1");
        set(&mut headers, "x-goog-stored-content-length", &self.bytes.len().to_string());
        headers
    }
}

/// The headers that belong to an object, with the type that one without a type has.
pub(super) fn kept_headers(call: &Call) -> HeaderMap {
    let kept = |name: &HeaderName| {
        name.as_str().starts_with("x-goog-meta-")
            || [
                "content-type",
                "content-disposition",
                "content-encoding",
                "content-language",
                "cache-control",
            ]
            .contains(&name.as_str())
    };
    let pairs = call.headers.iter().filter(|(name, _)| kept(name));
    let mut headers: HeaderMap = pairs.map(|(name, value)| (name.clone(), value.clone())).collect();
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
    headers
}

/// Compares the body with the checksums that were sent with it.
pub(super) fn check_digests(call: &Call) -> Result<(), XmlError> {
    let bad = |name: &str| {
        let message = format!("The {name} you specified did not match what we received.");
        Err(XmlError::new(400, "BadDigest", &message))
    };
    if call.header("content-md5").is_some_and(|sent| sent != STANDARD.encode(md5(&call.body))) {
        return bad("Content-MD5");
    }
    let values = call.headers.get_all("x-goog-hash").iter().filter_map(|value| value.to_str().ok());
    for hash in values.flat_map(|value| value.split(',')) {
        let (name, sent) = hash.trim().split_once('=').unwrap_or((hash, ""));
        let real = match name {
            "crc32c" => STANDARD.encode(crc32c(&call.body).to_be_bytes()),
            "md5" => STANDARD.encode(md5(&call.body)),
            _ => return Err(XmlError::new(400, "InvalidDigest", "The digest you specified is invalid.")),
        };
        if sent != real {
            return bad(name);
        }
    }
    Ok(())
}

/// Refuses names that no object may have (<https://cloud.google.com/storage/docs/objects#naming>).
pub(super) fn check_key(key: &str) -> Result<(), XmlError> {
    if key.len() > KEY_BYTES {
        return Err(XmlError::new(400, "KeyTooLong", "The object key is too long (1024 bytes)."));
    }
    if key.contains(['\r', '\n'])
        || [".", ".."].contains(&key)
        || key.starts_with(".well-known/acme-challenge/")
    {
        return Err(XmlError::invalid(format!("{key:?} is no name of an object")));
    }
    Ok(())
}

/// Refuses query parameters besides these.
pub(super) fn only(call: &Call, known: &[&str]) -> Result<(), XmlError> {
    match call.query.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, _)) => Err(XmlError::not_implemented(format!("the query parameter {name} here"))),
    }
}

pub(super) fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Refuses headers that change what a call means and are not implemented.
fn known_headers_only(call: &Call) -> Result<(), XmlError> {
    let harmless = ["x-goog-hash", "x-goog-api-client", "x-goog-user-project", "x-goog-request-params"];
    let unknown = |name: &&str| {
        (name.starts_with("x-goog-")
            && *name != GENERATION_MATCH
            && !name.starts_with("x-goog-meta-")
            && !harmless.contains(name))
            || name.starts_with("if-")
    };
    match call.headers.keys().map(HeaderName::as_str).find(unknown) {
        None => Ok(()),
        Some(name) => Err(XmlError::not_implemented(format!("the header {name}"))),
    }
}

/// The part of an object that a `Range` with one range names (RFC 9110, section 14.1.2).
fn read_range(text: &str, size: usize) -> Result<Range<usize>, XmlError> {
    let malformed = || XmlError::invalid(format!("{text} is no range of bytes"));
    let (first, last) =
        text.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(malformed)?;
    let number = |text: &str| text.parse::<usize>().ok();
    let part = match (number(first), number(last)) {
        (None, Some(count)) if first.is_empty() => size.saturating_sub(count)..size,
        (Some(first), None) if last.is_empty() => first..size,
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        _ => return Err(malformed()),
    };
    if part.start < part.end {
        return Ok(part);
    }
    Err(XmlError::new(416, "InvalidRange", "The requested range cannot be satisfied."))
}

/// A token says nothing to a client: base64 keeps clients from making their own.
fn write_token(key: &str) -> String {
    URL_SAFE.encode(format!("after:{key}"))
}

fn read_token(token: &str) -> Result<String, XmlError> {
    let text = URL_SAFE.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let key = text.as_deref().and_then(|text| text.strip_prefix("after:"));
    key.map(str::to_owned).ok_or_else(|| XmlError::invalid(format!("{token} is no continuation token")))
}

fn no_such_key(key: &str) -> XmlError {
    XmlError::new(404, "NoSuchKey", "The specified key does not exist.")
        .with_details(format!("No such object: {BUCKET}/{key}"))
}

fn not_allowed() -> XmlError {
    XmlError::new(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
}

#[cfg(test)]
mod tests;
