//! Submits a request, again where the answer got lost.

use std::time::Duration;

use serde::Deserialize;

use crate::{args::RequestBody, client::Client, client_error::ClientError, output, terminal};

/// Pauses before the second and each later try. A service that is being restarted is back by then.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_secs(1), Duration::from_millis(2500)];
/// The longest pause that a service can ask for.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// The service's answer to a submission.
#[derive(Debug)]
pub(crate) struct Submitted {
    /// As it was sent.
    pub(crate) json: String,
    /// Where the task stands: `pending`, for a new one.
    pub(crate) status: String,
    /// Where its log is kept.
    pub(crate) logs_path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status: String,
    logs_path: String,
}

/// Submits the request.
///
/// It names its task, so the service takes a repetition for what it is: trying again after a lost
/// answer makes no second task.
///
/// # Errors
/// What the last try met.
pub(crate) async fn submit(client: &Client, request: &RequestBody) -> Result<Submitted, ClientError> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let error = match client.submit(&request.json).await {
            Ok(json) => return read(json),
            Err(error) => error,
        };
        // 429 says that there are too many tasks, which a few seconds do not change.
        let may_heal = error.is_transient() && !matches!(error, ClientError::Refused { status: 429, .. });
        let Some(pause) = pauses.next().filter(|_| may_heal) else { return Err(error) };
        let pause = error.retry_after().map_or(pause, |asked_for| asked_for.clamp(pause, MAX_PAUSE));
        output::note(&terminal::escape(&format!("{error}; trying again in {:.1} s", pause.as_secs_f32())));
        tokio::time::sleep(pause).await;
    }
}

fn read(json: String) -> Result<Submitted, ClientError> {
    match serde_json::from_str::<Answer>(&json) {
        Ok(Answer { status, logs_path }) => Ok(Submitted { json, status, logs_path }),
        Err(error) => {
            Err(ClientError::Unexpected { what: format!("the answer is none of a Legwork service: {error}") })
        }
    }
}
