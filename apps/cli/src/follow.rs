//! Follows a task's log to its end, over as many connections as that takes.

use std::{collections::VecDeque, time::Duration};

use legwork_core::id::TaskId;
use tokio::time::Instant;

use crate::{
    client::{BodyStream, Client, LogForm},
    client_error::ClientError,
    sse_client::{Event, SseParser},
};

/// How long the service may be away before following is given up.
const MAX_OUTAGE: Duration = Duration::from_mins(2);
/// The pause before the first reconnect of an outage; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between reconnects.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// What happens next.
#[derive(Debug)]
pub(crate) enum Step {
    /// A line of the log: one JSON object.
    Line(String),
    /// Something about the connection that the user should know.
    Notice(String),
    /// The task has ended; this is the callback's body. Nothing follows.
    End(String),
}

/// Follows one task.
#[derive(Debug)]
pub(crate) struct Follower {
    client: Client,
    task: TaskId,
    /// The id of the last line seen: where the next connection resumes.
    position: Option<String>,
    connection: Option<(BodyStream, SseParser)>,
    arrived: VecDeque<Event>,
    outage: Option<Outage>,
}

/// A time without a working connection.
#[derive(Debug, Clone, Copy)]
struct Outage {
    since: Instant,
    next_try: Instant,
    pause: Duration,
}

impl Follower {
    /// Starts before the first line.
    pub(crate) fn new(client: Client, task: TaskId) -> Self {
        Self { client, task, position: None, connection: None, arrived: VecDeque::new(), outage: None }
    }

    /// Waits for the next step; a task may take hours, so there is no deadline while its service
    /// answers.
    ///
    /// # Errors
    /// [`ClientError::Lost`] where the service was away for 2 minutes; any other at once where
    /// asking again is of no use.
    ///
    /// # Cancel safety
    /// No line is lost or repeated when the wait is dropped: what arrived is kept, and a
    /// connection in the making is made again.
    pub(crate) async fn next(&mut self) -> Result<Step, ClientError> {
        loop {
            if let Some(event) = self.arrived.pop_front() {
                if let Some(step) = self.judge(event)? {
                    return Ok(step);
                }
                continue;
            }
            if let Err(error) = self.receive().await
                && let Some(notice) = self.failed(error)?
            {
                return Ok(notice);
            }
        }
    }

    /// Gives an event its meaning; nothing where it has none for us.
    fn judge(&mut self, event: Event) -> Result<Option<Step>, ClientError> {
        match event.name.as_str() {
            "message" => {
                self.position = event.id.or(self.position.take());
                self.outage = None;
                Ok(Some(Step::Line(event.data)))
            }
            "done" | "cancelled" => Ok(Some(Step::End(event.data))),
            // The service cannot go on following, but perhaps another instance can, or this one later.
            "error" => {
                let message = crate::client_error::refusal_message(503, &event.data);
                self.arrived.clear();
                self.failed(ClientError::Refused { status: 503, message, retry_after: None })
            }
            _ => Ok(None),
        }
    }

    /// Takes what the connection brings next, making one where there is none.
    async fn receive(&mut self) -> Result<(), ClientError> {
        if let Some(outage) = self.outage {
            tokio::time::sleep_until(outage.next_try).await;
        }
        if self.connection.is_none() {
            let form = LogForm::Events { after: self.position.as_deref() };
            let body = self.client.open_log(&self.task, form).await?;
            self.connection = Some((body, SseParser::default()));
        }
        let Some((body, parser)) = self.connection.as_mut() else { return Ok(()) };
        let Some(bytes) = body.next().await? else {
            return Err(ClientError::Silent { server: self.client.server().to_string() });
        };
        let events =
            parser.push(&bytes).map_err(|error| ClientError::Unexpected { what: error.to_string() })?;
        if events.is_empty() {
            // A comment, or part of a line: the service is there.
            self.outage = None;
        }
        self.arrived.extend(events);
        Ok(())
    }

