//! Bare repositories over smart HTTP, behind a doorkeeper that asks for a
//! token, refuses, fails, sends elsewhere or keeps silent as told.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, header};
use tempfile::TempDir;

use super::backend::Backend;
use super::program::{must, text};
use super::repositories::BareRepositories;
use crate::local_server::LocalServer;
use crate::recording::{Recording, TimedOut};

/// A request as it arrived, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitRequest {
    /// `GET` or `POST`.
    pub method: String,
    /// Path and query as sent, such as `/project.git/info/refs?service=git-upload-pack`.
    pub target: String,
    /// Names in lower case and values, in the order in which they came.
    pub headers: Vec<(String, String)>,
}

impl GitRequest {
    /// Returns the first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Returns the value of `Authorization`, such as `Basic eDp5`.
    pub fn authorization(&self) -> Option<&str> {
        self.header("authorization")
    }
}

/// A running HTTP server on a free port of 127.0.0.1; it stops when dropped.
///
/// Without further words it lets everybody clone and push.
#[derive(Debug)]
pub struct GitHttpServer {
    server: LocalServer,
    shared: Arc<Shared>,
    _repositories: BareRepositories,
    _folder: TempDir,
}

#[derive(Debug)]
struct Shared {
    backend: Backend,
    manners: Mutex<Manners>,
    requests: Recording<GitRequest>,
    users: Recording<String>,
}

/// How requests are received, in the order in which it is looked at.
#[derive(Debug, Clone, Default)]
struct Manners {
    hangs: bool,
    failures_left: usize,
    redirects_to: Option<String>,
    token: Option<String>,
    read_only: bool,
}

/// Who asks, as far as the server knows.
enum Visitor {
    Anonymous,
    User(String),
}

