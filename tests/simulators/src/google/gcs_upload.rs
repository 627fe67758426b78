//! Multipart uploads: begun, filled in any order, completed or given up. They know no preconditions.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use super::checksum::{hex, md5};
use super::gcs::{
    BUCKET, GENERATION_MATCH, Outcome, Shelf, check_digests, check_key, kept_headers, only, set,
};
use super::gcs_xml::{self, XmlError};
use super::wire::Call;

/// Every part but the last has at least so many bytes
/// (<https://cloud.google.com/storage/quotas#requests>).
pub(super) const PART_BYTES: usize = 5 * 1024 * 1024;

/// There are at most so many parts.
const PARTS: u32 = 10_000;

/// An upload that was begun and not yet ended.
#[derive(Debug)]
pub(super) struct Upload {
    key: String,
    headers: HeaderMap,
    parts: BTreeMap<u32, Part>,
}

#[derive(Debug)]
struct Part {
    bytes: Bytes,
    digest: [u8; 16],
}

impl Part {
    fn e_tag(&self) -> String {
        format!("\"{}\"", hex(&self.digest))
    }
}

impl Shelf {
    pub(super) fn begin_upload(&mut self, call: &Call, key: &str) -> Outcome {
        only(call, &["uploads"])?;
        no_precondition(call)?;
        check_key(key)?;
        self.uploads_begun += 1;
        let name = format!("upload-{:08}", self.uploads_begun);
        let upload = Upload { key: key.to_owned(), headers: kept_headers(call), parts: BTreeMap::new() };
        self.uploads.insert(name.clone(), upload);
        Ok(gcs_xml::upload_begun(BUCKET, key, &name))
    }

    pub(super) fn put_part(&mut self, call: &Call, key: &str) -> Outcome {
        only(call, &["partNumber", "uploadId"])?;
        no_precondition(call)?;
        check_digests(call)?;
        let number = call.parameter("partNumber").and_then(|number| number.parse::<u32>().ok());
        let Some(number) = number.filter(|number| (1..=PARTS).contains(number)) else {
            return Err(XmlError::invalid("partNumber is not from 1 to 10000".to_owned()));
        };
        let upload = self.upload(call, key)?;
        let part = Part { bytes: call.body.clone(), digest: md5(&call.body) };
        let mut headers = HeaderMap::new();
        set(&mut headers, "etag", &part.e_tag());
        upload.parts.insert(number, part);
        Ok((StatusCode::OK, headers).into_response())
    }

    pub(super) fn complete_upload(&mut self, call: &Call, key: &str) -> Outcome {
        only(call, &["uploadId"])?;
        no_precondition(call)?;
        let upload = self.upload(call, key)?;
        let wanted = std::str::from_utf8(&call.body).ok().and_then(gcs_xml::read_parts);
        let Some(wanted) = wanted.filter(|parts| !parts.is_empty()) else {
            return Err(XmlError::new(
                400,
                "MalformedCompleteMultipartUpload",
                "The XML is not well-formed.",
            ));
        };
        let (bytes, e_tag) = upload.assemble(&wanted)?;
        let headers = upload.headers.clone();
        let object = self.store(key, bytes, e_tag.clone(), headers)?;
        self.uploads.remove(call.parameter("uploadId").unwrap_or_default());
        let generation = object.to_headers().remove("x-goog-generation");
        let mut response: Response = gcs_xml::upload_completed(BUCKET, key, &e_tag);
        if let Some(generation) = generation {
            response.headers_mut().insert("x-goog-generation", generation);
        }
        Ok(response)
    }

    pub(super) fn abort_upload(&mut self, call: &Call, key: &str) -> Outcome {
        only(call, &["uploadId"])?;
        self.upload(call, key)?;
        self.uploads.remove(call.parameter("uploadId").unwrap_or_default());
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    fn upload(&mut self, call: &Call, key: &str) -> Result<&mut Upload, XmlError> {
        let upload = self.uploads.get_mut(call.parameter("uploadId").unwrap_or_default());
        let message = "The specified multipart upload does not exist.";
        upload.filter(|upload| upload.key == key).ok_or_else(|| XmlError::new(404, "NoSuchUpload", message))
    }
}

impl Upload {
    /// The object of these parts and its entity tag.
    fn assemble(&self, wanted: &[(u32, String)]) -> Result<(Bytes, String), XmlError> {
        if !wanted.is_sorted_by(|(one, _), (other, _)| one < other) {
            let message = "The list of parts was not in ascending order.";
            return Err(XmlError::new(400, "InvalidPartOrder", message));
        }
        let mut bytes = BytesMut::new();
        let mut digests = Vec::new();
        for (place, (number, e_tag)) in wanted.iter().enumerate() {
            let part = self.parts.get(number).filter(|part| part.e_tag() == *e_tag);
            let message = "One or more of the specified parts could not be found.";
            let part = part.ok_or_else(|| XmlError::new(400, "InvalidPart", message))?;
            if place + 1 < wanted.len() && part.bytes.len() < PART_BYTES {
                let message = "Your proposed upload is smaller than the minimum object size.";
                return Err(XmlError::new(400, "EntityTooSmall", message));
            }
            bytes.extend_from_slice(&part.bytes);
            digests.extend_from_slice(&part.digest);
        }
        Ok((bytes.freeze(), format!("\"{}-{}\"", hex(&md5(&digests)), wanted.len())))
    }
}

fn no_precondition(call: &Call) -> Result<(), XmlError> {
    if call.header(GENERATION_MATCH).is_none() {
        return Ok(());
    }
    Err(XmlError::not_implemented(format!("{GENERATION_MATCH} of a multipart upload")))
}
