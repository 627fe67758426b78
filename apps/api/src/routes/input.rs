//! What routes read from a request's path and query. What does not fit is refused as JSON, like
//! everything else; the framework's own refusals are plain text.

use axum::extract::{FromRequestParts, Path, Query};
use http::{StatusCode, request::Parts};
use legwork_core::id::{InvalidTaskId, TaskId};
use serde::de::DeserializeOwned;

use crate::answer::ApiError;

/// The task that a path names.
#[derive(Debug)]
pub(super) struct Task(pub(super) TaskId);

impl<S: Send + Sync> FromRequestParts<S> for Task {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // What is not UTF-8 is no task id either.
        let Ok(Path(text)) = Path::<String>::from_request_parts(parts, state).await else {
            return Err(ApiError::bad_task_id(InvalidTaskId));
        };
        text.parse().map(Self).map_err(ApiError::bad_task_id)
    }
}

/// The parameters after the `?`.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(params) = Query::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "invalid_query", error.body_text()))?;
        Ok(Self(params))
    }
}

#[cfg(test)]
mod tests {
    use axum::{extract::Request, response::IntoResponse as _};
    use http::header;

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Limit {
        limit: Option<String>,
    }

    fn parts(target: &str) -> Parts {
        Request::get(target).body(()).unwrap().into_parts().0
    }

    #[track_caller]
    fn check_is_json(refusal: ApiError) {
        let answer = refusal.into_response();

        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
    }

    #[tokio::test]
    async fn parameters_are_read_once_each() {
        let read = async |target| Params::<Limit>::from_request_parts(&mut parts(target), &()).await;

        assert_eq!(read("/?limit=3&other=x").await.unwrap().0.limit.as_deref(), Some("3"));
        assert_eq!(read("/").await.unwrap().0.limit, None);
        check_is_json(read("/?limit=1&limit=2").await.unwrap_err());
    }

    #[tokio::test]
    async fn a_path_that_names_no_task_is_refused_as_json() {
        let refusal = Task::from_request_parts(&mut parts("/tasks/x"), &()).await.unwrap_err();

        check_is_json(refusal);
    }
}
