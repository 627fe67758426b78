//! Asks a Legwork service over HTTP.
//!
//! No redirect is followed (it could carry the token elsewhere), and a service on this machine is
//! never asked through a proxy.

use std::time::Duration;

use legwork_core::{id::TaskId, secret::Secret};
use reqwest::{Method, RequestBuilder, Response, header, redirect::Policy};
use url::Url;

use crate::{
    args::ClientOptions,
    client_error::{ClientError, refusal_message},
    exit::UsageError,
    server_url::{ServerUrl, Way},
};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a whole answer may take that is not a stream: submitting may start a cloud job.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a stream may be silent. The service sends a comment every 15 s.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(1);
/// How much of a refusal is read.
const MAX_REFUSAL_BYTES: usize = 65_536;

/// What a stream of log lines should look like.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LogForm<'a> {
    /// All lines so far, one a line.
    Lines,
    /// Server-sent events up to the task's end, after the event with this id.
    Events {
        /// The id of the last event seen.
        after: Option<&'a str>,
    },
}

/// Talks to one service with one token.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    server: ServerUrl,
    token: Option<Secret<String>>,
}

impl Client {
    /// Prepares to talk to the service that the options name.
    ///
    /// A token that was not given is the local service's own, and then goes to no other machine.
    ///
    /// # Errors
    /// [`UsageError`] where the token would cross the network unencrypted.
    pub(crate) fn from_options(options: &ClientOptions) -> anyhow::Result<Self> {
        let given = options.token.clone().filter(|token| !matches!(token.expose().trim(), "" | "off"));
        if given.is_some() {
            options.server.require_safe_for("The API token")?;
        }
        let local = || legwork_wiring::client::local_token(options.data_dir.as_deref()).map(Secret::from);
        let token = match options.server.way() {
            Way::Loopback => given.or_else(local),
            Way::Encrypted | Way::Plain => given,
        };
        Ok(Self::new(options.server.clone(), token)?)
    }

    /// Prepares to talk to a service with a token, or with none where it wants none.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] where this machine's certificates or resolver cannot be used.
    pub(crate) fn new(server: ServerUrl, token: Option<Secret<String>>) -> Result<Self, ClientError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("legwork/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT);
        if server.way() == Way::Loopback {
            builder = builder.no_proxy();
        }
        if server.join(&[]).scheme() == "http" {
            // Nothing is encrypted, so a machine without root certificates will do.
            builder = builder.tls_certs_only([]);
        }
        match builder.build() {
            Ok(http) => Ok(Self { http, server, token }),
            Err(source) => Err(ClientError::Unreachable { server: server.to_string(), source }),
        }
    }

    /// Refuses to send a task's credentials where others can read them.
    ///
    /// # Errors
    /// [`UsageError`] where the service is on another machine and is reached by plain http.
    pub(crate) fn require_safe_for_credentials(&self) -> Result<(), UsageError> {
        self.server.require_safe_for("The task's credentials")
    }

    /// Returns where the service is.
    pub(crate) fn server(&self) -> &ServerUrl {
        &self.server
    }

    /// Submits a request; the answer is the service's JSON.
    pub(crate) async fn submit(&self, request: &Secret<String>) -> Result<String, ClientError> {
        let posted = self
            .request(Method::POST, self.server.join(&["run-async"]))
            .header(header::CONTENT_TYPE, "application/json")
            .body(request.expose().clone());
        self.answer(posted).await
    }

    /// Asks for a task's end; the answer is the service's JSON.
    pub(crate) async fn cancel(&self, task: &TaskId) -> Result<String, ClientError> {
        self.answer(self.request(Method::POST, self.server.join(&["cancel", task.as_str()]))).await
    }

    /// Returns a task's record as JSON.
    pub(crate) async fn record(&self, task: &TaskId) -> Result<String, ClientError> {
        self.answer(self.request(Method::GET, self.server.join(&["tasks", task.as_str()]))).await
    }

