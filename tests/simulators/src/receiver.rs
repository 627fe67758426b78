//! A callback receiver: records every request as it came and answers as told.
//!
//! It verifies nothing; tests do that with what it recorded.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use tokio::time::Instant;

use crate::local_server::{LocalServer, close_without_answer};
use crate::recording::{Recording, TimedOut};

/// How a receiver answers.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// 200 with a short body.
    Ok,
    /// This status with a short body.
    Status(u16),
    /// One behaviour per request, in order; the last one repeats. Empty means
    /// [`Behaviour::Ok`].
    Script(Vec<Behaviour>),
    /// 200, but only after this long.
    Slow(Duration),
    /// 307 to this URL.
    Redirect(String),
    /// Takes the request and never answers.
    Hang,
    /// 200, then one byte of body every 100 ms for ever.
    Drip,
    /// 200 with a body of this many bytes.
    HugeBody(u64),
    /// Closes the connection in place of an answer.
    Cut,
    /// This status with `Retry-After` in seconds.
    RetryAfter(u16, u64),
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// The method, `POST` for a callback.
    pub method: String,
    /// The request target: path and query as sent.
    pub target: String,
    /// Names in lower case and values, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The body's bytes, unchanged.
    pub body: Bytes,
    /// When the body was complete, on the runtime's monotonic clock.
    pub arrived: Instant,
    /// The same moment by the wall clock.
    pub arrived_at: SystemTime,
}

impl Received {
    /// Returns the first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Returns the body as JSON, or null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A running receiver; it stops when dropped.
#[derive(Debug)]
pub struct Receiver {
    server: LocalServer,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    behaviours: Vec<Behaviour>,
    received: Recording<Received>,
}

impl Receiver {
    /// Starts on a free port of 127.0.0.1.
    pub async fn start(behaviour: Behaviour) -> Self {
        let shared = Arc::new(Shared { behaviours: flatten(behaviour), received: Recording::new() });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        Self { server: LocalServer::start(router).await, shared }
    }

    /// Returns `http://127.0.0.1:<port>/callback`; every other path is answered alike.
    pub fn url(&self) -> String {
        format!("{}/callback", self.server.url())
    }

    /// Returns the requests so far, in order of arrival.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.snapshot()
    }

    /// Returns all requests as soon as at least `count` have arrived.
    ///
    /// # Errors
    /// [`TimedOut`] where fewer arrive within `timeout`.
    ///
    /// # Cancel safety
    /// Nothing is lost when the wait is dropped.
    pub async fn wait_for(&self, count: usize, timeout: Duration) -> Result<Vec<Received>, TimedOut> {
        self.shared.received.wait_for(count, timeout).await
    }
}

/// Spreads nested scripts into one row of simple behaviours.
fn flatten(behaviour: Behaviour) -> Vec<Behaviour> {
    if let Behaviour::Script(steps) = behaviour {
        steps.into_iter().flat_map(flatten).collect()
    } else {
        vec![behaviour]
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return close_without_answer();
    };
    let headers = head.headers.iter();
    let headers = headers
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let earlier = shared.received.push(Received {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: headers.collect(),
        body,
        arrived: Instant::now(),
        arrived_at: wall_clock(),
    });
    let behaviour = shared.behaviours.get(earlier).or(shared.behaviours.last());
    respond(behaviour.unwrap_or(&Behaviour::Ok)).await
}

#[expect(clippy::disallowed_methods, reason = "the simulated peer has a clock of its own")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

async fn respond(behaviour: &Behaviour) -> Response {
    match behaviour {
        // Scripts were flattened at the start: one cannot get here.
        Behaviour::Ok | Behaviour::Script(_) => "received\n".into_response(),
        Behaviour::Status(status) => (status_code(*status), "as told\n").into_response(),
        Behaviour::Slow(pause) => {
            tokio::time::sleep(*pause).await;
            "received late\n".into_response()
        }
        Behaviour::Redirect(url) => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, url.clone())]).into_response()
        }
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Drip => Body::from_stream(stream::unfold((), async |()| {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b".")), ()))
        }))
        .into_response(),
        Behaviour::HugeBody(size_bytes) => huge(*size_bytes),
        Behaviour::Cut => close_without_answer(),
        Behaviour::RetryAfter(status, seconds) => {
            (status_code(*status), [(header::RETRY_AFTER, HeaderValue::from(*seconds))], "not now\n")
                .into_response()
        }
    }
}

