//! Callbacks over HTTP: the port's contract, and what is peculiar to this adapter.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::{
    io::Read as _,
    sync::{Arc, Once},
};

use legwork_adapters_local::callback_sender::{CallbackPolicy, HttpCallbacks};
use legwork_conformance::callbacks::{CallbacksBench, read_request, to};
use legwork_ports::callbacks::{CallbackError, Callbacks as _};
use rustls::{
    ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{io::AsyncWriteExt as _, net::TcpListener, task::JoinSet};

fn sender(allow_private: bool, allowed_hosts: &[&str]) -> HttpCallbacks {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
    let allowed_hosts = allowed_hosts.iter().map(|text| text.parse().unwrap()).collect();
    HttpCallbacks::new(CallbackPolicy { allow_private, allowed_hosts }).unwrap()
}

fn bench() -> CallbacksBench {
    CallbacksBench { permissive: Arc::new(sender(true, &[])), strict: Arc::new(sender(false, &[])) }
}

legwork_conformance::callbacks_suite!(bench);

#[tokio::test]
async fn only_allowed_hosts_are_told() {
    let sender = sender(true, &["127.0.0.2", "*.example.com"]);

    for url in ["http://127.0.0.1:1/hook", "http://example.com/hook", "http://evil-example.com/hook"] {
        let answer = sender.post(to(url)).await;

        assert!(matches!(answer, Err(CallbackError::NotAllowed { .. })), "{url}: {answer:?}");
    }
    let answer = sender.post(to("http://127.0.0.2:1/hook")).await;
    assert!(matches!(answer, Err(CallbackError::Connection { .. })), "it is tried: {answer:?}");
}

#[tokio::test]
async fn an_allowed_host_does_not_open_private_addresses() {
    let sender = sender(false, &["127.0.0.1", "localhost"]);

    for url in ["http://127.0.0.1:1/hook", "http://localhost:1/hook"] {
        let answer = sender.post(to(url)).await;

        assert!(matches!(answer, Err(CallbackError::NotAllowed { .. })), "{url}: {answer:?}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_told_in_plain_words() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);

    let error = sender(true, &[]).post(to(format!("http://{address}/hook"))).await.unwrap_err();

    assert_eq!(error.to_string(), "the receiver could not be reached: the connection was refused");
}

#[tokio::test]
async fn an_unknown_name_is_told_in_plain_words() {
    let error = sender(true, &[]).post(to("http://nobody.invalid/hook")).await.unwrap_err();

    assert_eq!(error.to_string(), "the receiver could not be reached: the name nobody.invalid was not found");
}

#[tokio::test]
async fn a_receiver_without_tls_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // The sender hangs up first.
        drop(read_request(&mut stream).await);
    });

    let error = sender(true, &[]).post(to(format!("https://{address}/hook"))).await.unwrap_err();

    assert!(error.to_string().starts_with("the receiver could not be reached: TLS failed: "), "{error}");
}

/// Serves by a certificate for 127.0.0.1 that nobody else has signed. It was made for this test by
/// `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500
/// -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE`.
fn foreign_certificate() -> ServerConfig {
    let certificate = CertificateDer::from(include_bytes!("foreign/certificate.der").to_vec());
    let key = PrivatePkcs8KeyDer::from(include_bytes!("foreign/key.der").to_vec());
    let config = ServerConfig::builder().with_no_client_auth();
    config.with_single_cert(vec![certificate], PrivateKeyDer::from(key)).unwrap()
}

#[tokio::test]
async fn a_receiver_with_a_certificate_of_nobody_known_is_told_nothing() {
    let sender = sender(true, &[]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut connection = ServerConnection::new(Arc::new(foreign_certificate())).unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut read = Vec::new();
        let ended = rustls::Stream::new(&mut connection, &mut stream).read_to_end(&mut read);
        (ended.is_err(), read)
    });

    let error = sender.post(to(format!("https://{address}/hook"))).await.unwrap_err();
    let (was_refused, read) = serving.join().unwrap();

    assert_eq!(
        error.to_string(),
        "the receiver could not be reached: the TLS certificate is not accepted: its issuer is not known here"
    );
    assert!(was_refused && read.is_empty(), "{read:?}");
}
