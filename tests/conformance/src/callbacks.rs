//! What every `Callbacks` has to keep.
//!
//! The receivers are plain sockets, so that it is seen what is sent and what is read, byte by byte. They
//! listen on this machine: a sender under test that may reach private addresses reaches them, and one
//! that may not has to leave them alone.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise is a panic"
)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use legwork_ports::callbacks::{CallbackAnswer, CallbackError, CallbackPost, Callbacks};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// How long anything may take that has no limit of its own: a machine may be very busy.
const PATIENCE: Duration = Duration::from_mins(1);
/// The deadline where it is meant to pass.
const SHORT: Duration = Duration::from_millis(400);
/// What the test itself may need besides the time that is promised.
const SLACK: Duration = Duration::from_secs(5);
/// More than any machine keeps in the buffers of a connection.
const ENDLESS: usize = 256 * 1024 * 1024;
/// What the buffers on both sides of a connection may hold besides what is read.
const BUFFERS: usize = 32 * 1024 * 1024;

/// The senders under test.
#[derive(Debug, Clone)]
pub struct CallbacksBench {
    /// May reach private addresses.
    pub permissive: Arc<dyn Callbacks>,
    /// May not.
    pub strict: Arc<dyn Callbacks>,
}

/// Makes one `#[tokio::test]` of each function of [`callbacks`](crate::callbacks) that takes a bench.
#[macro_export]
macro_rules! callbacks_suite {
    ($make:path) => {
        $crate::callbacks_suite!($make:
            headers_and_exact_bytes_arrive,
            userinfo_is_not_sent,
            every_status_is_an_answer,
            redirects_are_not_followed,
            retry_after_is_told,
            an_answer_that_is_cut_after_its_head_is_one,
            an_endless_answer_is_read_in_part,
            a_silent_receiver_costs_no_more_than_the_deadline,
            a_dripping_answer_costs_no_more_than_the_deadline,
            a_failed_connection_is_told_without_path_and_query,
            private_addresses_are_refused_where_they_are_not_allowed,
            a_name_is_judged_by_what_it_resolves_to,
            link_local_addresses_are_refused_always,
        );
    };
    ($make:path: $($test:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            $crate::callbacks::$test(&$make()).await;
        }
    )*};
}

/// Returns a POST to be sent.
pub fn to(url: impl Into<String>) -> CallbackPost {
    CallbackPost {
        url: url.into(),
        headers: vec![("content-type", "application/json".to_owned())],
        body: Bytes::from_static(b"{}"),
        deadline: PATIENCE,
    }
}

/// What a receiver was sent.
#[derive(Debug)]
pub struct Received {
    /// The request line.
    pub line: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Reads one request with a body of known length.
///
/// # Errors
/// Where the connection ends before the request does.
pub async fn read_request(stream: &mut TcpStream) -> std::io::Result<Received> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, n)| n.parse().ok());
    let mut body = vec![0; length.unwrap_or_default()];
    stream.read_exact(&mut body).await?;
    Ok(Received { line, headers, body })
}

/// A receiver that treats every connection alike. Dropping it cuts them.
#[derive(Debug)]
struct Receiver {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Receiver {
    async fn start<F>(treat: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address to listen on");
        let address = listener.local_addr().expect("its address");
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut streams = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                streams.spawn(treat(stream));
            }
        });
        Self { address, connections, _serving: serving }
    }

    /// Starts one that answers every request with these bytes and then closes.
    async fn answering(answer: impl Into<String>) -> Self {
        let answer: Arc<str> = Arc::from(answer.into());
        Self::start(move |mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                read_request(&mut stream).await.expect("a request");
                stream.write_all(answer.as_bytes()).await.expect("it is read");
                // The sender closes when it has read enough.
                stream.shutdown().await.unwrap_or_default();
            }
        })
        .await
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn sent(callbacks: &dyn Callbacks, post: CallbackPost) -> CallbackAnswer {
    timeout(PATIENCE, callbacks.post(post)).await.expect("an end in time").expect("an answer")
}

/// Names, values and the exact bytes arrive, in one POST to the address as it is written.
pub async fn headers_and_exact_bytes_arrive(bench: &CallbacksBench) {
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let receiver = Receiver::start(move |mut stream| {
        let tell = tell.clone();
        async move {
            let received = read_request(&mut stream).await.expect("a request");
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("it is read");
            tell.send(received).await.expect("somebody waits");
        }
    })
    .await;
    let body: Vec<u8> = (0..=255).cycle().take(96 * 1024).collect();
    let post = CallbackPost {
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("user-agent", "cloudrun-claude-code/async-task".to_owned()),
            ("X-Webhook-Signature", "sha256=0123".to_owned()),
            ("webhook-id", "task-1.1".to_owned()),
        ],
        body: Bytes::from(body.clone()),
        ..to(format!("http://{}/hook/%7Ea?token=x%20y&b", receiver.address))
    };

    let answer = sent(bench.permissive.as_ref(), post.clone()).await;
    let request = told.recv().await.expect("what was sent");

    assert_eq!(answer, CallbackAnswer { status: 204, retry_after: None });
    assert_eq!(request.line, "POST /hook/%7Ea?token=x%20y&b HTTP/1.1");
    assert!(request.body == body, "{} of {} bytes", request.body.len(), body.len());
    for (name, value) in post.headers {
        let values: Vec<&str> = request
            .headers
            .iter()
            .filter(|(sent, _)| sent.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
            .collect();
        assert_eq!(values, [value.as_str()], "{name}");
    }
}

