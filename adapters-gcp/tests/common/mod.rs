//! Simulated services of Google for tests that are fresh outside of a runtime.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::{sync::Once, thread};

use legwork_simulators::google::GoogleCloud;
use tokio::runtime::{Builder, Runtime};

static PROVIDER: Once = Once::new();

/// The services, alive until this is dropped.
pub(crate) struct Cloud {
    // Dropped first.
    _google: GoogleCloud,
    _runtime: Background,
}

/// A runtime that can be dropped within another one.
struct Background(Option<Runtime>);

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Starts the services in a runtime of their own, and makes what is to be tried with them.
pub(crate) fn start<T: Send + 'static>(
    make: impl AsyncFnOnce(&GoogleCloud) -> T + Send + 'static,
) -> (T, Cloud) {
    start_with(|google| google, make)
}

/// As [`start`], with services that are prepared first.
pub(crate) fn start_with<T: Send + 'static>(
    prepare: impl FnOnce(GoogleCloud) -> GoogleCloud + Send + 'static,
    make: impl AsyncFnOnce(&GoogleCloud) -> T + Send + 'static,
) -> (T, Cloud) {
    PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
    let started = thread::spawn(move || {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (fresh, google) = runtime.block_on(async {
            let google = prepare(GoogleCloud::start().await);
            let fresh = make(&google).await;
            (fresh, google)
        });
        (fresh, Cloud { _google: google, _runtime: Background(Some(runtime)) })
    });
    started.join().unwrap()
}
