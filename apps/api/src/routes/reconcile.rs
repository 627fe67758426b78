//! One pass of the reconciler, for platforms whose services have no time of their own between requests.

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use legwork_engine::{PassReport, Reconciler};

use super::{Api, tasks};
use crate::{
    answer::{ApiError, json, query_error},
    settings::Reconciling,
};

pub(super) async fn pass(State(api): State<Api>, request: Request) -> Result<Response, ApiError> {
    tasks::drop_body(&api, request).await?;
    let Reconciling::Allowed { leftovers } = &api.settings.reconciling else {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "reconciler_off",
            "This service does not reconcile: it was started with RECONCILER=off",
        ));
    };
    let pass = Reconciler::pass(api.engine.clone(), leftovers.clone()).await;
    let report = pass.map_err(|error| query_error(error.into(), None))?;
    Ok(json(StatusCode::OK, &Counts::from(report)))
}

/// What a pass has done, as clients see it.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    examined: u64,
    started: u64,
    settled: u64,
    cancelled_executions: u64,
    callback_attempts: u64,
    payloads_deleted: u64,
    entries_removed: u64,
    tasks_removed: u64,
    errors: u64,
}

impl From<PassReport> for Counts {
    fn from(report: PassReport) -> Self {
        Self {
            examined: report.examined,
            started: report.started,
            settled: report.settled,
            cancelled_executions: report.cancelled_executions,
            callback_attempts: report.callback_attempts,
            payloads_deleted: report.payloads_deleted,
            entries_removed: report.entries_removed,
            tasks_removed: report.tasks_removed,
            errors: report.errors,
        }
    }
}