impl GitHttpServer {
    /// Starts with access for everybody.
    pub async fn start(repositories: &BareRepositories) -> Self {
        let folder = must(TempDir::with_prefix("legwork-git-http-"));
        let backend = Backend { root: repositories.path().to_owned(), log: folder.path().join("log") };
        let shared = Arc::new(Shared {
            backend,
            manners: Mutex::default(),
            requests: Recording::new(),
            users: Recording::new(),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = LocalServer::start(router).await;
        Self { server, shared, _repositories: repositories.clone(), _folder: folder }
    }

    /// Wants Basic authentication whose password is `token`, of any user, from
    /// now on; answers 401 otherwise.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        self.shared.manners().token = Some(token.to_owned());
        self
    }

    /// Answers 403 to pushes from now on.
    #[must_use]
    pub fn read_only(self) -> Self {
        self.shared.manners().read_only = true;
        self
    }

    /// Answers 503 to the next `count` requests.
    #[must_use]
    pub fn fail_first(self, count: usize) -> Self {
        self.fail_next(count);
        self
    }

    /// Answers 302 from now on, to the same path and query below `base`, which
    /// has no slash at its end.
    #[must_use]
    pub fn redirect_to(self, base: &str) -> Self {
        self.shared.manners().redirects_to = Some(base.to_owned());
        self
    }

    /// Takes requests from now on and never answers.
    #[must_use]
    pub fn hang(self) -> Self {
        self.shared.manners().hangs = true;
        self
    }

    /// Answers 503 to the next `count` requests of a server in use.
    pub fn fail_next(&self, count: usize) {
        self.shared.manners().failures_left = count;
    }

    /// Wants another token from now on, as after the old one was revoked.
    pub fn change_token(&self, token: &str) {
        self.shared.manners().token = Some(token.to_owned());
    }

    /// Returns `http://127.0.0.1:<port>`, without a slash at the end.
    pub fn base(&self) -> String {
        self.server.url()
    }

    /// Returns `http://127.0.0.1:<port>/<name>.git`.
    pub fn url(&self, name: &str) -> String {
        format!("{}/{name}.git", self.base())
    }

    /// Returns the requests so far, in order of arrival.
    pub fn requests(&self) -> Vec<GitRequest> {
        self.shared.requests.snapshot()
    }

    /// Returns the users that gave the right token, one a request, in order.
    pub fn users(&self) -> Vec<String> {
        self.shared.users.snapshot()
    }

    /// Returns what `git http-backend` and its children wrote to stderr.
    pub fn log(&self) -> String {
        text(&self.shared.backend.log)
    }

    /// Returns all requests as soon as at least `count` have arrived.
    ///
    /// # Errors
    /// [`TimedOut`] where fewer arrive within `timeout`.
    ///
    /// # Cancel safety
    /// Nothing is lost when the wait is dropped.
    pub async fn wait_for(&self, count: usize, timeout: Duration) -> Result<Vec<GitRequest>, TimedOut> {
        self.shared.requests.wait_for(count, timeout).await
    }
}

impl Shared {
    fn manners(&self) -> MutexGuard<'_, Manners> {
        self.manners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The manners for one request, which uses up one failure.
    fn manners_for_next(&self) -> Manners {
        let mut manners = self.manners();
        let now = manners.clone();
        manners.failures_left = now.failures_left.saturating_sub(1);
        now
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let target = request.uri().to_string();
    let headers = request.headers().iter();
    let headers = headers
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    shared.requests.push(GitRequest {
        method: request.method().to_string(),
        target: target.clone(),
        headers: headers.collect(),
    });
    let manners = shared.manners_for_next();
    if manners.hangs {
        return pending().await;
    }
    match admit(&manners, &target, request.headers()) {
        Ok(Visitor::Anonymous) => shared.backend.answer(None, request).await,
        Ok(Visitor::User(user)) => {
            shared.users.push(user.clone());
            shared.backend.answer(Some(&user), request).await
        }
        Err(refusal) => {
            // Closing on a client that still sends would cost it the answer.
            drop(axum::body::to_bytes(request.into_body(), usize::MAX).await);
            *refusal
        }
    }
}

/// Lets a request in, or says how it is answered instead.
fn admit(manners: &Manners, target: &str, headers: &HeaderMap) -> Result<Visitor, Box<Response>> {
    let refuse = |response: Response| Err(Box::new(response));
    if manners.failures_left > 0 {
        return refuse((StatusCode::SERVICE_UNAVAILABLE, "try again later\n").into_response());
    }
    if let Some(base) = &manners.redirects_to {
        let location = [(header::LOCATION, format!("{base}{target}"))];
        return refuse((StatusCode::FOUND, location).into_response());
    }
    let visitor = match &manners.token {
        None => Visitor::Anonymous,
        Some(token) => match credentials(headers) {
            Some((user, password)) if password == *token => Visitor::User(user),
            Some(_) | None => {
                let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")];
                let said = "Invalid username or token.\n";
                return refuse((StatusCode::UNAUTHORIZED, challenge, said).into_response());
            }
        },
    };
    if manners.read_only && target.contains("git-receive-pack") {
        return refuse((StatusCode::FORBIDDEN, "Write access to repository not granted.\n").into_response());
    }
    Ok(visitor)
}

/// The user and password of Basic authentication (RFC 7617, section 2).
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    let decoded = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git_server::client::Client;

    /// Bytes that do not compress, from a linear congruential generator.
    fn noise(size_bytes: usize) -> Vec<u8> {
        let next = |state: &u64| {
            Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
        };
        std::iter::successors(Some(1_u64), next)
            .map(|state| state.to_be_bytes()[0])
            .take(size_bytes)
            .collect()
    }

    /// The URL with user and token inside.
    fn signed(url: &str, user: &str, token: &str) -> String {
        url.replace("http://", &format!("http://{user}:{token}@"))
    }

    #[tokio::test]
    async fn a_clone_has_the_files_and_the_requests_are_recorded() {
        let repositories = BareRepositories::new();
        let big = noise(3_000_000);
        repositories.repository("owner/project").commit("main", "First", &[("big.bin", &big)]);
        let server = GitHttpServer::start(&repositories).await;
        let client = Client::new();

        client.git(&["clone", &server.url("owner/project"), "copy"]).await.unwrap();

        let requests = server.requests();
        assert_eq!(client.read_bytes("copy/big.bin"), big);
        assert_eq!(requests[0].method, "GET");
        assert_eq!(requests[0].target, "/owner/project.git/info/refs?service=git-upload-pack");
        assert_eq!(requests[0].authorization(), None);
        assert_eq!(requests[1].method, "POST");
        assert_eq!(server.log(), "");
    }

