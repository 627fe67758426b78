//! Cloud Run: one job, its executions, and the operations that starting them answers with.
//!
//! The wire is that of <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs>.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use rustix::process::Signal;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::execution::{
    Board, ExecutionState, Plan, RunExecution, Worker, carry_out, change, settle, signal,
};
use super::json::{self, JsonError};
use super::time::now;
use super::wire::Call;

/// The only job.
pub(super) const JOB: &str = "projects/p/locations/l/jobs/legwork-worker";

const SHORT_JOB: &str = "legwork-worker";
const OPERATIONS: &str = "projects/p/locations/l/operations/op-";
const EXECUTION_TYPE: &str = "type.googleapis.com/google.cloud.run.v2.Execution";

/// How long a process may take to end after SIGTERM
/// (<https://cloud.google.com/run/docs/container-contract#job-shutdown>).
const GRACE: Duration = Duration::from_secs(10);

/// How long a task may take where nothing else is said: an hour and what follows it, as Legwork deploys its job.
const TIMEOUT: Duration = Duration::from_mins(95);

/// The job and its executions.
#[derive(Debug)]
pub(super) struct JobService {
    pub(super) board: Arc<Board>,
    settings: Mutex<Settings>,
    running: Mutex<JoinSet<()>>,
    logs: Option<TempDir>,
}

/// How the job runs.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) worker: Option<Worker>,
    pub(super) grace: Duration,
    pub(super) retries: u32,
    pub(super) timeout: Duration,
    /// Permissions that nobody has on the job.
    pub(super) denied: Vec<String>,
}

/// What a call of `:run` puts in place of the job's own settings.
#[derive(Debug, Default)]
struct Overrides {
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    timeout: Option<Duration>,
}

impl JobService {
    pub(super) fn new() -> Self {
        Self {
            board: Arc::default(),
            settings: Mutex::new(Settings {
                worker: None,
                grace: GRACE,
                retries: 0,
                timeout: TIMEOUT,
                denied: Vec::new(),
            }),
            running: Mutex::new(JoinSet::new()),
            logs: TempDir::with_prefix("legwork-run-").ok(),
        }
    }