/// A status outside 100…999 shows as a 500, which a test will notice.
fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn huge(size_bytes: u64) -> Response {
    const PIECE: &[u8] = &[b'x'; 65_536];
    let pieces = stream::unfold(size_bytes, async |left| {
        let next = usize::try_from(left).map_or(PIECE.len(), |left| left.min(PIECE.len()));
        let piece = Bytes::from_static(PIECE).split_to(next);
        let left = left.saturating_sub(u64::try_from(next).unwrap_or(left));
        (next > 0).then_some((Ok::<_, std::io::Error>(piece), left))
    });
    ([(header::CONTENT_LENGTH, HeaderValue::from(size_bytes))], Body::from_stream(pieces)).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// Posts `body` and returns what the receiver sent before it closed.
    async fn post(receiver: &Receiver, body: &str) -> String {
        let address = receiver.server.url().replace("http://", "");
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let length = body.len();
        let request = format!(
            "POST /callback?x=%2f HTTP/1.1\r\nHost: {address}\r\nX-Second: 2\r\nX-First: 1\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_request_is_recorded_as_it_came() {
        let receiver = Receiver::start(Behaviour::Ok).await;

        let answer = post(&receiver, "{\"a\": 1}").await;

        let requests = receiver.wait_for(1, Duration::from_secs(5)).await.unwrap();
        let names: Vec<_> = requests[0].headers.iter().map(|(name, _)| name.as_str()).collect();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(requests[0].target, "/callback?x=%2f");
        assert_eq!(&requests[0].body[..], b"{\"a\": 1}");
        assert_eq!(requests[0].json()["a"], 1);
        assert_eq!(requests[0].header("X-First"), Some("1"));
        assert_eq!(names, ["host", "x-second", "x-first", "content-length", "connection"]);
    }

    #[tokio::test]
    async fn a_script_is_played_in_order_and_its_last_step_repeats() {
        let steps =
            vec![Behaviour::Status(503), Behaviour::RetryAfter(429, 7), Behaviour::Redirect("/else".into())];
        let receiver = Receiver::start(Behaviour::Script(steps)).await;

        let answers = [post(&receiver, "").await, post(&receiver, "").await, post(&receiver, "").await];
        let repeated = post(&receiver, "").await;

        assert!(answers[0].starts_with("HTTP/1.1 503"), "{answers:?}");
        assert!(
            answers[1].starts_with("HTTP/1.1 429") && answers[1].contains("retry-after: 7"),
            "{answers:?}"
        );
        assert!(
            answers[2].starts_with("HTTP/1.1 307") && answers[2].contains("location: /else"),
            "{answers:?}"
        );
        assert!(repeated.starts_with("HTTP/1.1 307"), "{repeated}");
    }

    #[tokio::test]
    async fn a_cut_connection_carries_no_answer_but_is_recorded() {
        let receiver = Receiver::start(Behaviour::Cut).await;

        let answer = post(&receiver, "body").await;

        assert_eq!(answer, "");
        assert_eq!(receiver.received().len(), 1);
    }

    #[tokio::test]
    async fn a_huge_body_has_the_size_asked_for() {
        let receiver = Receiver::start(Behaviour::HugeBody(200_001)).await;

        let answer = post(&receiver, "").await;

        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.len(), 200_001);
    }

    #[tokio::test]
    async fn a_dropped_receiver_closes_what_hangs() {
        let receiver = Receiver::start(Behaviour::Hang).await;
        let address = receiver.server.url().replace("http://", "");
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        receiver.wait_for(1, Duration::from_secs(5)).await.unwrap();

        drop(receiver);

        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok());
        assert_eq!(answer, b"");
    }
}
