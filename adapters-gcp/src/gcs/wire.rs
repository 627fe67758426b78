//! What goes over the wire to Cloud Storage: checksums, the pause that one write a second asks for, and
//! refusals kept with their codes.
//!
//! It stands below the client library, whose own errors cannot be read from outside: every answer but a
//! success becomes an [`Answer`] here, and whether the library tries again is decided here too.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use legwork_ports::clock::{IdSource, IdSourceExt as _};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
        HttpService, ReqwestConnector,
    },
};

use crate::error::Answer;

const HASH: &str = "x-goog-hash";
const CONDITION: &str = "x-goog-if-generation-match";
/// An object takes one write a second; see <https://cloud.google.com/storage/quotas#objects>.
const WRITE_PAUSE: Duration = Duration::from_secs(1);
const WRITE_PAUSES: u32 = 5;
/// Google's messages are a sentence or two.
const MESSAGE_CHARS: usize = 500;

/// The checksum that Cloud Storage keeps of a whole object.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredSum(pub(super) u32);

/// Makes clients that speak as this module says.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) ids: Arc<dyn IdSource>,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Wire { inner, ids: Arc::clone(&self.ids) }))
    }
}

#[derive(Debug)]
struct Wire {
    inner: HttpClient,
    ids: Arc<dyn IdSource>,
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if request.method() == Method::PUT {
            let sum = checksum(request.body().clone()).await?;
            request.headers_mut().insert(HASH, hash_header(sum)?);
        }
        let conditional = request.headers().contains_key(CONDITION);
        let mut pauses = 0;
        loop {
            let sent = self.inner.execute(request.clone()).await;
            let mut response = sent.map_err(|error| if conditional { once(error) } else { error })?;
            let status = response.status();
            if status.is_success() {
                keep_sum(&mut response);
                return Ok(response);
            }
            if status == StatusCode::TOO_MANY_REQUESTS && pauses < WRITE_PAUSES {
                pauses += 1;
                // 0.8 to 1.2 s.
                tokio::time::sleep(WRITE_PAUSE.mul_f64(0.8 + 0.4 * self.ids.jitter())).await;
                continue;
            }
            return Err(refusal(response, conditional).await);
        }
    }
}

async fn checksum(mut body: HttpRequestBody) -> Result<u32, HttpError> {
    let mut sum = 0;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            sum = crc32c::crc32c_append(sum, &data);
        }
    }
    Ok(sum)
}

fn hash_header(sum: u32) -> Result<HeaderValue, HttpError> {
    HeaderValue::try_from(format!("crc32c={}", STANDARD.encode(sum.to_be_bytes())))
        .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))
}

/// Keeps the library from trying a swap again: it would take its own first try for another writer's.
fn once(error: HttpError) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, error)
}

/// Keeps the stored checksum where a whole object is read.
fn keep_sum(response: &mut HttpResponse) {
    if response.status() != StatusCode::OK {
        return;
    }
    let hashes = response.headers().get_all(HASH).iter().filter_map(|value| value.to_str().ok());
    let sum = hashes
        .flat_map(|value| value.split(','))
        .find_map(|hash| hash.trim().strip_prefix("crc32c="))
        .and_then(|text| STANDARD.decode(text).ok())
        .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
        .map(u32::from_be_bytes);
    if let Some(sum) = sum {
        response.extensions_mut().insert(StoredSum(sum));
    }
}

async fn refusal(response: HttpResponse, conditional: bool) -> HttpError {
    let status = response.status();
    let body = response.into_body().bytes().await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let code = between(&text, "<Code>", "</Code>").unwrap_or_default().to_owned();
    let message = between(&text, "<Message>", "</Message>").unwrap_or_default();
    let message = message.chars().take(MESSAGE_CHARS).collect();
    let may_pass = status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT;
    // The library tries the first again, whatever the call, and the second never.
    let kind = if may_pass && !conditional { HttpErrorKind::Request } else { HttpErrorKind::Unknown };
    HttpError::new(kind, Answer { status: status.as_u16(), code, message })
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close).map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use object_store::PutPayload;

    use super::*;

    #[tokio::test]
    async fn the_checksum_is_that_of_all_parts_of_a_body() {
        let parts = [b"1234".as_slice(), b"", b"56789"];
        let payload: PutPayload = parts.into_iter().map(bytes::Bytes::from_static).collect();

        let sum = checksum(payload.into()).await.unwrap();

        // The check value of CRC-32C, from the catalogue of parametrised CRC algorithms.
        assert_eq!(sum, 0xe306_9283);
        assert_eq!(hash_header(sum).unwrap(), "crc32c=4waSgw==");
    }

    #[tokio::test]
    async fn an_answer_keeps_its_code_and_message() {
        let body = "<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>Gone.</Message></Error>";
        let mut response = HttpResponse::new(body.to_owned().into());
        *response.status_mut() = StatusCode::NOT_FOUND;

        let error = refusal(response, false).await;

        let answer = crate::error::find::<Answer>(&error).unwrap();
        assert_eq!(answer.to_string(), "404 NoSuchKey: Gone.");
    }

    #[test]
    fn the_stored_checksum_is_found_among_other_hashes() {
        let mut response = HttpResponse::new(String::new().into());
        response.headers_mut().insert(HASH, HeaderValue::from_static("md5=AAAA, crc32c=4waSgw=="));

        keep_sum(&mut response);

        assert_eq!(response.extensions().get::<StoredSum>().unwrap().0, 0xe306_9283);
    }
}
