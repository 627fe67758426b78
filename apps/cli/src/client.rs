//! Asks a Legwork service over HTTP.
//!
//! No redirect is followed (it could carry the token elsewhere) but that of a file to its store, which is
//! asked without the token. A service on this machine is never asked through a proxy.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use legwork_core::{id::TaskId, secret::Secret};
use reqwest::{ClientBuilder, Method, RequestBuilder, Response, StatusCode, header, redirect::Policy};
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
/// The most files that the service puts on one page.
const MAX_FILES: &str = "1000";

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
    /// Asks stores on other machines; made when the first one is asked, for it reads root certificates.
    stores: Arc<OnceLock<reqwest::Client>>,
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
        let mut builder = http_builder();
        if server.way() == Way::Loopback {
            builder = builder.no_proxy();
        }
        if server.join(&[]).scheme() == "http" {
            // Nothing is encrypted, so a machine without root certificates will do.
            builder = builder.tls_certs_only([]);
        }
        match builder.build() {
            Ok(http) => Ok(Self { http, server, token, stores: Arc::default() }),
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

    /// Asks for a task to run again; the answer is the service's JSON.
    pub(crate) async fn retry(&self, task: &TaskId) -> Result<String, ClientError> {
        self.answer(self.request(Method::POST, self.server.join(&["tasks", task.as_str(), "retry"]))).await
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
    pub(crate) async fn open_log(&self, task: &TaskId, form: LogForm<'_>) -> Result<BodyStream, ClientError> {
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
        let server = self.server.to_string();
        let response = self.accepted(opened(request, &server).await?).await?;
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
        Ok(BodyStream { response, from: server })
    }

    /// Returns one page of a task's files as JSON.
    pub(crate) async fn files(&self, task: &TaskId, cursor: Option<&str>) -> Result<String, ClientError> {
        let mut url = self.server.join(&["tasks", task.as_str(), "files"]);
        let cursor = cursor.map(|cursor| ("cursor", cursor));
        url.query_pairs_mut().append_pair("limit", MAX_FILES).extend_pairs(cursor);
        self.answer(self.request(Method::GET, url)).await
    }

    /// Opens one of a task's files, by its path: plain segments, as the list has it.
    ///
    /// # Errors
    /// Also [`ClientError::Unexpected`] where the service sends on to a place that is not asked.
    pub(crate) async fn open_file(&self, task: &TaskId, path: &str) -> Result<BodyStream, ClientError> {
        let segments: Vec<&str> =
            ["tasks", task.as_str(), "files"].into_iter().chain(path.split('/')).collect();
        let url = self.server.join(&segments);
        let server = self.server.to_string();
        let response = opened(self.request(Method::GET, url.clone()), &server).await?;
        let sends_on = matches!(
            response.status(),
            StatusCode::FOUND | StatusCode::SEE_OTHER | StatusCode::TEMPORARY_REDIRECT
        );
        match header_text(&response, &header::LOCATION).filter(|_| sends_on) {
            None => Ok(BodyStream { response: self.accepted(response).await?, from: server }),
            Some(location) => self.open_in_store(url.join(location).ok()).await,
        }
    }

    /// Opens a signed address, which needs and gets no token, and is not shown.
    async fn open_in_store(&self, url: Option<Url>) -> Result<BodyStream, ClientError> {
        let unexpected = |what| ClientError::Unexpected { what };
        let is_near = |store: &ServerUrl| store.way() == Way::Loopback && self.server.way() == Way::Loopback;
        let origin = url.as_ref().map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        let store = origin.parse::<ServerUrl>().ok();
        let http = match store.as_ref().map(|store| store.join(&[]).scheme().to_owned()).as_deref() {
            Some("https") => self.store_client(&origin)?,
            // A simulated store on this machine; no other service may send there.
            Some(_) if store.as_ref().is_some_and(is_near) => self.http.clone(),
            Some(_) | None => {
                return Err(unexpected(format!("{} sends on to what is no https address", self.server)));
            }
        };
        let Some(url) = url else { return Err(unexpected(format!("{} sends on to nowhere", self.server))) };
        let response = opened(http.get(url), &origin).await?;
        match response.status() {
            StatusCode::OK => Ok(BodyStream { response, from: origin }),
            status => Err(ClientError::Refused {
                status: status.as_u16(),
                message: format!("the store at {origin} answered with status {}", status.as_u16()),
                retry_after: None,
            }),
        }
    }

    fn store_client(&self, origin: &str) -> Result<reqwest::Client, ClientError> {
        if let Some(made) = self.stores.get() {
            return Ok(made.clone());
        }
        let made = http_builder().build().map_err(|source| unreachable(origin, source))?;
        Ok(self.stores.get_or_init(|| made).clone())
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
        unreachable(&self.server.to_string(), source)
    }
}

fn http_builder() -> ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("legwork/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
}

/// Sends a request whose answer is a stream: the whole may take hours, its head may not.
async fn opened(request: RequestBuilder, from: &str) -> Result<Response, ClientError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, request.send()).await {
        Ok(sent) => sent.map_err(|source| unreachable(from, source)),
        Err(_elapsed) => Err(silent(from)),
    }
}

fn unreachable(server: &str, source: reqwest::Error) -> ClientError {
    ClientError::Unreachable { server: server.to_owned(), source: source.without_url() }
}

fn silent(server: &str) -> ClientError {
    ClientError::Silent { server: server.to_owned() }
}

fn header_text<'r>(response: &'r Response, name: &header::HeaderName) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

/// A log or a file on its way.
#[derive(Debug)]
pub(crate) struct BodyStream {
    response: Response,
    /// Who sends it.
    from: String,
}

impl BodyStream {
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
            Ok(Err(source)) => Err(unreachable(&self.from, source)),
            Err(_elapsed) => Err(silent(&self.from)),
        }
    }
}