    #[tokio::test]
    async fn a_push_in_chunks_arrives() {
        let repositories = BareRepositories::new();
        let repository = repositories.repository("project");
        let server = GitHttpServer::start(&repositories).await;
        let client = Client::new();
        client.git(&["clone", &server.url("project"), "copy"]).await.unwrap();
        // More than http.postBuffer, from where on git sends chunks.
        client.write("copy/big.bin", &noise(3_000_000));
        client.commit("copy", "a.txt", "a\n").await;

        client.git(&["-C", "copy", "push", "origin", "HEAD:main"]).await.unwrap();

        let requests = server.requests();
        assert!(requests.iter().any(|request| request.header("transfer-encoding") == Some("chunked")));
        assert_eq!(repository.log("main"), ["Add a.txt"]);
        assert_eq!(repository.file("main", "big.bin").unwrap(), noise(3_000_000));
    }

    #[tokio::test]
    async fn a_request_that_git_compresses_is_answered() {
        let repositories = BareRepositories::new();
        let repository = repositories.repository("project");
        // More than 1024 bytes of wishes, from where on git compresses them.
        for number in 0..25 {
            repository.commit(&format!("branch-{number}"), &format!("Number {number}"), &[("a.txt", b"a\n")]);
        }
        let server = GitHttpServer::start(&repositories).await;
        let client = Client::new();

        client.git(&["clone", "--mirror", &server.url("project"), "copy.git"]).await.unwrap();

        let requests = server.requests();
        let subject = client.git(&["-C", "copy.git", "log", "--format=%s", "branch-24"]).await.unwrap();
        assert!(requests.iter().any(|request| request.header("content-encoding") == Some("gzip")));
        assert_eq!(subject, "Number 24\n");
    }

    #[tokio::test]
    async fn a_protected_branch_refuses_in_words_and_others_are_taken() {
        let repositories = BareRepositories::new();
        let repository = repositories.repository("project");
        repository.commit("main", "First", &[("a.txt", b"a\n")]);
        repository.protect("main");
        let server = GitHttpServer::start(&repositories).await;
        let client = Client::new();
        client.git(&["clone", &server.url("project"), "copy"]).await.unwrap();
        client.commit("copy", "b.txt", "b\n").await;

        let refused = client.git(&["-C", "copy", "push", "origin", "main"]).await.unwrap_err();
        client.git(&["-C", "copy", "push", "origin", "main:work"]).await.unwrap();

        assert!(refused.contains("remote: error: GH006: Protected branch update failed"), "{refused}");
        assert!(refused.contains("[remote rejected] main -> main"), "{refused}");
        assert_eq!(repository.log("main"), ["First"]);
        assert_eq!(repository.log("work"), ["Add b.txt", "First"]);
    }

    #[tokio::test]
    async fn a_branch_that_moved_on_refuses_an_older_push() {
        let repositories = BareRepositories::new();
        let repository = repositories.repository("project");
        repository.commit("main", "First", &[("a.txt", b"a\n")]);
        let server = GitHttpServer::start(&repositories).await;
        let client = Client::new();
        client.git(&["clone", &server.url("project"), "copy"]).await.unwrap();
        client.commit("copy", "b.txt", "b\n").await;
        repository.commit("main", "Meanwhile", &[("c.txt", b"c\n")]);

        let refused = client.git(&["-C", "copy", "push"]).await.unwrap_err();

        assert!(refused.contains("[rejected]") && refused.contains("fetch first"), "{refused}");
    }

    #[tokio::test]
    async fn a_token_opens_and_its_user_is_seen() {
        let repositories = BareRepositories::new();
        repositories.repository("project").commit("main", "First", &[("a.txt", b"a\n")]);
        let server = GitHttpServer::start(&repositories).await.with_token("s3cret");
        let client = Client::new();

        let url = signed(&server.url("project"), "x-access-token", "s3cret");
        client.git(&["clone", &url, "copy"]).await.unwrap();

        let requests = server.requests();
        assert_eq!(client.read("copy/a.txt"), "a\n");
        assert_eq!(requests[0].authorization(), None);
        assert_eq!(requests[1].authorization(), Some("Basic eC1hY2Nlc3MtdG9rZW46czNjcmV0"));
        assert!(server.users().iter().all(|user| user == "x-access-token"));
        assert!(!server.users().is_empty());
    }

