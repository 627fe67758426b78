//! One request, sent on, and its answer, streamed back.

use std::{error::Error, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    admission::{Admission, admit, request_headers, response_headers},
    config::{ProxyConfig, UpstreamCredential},
    reply::{Body, Broken, alive, error},
    usage::{Counter, Form, Total},
};

/// Tells the agent's CLI not to try again: by itself it tries a refused credential for minutes.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// How much of a refused request is still read, and for how long: more than the agent's CLI sends.
const REFUSED_BYTES: usize = 4 * 1024 * 1024;
const REFUSED_DEADLINE: Duration = Duration::from_secs(2);

/// Everything that a connection needs.
#[derive(Debug)]
pub(super) struct Forwarder {
    config: ProxyConfig,
    credential: (HeaderName, HeaderValue),
    client: reqwest::Client,
    permits: Arc<Semaphore>,
    pub(super) total: Total,
}

impl Forwarder {
    /// Prepares the way to the model's API.
    ///
    /// It never leads through a proxy of the environment, which could read the credential; nor
    /// does it follow a redirect, which could carry it elsewhere.
    pub(super) fn new(config: ProxyConfig) -> io::Result<Self> {
        let credential = credential_header(&config.credential)?;
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(config.limits.connect)
            .build()
            .map_err(io::Error::other)?;
        let permits = Arc::new(Semaphore::new(config.limits.requests_at_once));
        Ok(Self { config, credential, client, permits, total: Total::default() })
    }

    /// Answers one request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let token = self.config.token.expose();
        match admit(request.method(), request.uri(), request.headers(), token) {
            Admission::Alive => alive(),
            Admission::Refuse(reason) => {
                tracing::debug!(reason, "a request was not forwarded");
                discard(request.into_body()).await;
                error(StatusCode::FORBIDDEN, "permission_error", reason)
            }
            Admission::Forward(path) => self.forward(path, request).await,
        }
    }

    async fn forward(&self, path: &'static str, request: Request<Incoming>) -> Response<Body> {
        // Who waits here is bounded by the agent's own connections, and ends with them.
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return error(StatusCode::BAD_GATEWAY, "api_error", "the proxy is closing");
        };
        let sent = timeout(self.config.limits.upstream_silence, self.send(path, request)).await;
        match sent {
            Ok(Ok(answer)) => self.pass_on(answer, permit),
            Ok(Err(failure)) => {
                // The address is in the configuration; of the rest, nothing is secret.
                let cause = innermost(&failure.without_url());
                tracing::warn!(cause, "the model's API could not be reached");
                error(
                    StatusCode::BAD_GATEWAY,
                    "api_error",
                    &format!("the model's API cannot be reached: {cause}"),
                )
            }
            Err(_elapsed) => {
                error(StatusCode::GATEWAY_TIMEOUT, "timeout_error", "the model's API does not answer")
            }
        }
    }

    async fn send(&self, path: &str, request: Request<Incoming>) -> reqwest::Result<reqwest::Response> {
        let url = format!("{}{path}", self.config.upstream.as_str().trim_end_matches('/'));
        let mut headers = request_headers(request.headers());
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let (name, value) = self.credential.clone();
        headers.insert(name, value);
        let body = request.into_body();
        // As it came: a body of known length goes on as one.
        if let Some(length) = body.size_hint().exact() {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let body = reqwest::Body::wrap_stream(body.into_data_stream());
        self.client.post(url).headers(headers).body(body).send().await
    }

    fn pass_on(&self, answer: reqwest::Response, permit: OwnedSemaphorePermit) -> Response<Body> {
        let status = answer.status();
        if status.is_redirection() || status.is_informational() {
            return error(
                StatusCode::BAD_GATEWAY,
                "api_error",
                "the model's API redirects, which is not followed",
            );
        }
        let mut headers = response_headers(answer.headers());
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        let form = if status.is_success() { form_of(&headers) } else { Form::Other };
        let counter = Counter::new(form, self.total.clone());
        let frames = counted(answer, counter, self.config.limits.upstream_silence, permit);
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// Reads a body to nowhere. A connection that is closed while the client still writes is reset, and
/// the client sees that instead of the answer.
async fn discard(body: Incoming) {
    let mut pieces = Limited::new(body, REFUSED_BYTES).into_data_stream();
    let reading = async { while let Some(Ok(_)) = pieces.next().await {} };
    timeout(REFUSED_DEADLINE, reading).await.ok();
}

/// Streams the answer as it comes, and ends it where nothing comes for too long. The permit goes
/// with the stream.
fn counted(
    answer: reqwest::Response,
    counter: Counter,
    silence: Duration,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Frame<Bytes>, Broken>> {
    let state = (answer.bytes_stream().boxed(), counter, permit);
    stream::try_unfold(state, move |(mut bytes, mut counter, permit)| async move {
        match timeout(silence, bytes.next()).await {
            Ok(Some(Ok(piece))) => {
                counter.read(&piece);
                Ok(Some((Frame::data(piece), (bytes, counter, permit))))
            }
            Ok(Some(Err(failure))) => Err(Broken::from(failure)),
            Ok(None) => {
                counter.end();
                Ok(None)
            }
            Err(elapsed) => Err(Broken::from(elapsed)),
        }
    })
}

fn form_of(headers: &HeaderMap) -> Form {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Form::Other;
    }
    Form::of(headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()))
}

fn credential_header(credential: &UpstreamCredential) -> io::Result<(HeaderName, HeaderValue)> {
    let (name, value) = match credential {
        UpstreamCredential::ApiKey(key) => {
            (HeaderName::from_static("x-api-key"), HeaderValue::from_str(key.expose()))
        }
        UpstreamCredential::OAuthToken(token) => {
            (header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {}", token.expose())))
        }
    };
    let mut value = value.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    value.set_sensitive(true);
    Ok((name, value))
}

fn innermost(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
