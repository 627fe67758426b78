//! The credential a task runs with.

use legwork_core::secret::Secret;

/// Credentials for Anthropic's API.
///
/// They come from the environment. The flags exist because the parser wants one per variable; they
/// are not shown, because the arguments of a process are for all to see.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Credentials {
    #[arg(long = "anthropic-api-key", env = "ANTHROPIC_API_KEY", hide = true, hide_env_values = true)]
    api_key: Option<Secret<String>>,

    #[arg(
        long = "anthropic-oauth-token",
        env = "CLAUDE_CODE_OAUTH_TOKEN",
        hide = true,
        hide_env_values = true
    )]
    oauth_token: Option<Secret<String>>,
}

impl Credentials {
    /// Returns the member of the request and its value: the key where both are set.
    pub(crate) fn chosen(&self) -> Option<(&'static str, &Secret<String>)> {
        let named = [("anthropicApiKey", &self.api_key), ("anthropicOAuthToken", &self.oauth_token)];
        let mut given = named.into_iter().filter_map(|(member, value)| Some((member, value.as_ref()?)));
        given.find(|(_, value)| !value.expose().trim().is_empty())
    }

    #[cfg(test)]
    pub(crate) fn of(api_key: Option<&str>, oauth_token: Option<&str>) -> Self {
        let secret = |text: &str| Secret::new(text.to_owned());
        Self { api_key: api_key.map(secret), oauth_token: oauth_token.map(secret) }
    }
}