    #[tokio::test]
    async fn no_token_and_a_wrong_one_are_refused() {
        let repositories = BareRepositories::new();
        repositories.repository("project");
        let server = GitHttpServer::start(&repositories).await.with_token("s3cret");
        let client = Client::new();

        let without = client.git(&["ls-remote", &server.url("project")]).await.unwrap_err();
        let url = signed(&server.url("project"), "x", "wrong");
        let wrong = client.git(&["ls-remote", &url]).await.unwrap_err();

        assert!(without.contains("could not read Username"), "{without}");
        assert!(wrong.contains("Authentication failed"), "{wrong}");
        assert_eq!(server.users(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_token_that_was_changed_opens_no_more() {
        let repositories = BareRepositories::new();
        repositories.repository("project");
        let server = GitHttpServer::start(&repositories).await.with_token("old");
        let client = Client::new();
        let url = signed(&server.url("project"), "x", "old");
        client.git(&["ls-remote", &url]).await.unwrap();

        server.change_token("new");

        assert!(client.git(&["ls-remote", &url]).await.unwrap_err().contains("Authentication failed"));
    }

    #[tokio::test]
    async fn a_read_only_server_gives_clones_and_takes_no_push() {
        let repositories = BareRepositories::new();
        let repository = repositories.repository("project");
        repository.commit("main", "First", &[("a.txt", b"a\n")]);
        let server = GitHttpServer::start(&repositories).await.read_only();
        let client = Client::new();
        client.git(&["clone", &server.url("project"), "copy"]).await.unwrap();
        client.commit("copy", "b.txt", "b\n").await;

        let refused = client.git(&["-C", "copy", "push"]).await.unwrap_err();

        assert!(refused.contains("remote: Write access to repository not granted."), "{refused}");
        assert!(refused.contains("error: 403"), "{refused}");
        assert_eq!(repository.log("main"), ["First"]);
    }

    #[tokio::test]
    async fn first_requests_fail_and_later_ones_do_not() {
        let repositories = BareRepositories::new();
        repositories.repository("project");
        let server = GitHttpServer::start(&repositories).await.fail_first(2);
        let client = Client::new();
        let url = server.url("project");

        let first = client.git(&["ls-remote", &url]).await.unwrap_err();
        let second = client.git(&["ls-remote", &url]).await;
        let third = client.git(&["ls-remote", &url]).await;

        assert!(first.contains("error: 503"), "{first}");
        assert_eq!((second.is_ok(), third.is_ok()), (false, true));
    }

    #[tokio::test]
    async fn a_redirect_leads_to_the_same_path_elsewhere() {
        let repositories = BareRepositories::new();
        repositories.repository("project").commit("main", "First", &[("a.txt", b"a\n")]);
        let target = GitHttpServer::start(&repositories).await;
        let server = GitHttpServer::start(&repositories).await.redirect_to(&target.base());
        let client = Client::new();

        client.git(&["clone", &server.url("project"), "copy"]).await.unwrap();

        assert_eq!(client.read("copy/a.txt"), "a\n");
        assert_eq!(server.requests()[0].target, target.requests()[0].target);
    }

    #[tokio::test]
    async fn a_server_that_hangs_has_the_request_and_ends_when_dropped() {
        let repositories = BareRepositories::new();
        repositories.repository("project");
        let server = GitHttpServer::start(&repositories).await.hang();
        let client = Client::new();
        let url = server.url("project");
        let arguments = ["ls-remote", &url];

        let dropped_when_asked = async {
            server.wait_for(1, Duration::from_secs(30)).await.unwrap();
            drop(server);
        };
        let (asked, ()) = tokio::join!(client.git(&arguments), dropped_when_asked);

        let refused = asked.unwrap_err();
        assert!(refused.contains("Empty reply from server"), "{refused}");
    }

    #[tokio::test]
    async fn a_missing_repository_is_not_found() {
        let repositories = BareRepositories::new();
        let server = GitHttpServer::start(&repositories).await;
        let client = Client::new();

        let refused = client.git(&["ls-remote", &server.url("nothing")]).await.unwrap_err();

        assert!(refused.contains("not found"), "{refused}");
    }
}
