//! Listening, and closing with everything that is under way.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use legwork_core::record::Usage;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Mutex,
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{config::ProxyConfig, forward::Forwarder};

/// How long a client may take for the headers of a request. Waiting for the next request counts, and
/// the agent is silent towards the model while its tools work.
const HEADERS_DEADLINE: Duration = Duration::from_mins(2);
/// How many connections may be open at once: the agent and a handful of programs that it starts.
/// More wait in the kernel.
const CONNECTIONS: usize = 256;
/// The pause after a connection that could not be accepted, mostly for want of open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A proxy for one task. Dropping it closes it without waiting.
#[derive(Debug)]
pub struct CredentialProxy {
    address: SocketAddr,
    forwarder: Arc<Forwarder>,
    closing: CancellationToken,
    accepting: Mutex<JoinSet<()>>,
}

impl CredentialProxy {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// TLS needs `rustls`'s process-wide provider to be installed before.
    ///
    /// # Errors
    /// Where no port can be listened on, or the credential cannot stand in a header.
    pub async fn start(config: ProxyConfig) -> io::Result<Self> {
        let forwarder = Arc::new(Forwarder::new(config)?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let closing = CancellationToken::new();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&forwarder), closing.clone()));
        Ok(Self { address, forwarder, closing, accepting: Mutex::new(accepting) })
    }

    /// Returns what takes the place of the model's API: `http://127.0.0.1:<port>`, without a slash
    /// at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the tokens that the model read and wrote so far, whoever asked: of every answer that
    /// has come, also of those that broke off.
    pub fn usage(&self) -> Usage {
        self.forwarder.total.get()
    }

    /// Stops listening and cuts what is under way. Closing again does nothing.
    pub async fn close(&self) {
        self.closing.cancel();
        let mut accepting = self.accepting.lock().await;
        while accepting.join_next().await.is_some() {}
    }
}

async fn accept(listener: TcpListener, forwarder: Arc<Forwarder>, closing: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let has_room = connections.len() < CONNECTIONS;
        // Each only takes what is ready: dropping one loses nothing.
        tokio::select! {
            () = closing.cancelled() => break,
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept(), if has_room => match accepted {
                Ok((stream, _peer)) => {
                    connections.spawn(serve(stream, Arc::clone(&forwarder)));
                }
                Err(error) => {
                    tracing::warn!(error = %error, "a connection to the proxy could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn serve(stream: TcpStream, forwarder: Arc<Forwarder>) {
    // Events are small and wanted at once. A socket that refuses is only slower.
    stream.set_nodelay(true).ok();
    let service = service_fn(move |request| {
        let forwarder = Arc::clone(&forwarder);
        async move { Ok::<_, Infallible>(forwarder.answer(request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_DEADLINE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        // The agent may go away whenever it likes, and an answer that broke off ends in here.
        tracing::debug!(error = %error, "a connection to the proxy ended early");
    }
}