    /// Drops the connection and decides whether to make another; says so once per outage.
    fn failed(&mut self, error: ClientError) -> Result<Option<Step>, ClientError> {
        self.connection = None;
        if !error.is_transient() {
            return Err(error);
        }
        let now = Instant::now();
        let pause = self.outage.map_or(FIRST_PAUSE, |outage| outage.pause.saturating_mul(2)).min(MAX_PAUSE);
        let asked_for = error.retry_after().unwrap_or_default().min(MAX_OUTAGE);
        let since = self.outage.map_or(now, |outage| outage.since);
        if now.duration_since(since) >= MAX_OUTAGE {
            return Err(ClientError::Lost { task_id: self.task.to_string(), source: Box::new(error) });
        }
        let is_new = self.outage.is_none();
        self.outage = Some(Outage { since, next_try: now + pause.max(asked_for), pause });
        Ok(is_new.then(|| Step::Notice(format!("{error}; reconnecting"))))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{Router, extract::State, http::HeaderMap, response::IntoResponse};
    use tokio::net::TcpListener;

    use super::*;

    /// What a scripted service answers to each connection, and which `Last-Event-ID` it saw.
    #[derive(Debug, Default)]
    struct Script {
        answers: Mutex<VecDeque<(u16, &'static str)>>,
        resumed: Mutex<Vec<Option<String>>>,
    }

    async fn answer(State(script): State<Arc<Script>>, headers: HeaderMap) -> impl IntoResponse {
        let last_id = headers.get("Last-Event-ID").map(|id| id.to_str().unwrap().to_owned());
        script.resumed.lock().unwrap().push(last_id);
        let (status, body) = script.answers.lock().unwrap().pop_front().unwrap_or((500, ""));
        (axum::http::StatusCode::from_u16(status).unwrap(), [("content-type", "text/event-stream")], body)
    }

    /// Follows a task of a service with this script to its end or first error.
    async fn follow(answers: &[(u16, &'static str)]) -> (Vec<String>, Vec<Option<String>>) {
        legwork_wiring::install_tls();
        let script = Arc::new(Script::default());
        script.answers.lock().unwrap().extend(answers);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let service = axum::serve(listener, Router::new().fallback(answer).with_state(Arc::clone(&script)));
        let mut follower = Follower::new(Client::new(server, None).unwrap(), "a-1".parse().unwrap());
        let steps = async {
            let mut seen = Vec::new();
            loop {
                match follower.next().await {
                    Ok(Step::Line(line)) => seen.push(line),
                    Ok(Step::Notice(_)) => seen.push("(notice)".to_owned()),
                    Ok(Step::End(body)) => break seen.push(format!("end {body}")),
                    Err(error) => break seen.push(format!("error {error}")),
                }
            }
            seen
        };
        let seen = tokio::select! {
            seen = steps => seen,
            // The service never ends by itself.
            _ = service.into_future() => Vec::new(),
        };
        let resumed = script.resumed.lock().unwrap().clone();
        (seen, resumed)
    }

    #[tokio::test]
    async fn lines_come_in_order_and_the_closing_event_ends_them() {
        let (seen, _) = follow(&[(
            200,
            ": hi\n\nid: 1.1\ndata: a\n\nid: 1.2\ndata: b\n\nevent: done\nid: end\ndata: {}\n\n",
        )])
        .await;

        assert_eq!(seen, ["a", "b", "end {}"]);
    }

    #[tokio::test]
    async fn a_lost_connection_is_resumed_after_the_last_line_seen() {
        let (seen, resumed) = follow(&[
            (200, "id: 1.1\ndata: a\n\nid: 1.2\ndata: cut"),
            (503, "{\"error\":\"not now\"}"),
            (200, "id: 1.2\ndata: b\n\nevent: cancelled\nid: end\ndata: {}\n\n"),
        ])
        .await;

        assert_eq!(seen, ["a", "(notice)", "b", "end {}"]);
        assert_eq!(resumed, [None, Some("1.1".to_owned()), Some("1.1".to_owned())]);
    }

    #[tokio::test]
    async fn a_service_that_cannot_go_on_is_asked_again_for_the_rest() {
        let (seen, resumed) = follow(&[
            (200, "id: 2.1\ndata: a\n\nevent: error\nid: end\ndata: {\"error\":\"store away\"}\n\n"),
            (200, "event: done\nid: end\ndata: {}\n\n"),
        ])
        .await;

        assert_eq!(seen, ["a", "(notice)", "end {}"]);
        assert_eq!(resumed, [None, Some("2.1".to_owned())]);
    }

    #[tokio::test]
    async fn an_unknown_task_is_not_asked_for_again() {
        let (seen, resumed) = follow(&[(404, "{\"error\":\"Task not found\"}")]).await;

        assert_eq!(seen, ["error Task not found"]);
        assert_eq!(resumed, [None]);
    }
}
