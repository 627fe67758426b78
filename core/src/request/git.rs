//! Repositories and branches, as they may be named by a client.

use alloc::{
    borrow::ToOwned as _,
    format,
    string::{String, ToString as _},
};
use core::{net::Ipv6Addr, str::FromStr};

use url::Url;

use crate::secret::Secret;

/// A repository's address: https, http, ssh, or scp-like; without a password, and where it is https or
/// http without a user.
///
/// # Examples
/// ```
/// use legwork_core::request::RepoUrl;
/// assert!("git@github.com:o/r.git".parse::<RepoUrl>().is_ok());
/// assert!("file:///etc".parse::<RepoUrl>().is_err());
/// assert!("--upload-pack=x".parse::<RepoUrl>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoUrl(String);

/// The text is no such address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an https, http or ssh URL, or user@host:path")]
pub struct InvalidRepoUrl;

/// Who logs in, as an address tells: what stands before its host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// The user of an https or http address.
    pub user: Option<Secret<String>>,
    /// The password.
    pub password: Option<Secret<String>>,
}

/// The repository a task works in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// Its address.
    pub url: RepoUrl,
    /// The branch.
    pub branch: String,
    /// How many commits are fetched; 0: all.
    pub depth: u32,
    /// A private key for ssh.
    pub ssh_key: Option<Secret<String>>,
    /// Who logs in with the token, where the address names somebody.
    pub user: Option<Secret<String>>,
    /// A token for https.
    pub token: Option<Secret<String>>,
    /// A password that the address has besides: secret, and not used.
    pub other_password: Option<Secret<String>>,
    /// Whether the agent may sign with the key.
    pub agent_may_use_ssh_key: bool,
}

impl GitSource {
    /// Returns what must not be shown.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Secret<String>> {
        [&self.ssh_key, &self.token, &self.other_password].into_iter().flatten()
    }
}

/// The password that stands for none: the user is the token, as GitHub has it.
const NO_PASSWORD: &str = "x-oauth-basic";

/// Forges whose https addresses become ssh where a key is given.
const FORGES: &[&str] = &["github.com", "gitlab.com", "bitbucket.org"];

impl RepoUrl {
    /// Returns the address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parts an address from what is in it of who logs in. The user of an ssh address stays there.
    ///
    /// # Errors
    /// [`InvalidRepoUrl`].
    ///
    /// # Examples
    /// ```
    /// use legwork_core::request::RepoUrl;
    /// let (url, info) = RepoUrl::parse("https://me:hidden@git.example/r").unwrap();
    /// assert_eq!(url.as_str(), "https://git.example/r");
    /// assert_eq!(info.unwrap().password.unwrap().expose(), "hidden");
    /// assert!(RepoUrl::parse("https://me:hidden@").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<(Self, Option<UserInfo>), InvalidRepoUrl> {
        let bad = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
        if text.is_empty() || text.len() > 2048 || text.starts_with('-') || text.contains(bad) {
            return Err(InvalidRepoUrl);
        }
        if !text.contains("://") {
            return if is_scp_like(text) { Ok((Self(text.to_owned()), None)) } else { Err(InvalidRepoUrl) };
        }
        let mut url = Url::parse(text).map_err(|_: url::ParseError| InvalidRepoUrl)?;
        let host_fits = url.host_str().is_some_and(|host| !host.is_empty() && !host.starts_with('-'));
        let user_fits = !url.username().starts_with('-');
        if !matches!(url.scheme(), "https" | "http" | "ssh")
            || !host_fits
            || !user_fits
            || url.path().len() < 2
        {
            return Err(InvalidRepoUrl);
        }
        let password = url.password().filter(|password| !password.is_empty());
        let password = password.map(|password| Secret::new(decode(password)));
        // Only addresses without a host refuse to lose their userinfo.
        url.set_password(None).map_err(|()| InvalidRepoUrl)?;
        let mut user = None;
        if url.scheme() != "ssh" {
            user = Some(decode(url.username())).filter(|user| !user.is_empty()).map(Secret::new);
            url.set_username("").map_err(|()| InvalidRepoUrl)?;
        }
        let info = UserInfo { user, password };
        Ok((Self(url.to_string()), Some(info).filter(|info| *info != UserInfo::default())))
    }

    /// Returns the address to clone from: with a key, https addresses of the common forges become ssh.
    ///
    /// # Examples
    /// ```
    /// use legwork_core::request::RepoUrl;
    /// let url: RepoUrl = "https://github.com/o/r".parse().unwrap();
    /// assert_eq!(url.clone_url(true), "ssh://git@github.com/o/r");
    /// assert_eq!(url.clone_url(false), "https://github.com/o/r");
    /// ```
    pub fn clone_url(&self, with_ssh_key: bool) -> String {
        let forge = Url::parse(&self.0).ok().filter(|url| {
            with_ssh_key
                && url.scheme() == "https"
                && url.host_str().is_some_and(|host| FORGES.contains(&host))
        });
        match forge {
            Some(url) => format!("ssh://git@{}{}", url.host_str().unwrap_or_default(), url.path()),
            None => self.0.clone(),
        }
    }
}

