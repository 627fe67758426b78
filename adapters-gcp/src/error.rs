//! What Google's answers mean for the ports.

use std::error::Error;

use google_cloud_gax::error::CredentialsError;
use legwork_ports::storage::StorageError;

/// What a person does where Google does not know who is asking.
pub(crate) const LOGIN: &str = "Google does not accept the credentials: give the Cloud Run service its \
                                service account by ./scripts/deploy-service.sh, or run gcloud auth \
                                application-default login";

/// Why a client of Google could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A credentials file is named or found and cannot be used.
    #[error("the Google credentials cannot be used")]
    Credentials {
        /// What is wrong with them.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The client refuses what it was given.
    #[error("the client of {service} cannot be made")]
    Client {
        /// Google's name of the service.
        service: &'static str,
        /// What is wrong.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// What Cloud Storage answered instead of doing what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{status} {code}: {message}")]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `NoSuchKey` and the like; empty where there was no body.
    pub(crate) code: String,
    pub(crate) message: String,
}

/// What may be done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Trying again may help; the call may have been applied.
    Transient,
    /// The precondition does not hold.
    Conflict,
    /// What was asked for is not there.
    Missing,
    /// A role is missing.
    Denied,
    /// Google does not know who is asking.
    Stranger,
    /// The call itself is wrong.
    Wrong,
}

fn of_status(status: u16) -> Judgement {
    match status {
        401 => Judgement::Stranger,
        403 => Judgement::Denied,
        404 | 410 => Judgement::Missing,
        412 => Judgement::Conflict,
        408 | 409 | 425 | 429 | 500..=599 => Judgement::Transient,
        _ => Judgement::Wrong,
    }
}

fn of_credentials(error: &CredentialsError) -> Judgement {
    if error.is_transient() { Judgement::Transient } else { Judgement::Stranger }
}

/// Looks for an error of this type among an error and its causes.
pub(crate) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |error| (*error).source()).find_map(|error| error.downcast_ref::<E>())
}

/// Judges an error of the storage client. The client hides its own errors' type, so answers reach us as
/// [`Answer`].
pub(crate) fn judge_store(error: &object_store::Error) -> Judgement {
    if let Some(answer) = find::<Answer>(error) {
        // Damaged on its way; or an upload that an earlier try of the same call has completed.
        let damaged = matches!(answer.code.as_str(), "BadDigest" | "NoSuchUpload");
        return if damaged { Judgement::Transient } else { of_status(answer.status) };
    }
    if let Some(credentials) = find::<CredentialsError>(error) {
        return of_credentials(credentials);
    }
    Judgement::Transient
}

/// Judges an error of the other clients.
pub(crate) fn judge(error: &google_cloud_gax::error::Error) -> Judgement {
    if let Some(status) = error.http_status_code() {
        return of_status(status);
    }
    if let Some(credentials) = find::<CredentialsError>(error) {
        return of_credentials(credentials);
    }
    Judgement::Transient
}

/// Takes an error to where only the storage client's own are told.
pub(crate) fn store_failure(source: impl Error + Send + Sync + 'static) -> object_store::Error {
    object_store::Error::Generic { store: "GCS", source: Box::new(source) }
}

/// What the answer "not found" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// An object was asked for: it may be missing, or its bucket.
    Object,
    /// Something was to be made or listed: the bucket is missing.
    Bucket,
}

/// Tells an error of the storage client in the port's words.
pub(crate) fn told(bucket: &str, key: &str, asked: Asked, error: object_store::Error) -> StorageError {
    let judgement = judge_store(&error);
    let no_bucket = find::<Answer>(&error).is_some_and(|answer| answer.code == "NoSuchBucket");
    let key = key.to_owned();
    let advice = match judgement {
        Judgement::Transient => return StorageError::Unavailable { key, source: Box::new(error) },
        Judgement::Conflict => return StorageError::Conflict { key },
        Judgement::Missing if asked == Asked::Object && !no_bucket => return StorageError::NotFound { key },
        Judgement::Missing => format!(
            "there is no bucket {bucket}: run ./scripts/setup-project.sh, or name another in GCS_LOGS_BUCKET"
        ),
        Judgement::Denied => format!(
            "permission denied on gs://{bucket}/{key}: grant roles/storage.objectUser on bucket {bucket} by \
             ./scripts/setup-service-account.sh"
        ),
        Judgement::Stranger => LOGIN.to_owned(),
        Judgement::Wrong => "Cloud Storage takes neither this name nor this content as it is".to_owned(),
    };
    StorageError::Refused { key, advice, source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, code: &str) -> object_store::Error {
        store_failure(Answer { status, code: code.to_owned(), message: String::new() })
    }

    fn advice(error: StorageError) -> String {
        let StorageError::Refused { advice, .. } = error else { panic!("not refused: {error}") };
        advice
    }

    #[test]
    fn what_may_pass_by_itself_is_not_refused() {
        for (status, code) in [
            (408, ""),
            (429, "SlowDown"),
            (500, "InternalError"),
            (503, "ServiceUnavailable"),
            (400, "BadDigest"),
            (404, "NoSuchUpload"),
        ] {
            let error = told("b", "k", Asked::Object, answered(status, code));

            assert!(error.is_transient(), "{status} {code}: {error}");
        }
    }

    #[test]
    fn a_missing_object_is_not_a_missing_bucket() {
        let object = told("b", "k", Asked::Object, answered(404, "NoSuchKey"));
        let bucket = told("b", "k", Asked::Object, answered(404, "NoSuchBucket"));
        let written = told("b", "k", Asked::Bucket, answered(404, ""));

        assert!(matches!(object, StorageError::NotFound { key } if key == "k"));
        for error in [bucket, written] {
            let advice = advice(error);
            assert!(
                advice.contains("no bucket b") && advice.contains("./scripts/setup-project.sh"),
                "{advice}"
            );
        }
    }

    #[test]
    fn a_missing_role_is_named_with_its_resource_and_the_script_that_grants_it() {
        let advice = advice(told("b", "k", Asked::Object, answered(403, "AccessDenied")));

        assert!(advice.contains("roles/storage.objectUser on bucket b"), "{advice}");
        assert!(advice.contains("./scripts/setup-service-account.sh"), "{advice}");
    }

    #[test]
    fn credentials_that_will_not_heal_are_refused() {
        let permanent = store_failure(CredentialsError::from_msg(false, "no such account"));
        let passing = store_failure(CredentialsError::from_msg(true, "busy"));

        assert_eq!(advice(told("b", "k", Asked::Object, permanent)), LOGIN);
        assert!(told("b", "k", Asked::Object, passing).is_transient());
    }
}
