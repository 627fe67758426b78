//! One POST, within one deadline, over a connection of its own.

use std::{net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use legwork_core::{
    callback::schedule::ANSWER_LIMIT,
    request::{HostPattern, address::callback_may_reach},
};
use legwork_ports::{
    callbacks::{CallbackAnswer, CallbackError, CallbackPost, Callbacks},
    clock::Clock as _,
};
use reqwest::{Client, Response, redirect::Policy};
use url::{Host, Url};

use super::{
    resolve::{Forbidden, JudgingResolver},
    retry_after,
    words::{causes, plain_words},
};
use crate::clock::SystemClock;

/// Where callbacks may go.
#[derive(Debug, Clone)]
pub struct CallbackPolicy {
    /// Whether addresses that are not globally routable may be reached.
    pub allow_private: bool,
    /// Hosts that callbacks may go to; none: any. They do not open private addresses.
    pub allowed_hosts: Vec<HostPattern>,
}

/// Sends callbacks. Each has a connection of its own, so that each address is judged anew.
#[derive(Debug)]
pub struct HttpCallbacks {
    policy: CallbackPolicy,
    plain: Client,
    /// Missing on machines without root certificates, which can still be told over http.
    encrypted: Result<Client, String>,
}

impl HttpCallbacks {
    /// Prepares to send under this policy. The program has installed rustls' default provider before.
    ///
    /// # Errors
    /// Where no client can be made at all.
    pub fn new(policy: CallbackPolicy) -> Result<Self, reqwest::Error> {
        let resolver = JudgingResolver::new(policy.allow_private);
        Self::resolving_by(policy, &Arc::new(resolver))
    }

    fn resolving_by(policy: CallbackPolicy, resolver: &Arc<JudgingResolver>) -> Result<Self, reqwest::Error> {
        let builder = || {
            Client::builder()
                .no_proxy()
                .redirect(Policy::none())
                // A connection that is kept would be used again without its address being judged.
                .pool_max_idle_per_host(0)
                .referer(false)
                .dns_resolver(Arc::clone(resolver))
        };
        let plain = builder().tls_certs_only([]).build()?;
        let encrypted = builder().build().map_err(|error| plain_words(&error));
        Ok(Self { policy, plain, encrypted })
    }

    /// Judges what can be judged before resolution: the host's name, and addresses written out, which
    /// are connected to without a resolver.
    fn judge(&self, url: &Url) -> Result<(), CallbackError> {
        let host = url.host_str().unwrap_or_default();
        let patterns = &self.policy.allowed_hosts;
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err(connection("the address names no host")),
        };
        let named = patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(host));
        let reachable = literal.is_none_or(|address| callback_may_reach(address, self.policy.allow_private));
        if named && reachable { Ok(()) } else { Err(CallbackError::NotAllowed { host: host.to_owned() }) }
    }

    async fn send(&self, post: CallbackPost) -> Result<CallbackAnswer, CallbackError> {
        let url = without_userinfo(&post.url)?;
        self.judge(&url)?;
        let client = match (url.scheme(), &self.encrypted) {
            ("http", _) => &self.plain,
            ("https", Ok(client)) => client,
            ("https", Err(reason)) => return Err(connection(format!("TLS cannot be used here: {reason}"))),
            _ => return Err(connection("the address is neither http nor https")),
        };
        let mut request = client.post(url).body(post.body);
        for (name, value) in post.headers {
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(|error| told(&error))?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after::parse(value, SystemClock::new().now()));
        read_a_little(response).await;
        Ok(CallbackAnswer { status, retry_after })
    }
}

/// Reads the address. The client would make a header of its user and password.
fn without_userinfo(address: &str) -> Result<Url, CallbackError> {
    let mut url = Url::parse(address).map_err(|error| connection(error.to_string()))?;
    let removed = url.set_username("").and_then(|()| url.set_password(None));
    removed.map_err(|()| connection("the address names no host"))?;
    Ok(url)
}

/// Reads the beginning of the answer, so that receivers that write one are not cut off at once. What
/// it says does not matter, nor whether it ends well: the status has come.
async fn read_a_little(mut response: Response) {
    let mut read_bytes = 0_usize;
    while read_bytes < ANSWER_LIMIT {
        match response.chunk().await {
            Ok(Some(bytes)) => read_bytes = read_bytes.saturating_add(bytes.len()),
            Ok(None) | Err(_) => return,
        }
    }
}

fn connection(reason: impl Into<String>) -> CallbackError {
    CallbackError::Connection { reason: reason.into() }
}

fn told(error: &reqwest::Error) -> CallbackError {
    match causes(error).find_map(|cause| cause.downcast_ref::<Forbidden>()) {
        Some(forbidden) => CallbackError::NotAllowed { host: forbidden.to_string() },
        None => connection(plain_words(error)),
    }
}

#[async_trait]
impl Callbacks for HttpCallbacks {
    async fn post(&self, post: CallbackPost) -> Result<CallbackAnswer, CallbackError> {
        let deadline: Duration = post.deadline;
        let seconds = deadline.as_secs().saturating_add(u64::from(deadline.subsec_nanos() > 0));
        // A deadline that passes while the answer's body drips in is one, too: receivers answer at once.
        tokio::time::timeout(deadline, self.send(post))
            .await
            .unwrap_or(Err(CallbackError::Deadline { seconds }))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::SocketAddr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use legwork_conformance::callbacks::{read_request, to};
    use tokio::{io::AsyncWriteExt as _, net::TcpListener, task::JoinSet};

    use super::*;

    #[tokio::test]
    async fn a_name_that_changes_its_address_between_check_and_connection_gains_nothing() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::<AtomicUsize>::default();
        let connected = Arc::clone(&connections);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                connected.fetch_add(1, Ordering::SeqCst);
                read_request(&mut stream).await.unwrap();
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            }
        });
        let looks = Arc::<AtomicUsize>::default();
        let looked = Arc::clone(&looks);
        let resolver = JudgingResolver::looking_up_by(true, move |_| {
            // Allowed at the first look, and never again.
            let is_first = looked.fetch_add(1, Ordering::SeqCst) == 0;
            let address = if is_first { [127, 0, 0, 1] } else { [169, 254, 169, 254] };
            Box::pin(async move { Ok(vec![SocketAddr::from((address, 0))]) })
        });
        let policy = CallbackPolicy { allow_private: true, allowed_hosts: Vec::new() };
        let sender = HttpCallbacks::resolving_by(policy, &Arc::new(resolver)).unwrap();
        let url = format!("http://rebinding.example:{port}/hook");

        let first = sender.post(to(url.clone())).await;
        let looks_of_first = looks.load(Ordering::SeqCst);
        let second = sender.post(to(url)).await;

        assert_eq!(first.unwrap().status, 204);
        assert_eq!(looks_of_first, 1, "what was judged is what was connected to");
        assert!(matches!(second, Err(CallbackError::NotAllowed { .. })), "{second:?}");
        assert_eq!(connections.load(Ordering::SeqCst), 1, "no connection is kept for later");
    }
}
