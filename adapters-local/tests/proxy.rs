//! The credential proxy between a client and a model's API that are both played here.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    response::Response,
};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method, StatusCode};
use legwork_adapters_local::proxy::{CredentialProxy, ProxyConfig, ProxyLimits, UpstreamCredential};
use legwork_core::{record::Usage, secret::Secret};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);
const TOKEN: &str = "task-token";
const KEY: &str = "sk-ant-real";

/// What the model's API got to see of a request.
#[derive(Debug, Clone)]
struct Seen {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A model's API that answers as the test says.
struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    _serving: JoinSet<()>,
}

impl Upstream {
    /// Answers each request by `answer`, after its body has come.
    async fn start<F, R>(answer: F) -> Self
    where
        F: Fn() -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response> + Send + 'static,
    {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let recorder = Arc::clone(&seen);
        let router = Router::new().fallback(move |request: Request| {
            let (recorder, answer) = (Arc::clone(&recorder), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let target = parts.uri.to_string();
                recorder.lock().unwrap().push(Seen {
                    method: parts.method,
                    target,
                    headers: parts.headers,
                    body,
                });
                answer().await
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, seen, _serving: serving }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn client() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

async fn proxy(upstream: SocketAddr, limits: ProxyLimits) -> CredentialProxy {
    drop(client());
    CredentialProxy::start(ProxyConfig {
        upstream: format!("http://{upstream}").parse().unwrap(),
        credential: UpstreamCredential::ApiKey(Secret::new(KEY.to_owned())),
        token: Secret::new(TOKEN.to_owned()),
        limits,
    })
    .await
    .unwrap()
}

fn post(proxy: &CredentialProxy, target: &str) -> reqwest::RequestBuilder {
    client().post(format!("{}{target}", proxy.url())).header("x-api-key", TOKEN).timeout(PATIENCE)
}

fn response(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let builder = headers
        .iter()
        .fold(Response::builder().status(status), |builder, (name, value)| builder.header(*name, *value));
    builder.body(body.into()).unwrap()
}

fn message() -> Response {
    let body = r#"{"type":"message","usage":{"input_tokens":3,"output_tokens":4}}"#;
    response(200, &[("content-type", "application/json")], body)
}

/// Sends bytes as they are and returns what comes back until the connection closes.
async fn raw(proxy: &CredentialProxy, request: &str) -> String {
    let address: SocketAddr = proxy.url().strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn the_real_credential_takes_the_place_of_the_token() {
    let upstream = Upstream::start(|| async { message() }).await;
    let proxy = proxy(upstream.address, ProxyLimits::default()).await;

    let answer = post(&proxy, "/v1/messages?beta=true")
        .header("authorization", "Bearer something")
        .header("cookie", "a=b")
        .header("accept-encoding", "gzip, br")
        .header("x-forwarded-for", "10.0.0.1")
        .header("anthropic-version", "2023-06-01")
        .header("x-stainless-lang", "js")
        .body(r#"{"model":"m"}"#)
        .send()
        .await
        .unwrap();

    assert_eq!(answer.status(), StatusCode::OK);
    let seen = upstream.seen().remove(0);
    assert_eq!((seen.method, seen.target.as_str()), (Method::POST, "/v1/messages?beta=true"));
    assert_eq!(&*seen.body, br#"{"model":"m"}"#);
    assert_eq!(seen.headers["x-api-key"], KEY);
    assert_eq!(seen.headers["content-length"], "13");
    assert_eq!(
        (&seen.headers["anthropic-version"], &seen.headers["x-stainless-lang"]),
        (&"2023-06-01".parse().unwrap(), &"js".parse().unwrap())
    );
    assert_eq!(seen.headers["accept-encoding"], "identity");
    for name in ["authorization", "cookie", "x-forwarded-for"] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn an_oauth_token_goes_where_it_belongs_with_its_beta_header() {
    let upstream = Upstream::start(|| async { message() }).await;
    drop(client());
    let proxy = CredentialProxy::start(ProxyConfig {
        upstream: format!("http://{}", upstream.address).parse().unwrap(),
        credential: UpstreamCredential::OAuthToken(Secret::new("oat-real".to_owned())),
        token: Secret::new(TOKEN.to_owned()),
        limits: ProxyLimits::default(),
    })
    .await
    .unwrap();

    let request = client().post(format!("{}/v1/messages", proxy.url())).bearer_auth(TOKEN);
    request.header("anthropic-beta", "oauth-2025-04-20").send().await.unwrap();

    let headers = upstream.seen().remove(0).headers;
    assert_eq!(
        (&headers["authorization"], &headers["anthropic-beta"]),
        (&"Bearer oat-real".parse().unwrap(), &"oauth-2025-04-20".parse().unwrap())
    );
    assert!(!headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn nothing_but_the_two_paths_reaches_the_api() {
    let upstream = Upstream::start(|| async { message() }).await;
    let proxy = proxy(upstream.address, ProxyLimits::default()).await;

    for line in [
        "GET /v1/messages",
        "POST /v1/models",
        "POST /v1/messages/../models",
        "POST //v1/messages",
        "POST /v1/%6dessages",
        "POST /v1/messages?beta=true&x=1",
        "POST http://127.0.0.1/v1/messages",
        "CONNECT elsewhere:443",
        "GET /",
    ] {
        let request = format!(
            "{line} HTTP/1.1\r\nhost: x\r\nx-api-key: {TOKEN}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        let answer = raw(&proxy, &request).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{line}: {answer}");
        assert!(answer.contains(r#""type":"permission_error""#), "{line}: {answer}");
    }
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn a_wrong_token_is_refused() {
    let upstream = Upstream::start(|| async { message() }).await;
    let proxy = proxy(upstream.address, ProxyLimits::default()).await;

    let url = format!("{}/v1/messages", proxy.url());
    let without = client().post(&url).send().await.unwrap();
    let wrong = client().post(&url).header("x-api-key", "task-tokem").send().await.unwrap();

    assert_eq!((without.status(), wrong.status()), (StatusCode::FORBIDDEN, StatusCode::FORBIDDEN));
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn a_refused_client_gets_its_answer_however_much_it_sends() {
    let upstream = Upstream::start(|| async { message() }).await;
    let proxy = proxy(upstream.address, ProxyLimits::default()).await;

    for _ in 0..10 {
        let body = vec![b'x'; 1_000_000];
        let answer = client().post(format!("{}/v1/messages", proxy.url())).body(body).send().await.unwrap();

        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn the_first_look_is_answered_here() {
    let upstream = Upstream::start(|| async { message() }).await;
    let proxy = proxy(upstream.address, ProxyLimits::default()).await;

    let answer = client().head(format!("{}/", proxy.url())).send().await.unwrap();

    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Upstream::start(|| async { message() }).await;
    let target = format!("http://{}/v1/messages", elsewhere.address);
    let upstream = Upstream::start(move || {
        let target = target.clone();
        async move { response(307, &[("location", &target)], "") }
    })
    .await;
    let proxy = proxy(upstream.address, ProxyLimits::default()).await;

    let answer = post(&proxy, "/v1/messages").send().await.unwrap();

    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert!(!answer.headers().contains_key("location"));
    assert_eq!(elsewhere.seen().len(), 0);
}

#[tokio::test]
async fn a_refused_credential_is_not_tried_again() {
    let upstream = Upstream::start(|| async { response(401, &[("x-should-retry", "true")], "{}") }).await;
    let proxy = proxy(upstream.address, ProxyLimits::default()).await;

    let answer = post(&proxy, "/v1/messages").send().await.unwrap();

    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()["x-should-retry"], "false");
}

#[tokio::test]
async fn known_headers_of_an_answer_come_through_and_no_others() {
    let headers = [
        ("retry-after", "7"),
        ("request-id", "req_1"),
        ("anthropic-ratelimit-requests-remaining", "5"),
        ("set-cookie", "a=b"),
        ("server", "x"),
    ];
    let upstream = Upstream::start(move || async move { response(429, &headers, "{}") }).await;
    let proxy = proxy(upstream.address, ProxyLimits::default()).await;

    let answer = post(&proxy, "/v1/messages").send().await.unwrap();

    let mut names: Vec<&str> = answer.headers().keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    let framing = ["date", "transfer-encoding"];
    names.retain(|name| !framing.contains(name));
    assert_eq!(names, ["anthropic-ratelimit-requests-remaining", "request-id", "retry-after"]);
}

#[tokio::test]
async fn an_answer_is_streamed_as_it_comes_and_counted() {
    let (sender, receiver) = mpsc::channel::<&'static str>(1);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let upstream = Upstream::start(move || {
        let pieces = receiver.lock().unwrap().take().unwrap();
        let pieces = stream::unfold(pieces, |mut pieces| async {
            let piece = pieces.recv().await?;
            Some((Ok::<_, Infallible>(Bytes::from(piece)), pieces))
        });
        async { response(200, &[("content-type", "text/event-stream")], Body::from_stream(pieces)) }
    })
    .await;
    let proxy = proxy(upstream.address, ProxyLimits::default()).await;

    let start = "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n";
    sender.send(start).await.unwrap();
    let answer = post(&proxy, "/v1/messages").send().await.unwrap();
    let mut pieces = answer.bytes_stream();
    let first = pieces.next().await.unwrap().unwrap();
    let counted_meanwhile = proxy.usage();
    sender.send("data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":5}}\n\n").await.unwrap();
    drop(sender);
    while let Some(piece) = pieces.next().await {
        piece.unwrap();
    }

    assert_eq!(&*first, start.as_bytes());
    assert_eq!(counted_meanwhile.input_tokens, 9);
    assert_eq!(proxy.usage(), Usage { input_tokens: 9, output_tokens: 5, ..Usage::default() });
}

#[tokio::test]
async fn the_usage_of_all_answers_is_summed() {
    let upstream = Upstream::start(|| async { message() }).await;
    let proxy = proxy(upstream.address, ProxyLimits::default()).await;

    for _ in 0..3 {
        post(&proxy, "/v1/messages").send().await.unwrap().bytes().await.unwrap();
    }

    assert_eq!(proxy.usage(), Usage { input_tokens: 9, output_tokens: 12, ..Usage::default() });
}

#[tokio::test]
async fn so_many_requests_at_once_and_no_more() {
    let (open, most, gate) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (counting, peak, waiting) = (Arc::clone(&open), Arc::clone(&most), Arc::clone(&gate));
    let upstream = Upstream::start(move || {
        let (open, most, gate) = (Arc::clone(&counting), Arc::clone(&peak), Arc::clone(&waiting));
        async move {
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            open.fetch_sub(1, Ordering::SeqCst);
            message()
        }
    })
    .await;
    let proxy = Arc::new(
        proxy(upstream.address, ProxyLimits { requests_at_once: 2, ..ProxyLimits::default() }).await,
    );

    let mut asking = JoinSet::new();
    for _ in 0..6 {
        let proxy = Arc::clone(&proxy);
        asking
            .spawn(async move { post(&proxy, "/v1/messages").send().await.unwrap().bytes().await.unwrap() });
    }
    for _ in 0..6 {
        timeout(PATIENCE, async {
            while open.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        gate.add_permits(1);
        timeout(PATIENCE, asking.join_next()).await.unwrap().unwrap().unwrap();
    }

    assert_eq!(upstream.seen().len(), 6);
    assert!(most.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn a_silent_api_is_cut() {
    let silence = ProxyLimits { upstream_silence: Duration::from_millis(100), ..ProxyLimits::default() };
    let upstream = Upstream::start(|| async {
        let pieces =
            stream::once(async { Ok::<_, Infallible>(Bytes::from("data: {}\n\n")) }).chain(stream::pending());
        response(200, &[("content-type", "text/event-stream")], Body::from_stream(pieces))
    })
    .await;
    let proxy_of_half = proxy(upstream.address, silence).await;
    let mute = Upstream::start(std::future::pending).await;
    let proxy_of_mute = proxy(mute.address, silence).await;

    let half = post(&proxy_of_half, "/v1/messages").send().await.unwrap();
    let none = post(&proxy_of_mute, "/v1/messages").send().await.unwrap();

    assert_eq!(half.status(), StatusCode::OK);
    assert!(half.bytes().await.is_err(), "the client sees that it broke off");
    assert_eq!(none.status(), StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn an_api_that_is_not_there_is_told_in_the_apis_own_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let proxy = proxy(nobody, ProxyLimits::default()).await;

    let answer = post(&proxy, "/v1/messages").send().await.unwrap();

    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let body = answer.text().await.unwrap();
    assert!(body.starts_with(r#"{"error":{"message":"#) && body.contains(r#""type":"api_error""#), "{body}");
    assert!(!body.contains(KEY), "{body}");
}

#[tokio::test]
async fn closing_cuts_what_is_under_way_and_lets_nobody_in() {
    let upstream = Upstream::start(|| async {
        let pieces =
            stream::once(async { Ok::<_, Infallible>(Bytes::from("data: {}\n\n")) }).chain(stream::pending());
        response(200, &[("content-type", "text/event-stream")], Body::from_stream(pieces))
    })
    .await;
    let proxy = proxy(upstream.address, ProxyLimits::default()).await;
    let mut answer = post(&proxy, "/v1/messages").send().await.unwrap();
    answer.chunk().await.unwrap();

    proxy.close().await;
    proxy.close().await;

    assert!(timeout(PATIENCE, answer.chunk()).await.unwrap().is_err(), "the answer breaks off");
    assert!(post(&proxy, "/v1/messages").send().await.is_err(), "nobody listens");
}

#[tokio::test]
async fn a_long_request_goes_on_while_it_comes() {
    let upstream = Upstream::start(|| async { message() }).await;
    let proxy = proxy(upstream.address, ProxyLimits::default()).await;
    let pieces = stream::iter((0..100).map(|_| Ok::<_, Infallible>(Bytes::from(vec![b'x'; 100_000]))));

    let answer = post(&proxy, "/v1/messages").body(reqwest::Body::wrap_stream(pieces)).send().await.unwrap();

    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(upstream.seen().remove(0).body.len(), 10_000_000);
}
