//! Serves the demo's repository over smart HTTP, as gitprotocol-http(5) has it, by running git itself.
//!
//! One repository, two services, for whoever shows the token as a password; nothing else. Questions
//! and answers are held in memory: the repository has a handful of small files.

use std::{io, process::Output, sync::Arc, time::Duration};

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header, uri::PathAndQuery},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use legwork_core::secret::Secret;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;

use super::DemoRepository;

/// The longest question that is read, in bytes: a push of that much.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// How long a question may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What is served to whom.
#[derive(Debug)]
struct Desk {
    repository: DemoRepository,
    token: Secret<String>,
}

/// Serves the repository until the listener fails; ends by being dropped.
///
/// # Errors
/// Where the listener fails.
pub(crate) async fn serve(
    listener: TcpListener,
    repository: DemoRepository,
    token: Secret<String>,
) -> io::Result<()> {
    let router = Router::new().fallback(answer).with_state(Arc::new(Desk { repository, token }));
    axum::serve(listener, router).await
}

async fn answer(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    if !desk.admits(request.headers()) {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"legwork demo\"")];
        return (StatusCode::UNAUTHORIZED, challenge, "Only the demo's own token opens this.\n")
            .into_response();
    }
    let target = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
    let Some(call) = Call::of(request.method().as_str(), target) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // Git compresses questions of more than 1 KiB when it fetches. About two commits it asks less.
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let protocol = request.headers().get("git-protocol").and_then(|value| value.to_str().ok());
    let protocol = protocol.map(str::to_owned);
    let read = to_bytes(request.into_body(), MAX_BODY_BYTES);
    let Ok(read) = tokio::time::timeout(BODY_TIMEOUT, read).await else {
        return StatusCode::REQUEST_TIMEOUT.into_response();
    };
    let Ok(body) = read else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    match desk.run(call, &body, protocol.as_deref()).await {
        // What git has to say of a failure may be in its answer already.
        Ok(output) if output.status.success() || !output.stdout.is_empty() => call.response(output.stdout),
        Ok(output) => failure(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => failure(format!("git cannot be run: {error}\n")),
    }
}

fn failure(words: String) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, words).into_response()
}

impl Desk {
    /// Tells whether the token is the password of Basic authentication (RFC 7617), whoever the user is.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let shown = password(headers);
        shown.is_some_and(|shown| bool::from(shown.as_bytes().ct_eq(self.token.expose().as_bytes())))
    }

    async fn run(&self, call: Call, body: &[u8], protocol: Option<&str>) -> io::Result<Output> {
        // A gc that goes on by itself would keep git's standard output open.
        let mut arguments = vec!["-c", "receive.autogc=false", call.service, "--stateless-rpc"];
        if call.advertises {
            arguments.push("--http-backend-info-refs");
        }
        arguments.push(".");
        self.repository.git.run(&self.repository.path, &arguments, body, protocol).await
    }
}

fn password(headers: &HeaderMap) -> Option<String> {
    let (scheme, encoded) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let decoded = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let decoded = String::from_utf8(decoded).ok()?;
    decoded.split_once(':').map(|(_user, password)| password.to_owned())
}

/// A question to git.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Call {
    /// The command that answers whoever fetches, or whoever pushes.
    service: &'static str,
    /// Whether it asks what is here, before anything is fetched or pushed.
    advertises: bool,
}

impl Call {
    fn of(method: &str, target: &str) -> Option<Self> {
        let (service, advertises) = match (method, target) {
            ("GET", "/demo.git/info/refs?service=git-upload-pack") => ("upload-pack", true),
            ("GET", "/demo.git/info/refs?service=git-receive-pack") => ("receive-pack", true),
            ("POST", "/demo.git/git-upload-pack") => ("upload-pack", false),
            ("POST", "/demo.git/git-receive-pack") => ("receive-pack", false),
            _ => return None,
        };
        Some(Self { service, advertises })
    }

    fn response(self, answer: Vec<u8>) -> Response {
        let service = self.service;
        let (kind, body) = if self.advertises {
            let mut body = announcement(service).into_bytes();
            body.extend(answer);
            ("advertisement", body)
        } else {
            ("result", answer)
        };
        let headers = [
            (header::CONTENT_TYPE, format!("application/x-git-{service}-{kind}")),
            (header::CACHE_CONTROL, "no-cache".to_owned()),
        ];
        (headers, body).into_response()
    }
}

/// What stands before the list of what is here: one pkt-line, and the flush that ends them.
fn announcement(service: &str) -> String {
    let line = format!("# service=git-{service}\n");
    // A pkt-line begins with its length, its own four digits among it.
    format!("{:04x}{line}0000", line.len().saturating_add(4))
}

#[cfg(test)]
mod tests;