impl UserInfo {
    /// Tells who logs in with what, and which password is not used: a token that was given besides comes
    /// before a password, and where there is neither, the user is the token.
    pub(super) fn login(self, token: Option<Secret<String>>) -> [Option<Secret<String>>; 3] {
        let Self { user, password } = self;
        let password = password.filter(|password| password.expose() != NO_PASSWORD);
        match (token, password) {
            (Some(token), password) => [user, Some(token), password],
            (None, Some(password)) => [user, Some(password), None],
            (None, None) => [None, user, None],
        }
    }
}

impl FromStr for RepoUrl {
    type Err = InvalidRepoUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).map(|(url, _)| url)
    }
}

fn decode(text: &str) -> String {
    let pair = format!("p={}", text.replace('+', "%2B").replace('&', "%26"));
    let decoded = url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned());
    decoded.unwrap_or_default()
}

/// `user@host:path` or `host:path`, as scp has it, the host perhaps an IPv6 address in brackets; of other
/// transports (`ext::`) the path would begin with a colon.
fn is_scp_like(text: &str) -> bool {
    // What is before an `@` is a user: in `user:password@host:path` git would take the user for the host.
    let (user, place) = text.split_once('@').map_or((None, text), |(user, place)| (Some(user), place));
    let parted = match place.strip_prefix('[') {
        Some(place) => place.split_once("]:").filter(|(address, _)| address.parse::<Ipv6Addr>().is_ok()),
        None => {
            place.split_once(':').filter(|(host, _)| is_word(host) && (user.is_some() || is_no_scheme(host)))
        }
    };
    let fits = |path: &str| !path.is_empty() && !path.starts_with('-') && !path.starts_with(':');
    user.is_none_or(is_word) && parted.is_some_and(|(_, path)| fits(path))
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// Who writes `https:host/path` has forgotten the slashes, and before `:/path` a letter is a drive.
fn is_no_scheme(host: &str) -> bool {
    let is_scheme = ["ext", "fd", "file", "ftp", "ftps", "git", "http", "https", "ssh"]
        .iter()
        .any(|scheme| host.eq_ignore_ascii_case(scheme));
    !is_scheme && host.len() > 1
}

/// Returns whether `git check-ref-format --branch` takes the name as it is.
///
/// # Examples
/// ```
/// use legwork_core::request::is_branch_name;
/// assert!(is_branch_name("feature/x-1"));
/// assert!(!is_branch_name("--upload-pack=x") && !is_branch_name("a..b") && !is_branch_name("x.lock"));
/// ```
pub fn is_branch_name(name: &str) -> bool {
    let forbidden =
        |c: char| c.is_ascii_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    let component = |part: &str| !part.is_empty() && !part.starts_with('.') && !has_lock_suffix(part);
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('-')
        && !name.ends_with('.')
        && !matches!(name, "@" | "HEAD")
        && !name.contains("..")
        && !name.contains("@{")
        && !name.contains(forbidden)
        && name.split('/').all(component)
}

fn has_lock_suffix(part: &str) -> bool {
    // Git compares the bytes: `.LOCK` is fine.
    part.strip_suffix(".lock").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_login(url: &str, token: Option<&str>, expected: [Option<&str>; 3]) {
        let secret = |text: &str| Secret::new(text.to_owned());
        let (parsed, info) = RepoUrl::parse(url).unwrap();

        let login = info.unwrap_or_default().login(token.map(secret));

        assert_eq!(parsed.as_str(), "https://git.example/o/r.git");
        assert!(login == expected.map(|text| text.map(secret)), "{url} {token:?}");
    }

    #[test]
    fn who_logs_in_is_taken_out_of_the_address() {
        let plain = "https://git.example/o/r.git";
        let with_user = "https://me@git.example/o/r.git";
        let whole = "https://m%40e:s%40cret@git.example/o/r.git";

        check_login(plain, None, [None, None, None]);
        check_login(plain, Some("t"), [None, Some("t"), None]);
        check_login(with_user, None, [None, Some("me"), None]);
        check_login(with_user, Some("t"), [Some("me"), Some("t"), None]);
        check_login(whole, None, [Some("m@e"), Some("s@cret"), None]);
        check_login(whole, Some("t"), [Some("m@e"), Some("t"), Some("s@cret")]);
        check_login("https://me:a&b+c%20d@git.example/o/r.git", None, [Some("me"), Some("a&b+c d"), None]);
        check_login("https://t:@git.example/o/r.git", None, [None, Some("t"), None]);
        check_login("https://:t@git.example/o/r.git", None, [None, Some("t"), None]);
        check_login("https://t:x-oauth-basic@git.example/o/r.git", None, [None, Some("t"), None]);
    }

    #[test]
    fn the_user_of_an_ssh_address_stays_there() {
        let (url, info) = RepoUrl::parse("ssh://git:hidden@git.example/r").unwrap();

        assert_eq!(url.as_str(), "ssh://git@git.example/r");
        assert!(info.unwrap().user.is_none());
        assert_eq!(RepoUrl::parse("git@git.example:r").unwrap().1, None);
    }

    #[test]
    fn addresses_as_scp_has_them_need_no_user_and_may_be_of_ipv6() {
        for text in
            ["github.com:o/r", "gitserver:r.git", "git@h:r", "git@[::1]:r", "[2001:db8::1]:o/r", "u@h:a@b:c"]
        {
            assert_eq!(RepoUrl::parse(text).unwrap().0.as_str(), text);
        }
    }

    #[test]
    fn other_transports_are_refused() {
        for text in [
            "file:///etc/passwd",
            "/etc",
            "../x",
            "ext::sh -c id",
            "git://h/r",
            "-oProxyCommand=x@h:r",
            "a@-h:r",
            "https://",
            "https:///r",
            "ssh://-oProxyCommand=x/r",
            "ssh://h",
            "fd::17",
            "u@h:-x",
            "u@h::x",
            "h::x",
            "-h:r",
            "[::1]:-x",
            "[::1]r",
            "[::1",
            "[-oProxyCommand=x]:r",
            "git@[h]:r",
            "user:password@host:path",
            "@h:r",
            "file:/etc",
            "HTTPS:github.com/o/r",
            "C:/repository",
            "",
        ] {
            assert!(RepoUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn branch_names_are_gits() {
        for good in ["main", "feature/x", "a@b", "v1.0", "x.LOCK", "ü"] {
            assert!(is_branch_name(good), "{good}");
        }
        for bad in [
            "", "-x", "a b", "a..b", "/a", "a/", "a//b", ".a", "a/.b", "a.", "a.lock", "a.lock/b", "@",
            "a@{1}", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "a\u{7f}", "HEAD",
        ] {
            assert!(!is_branch_name(bad), "{bad}");
        }
    }
}
