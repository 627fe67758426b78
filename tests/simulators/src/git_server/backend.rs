//! `git http-backend` as a CGI program: a request in, its answer out, both
//! streamed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::fs::OpenOptions;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;

use super::program::{GIT_ENVIRONMENT, PATH};

/// How much of an answer is sent at once.
const PIECE_BYTES: usize = 65_536;

/// Where the repositories are and where the program's complaints go.
#[derive(Debug, Clone)]
pub(super) struct Backend {
    /// The folder of the repositories.
    pub(super) root: PathBuf,
    /// A file to which stderr is appended.
    pub(super) log: PathBuf,
}

/// Why a request got no answer from the program.
#[derive(Debug, thiserror::Error)]
enum BackendError {
    #[error("git http-backend could not be run")]
    Run(#[from] io::Error),
    #[error("git http-backend ended before its headers did")]
    NoHeaders,
    #[error("git http-backend wrote the header line {0:?}")]
    Header(String),
}

impl Backend {
    /// Answers as the program does, or with a 500 that says why it did not.
    pub(super) async fn answer(&self, user: Option<&str>, request: Request) -> Response {
        match self.try_answer(user, request).await {
            Ok(response) => response,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                let said = format!("{error}{}\n", cause.unwrap_or_default());
                (StatusCode::INTERNAL_SERVER_ERROR, said).into_response()
            }
        }
    }

    async fn try_answer(&self, user: Option<&str>, request: Request) -> Result<Response, BackendError> {
        let (head, body) = request.into_parts();
        let log = OpenOptions::new().create(true).append(true).open(&self.log).await?.into_std().await;
        let mut command = Command::new("git");
        command.arg("http-backend").env_clear().env("PATH", PATH).env("HOME", &self.root);
        command.envs(GIT_ENVIRONMENT).envs(variables(&self.root, user, &head));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(BackendError::NoHeaders);
        };
        let mut feeding = JoinSet::new();
        feeding.spawn(feed(stdin, body));
        let mut running = Running { stdout: BufReader::new(stdout), child, _feeding: feeding };
        let (status, headers) = read_head(&mut running.stdout).await?;
        let pieces = stream::try_unfold(running, |mut running| async {
            let piece = running.next().await?;
            Ok::<_, io::Error>((!piece.is_empty()).then_some((piece, running)))
        });
        Ok((status, headers, Body::from_stream(pieces)).into_response())
    }
}

/// The program while its answer is sent; ended when the client goes away.
struct Running {
    stdout: BufReader<ChildStdout>,
    child: Child,
    _feeding: JoinSet<()>,
}

impl Running {
    /// The next piece of the answer; empty at its end.
    async fn next(&mut self) -> io::Result<Bytes> {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        if self.stdout.read_buf(&mut piece).await? == 0 && !self.child.wait().await?.success() {
            // The client is to see an answer that was cut off, not one that ended.
            return Err(io::Error::other("git http-backend failed"));
        }
        Ok(piece.freeze())
    }
}

/// Pipes the request's body into the program as it comes.
async fn feed(mut stdin: ChildStdin, body: Body) {
    let mut pieces = body.into_data_stream();
    while let Some(Ok(piece)) = pieces.next().await {
        if stdin.write_all(&piece).await.is_err() {
            // The program has enough; what it answers says whether that is well.
            break;
        }
    }
    // A client that waits for an answer may still be sending.
    while pieces.next().await.is_some_and(|piece| piece.is_ok()) {}
}

/// The request as RFC 3875, section 4.1, and `git help http-backend` want it.
fn variables(root: &Path, user: Option<&str>, head: &http::request::Parts) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("GIT_PROJECT_ROOT", root.display().to_string()),
        ("GIT_HTTP_EXPORT_ALL", "1".to_owned()),
        ("GATEWAY_INTERFACE", "CGI/1.1".to_owned()),
        ("SERVER_PROTOCOL", "HTTP/1.1".to_owned()),
        ("REMOTE_ADDR", "127.0.0.1".to_owned()),
        ("REQUEST_METHOD", head.method.to_string()),
        ("PATH_INFO", head.uri.path().to_owned()),
        ("QUERY_STRING", head.uri.query().unwrap_or_default().to_owned()),
        // The repositories may have been given to another user by the test.
        ("GIT_CONFIG_COUNT", "1".to_owned()),
        ("GIT_CONFIG_KEY_0", "safe.directory".to_owned()),
        ("GIT_CONFIG_VALUE_0", "*".to_owned()),
    ];
    let passed_on = [
        (header::CONTENT_TYPE, "CONTENT_TYPE"),
        (header::CONTENT_LENGTH, "CONTENT_LENGTH"),
        (header::CONTENT_ENCODING, "HTTP_CONTENT_ENCODING"),
        (HeaderName::from_static("git-protocol"), "HTTP_GIT_PROTOCOL"),
    ];
    for (name, variable) in passed_on {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        variables.extend(value.map(|value| (variable, value.to_owned())));
    }
    variables.extend(user.map(|user| ("REMOTE_USER", user.to_owned())));
    variables
}

/// Reads the program's headers; its status is one of them (RFC 3875, section 6.3.3).
async fn read_head(stdout: &mut BufReader<ChildStdout>) -> Result<(StatusCode, HeaderMap), BackendError> {
    let mut status = StatusCode::OK;
    let mut headers = HeaderMap::new();
    loop {
        let mut line = String::new();
        if stdout.read_line(&mut line).await? == 0 {
            return Err(BackendError::NoHeaders);
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok((status, headers));
        }
        let bad = || BackendError::Header(line.to_owned());
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().and_then(|code| code.parse().ok());
            status = code.ok_or_else(bad)?;
        } else {
            let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) else {
                return Err(bad());
            };
            headers.append(name, value);
        }
    }
}
