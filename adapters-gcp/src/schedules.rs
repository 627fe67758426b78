//! What calls the service by the clock, for those who look after it: no task needs it.

use std::fmt;

use google_cloud_gax::options::RequestOptionsBuilder as _;
use google_cloud_scheduler_v1::{
    client::CloudScheduler as Client,
    model::{HttpMethod, job::State},
};
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::{
    auth::GoogleAuth,
    error::{ConnectError, Judgement, LOGIN, judge},
    patience::{CALL, patient},
};

/// A call over HTTP that Cloud Scheduler makes again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The whole name: `projects/…/locations/…/jobs/…`.
    pub name: String,
    /// Where it calls.
    pub uri: String,
    /// When, as `cron` has it.
    pub times: String,
    /// Whether it posts.
    pub posts: bool,
    /// Whether it is on.
    pub is_enabled: bool,
}

/// Schedules cannot be seen.
#[derive(Debug, thiserror::Error)]
#[error("the schedules cannot be seen: {advice}")]
pub struct ScheduleError {
    /// What a person can do about it.
    pub advice: String,
    /// What happened.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Cloud Scheduler at one place.
#[derive(Clone)]
pub struct CloudScheduler {
    client: Client,
    place: String,
}

impl fmt::Debug for CloudScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudScheduler").field("place", &self.place).finish_non_exhaustive()
    }
}

impl CloudScheduler {
    /// Makes the client; nothing is asked of Google yet. `place` is `projects/…/locations/…`; `endpoint`
    /// another one than Google's.
    ///
    /// # Errors
    /// `Client` where the client library refuses the configuration.
    pub async fn connect(
        auth: &GoogleAuth,
        endpoint: Option<&str>,
        place: impl Into<String>,
    ) -> Result<Self, ConnectError> {
        let client = patient(Client::builder(), auth, endpoint).build().await.map_err(|source| {
            ConnectError::Client { service: "Cloud Scheduler", source: Box::new(source) }
        })?;
        Ok(Self { client, place: place.into() })
    }

    /// Returns the calls over HTTP, of the first 500 schedules.
    ///
    /// # Errors
    /// [`ScheduleError`] with what to do.
    pub async fn calls(&self) -> Result<Vec<Schedule>, ScheduleError> {
        let request =
            self.client.list_jobs().set_parent(&self.place).set_page_size(500).with_idempotency(true);
        let span = tracing::debug_span!("schedules", call = "list");
        let listed = match timeout(CALL, request.send()).instrument(span).await {
            Ok(Ok(listed)) => listed,
            Ok(Err(error)) => {
                let advice = self.advice(judge(&error));
                return Err(ScheduleError { advice, source: Box::new(error) });
            }
            Err(late) => {
                return Err(ScheduleError {
                    advice: self.advice(Judgement::Transient),
                    source: Box::new(late),
                });
            }
        };
        let calls = listed.jobs.into_iter().filter_map(|job| {
            let target = job.http_target()?;
            Some(Schedule {
                uri: target.uri.clone(),
                posts: target.http_method == HttpMethod::Post,
                is_enabled: matches!(job.state, State::Enabled | State::Unspecified),
                times: job.schedule.clone(),
                name: job.name.clone(),
            })
        });
        Ok(calls.collect())
    }

    fn advice(&self, judgement: Judgement) -> String {
        let place = &self.place;
        match judgement {
            Judgement::Transient => "try again".to_owned(),
            Judgement::Missing => format!("there is no place {place}: see SCHEDULER_LOCATION"),
            Judgement::Denied => format!(
                "permission denied: ask as somebody who has roles/cloudscheduler.viewer on {place}, and see that \
                 the API is on by ./scripts/setup-project.sh"
            ),
            Judgement::Stranger => LOGIN.to_owned(),
            Judgement::Conflict | Judgement::Wrong => {
                "turn Cloud Scheduler's API on by ./scripts/setup-project.sh".to_owned()
            }
        }
    }
}
