//! An HTTP/1.1 server on a free loopback port that ends with its owner.
//!
//! `axum::serve` is not used: the connections that it opens outlive it, and a
//! handler cannot close one without an answer.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::ServiceExt;

/// Serves until dropped; then the port and every open connection are closed.
#[derive(Debug)]
pub(crate) struct LocalServer {
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl LocalServer {
    /// Listens on a free port of 127.0.0.1.
    #[expect(clippy::expect_used, reason = "a test that gets no loopback port cannot go on")]
    pub(crate) async fn start(router: Router) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free loopback port");
        let address = listener.local_addr().expect("the address of a bound socket");
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, router));
        Self { address, _accepting: accepting }
    }

    /// Returns `http://127.0.0.1:<port>`, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Marks a response that is not to be sent: the connection is closed instead.
#[derive(Debug, Clone, Copy)]
struct NoAnswer;

/// Makes the server close the connection without an answer.
pub(crate) fn close_without_answer() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(NoAnswer);
    response
}

/// Says to hyper that a connection is to be closed.
#[derive(Debug, thiserror::Error)]
#[error("the simulator closes the connection")]
struct Closed;

async fn accept(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        // Both arms only take what is ready: a dropped one loses nothing.
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _peer)) = accepted {
                connections.spawn(serve(stream, router.clone()));
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, router: Router) {
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
            if response.extensions().get::<NoAnswer>().is_some() { Err(Closed) } else { Ok(response) }
        }
    });
    // A connection that ends badly is what many tests are about: no failure here.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}