    pub(super) fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all processes; nothing is told of them any more.
    pub(super) fn stop(&self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    /// What the processes of an execution wrote so far.
    pub(super) fn log(&self, name: &str) -> String {
        let bytes = self.log_of(name).and_then(|path| fs::read(path).ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(super) fn execution(&self, name: &str) -> Option<RunExecution> {
        self.board.borrow().iter().find(|execution| execution.name == name).cloned()
    }

    /// Kills an execution's process without a warning, and returns whether there was one.
    pub(super) fn kill(&self, name: &str) -> bool {
        let process_id = self.execution(name).and_then(|execution| execution.process_id);
        signal(process_id, Signal::KILL);
        process_id.is_some()
    }

    /// Ends an execution that has no process, and returns whether it did.
    pub(super) fn end(&self, name: &str, state: ExecutionState, reason: &str) -> bool {
        let has_process = self.settings().worker.is_some();
        !has_process && settle(&self.board, name, state, reason)
    }

    pub(super) fn answer(&self, call: &Call) -> Response {
        match self.try_answer(call) {
            Ok(answer) => json::answer(200, &answer),
            Err(error) => error.into_response(),
        }
    }

    fn try_answer(&self, call: &Call) -> Result<Value, JsonError> {
        let path = call.path.as_deref().unwrap_or_default();
        let name = path.strip_prefix("/v2/").ok_or_else(|| JsonError::not_found(path))?;
        json::only_system_parameters(call)?;
        match (call.method.as_str(), name.rsplit_once(':')) {
            ("GET", None) if name == JOB => Ok(self.described()),
            ("GET", None) if name.starts_with(OPERATIONS) => self.operation(name),
            ("GET", None) => self.found(name).map(|execution| to_json(&execution)),
            ("POST", Some((JOB, "run"))) => self.run(call),
            ("POST", Some((JOB, "testIamPermissions"))) => self.permissions(call),
            ("POST", Some((execution, "cancel"))) => self.cancel(execution, call),
            _ => Err(JsonError::new(404, format!("Resource '{name}' was not found"))),
        }
    }

    fn described(&self) -> Value {
        let settings = self.settings();
        json!({
            "name": JOB,
            "launchStage": "GA",
            "template": {
                "taskCount": 1,
                "template": {
                    "maxRetries": settings.retries,
                    "timeout": format!("{}s", settings.timeout.as_secs()),
                    "serviceAccount": "legwork-worker@p.iam.gserviceaccount.com",
                },
            },
        })
    }

    /// Returns which of the permissions that are asked for the caller has.
    fn permissions(&self, call: &Call) -> Result<Value, JsonError> {
        let members = json::members(call, &["resource", "permissions"])?;
        let asked = members.get("permissions").and_then(Value::as_array).cloned().unwrap_or_default();
        let denied = self.settings().denied.clone();
        let is_held = |asked: &Value| !denied.iter().any(|denied| asked == denied);
        Ok(json!({"permissions": asked.into_iter().filter(is_held).collect::<Vec<_>>()}))
    }

    fn found(&self, name: &str) -> Result<RunExecution, JsonError> {
        let missing =
            || JsonError::new(404, format!("Resource '{name}' of kind 'EXECUTION' does not exist."));
        self.execution(name).ok_or_else(missing)
    }

    fn run(&self, call: &Call) -> Result<Value, JsonError> {
        let overrides = Overrides::read(json::members(call, &["name", "overrides", "etag"])?)?;
        let mut execution = RunExecution {
            name: String::new(),
            environment: overrides.environment,
            arguments: overrides.arguments,
            timeout: overrides.timeout.unwrap_or(self.settings().timeout),
            state: ExecutionState::Running,
            attempt: 0,
            process_id: None,
            reason: String::new(),
            created: now(),
            ended: None,
        };
        let mut number = 0;
        self.board.send_modify(|executions| {
            number = executions.len() + 1;
            execution.name = format!("{JOB}/executions/{SHORT_JOB}-{number:05}");
            executions.push(execution.clone());
        });
        self.start(&execution);
        Ok(operation(number, &execution))
    }

    fn start(&self, execution: &RunExecution) {
        let settings = self.settings();
        let Some((worker, log)) = settings.worker.clone().zip(self.log_of(&execution.name)) else {
            return;
        };
        let named = [
            ("CLOUD_RUN_JOB", SHORT_JOB),
            ("CLOUD_RUN_EXECUTION", short(&execution.name)),
            ("CLOUD_RUN_TASK_INDEX", "0"),
            ("CLOUD_RUN_TASK_COUNT", "1"),
        ];
        let named = named.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let plan = Plan {
            name: execution.name.clone(),
            worker,
            environment: execution.environment.iter().cloned().chain(named).collect(),
            arguments: execution.arguments.clone(),
            timeout: execution.timeout,
            grace: settings.grace,
            retries: settings.retries,
            log,
        };
        let board = Arc::clone(&self.board);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(async move { carry_out(&board, plan).await });
    }

    fn cancel(&self, name: &str, call: &Call) -> Result<Value, JsonError> {
        json::members(call, &["name", "etag", "validateOnly"])?;
        let execution = self.found(name)?;
        if execution.state.is_final() {
            return Err(JsonError::precondition(format!("Execution '{name}' has already completed.")));
        }
        change(&self.board, name, |execution| {
            if execution.state == ExecutionState::Running {
                execution.state = ExecutionState::Cancelling;
            }
        });
        self.end(name, ExecutionState::Cancelled, "the execution was cancelled");
        let execution = self.found(name)?;
        Ok(operation(number_of(name).unwrap_or_default(), &execution))
    }

    fn operation(&self, name: &str) -> Result<Value, JsonError> {
        let number = name.strip_prefix(OPERATIONS).and_then(|number| number.parse::<usize>().ok());
        let place = number.and_then(|number| number.checked_sub(1));
        let execution = place.and_then(|place| self.board.borrow().get(place).cloned());
        let execution =
            execution.ok_or_else(|| JsonError::new(404, format!("Operation '{name}' does not exist.")))?;
        Ok(operation(number.unwrap_or_default(), &execution))
    }

    fn log_of(&self, name: &str) -> Option<PathBuf> {
        self.logs.as_ref().map(|folder| folder.path().join(short(name)))
    }
}

impl Overrides {
    fn read(mut body: Map<String, Value>) -> Result<Self, JsonError> {
        let Some(overrides) = body.remove("overrides") else {
            return Ok(Self::default());
        };
        let mut overrides = json::object(overrides, &["containerOverrides", "taskCount", "timeout"])?;
        if overrides.get("taskCount").is_some_and(|count| *count != json!(1)) {
            return Err(JsonError::new(501, "The simulator runs one task in an execution."));
        }
        let timeout = overrides.get("timeout").map(read_timeout).transpose()?;
        let containers = list(overrides.remove("containerOverrides"), "containerOverrides")?;
        let mut read = Self { timeout, ..Self::default() };
        for container in containers {
            let mut container = json::object(container, &["name", "args", "env", "clearArgs"])?;
            for argument in list(container.remove("args"), "args")? {
                read.arguments.push(text(&argument, "args")?.to_owned());
            }
            for variable in list(container.remove("env"), "env")? {
                let variable = json::object(variable, &["name", "value"])?;
                let name = variable.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
                let name = name.ok_or_else(|| JsonError::invalid("A variable of env has no name."))?;
                // A missing value is the empty one, as in all of Google's JSON.
                let value = variable.get("value").map(|value| text(value, "env.value")).transpose()?;
                read.environment.push((name.to_owned(), value.unwrap_or_default().to_owned()));
            }
        }
        Ok(read)
    }
}

/// The items of a list; a missing one has none.
fn list(value: Option<Value>, member: &str) -> Result<Vec<Value>, JsonError> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(JsonError::invalid(format!("Invalid value at '{member}': a list is expected."))),
    }
}

fn text<'a>(value: &'a Value, member: &str) -> Result<&'a str, JsonError> {
    let invalid = || JsonError::invalid(format!("Invalid value at '{member}' (TYPE_STRING)"));
    value.as_str().ok_or_else(invalid)
}

