//! Connections: their time limits, and how they end.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use legwork_engine::Engine;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    routes::{self, Api, MAX_HEAD_BYTES},
    settings::ApiSettings,
};

/// How long a request's head may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of a head before it is refused without a word: enough for the limit to be told.
const HEAD_BUFFER_BYTES: usize = 2 * MAX_HEAD_BYTES;
/// How long answers under way may take once the service is told to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted, as when files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until stopped; then ends followed logs, and waits a little for other answers.
///
/// # Errors
/// Only where the listener itself is unusable.
pub async fn serve(
    engine: Engine,
    settings: ApiSettings,
    listener: TcpListener,
    stop: CancellationToken,
) -> io::Result<()> {
    let background = TaskTracker::new();
    let api =
        Api { engine, settings: Arc::new(settings), stop: stop.clone(), background: background.clone() };
    let router = routes::router(api);
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            // A connection that is not accepted waits in the kernel.
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, router.clone(), stop.clone()));
            }
            Err(error) => {
                tracing::warn!(error = %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    background.close();
    let quiet = async {
        connections.wait().await;
        background.wait().await;
    };
    if tokio::time::timeout(STOP_PATIENCE, quiet).await.is_err() {
        tracing::info!("answers under way were cut");
    }
    Ok(())
}

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "lines may be late on this connection");
    }
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).keep_alive(true);
    builder.http1().max_buf_size(HEAD_BUFFER_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        // Told to stop, the connection ends after the answer that is under way: it is not dropped.
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection broke off");
    }
}
