//! Cloud Scheduler: what a test has put there is listed.
//!
//! The wire is that of <https://cloud.google.com/scheduler/docs/reference/rest/v1/projects.locations.jobs>.

use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::json::{self, JsonError};
use super::wire::Call;

/// The only place.
const PLACE: &str = "projects/p/locations/l";

/// A call that is made by the clock.
#[derive(Debug, Clone)]
pub(super) struct Timed {
    pub(super) uri: String,
    pub(super) is_paused: bool,
}

/// All schedules.
#[derive(Debug, Default)]
pub(super) struct SchedulerService {
    schedules: Mutex<Vec<Timed>>,
}

impl SchedulerService {
    pub(super) fn schedules(&self) -> MutexGuard<'_, Vec<Timed>> {
        self.schedules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn answer(&self, call: &Call) -> Response {
        match self.try_answer(call) {
            Ok(answer) => json::answer(200, &answer),
            Err(error) => error.into_response(),
        }
    }

    fn try_answer(&self, call: &Call) -> Result<Value, JsonError> {
        let path = call.path.as_deref().unwrap_or_default();
        let is_listing = call.method == "GET" && path == format!("/v1/{PLACE}/jobs");
        if !is_listing {
            return Err(JsonError::not_found(path));
        }
        let jobs: Vec<Value> =
            self.schedules().iter().enumerate().map(|(number, timed)| to_json(number, timed)).collect();
        Ok(json!({"jobs": jobs}))
    }
}

fn to_json(number: usize, timed: &Timed) -> Value {
    json!({
        "name": format!("{PLACE}/jobs/schedule-{number}"),
        "schedule": "* * * * *",
        "timeZone": "Etc/UTC",
        "state": if timed.is_paused { "PAUSED" } else { "ENABLED" },
        "httpTarget": {"uri": timed.uri, "httpMethod": "POST"},
    })
}
