//! Where the callback goes.

use alloc::{
    borrow::ToOwned as _,
    string::{String, ToString as _},
};
use core::{fmt, net::IpAddr};

use url::{Host, Url};

use super::address::callback_may_reach;

/// Longest accepted address in bytes.
pub(super) const MAX_BYTES: usize = 2048;

/// An http or https address without userinfo that callbacks may go to, as far as its text tells: names
/// are judged when they are resolved.
#[derive(Clone, PartialEq, Eq)]
pub struct CallbackUrl(Url);

/// Why a text is no such address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCallbackUrl {
    /// It is no URL.
    #[error("callbackUrl is not a valid URL")]
    NotAUrl,
    /// Its scheme is another one.
    #[error("callbackUrl must use http or https protocol")]
    Scheme,
    /// Its address may not be reached, or it names a user.
    #[error("callbackUrl is not allowed")]
    NotAllowed,
    /// It is too long.
    #[error("callbackUrl must not be longer than 2048 bytes")]
    TooLong,
}

impl CallbackUrl {
    /// Reads an address as browsers and fetch do.
    ///
    /// # Errors
    /// [`InvalidCallbackUrl`].
    pub fn parse(text: &str, allow_private: bool) -> Result<Self, InvalidCallbackUrl> {
        if text.len() > MAX_BYTES {
            return Err(InvalidCallbackUrl::TooLong);
        }
        let url = Url::parse(text).map_err(|_: url::ParseError| InvalidCallbackUrl::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidCallbackUrl::Scheme);
        }
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err(InvalidCallbackUrl::NotAUrl),
        };
        let has_user = !url.username().is_empty() || url.password().is_some();
        if has_user || literal.is_some_and(|address| !callback_may_reach(address, allow_private)) {
            return Err(InvalidCallbackUrl::NotAllowed);
        }
        Ok(Self(url))
    }

    /// Returns the whole address.
    pub fn target(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the address to show: values of its query are `***`.
    pub fn shown(&self) -> String {
        let mut shown = self.0.clone();
        let names: alloc::vec::Vec<String> =
            self.0.query_pairs().map(|(name, _)| name.into_owned()).collect();
        shown.set_fragment(None);
        if self.0.query().is_some() {
            shown.set_query(None);
            let mut text = shown.to_string();
            for (index, name) in names.iter().enumerate() {
                text.push(if index == 0 { '?' } else { '&' });
                text.extend(url::form_urlencoded::byte_serialize(name.as_bytes()));
                text.push_str("=***");
            }
            return text;
        }
        shown.as_str().to_owned()
    }
}

impl fmt::Debug for CallbackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_query_are_not_shown() {
        let url = CallbackUrl::parse("https://h.example/p?token=abc&x=1#f", false).unwrap();

        assert_eq!(url.shown(), "https://h.example/p?token=***&x=***");
        assert_eq!(url.target(), "https://h.example/p?token=abc&x=1#f");
    }

    #[test]
    fn addresses_in_disguise_are_judged() {
        for text in
            ["http://2130706433/", "http://0x7f.1/", "http://[::ffff:127.0.0.1]/", "http://u@h.example/"]
        {
            assert_eq!(CallbackUrl::parse(text, false), Err(InvalidCallbackUrl::NotAllowed), "{text}");
        }
    }
}
