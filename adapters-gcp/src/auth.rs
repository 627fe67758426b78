//! One source of credentials for all three services.
//!
//! Google's own library finds them: a key file, workload identity, impersonation, the metadata server of
//! Cloud Run, or what `gcloud auth application-default login` left. Cloud Storage's client has a search of
//! its own that knows fewer of these, so it is given ours.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use google_cloud_auth::{
    credentials::{AccessTokenCredentials, Builder, Credentials, anonymous},
    signer::Signer,
};
use object_store::{
    CredentialProvider,
    gcp::{GcpCredential, GcpCredentialProvider},
};

use crate::error::{ConnectError, store_failure};

/// All of what the three services need; what a caller may do is said by roles.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// Where the services are. Said here, as each client would ask the metadata server for it when it is made.
const UNIVERSE: &str = "googleapis.com";

/// Who the service is for Google. Clones share tokens.
#[derive(Clone)]
pub struct GoogleAuth {
    credentials: Credentials,
    tokens: Option<AccessTokenCredentials>,
    signer: Option<Signer>,
}

impl fmt::Debug for GoogleAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoogleAuth")
            .field("anonymous", &self.tokens.is_none())
            .field("can_sign", &self.signer.is_some())
            .finish_non_exhaustive()
    }
}

impl GoogleAuth {
    /// Seeks no credentials and shows none: for emulators.
    pub fn anonymous() -> Self {
        Self { credentials: anonymous::Builder::new().build(), tokens: None, signer: None }
    }

    /// Takes the application default credentials. Has to be called in a runtime: tokens are renewed in
    /// the background. Nothing is asked of Google yet.
    ///
    /// # Errors
    /// Where a credentials file is named or found and cannot be used.
    pub fn application_default() -> Result<Self, ConnectError> {
        let builder = || Builder::default().with_scopes([SCOPE]).with_universe_domain(UNIVERSE);
        let tokens = builder()
            .build_access_token_credentials()
            .map_err(|source| ConnectError::Credentials { source: Box::new(source) })?;
        // A person's own credentials cannot sign, others can: without, downloads go through the service.
        let signer = builder().build_signer().ok();
        Ok(Self { credentials: Credentials::from(tokens.clone()), tokens: Some(tokens), signer })
    }

    pub(crate) fn credentials(&self) -> Credentials {
        self.credentials.clone()
    }

    pub(crate) fn signer(&self) -> Option<Signer> {
        self.signer.clone()
    }

    pub(crate) fn for_storage(&self) -> GcpCredentialProvider {
        Arc::new(Bridge(self.tokens.clone()))
    }
}

/// Hands tokens to the storage client; an empty one where there are no credentials.
struct Bridge(Option<AccessTokenCredentials>);

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bridge")
    }
}

#[async_trait]
impl CredentialProvider for Bridge {
    type Credential = GcpCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<GcpCredential>> {
        let bearer = match &self.0 {
            Some(tokens) => tokens.access_token().await.map_err(store_failure)?.token,
            None => String::new(),
        };
        Ok(Arc::new(GcpCredential { bearer }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_credentials_the_token_is_empty_and_nothing_is_signed() {
        let auth = GoogleAuth::anonymous();

        let credential = auth.for_storage().get_credential().await.unwrap();

        assert_eq!(credential.bearer, "");
        assert!(auth.signer().is_none());
    }

    #[test]
    fn credentials_are_not_shown() {
        let shown = format!("{:?}", GoogleAuth::anonymous());

        assert_eq!(shown, "GoogleAuth { anonymous: true, can_sign: false, .. }");
    }
}
