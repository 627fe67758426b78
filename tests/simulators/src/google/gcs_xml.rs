//! The XML of Cloud Storage: errors, listings and multipart uploads, written and read.

use std::fmt::Write as _;

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use jiff::Timestamp;

/// What every document begins with.
const DECLARATION: &str = "<?xml version='1.0' encoding='UTF-8'?>";

/// An error in the service's own words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct XmlError {
    status: u16,
    code: &'static str,
    message: String,
    details: Option<String>,
}

impl XmlError {
    pub(super) fn new(status: u16, code: &'static str, message: &str) -> Self {
        Self { status, code, message: message.to_owned(), details: None }
    }

    pub(super) fn with_details(self, details: String) -> Self {
        Self { details: Some(details), ..self }
    }

    /// 400 `InvalidArgument`.
    pub(super) fn invalid(details: String) -> Self {
        Self::new(400, "InvalidArgument", "Invalid argument.").with_details(details)
    }

    /// 501: real, perhaps, but nothing that this simulator could answer truthfully.
    pub(super) fn not_implemented(details: String) -> Self {
        Self::new(501, "NotImplemented", "The simulator does not implement this.").with_details(details)
    }

    /// The error that a fault brings.
    pub(super) fn of_status(status: u16) -> Self {
        match status {
            403 => Self::new(403, "AccessDenied", "Access denied."),
            429 => Self::slow_down("The request rate is too high.".to_owned()),
            500 => Self::new(500, "InternalError", "We encountered an internal error. Please try again."),
            503 => Self::new(503, "ServiceUnavailable", "Service Unavailable. Please try again."),
            other => Self::new(other, "InjectedFault", "A test wants this to fail."),
        }
    }

    /// 429 `SlowDown`.
    pub(super) fn slow_down(details: String) -> Self {
        Self::new(429, "SlowDown", "Please reduce your request rate.").with_details(details)
    }
}

impl IntoResponse for XmlError {
    fn into_response(self) -> Response {
        let Self { status, code, message, details } = self;
        let details = details.map(|text| format!("<Details>{}</Details>", escape(&text)));
        let text = format!(
            "{DECLARATION}<Error><Code>{code}</Code><Message>{}</Message>{}</Error>",
            escape(&message),
            details.unwrap_or_default()
        );
        xml(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), text)
    }
}

/// An object in a listing.
pub(super) struct Listed<'a> {
    pub(super) key: &'a str,
    pub(super) generation: u64,
    pub(super) changed: Timestamp,
    pub(super) e_tag: &'a str,
    pub(super) size_bytes: usize,
}

/// Writes one page of a listing; `next` is the token of the page that follows.
pub(super) fn page(bucket: &str, prefix: &str, objects: &[Listed<'_>], next: Option<&str>) -> Response {
    let mut text = format!(
        "{DECLARATION}<ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'><Name>{}</Name>\
         <Prefix>{}</Prefix><KeyCount>{}</KeyCount><IsTruncated>{}</IsTruncated>",
        escape(bucket),
        escape(prefix),
        objects.len(),
        next.is_some()
    );
    if let Some(token) = next {
        push(&mut text, "NextContinuationToken", token);
    }
    for object in objects {
        text.push_str("<Contents>");
        push(&mut text, "Key", object.key);
        push(&mut text, "Generation", &object.generation.to_string());
        push(&mut text, "MetaGeneration", "1");
        push(&mut text, "LastModified", &object.changed.to_string());
        push(&mut text, "ETag", object.e_tag);
        push(&mut text, "Size", &object.size_bytes.to_string());
        text.push_str("</Contents>");
    }
    text.push_str("</ListBucketResult>");
    xml(StatusCode::OK, text)
}

/// Writes the answer to the start of a multipart upload.
pub(super) fn upload_begun(bucket: &str, key: &str, upload: &str) -> Response {
    let mut text = format!("{DECLARATION}<InitiateMultipartUploadResult>");
    push(&mut text, "Bucket", bucket);
    push(&mut text, "Key", key);
    push(&mut text, "UploadId", upload);
    text.push_str("</InitiateMultipartUploadResult>");
    xml(StatusCode::OK, text)
}

/// Writes the answer to the end of a multipart upload.
pub(super) fn upload_completed(bucket: &str, key: &str, e_tag: &str) -> Response {
    let mut text = format!("{DECLARATION}<CompleteMultipartUploadResult>");
    push(&mut text, "Location", &format!("https://storage.googleapis.com/{bucket}/{key}"));
    push(&mut text, "Bucket", bucket);
    push(&mut text, "Key", key);
    push(&mut text, "ETag", e_tag);
    text.push_str("</CompleteMultipartUploadResult>");
    xml(StatusCode::OK, text)
}

/// Reads the numbers and entity tags of the parts that make up an object; nothing where the text is no
/// such document.
pub(super) fn read_parts(text: &str) -> Option<Vec<(u32, String)>> {
    let (_, list) = text.split_once("<CompleteMultipartUpload")?;
    let (list, _) = list.split_once("</CompleteMultipartUpload>")?;
    let parts = list.split("<Part>").skip(1).map(|part| {
        let number = element(part, "PartNumber")?.trim().parse().ok()?;
        Some((number, element(part, "ETag")?.trim().replace("&quot;", "\"")))
    });
    parts.collect()
}

fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(&format!("<{name}>"))?;
    after.split_once(&format!("</{name}>")).map(|(inner, _)| inner)
}

fn push(text: &mut String, name: &str, value: &str) {
    // Writing to a string does not fail.
    write!(text, "<{name}>{}</{name}>", escape(value)).ok();
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn xml(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/xml; charset=UTF-8")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_in_whatever_order_their_members_come() {
        let text = "<CompleteMultipartUpload><Part><ETag>\"a\"</ETag><PartNumber>1</PartNumber></Part>\
                    <Part><PartNumber>2</PartNumber><ETag>&quot;b&quot;</ETag></Part>\
                    </CompleteMultipartUpload>";

        let parts = read_parts(text).unwrap();

        assert_eq!(parts, [(1, "\"a\"".to_owned()), (2, "\"b\"".to_owned())]);
    }

    #[test]
    fn a_document_that_is_cut_or_lacks_a_tag_is_none() {
        assert_eq!(read_parts("<CompleteMultipartUpload><Part>"), None);
        assert_eq!(read_parts("<CompleteMultipartUpload><Part></Part></CompleteMultipartUpload>"), None);
    }

    #[test]
    fn what_has_a_meaning_in_xml_is_escaped() {
        assert_eq!(escape("a<b>&\"c\""), "a&lt;b&gt;&amp;&quot;c&quot;");
    }
}
