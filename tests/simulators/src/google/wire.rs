//! A request as the services read it, and as tests see it afterwards.

use axum::extract::Query;
use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;

/// One of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoogleService {
    /// Cloud Storage, by its XML interface.
    Storage,
    /// Cloud KMS.
    Kms,
    /// Cloud Run, of which jobs and their executions.
    Run,
    /// Cloud Scheduler, of which listing alone.
    Scheduler,
}

/// A request as it arrived at a service.
#[derive(Debug, Clone)]
pub struct GoogleRequest {
    /// The service that was asked.
    pub service: GoogleService,
    /// The method, such as `PUT`.
    pub method: String,
    /// The path, decoded: `/legwork-test/tasks/1/metadata.json`.
    pub path: String,
    /// Path and query as sent.
    pub target: String,
    /// Names in lower case and values, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The body's bytes, unchanged.
    pub body: Bytes,
}

impl GoogleRequest {
    /// Returns the first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Returns the body as JSON, or null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A request taken apart.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: String,
    /// Decoded; nothing where it is no UTF-8.
    pub(super) path: Option<String>,
    /// Decoded, in the order in which they came.
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    target: String,
}

impl Call {
    pub(super) fn read(head: Parts, body: Bytes) -> Self {
        let query = Query::<Vec<(String, String)>>::try_from_uri(&head.uri);
        Self {
            method: head.method.to_string(),
            path: String::from_utf8(percent_decode(head.uri.path())).ok(),
            query: query.map(|Query(pairs)| pairs).unwrap_or_default(),
            headers: head.headers,
            body,
            target: head.uri.to_string(),
        }
    }

    /// The first query parameter of this name.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }

    /// The first header of this name, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Path and query with everything decoded: what faults are matched with.
    pub(super) fn decoded_target(&self) -> String {
        String::from_utf8_lossy(&percent_decode(&self.target)).into_owned()
    }

    pub(super) fn to_request(&self, service: GoogleService) -> GoogleRequest {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = self.headers.iter();
        GoogleRequest {
            service,
            method: self.method.clone(),
            path: self.path.clone().unwrap_or_default(),
            target: self.target.clone(),
            headers: headers.map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
            body: self.body.clone(),
        }
    }
}

/// Undoes percent-encoding (RFC 3986, section 2.1). A percent sign without two digits stands for itself.
fn percent_decode(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = (digit(after.first()), digit(after.get(1)));
        if let (b'%', (Some(high), Some(low))) = (*first, pair) {
            decoded.push((high << 4) | low);
            rest = after.get(2..).unwrap_or_default();
        } else {
            decoded.push(*first);
            rest = after;
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_are_decoded_and_pluses_are_kept() {
        assert_eq!(percent_decode("/a%2Fb%2eé+%"), "/a/b.é+%".as_bytes());
        assert_eq!(percent_decode("%ff%4"), b"\xff%4");
    }
}