/// User and password of an address are not sent.
pub async fn userinfo_is_not_sent(bench: &CallbacksBench) {
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let receiver = Receiver::start(move |mut stream| {
        let tell = tell.clone();
        async move {
            let received = read_request(&mut stream).await.expect("a request");
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("it is read");
            tell.send(received).await.expect("somebody waits");
        }
    })
    .await;

    sent(bench.permissive.as_ref(), to(format!("http://user:hunter2@{}/hook", receiver.address))).await;
    let request = told.recv().await.expect("what was sent");

    assert!(!format!("{request:?}").contains("hunter2"), "{request:?}");
    assert!(request.headers.iter().all(|(name, _)| name != "authorization"), "{request:?}");
}

/// Every status is an answer.
pub async fn every_status_is_an_answer(bench: &CallbacksBench) {
    for status in [200, 202, 204, 400, 401, 404, 410, 429, 500, 503] {
        let receiver =
            Receiver::answering(format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n")).await;

        let answer = sent(bench.permissive.as_ref(), to(receiver.url())).await;

        assert_eq!(answer, CallbackAnswer { status, retry_after: None });
    }
}

/// Redirects are answers like others.
pub async fn redirects_are_not_followed(bench: &CallbacksBench) {
    let elsewhere = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for status in [301, 302, 303, 307, 308] {
        let location = elsewhere.url();
        let answer = format!("HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let receiver = Receiver::answering(answer).await;

        let answer = sent(bench.permissive.as_ref(), to(receiver.url())).await;

        assert_eq!(answer.status, status);
    }
    assert_eq!(elsewhere.connections(), 0, "nobody went there");
}

/// The receiver's wish for a pause is told, whether it is busy or has had enough.
pub async fn retry_after_is_told(bench: &CallbacksBench) {
    let long_ago = "Sun, 06 Nov 1994 08:49:37 GMT";
    for status in [429, 503] {
        for (wish, pause) in [("120", Duration::from_mins(2)), (long_ago, Duration::ZERO)] {
            let head = format!("HTTP/1.1 {status} Later\r\ncontent-length: 0");
            let receiver = Receiver::answering(format!("{head}\r\nretry-after: {wish}\r\n\r\n")).await;

            let answer = sent(bench.permissive.as_ref(), to(receiver.url())).await;

            assert_eq!(answer, CallbackAnswer { status, retry_after: Some(pause) }, "{wish}");
        }
    }
}

/// An answer that is cut off after its head is one: the status has come.
pub async fn an_answer_that_is_cut_after_its_head_is_one(bench: &CallbacksBench) {
    for (what, answer) in [
        ("too short", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nonly this"),
        ("half a chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\nonly this"),
    ] {
        let receiver = Receiver::answering(answer).await;

        let answer = sent(bench.permissive.as_ref(), to(receiver.url())).await;

        assert_eq!(answer, CallbackAnswer { status: 200, retry_after: None }, "{what}");
    }
}

/// Of a long answer only the beginning is read.
pub async fn an_endless_answer_is_read_in_part(bench: &CallbacksBench) {
    let written = Arc::<AtomicUsize>::default();
    let (count, (done, mut is_done)) = (Arc::clone(&written), tokio::sync::mpsc::channel::<()>(1));
    let receiver = Receiver::start(move |mut stream| {
        let (count, done) = (Arc::clone(&count), done.clone());
        async move {
            read_request(&mut stream).await.expect("a request");
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {ENDLESS}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("it is read");
            let part = vec![b'x'; 64 * 1024];
            while count.load(Ordering::SeqCst) < ENDLESS && stream.write_all(&part).await.is_ok() {
                count.fetch_add(part.len(), Ordering::SeqCst);
            }
            done.send(()).await.expect("somebody waits");
        }
    })
    .await;

    let answer = sent(bench.permissive.as_ref(), to(receiver.url())).await;
    timeout(PATIENCE, is_done.recv()).await.expect("the sender hangs up").expect("the receiver is told so");

    assert_eq!(answer.status, 200);
    let written = written.load(Ordering::SeqCst);
    assert!(written < BUFFERS, "{written} bytes were taken");
}

async fn passes_its_deadline(callbacks: &dyn Callbacks, what: &str, url: String) {
    let begun = Instant::now();

    let answer = timeout(PATIENCE, callbacks.post(CallbackPost { deadline: SHORT, ..to(url) })).await;
    let took = begun.elapsed();

    let answer = answer.unwrap_or_else(|_| panic!("{what}: no end in time"));
    assert!(matches!(answer, Err(CallbackError::Deadline { .. })), "{what}: {answer:?}");
    assert!(took >= SHORT && took < SHORT + SLACK, "{what}: {took:?}");
}

/// A receiver that keeps silent costs no more than the deadline.
pub async fn a_silent_receiver_costs_no_more_than_the_deadline(bench: &CallbacksBench) {
    let receiver = Receiver::start(async |stream| {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;

    passes_its_deadline(bench.permissive.as_ref(), "silent", receiver.url()).await;
}

/// Nor does one that answers byte by byte, whichever part of the answer it is.
pub async fn a_dripping_answer_costs_no_more_than_the_deadline(bench: &CallbacksBench) {
    for (what, at_once, dripping) in [
        ("head", "HTTP/1.1 200 OK\r\n", "x-drip: drip\r\n"),
        ("body", "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", "drip"),
    ] {
        let receiver = Receiver::start(move |mut stream| async move {
            read_request(&mut stream).await.expect("a request");
            stream.write_all(at_once.as_bytes()).await.expect("it is read");
            for byte in dripping.bytes().cycle() {
                sleep(Duration::from_millis(20)).await;
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
        })
        .await;

        passes_its_deadline(bench.permissive.as_ref(), what, receiver.url()).await;
    }
}

/// What went wrong is told without what may be secret in the address.
pub async fn a_failed_connection_is_told_without_path_and_query(bench: &CallbacksBench) {
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let nobody = closed.local_addr().expect("its address");
    drop(closed);
    let cuts = Receiver::start(async |mut stream| {
        read_request(&mut stream).await.expect("a request");
    })
    .await;
    let plain = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let nonsense = Receiver::answering("SSH-2.0-OpenSSH_9.6\r\n\r\n").await;

    for url in [
        format!("http://{nobody}/hunter2?token=hunter2"),
        format!("http://{}/hunter2?token=hunter2", cuts.address),
        format!("http://{}/hunter2?token=hunter2", nonsense.address),
        "http://nobody.invalid/hunter2?token=hunter2".to_owned(),
        "hunter2".to_owned(),
        "ftp://example.com/hunter2".to_owned(),
    ] {
        let error = bench.permissive.post(to(url.clone())).await.expect_err("no answer");

        assert!(matches!(error, CallbackError::Connection { .. }), "{url}: {error:?}");
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{url}: {error:?}");
    }
    assert_eq!(plain.connections(), 0);
}

async fn is_not_allowed(callbacks: &dyn Callbacks, url: &str) -> String {
    let begun = Instant::now();

    let answer = callbacks.post(CallbackPost { deadline: SLACK, ..to(url) }).await;

    assert!(matches!(answer, Err(CallbackError::NotAllowed { .. })), "{url}: {answer:?}");
    assert!(begun.elapsed() < SLACK, "{url} is judged before it is connected to");
    answer.map_or_else(|error| error.to_string(), |_| String::new())
}

/// Private addresses that are written out are refused where they are not allowed; nothing is sent.
pub async fn private_addresses_are_refused_where_they_are_not_allowed(bench: &CallbacksBench) {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let port = receiver.address.port();

    for host in ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "[::ffff:127.0.0.1]", "127.0.0.1."] {
        is_not_allowed(bench.strict.as_ref(), &format!("http://{host}:{port}/hook")).await;
    }
    for host in ["10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "[::1]", "[fd00::1]"] {
        is_not_allowed(bench.strict.as_ref(), &format!("http://{host}/hook")).await;
        is_not_allowed(bench.strict.as_ref(), &format!("https://{host}/hook")).await;
    }

    assert_eq!(receiver.connections(), 0, "nobody connected");
}

/// A name is judged by what it resolves to, and the refusal says what that was.
pub async fn a_name_is_judged_by_what_it_resolves_to(bench: &CallbacksBench) {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let url = format!("http://localhost:{}/hunter2", receiver.address.port());

    let refusal = is_not_allowed(bench.strict.as_ref(), &url).await;
    let connections = receiver.connections();
    let answer = sent(bench.permissive.as_ref(), to(url)).await;

    assert_eq!((connections, answer.status), (0, 200));
    assert!(refusal.contains("localhost") && !refusal.contains("hunter2"), "{refusal}");
    assert!(refusal.contains("127.0.0.1") || refusal.contains("::1"), "{refusal}");
}

/// Link-local and unspecified addresses and the clouds' metadata services are refused in any case.
pub async fn link_local_addresses_are_refused_always(bench: &CallbacksBench) {
    for host in [
        "169.254.169.254",
        "169.254.0.1",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "0.0.0.0",
    ] {
        is_not_allowed(bench.permissive.as_ref(), &format!("http://{host}/latest/meta-data")).await;
        is_not_allowed(bench.strict.as_ref(), &format!("http://{host}/latest/meta-data")).await;
    }
}