/// Reads a duration as Google's JSON writes it: `3600s`, `1.5s`.
fn read_timeout(value: &Value) -> Result<Duration, JsonError> {
    let seconds = value.as_str().and_then(|text| text.strip_suffix('s')).and_then(|text| text.parse().ok());
    let timeout = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let timeout = timeout.filter(|timeout| !timeout.is_zero());
    timeout.ok_or_else(|| JsonError::invalid(format!("Invalid value at 'overrides.timeout': {value}")))
}

/// The last part of a name.
fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn number_of(execution: &str) -> Option<usize> {
    execution.rsplit('-').next()?.parse().ok()
}

/// The operation that belongs to an execution.
fn operation(number: usize, execution: &RunExecution) -> Value {
    let mut metadata = to_json(execution);
    if let Some(members) = metadata.as_object_mut() {
        members.insert("@type".to_owned(), json!(EXECUTION_TYPE));
    }
    let mut operation = json!({
        "name": format!("{OPERATIONS}{number}"),
        "done": execution.state.is_final(),
        "metadata": &metadata,
    });
    let outcome = match execution.state {
        ExecutionState::Running | ExecutionState::Cancelling => None,
        ExecutionState::Succeeded => Some(("response", metadata)),
        // The code is ABORTED.
        ExecutionState::Failed | ExecutionState::Cancelled => {
            Some(("error", json!({"code": 10, "message": execution.reason})))
        }
    };
    if let (Some((member, outcome)), Some(members)) = (outcome, operation.as_object_mut()) {
        members.insert(member.to_owned(), outcome);
    }
    operation
}

fn to_json(execution: &RunExecution) -> Value {
    let count = |states: &[ExecutionState]| u32::from(states.contains(&execution.state));
    let condition = match execution.state {
        ExecutionState::Running | ExecutionState::Cancelling => "CONDITION_RECONCILING",
        ExecutionState::Succeeded => "CONDITION_SUCCEEDED",
        ExecutionState::Failed | ExecutionState::Cancelled => "CONDITION_FAILED",
    };
    let id = short(&execution.name);
    let mut condition = json!({"type": "Completed", "state": condition, "message": execution.reason});
    if let (ExecutionState::Cancelled, Some(members)) = (execution.state, condition.as_object_mut()) {
        members.insert("executionReason".to_owned(), json!("CANCELLED"));
    }
    let mut body = json!({
        "name": execution.name,
        "job": SHORT_JOB,
        "createTime": execution.created.to_string(),
        "startTime": execution.created.to_string(),
        "parallelism": 1,
        "taskCount": 1,
        "reconciling": !execution.state.is_final(),
        "runningCount": count(&[ExecutionState::Running, ExecutionState::Cancelling]),
        "succeededCount": count(&[ExecutionState::Succeeded]),
        "failedCount": count(&[ExecutionState::Failed]),
        "cancelledCount": count(&[ExecutionState::Cancelled]),
        "retriedCount": execution.attempt,
        "conditions": [condition],
        "logUri": format!("https://console.cloud.google.com/run/jobs/executions/details/l/{id}?project=p"),
    });
    if let (Some(ended), Some(members)) = (execution.ended, body.as_object_mut()) {
        members.insert("completionTime".to_owned(), json!(ended.to_string()));
    }
    body
}

#[cfg(test)]
mod tests;