    /// Returns one page of tasks as JSON.
    pub(crate) async fn list(
        &self,
        status: Option<&str>,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<String, ClientError> {
        let mut url = self.server.join(&["tasks"]);
        let pairs = [("status", status), ("cursor", cursor)];
        url.query_pairs_mut()
            .append_pair("limit", &limit.to_string())
            .extend_pairs(pairs.into_iter().filter_map(|(name, value)| Some((name, value?))));
        self.answer(self.request(Method::GET, url)).await
    }

    /// Opens a task's log.
    ///
    /// # Errors
    /// Also [`ClientError::Unexpected`] where the answer has another form than was asked for.
    pub(crate) async fn open_log(&self, task: &TaskId, form: LogForm<'_>) -> Result<LogBody, ClientError> {
        let mut url = self.server.join(&["tasks", task.as_str(), "logs"]);
        let (accepted, after) = match form {
            LogForm::Lines => ("application/x-ndjson", None),
            LogForm::Events { after } => {
                url.query_pairs_mut().append_pair("follow", "true");
                ("text/event-stream", after)
            }
        };
        let mut request = self.request(Method::GET, url).header(header::ACCEPT, accepted);
        if let Some(id) = after {
            request = request.header("Last-Event-ID", id);
        }
        // The whole log may take hours, its head may not.
        let opened = tokio::time::timeout(ANSWER_TIMEOUT, request.send()).await;
        let opened = opened.map_err(|_elapsed| self.silent())?;
        let response = self.accepted(opened.map_err(|source| self.unreachable(source))?).await?;
        let found = header_text(&response, &header::CONTENT_TYPE);
        if !found.is_some_and(|found| found.starts_with(accepted)) {
            let found = found.unwrap_or("nothing").to_owned();
            return Err(ClientError::Unexpected {
                what: format!(
                    "{} answers with {found} in place of a log; is it a Legwork service?",
                    self.server
                ),
            });
        }
        Ok(LogBody { response, client: self.clone() })
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    async fn answer(&self, request: RequestBuilder) -> Result<String, ClientError> {
        let sent = request.timeout(ANSWER_TIMEOUT).send().await;
        let response = self.accepted(sent.map_err(|source| self.unreachable(source))?).await?;
        response.text().await.map_err(|source| self.unreachable(source))
    }

    async fn accepted(&self, mut response: Response) -> Result<Response, ClientError> {
        let status = response.status();
        if status.is_redirection() {
            let to = header_text(&response, &header::LOCATION).unwrap_or("elsewhere");
            return Err(ClientError::Unexpected {
                what: format!(
                    "{} redirects to {to}; give the service's own address with --server",
                    self.server
                ),
            });
        }
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = header_text(&response, &header::RETRY_AFTER).and_then(|text| text.parse().ok());
        let mut body = Vec::new();
        let read = async {
            while body.len() < MAX_REFUSAL_BYTES {
                match response.chunk().await {
                    Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                    // The status says enough where the words break off.
                    Ok(None) | Err(_) => break,
                }
            }
        };
        // A refusal that trickles is cut where it stands.
        let _whole = tokio::time::timeout(CONNECT_TIMEOUT, read).await;
        Err(ClientError::Refused {
            status: status.as_u16(),
            message: refusal_message(status.as_u16(), &String::from_utf8_lossy(&body)),
            retry_after: retry_after.map(Duration::from_secs),
        })
    }

    fn unreachable(&self, source: reqwest::Error) -> ClientError {
        ClientError::Unreachable { server: self.server.to_string(), source: source.without_url() }
    }

    fn silent(&self) -> ClientError {
        ClientError::Silent { server: self.server.to_string() }
    }
}

fn header_text<'r>(response: &'r Response, name: &header::HeaderName) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

/// A log on its way.
#[derive(Debug)]
pub(crate) struct LogBody {
    response: Response,
    client: Client,
}

impl LogBody {
    /// Returns the next bytes as soon as there are some, or nothing at the end.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] where the connection breaks, [`ClientError::Silent`] where
    /// nothing came for a minute.
    ///
    /// # Cancel safety
    /// No byte is lost when the wait is dropped.
    pub(crate) async fn next(&mut self) -> Result<Option<bytes::Bytes>, ClientError> {
        match tokio::time::timeout(SILENCE_TIMEOUT, self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(source)) => Err(self.client.unreachable(source)),
            Err(_elapsed) => Err(self.client.silent()),
        }
    }
}
