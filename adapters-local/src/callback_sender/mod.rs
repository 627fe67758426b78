//! Sends callbacks over HTTP, to addresses that are judged when they are connected to.

mod resolve;
mod retry_after;

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

use self::resolve::{Forbidden, JudgingResolver};
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
    /// Prepares to send under this policy.
    ///
    /// # Errors
    /// Where no client can be made at all.
    pub fn new(policy: CallbackPolicy) -> Result<Self, reqwest::Error> {
        let builder = || {
            Client::builder()
                .no_proxy()
                .redirect(Policy::none())
                .pool_max_idle_per_host(0)
                .referer(false)
                .dns_resolver(Arc::new(JudgingResolver::new(policy.allow_private)))
        };
        let plain = builder().tls_certs_only([]).build()?;
        let encrypted = builder().build().map_err(|error| plain_words(&error));
        Ok(Self { policy, plain, encrypted })
    }

    /// Judges what can be judged before resolution: the host's name, and addresses written out.
    fn judge(&self, url: &Url) -> Result<(), CallbackError> {
        let host = url.host_str().unwrap_or_default();
        let refused = || CallbackError::NotAllowed { host: host.to_owned() };
        let patterns = &self.policy.allowed_hosts;
        if !patterns.is_empty() && !patterns.iter().any(|pattern| pattern.matches(host)) {
            return Err(refused());
        }
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err(refused()),
        };
        match literal {
            Some(address) if !callback_may_reach(address, self.policy.allow_private) => Err(refused()),
            _ => Ok(()),
        }
    }

    async fn send(&self, post: CallbackPost) -> Result<CallbackAnswer, CallbackError> {
        let url = Url::parse(&post.url).map_err(|error| connection(error.to_string()))?;
        self.judge(&url)?;
        let client = match (&self.encrypted, url.scheme()) {
            (_, "http") => &self.plain,
            (Ok(client), _) => client,
            (Err(reason), _) => return Err(connection(format!("TLS cannot be used here: {reason}"))),
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

/// Reads the beginning of the answer, so that receivers that write one are not cut off at once. What
/// it says does not matter, nor whether it ends well: the status has come.
async fn read_a_little(mut response: Response) {
    let mut read = 0_usize;
    while read < ANSWER_LIMIT {
        match response.chunk().await {
            Ok(Some(bytes)) => read = read.saturating_add(bytes.len()),
            Ok(None) | Err(_) => return,
        }
    }
}

fn connection(reason: String) -> CallbackError {
    CallbackError::Connection { reason }
}

fn told(error: &reqwest::Error) -> CallbackError {
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    for cause in causes {
        if let Some(forbidden) = cause.downcast_ref::<Forbidden>() {
            return CallbackError::NotAllowed { host: forbidden.host.clone() };
        }
    }
    connection(plain_words(error))
}

/// The causes without the address, whose path and query may hold secrets.
fn plain_words(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    let words: Vec<String> = causes.map(ToString::to_string).collect();
    // The innermost cause is the one that a person can do something about.
    words.last().cloned().unwrap_or_else(|| "the request failed".to_owned())
}

#[async_trait]
impl Callbacks for HttpCallbacks {
    async fn post(&self, post: CallbackPost) -> Result<CallbackAnswer, CallbackError> {
        let deadline: Duration = post.deadline;
        // A deadline that passes while the answer's body drips in is one, too: receivers answer at once.
        tokio::time::timeout(deadline, self.send(post))
            .await
            .unwrap_or(Err(CallbackError::Deadline { seconds: deadline.as_secs() }))
    }
}
