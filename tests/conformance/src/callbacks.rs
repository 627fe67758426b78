//! What every `Callbacks` has to keep.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::disallowed_methods,
    reason = "a broken promise is a panic, and receivers run beside what is tried"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use legwork_ports::callbacks::{CallbackAnswer, CallbackError, CallbackPost, Callbacks};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Senders to be tried.
#[derive(Debug, Clone)]
pub struct CallbacksBench {
    /// May reach this machine.
    pub private: Arc<dyn Callbacks>,
    /// May reach the public network alone.
    pub public: Arc<dyn Callbacks>,
}

/// Makes one `#[tokio::test]` of each function of [`callbacks`](crate::callbacks).
#[macro_export]
macro_rules! callbacks_suite {
    ($make:path) => {
        $crate::callbacks_suite!($make:
            the_bytes_and_headers_arrive_as_they_are,
            a_redirect_is_an_answer_and_is_not_followed,
            an_endless_answer_is_not_read_to_its_end,
            a_receiver_that_hangs_costs_no_more_than_the_deadline,
            an_answer_that_drips_costs_no_more_than_the_deadline,
            a_receiver_that_is_not_there_is_told_in_plain_words,
            a_pause_that_is_asked_for_is_told,
            private_addresses_are_refused_however_they_are_written,
            metadata_addresses_are_refused_in_any_case,
        );
    };
    ($make:path: $($test:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            $crate::callbacks::$test(&$make()).await;
        }
    )*};
}

fn post(url: &str, deadline: Duration) -> CallbackPost {
    CallbackPost {
        url: url.to_owned(),
        headers: vec![("X-Webhook-Timestamp", "1".to_owned()), ("webhook-id", "t.1".to_owned())],
        body: Bytes::from_static(b"{\"a\":1}"),
        deadline,
    }
}

/// How long a test waits for what should come at once.
const SOON: Duration = Duration::from_secs(10);

/// Listens, reads one request, answers with these bytes, and goes on with them or hangs as told.
async fn receiver(answer: &'static [u8], then: Then) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/hook?secret=s3cr3t", listener.local_addr().expect("an address"));
    let seen = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let request = read_request(&mut stream).await;
        drop(stream.write_all(answer).await);
        match then {
            Then::End => {}
            Then::Hang => tokio::time::sleep(Duration::from_mins(1)).await,
            Then::Repeat(pause) => {
                while stream.write_all(&[b'x'; 1024]).await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
            }
        }
        request
    });
    (url, seen)
}

#[derive(Debug, Clone, Copy)]
enum Then {
    End,
    Hang,
    Repeat(Duration),
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    while !text.ends_with(b"{\"a\":1}") {
        let read = stream.read(&mut buffer).await.expect("a request");
        text.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
    String::from_utf8(text).expect("a request is text")
}

/// The exact bytes are posted, with the headers as they are.
pub async fn the_bytes_and_headers_arrive_as_they_are(bench: &CallbacksBench) {
    let (url, seen) = receiver(b"HTTP/1.1 204 No Content\r\n\r\n", Then::End).await;

    let answer = bench.private.post(post(&url, SOON)).await.expect("an answer");
    let request = seen.await.expect("a request");

    assert_eq!(answer, CallbackAnswer { status: 204, retry_after: None });
    assert!(request.starts_with("POST /hook?secret=s3cr3t HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"a\":1}"), "{request}");
    for header in ["x-webhook-timestamp: 1", "webhook-id: t.1"] {
        assert!(request.to_lowercase().contains(header), "{header} in {request}");
    }
}

/// No redirect is followed.
pub async fn a_redirect_is_an_answer_and_is_not_followed(bench: &CallbacksBench) {
    let answer =
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let (url, _seen) = receiver(answer, Then::End).await;

    let answer = bench.private.post(post(&url, SOON)).await.expect("an answer");

    assert_eq!(answer.status, 307);
}

/// At most 16 KiB of the answer are read.
pub async fn an_endless_answer_is_not_read_to_its_end(bench: &CallbacksBench) {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n";
    let (url, _seen) = receiver(head, Then::Repeat(Duration::ZERO)).await;

    let answer = bench.private.post(post(&url, SOON)).await.expect("an answer");

    assert_eq!(answer.status, 200);
}

/// One deadline spans everything.
pub async fn a_receiver_that_hangs_costs_no_more_than_the_deadline(bench: &CallbacksBench) {
    let (url, _seen) = receiver(b"", Then::Hang).await;

    let began = Instant::now();
    let error = bench.private.post(post(&url, Duration::from_secs(1))).await.expect_err("no answer");

    assert!(matches!(error, CallbackError::Deadline { seconds: 1 }), "{error}");
    assert!(began.elapsed() < SOON);
}

/// An answer that never ends does not outlast the deadline.
pub async fn an_answer_that_drips_costs_no_more_than_the_deadline(bench: &CallbacksBench) {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n";
    let (url, _seen) = receiver(head, Then::Repeat(Duration::from_millis(100))).await;

    let began = Instant::now();
    drop(bench.private.post(post(&url, Duration::from_secs(1))).await);

    assert!(began.elapsed() < SOON);
}

/// A failed connection is told without the address's path and query.
pub async fn a_receiver_that_is_not_there_is_told_in_plain_words(bench: &CallbacksBench) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/hook?secret=s3cr3t", listener.local_addr().expect("an address"));
    drop(listener);

    let error = bench.private.post(post(&url, SOON)).await.expect_err("nobody is there");

    let text = error.to_string();
    assert!(text.to_lowercase().contains("refused"), "{text}");
    assert!(!text.contains("s3cr3t"), "{text}");
}

/// `Retry-After` is told as a pause.
pub async fn a_pause_that_is_asked_for_is_told(bench: &CallbacksBench) {
    let answer = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
    let (url, _seen) = receiver(answer, Then::End).await;

    let answer = bench.private.post(post(&url, SOON)).await.expect("an answer");

    assert_eq!(answer, CallbackAnswer { status: 429, retry_after: Some(Duration::from_secs(7)) });
}

async fn assert_refused(sender: &dyn Callbacks, url: &str) {
    match sender.post(post(url, SOON)).await {
        Err(CallbackError::NotAllowed { .. }) => {}
        other => panic!("{url}: {other:?}"),
    }
}

/// The address is judged when connecting, after resolution.
pub async fn private_addresses_are_refused_however_they_are_written(bench: &CallbacksBench) {
    let hosts =
        ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "[::ffff:10.0.0.1]", "192.168.0.1"];
    for host in hosts {
        assert_refused(&*bench.public, &format!("http://{host}:1/")).await;
    }
}

/// Metadata services are out of reach whatever is allowed.
pub async fn metadata_addresses_are_refused_in_any_case(bench: &CallbacksBench) {
    for host in ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "0.0.0.0"] {
        assert_refused(&*bench.private, &format!("http://{host}/")).await;
    }
}
