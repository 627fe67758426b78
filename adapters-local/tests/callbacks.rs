//! Callbacks over HTTP: the port's contract, and what is peculiar to the sender.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use legwork_adapters_local::callback_sender::{CallbackPolicy, HttpCallbacks};
use legwork_conformance::callbacks::CallbacksBench;
use legwork_ports::callbacks::{CallbackError, CallbackPost, Callbacks as _};

fn sender(allow_private: bool, allowed_hosts: &[&str]) -> HttpCallbacks {
    drop(rustls::crypto::ring::default_provider().install_default());
    let allowed_hosts = allowed_hosts.iter().map(|host| host.parse().unwrap()).collect();
    HttpCallbacks::new(CallbackPolicy { allow_private, allowed_hosts }).unwrap()
}

fn bench() -> CallbacksBench {
    CallbacksBench { private: Arc::new(sender(true, &[])), public: Arc::new(sender(false, &[])) }
}

legwork_conformance::callbacks_suite!(bench);

#[tokio::test]
async fn hosts_that_are_not_named_are_refused() {
    let sender = sender(true, &["*.example.com"]);
    let post = |url: &str| CallbackPost {
        url: url.to_owned(),
        headers: Vec::new(),
        body: Bytes::new(),
        deadline: Duration::from_secs(5),
    };

    for url in ["http://127.0.0.1:1/", "http://example.com.evil.test/", "http://evil-example.com/"] {
        let refused = sender.post(post(url)).await.unwrap_err();
        assert!(matches!(refused, CallbackError::NotAllowed { .. }), "{url}: {refused}");
    }
}
