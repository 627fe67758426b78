//! What is configured of Google Cloud.

use url::Url;

use super::{is_loopback, reader::Reader};
use crate::names;

/// Who the programs are for Google.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoogleCredentials {
    /// What Google's library finds: a key file, workload identity, the metadata server, a person's login.
    ApplicationDefault,
    /// None are sought: for emulators.
    Anonymous,
}

/// Other endpoints than Google's, without a slash at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Cloud Storage.
    pub storage: Option<String>,
    /// Cloud KMS.
    pub keys: Option<String>,
    /// Cloud Run.
    pub jobs: Option<String>,
    /// Cloud Scheduler.
    pub scheduler: Option<String>,
}

/// What is used of Google Cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoogleConfig {
    /// The bucket; nothing where it is not named, and then no task is accepted.
    pub bucket: Option<String>,
    /// The project of the key and the job.
    pub project: String,
    /// Where the job is.
    pub region: String,
    /// The whole name of the key: `projects/…/locations/…/keyRings/…/cryptoKeys/…`.
    pub key: String,
    /// The whole name of the job: `projects/…/locations/…/jobs/…`.
    pub job: String,
    /// Where Cloud Scheduler calls the reconciler from: `projects/…/locations/…`.
    pub schedules: String,
    /// Other endpoints than Google's.
    pub endpoints: Endpoints,
    /// Who the programs are for Google.
    pub credentials: GoogleCredentials,
    /// The short name of the execution that this process is, as Cloud Run says it.
    pub execution: Option<String>,
}

impl GoogleConfig {
    /// Reads the settings; what is missing or wrong is added to the reader's problems.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let values = reader.values;
        let project = match values.get(names::PROJECT) {
            None if values.get(names::BUCKET_PROJECT).is_some() => reader.label(names::BUCKET_PROJECT, ""),
            _ => reader.label(names::PROJECT, "the Google Cloud project (gcloud projects list)"),
        };
        let region = reader.label(names::REGION, "where the job is, such as europe-west1");
        let location = match values.get(names::KMS_LOCATION) {
            None => region.clone(),
            Some(_) => reader.label(names::KMS_LOCATION, ""),
        };
        let ring = reader.label(names::KMS_KEY_RING, "the key ring that ./scripts/setup-project.sh makes");
        let key = reader.label(names::KMS_KEY_NAME, "the key that ./scripts/setup-project.sh makes");
        let job = reader.label(names::JOB_NAME, "the job that ./scripts/deploy-job.sh makes");
        let scheduler = match values.get(names::SCHEDULER_LOCATION) {
            None => region.clone(),
            Some(_) => reader.label(names::SCHEDULER_LOCATION, ""),
        };
        let credentials = if reader.boolean(names::ANONYMOUS, false) {
            GoogleCredentials::Anonymous
        } else {
            GoogleCredentials::ApplicationDefault
        };
        let bucket = values.get(names::BUCKET).map(|_| reader.label(names::BUCKET, ""));
        Self {
            bucket,
            key: format!("projects/{project}/locations/{location}/keyRings/{ring}/cryptoKeys/{key}"),
            job: format!("projects/{project}/locations/{region}/jobs/{job}"),
            schedules: format!("projects/{project}/locations/{scheduler}"),
            project,
            region,
            endpoints: Endpoints {
                storage: reader.endpoint(names::GCS_ENDPOINT, credentials),
                keys: reader.endpoint(names::KMS_ENDPOINT, credentials),
                jobs: reader.endpoint(names::RUN_ENDPOINT, credentials),
                scheduler: reader.endpoint(names::SCHEDULER_ENDPOINT, credentials),
            },
            credentials,
            execution: values.get(names::CLOUD_RUN_EXECUTION).map(str::to_owned),
        }
    }
}

impl Reader<'_> {
    /// Reads a part of one of Google's names.
    fn label(&mut self, name: &'static str, what: &str) -> String {
        let Some(text) = self.values.get(name) else {
            self.problem(format!("{name} is not set: {what}"));
            return String::new();
        };
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || !text.chars().all(is_part) {
            self.problem(format!("{name} must be a name of letters, digits, `-`, `_`, `.`, not {text:?}"));
        }
        text.to_owned()
    }

    /// Reads an endpoint. Tokens are not sent in the clear to other machines.
    fn endpoint(&mut self, name: &'static str, credentials: GoogleCredentials) -> Option<String> {
        let text = self.values.get(name)?;
        let is_safe = |url: &Url| match url.scheme() {
            "https" => true,
            "http" => credentials == GoogleCredentials::Anonymous || url.host_str().is_some_and(is_loopback),
            _ => false,
        };
        let is_bare = |url: &Url| url.path() == "/" && url.query().is_none() && url.username().is_empty();
        if Url::parse(text).is_ok_and(|url| is_safe(&url) && is_bare(&url)) {
            return Some(text.trim_end_matches('/').to_owned());
        }
        self.problem(format!(
            "{name} must be the https URL of a host without a path, such as https://storage.googleapis.com; http \
             only to this machine, or with {}=true",
            names::ANONYMOUS
        ));
        None
    }
}
