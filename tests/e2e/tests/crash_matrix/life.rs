//! Lives of a task on services that may die, and what has to be true after each.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use legwork_e2e::{Service, ServiceBuilder, modes, processes_mentioning, reachable};
use legwork_simulators::receiver::{Behaviour, Receiver};
use serde_json::{Value, json};

/// How long a task may take until its receiver was told: a callback attempt without an outcome counts as
/// failed after a minute, and a submission that broke off after five.
const PATIENCE: Duration = Duration::from_secs(220);
const ID: &str = "crash-1";
const BLOCKER: &str = "blocker";

/// What happens to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It completes, uploads a file, and its receiver takes the second callback attempt.
    Completed,
    /// It is cancelled while it runs, and uploads a file all the same.
    Cancelled,
    /// It is cancelled while it waits.
    CancelledWaiting,
    /// It fails, and is retried once its receiver was told.
    Retried,
    /// Its worker is killed.
    Lost,
    /// It completes, and its receiver is told once more because somebody asks for it.
    Redelivered,
    /// It fails, and its sealed request is not kept.
    NotKept,
}

/// Whose death a life has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dies {
    /// The worker's.
    Worker,
    /// A service's, or nobody's.
    NoWorker,
}

/// A service that is started again whenever it has died.
struct Tough {
    builder: ServiceBuilder,
    service: Service,
}

impl Tough {
    fn start(life: Life, data: &Path) -> Self {
        let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
        let builder = ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str())
            .data(data)
            .env("LOG_LEVEL", "debug")
            .env("MAX_CONCURRENT_TASKS", "1")
            .env("PAYLOAD_RETENTION_HOURS", if life == Life::NotKept { "0" } else { "24" });
        Self { service: builder.clone().start(), builder }
    }

    fn revive(&mut self) {
        if !self.service.is_running() {
            self.service = self.builder.clone().start();
        }
    }

    /// Asks until there is an answer, whoever dies meanwhile.
    async fn ask(&mut self, method: reqwest::Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let began = Instant::now();
        loop {
            self.revive();
            let request = self.service.request(method.clone(), path);
            let request = match body {
                Some(body) => request.header("content-type", "application/json").body(body.to_string()),
                None => request,
            };
            if let Ok(response) = request.send().await {
                let status = response.status().as_u16();
                if let Ok(bytes) = response.bytes().await {
                    return (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null));
                }
            }
            assert!(began.elapsed() < PATIENCE, "no answer to {path}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Runs a task that leaves no room for another one.
    async fn take_the_slot(&mut self) -> Result<(), String> {
        let body = json!({
            "taskId": BLOCKER,
            "prompt": modes(&["sh command=\"sleep 600\""]),
            "anthropicApiKey": "sk-ant-e2e-0123456789abcdef",
            "callbackUrl": Value::Null,
        });
        self.ask(reqwest::Method::POST, "/run-async", Some(&body)).await;
        self.wait_until_of(BLOCKER, |record| record["status"] == "running").await.map(drop)
    }

    async fn leave_the_slot(&mut self) -> Result<(), String> {
        self.ask(reqwest::Method::POST, &format!("/cancel/{BLOCKER}"), None).await;
        self.wait_until_of(BLOCKER, |record| record["status"] == "cancelled").await.map(drop)
    }

    async fn wait_until(&mut self, condition: impl Fn(&Value) -> bool) -> Result<Value, String> {
        self.wait_until_of(ID, condition).await
    }

    async fn wait_until_of(&mut self, id: &str, condition: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let began = Instant::now();
        loop {
            let record = self.ask(reqwest::Method::GET, &format!("/tasks/{id}"), None).await.1;
            if condition(&record) {
                return Ok(record);
            }
            if began.elapsed() > PATIENCE {
                return Err(format!(
                    "waited too long: {record:#}\n{}\n{}",
                    self.service.log(),
                    self.service.worker_logs()
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn request(life: Life, receiver: &Receiver) -> Value {
    let agent = match life {
        Life::Completed => modes(&["write path=out.txt text=\"kept\"", "ok"]),
        Life::Cancelled => modes(&["write path=out.txt text=\"kept\"", "sh command=\"sleep 600\""]),
        Life::Lost | Life::CancelledWaiting => modes(&["sh command=\"sleep 600\""]),
        Life::Retried | Life::NotKept => modes(&["sh command=\"exit 3\"", "exit code=3"]),
        Life::Redelivered => modes(&["ok"]),
    };
    let uploads = matches!(life, Life::Completed | Life::Cancelled);
    let actions = json!({"uploadFiles": {"globPatterns": ["out.txt"]}, "when": "always"});
    json!({
        "taskId": ID,
        "prompt": agent,
        "anthropicApiKey": "sk-ant-e2e-0123456789abcdef",
        "callbackUrl": receiver.url(),
        "postExecutionActions": if uploads { actions } else { Value::Null },
    })
}

/// Lives a life, whatever dies in it, and tells which promise was broken.
pub(crate) async fn live(life: Life, dies: Dies, data: &Path) -> Result<(), String> {
    let answers = match life {
        Life::Completed => vec![Behaviour::Status(500), Behaviour::Ok],
        Life::Cancelled
        | Life::CancelledWaiting
        | Life::Retried
        | Life::Lost
        | Life::Redelivered
        | Life::NotKept => vec![Behaviour::Ok],
    };
    let receiver = Receiver::start(Behaviour::Script(answers)).await;
    let mut tough = Tough::start(life, data);
    if life == Life::CancelledWaiting {
        tough.take_the_slot().await?;
    }
    let mut body = request(life, &receiver);
    if body["postExecutionActions"].is_null() {
        body.as_object_mut().unwrap().remove("postExecutionActions");
    }
    let (status, answer) = tough.ask(reqwest::Method::POST, "/run-async", Some(&body)).await;
    if status != 202 {
        return Err(format!("not accepted: {status} {answer}"));
    }
    let told = |record: &Value| {
        matches!(record["status"].as_str(), Some("completed" | "failed" | "cancelled"))
            && record["callback"]["state"] == "delivered"
    };
    let running = |record: &Value| record["status"] == "running" || told(record);
    match life {
        Life::Completed | Life::NotKept => {}
        Life::Redelivered => {
            tough.wait_until(told).await?;
            let (status, answer) =
                tough.ask(reqwest::Method::POST, &format!("/tasks/{ID}/callback"), None).await;
            // Whoever asks again because nobody answered may find it under way.
            if ![202, 409].contains(&status) {
                return Err(format!("not delivered again: {status} {answer}"));
            }
        }
        Life::Cancelled => {
            tough.wait_until(running).await?;
            tough.ask(reqwest::Method::POST, &format!("/cancel/{ID}"), None).await;
        }
        Life::CancelledWaiting => {
            tough.ask(reqwest::Method::POST, &format!("/cancel/{ID}"), None).await;
        }
        Life::Retried => {
            tough.wait_until(told).await?;
            tough.ask(reqwest::Method::POST, &format!("/tasks/{ID}/retry"), None).await;
            // Whoever asks again because nobody answered may find the second attempt ended already.
            tough.wait_until(|record| record["attempt"].as_u64() >= Some(2)).await?;
        }
        Life::Lost => {
            let record = tough.wait_until(running).await?;
            if !told(&record) {
                tough.service.worker(&record).signal(rustix::process::Signal::KILL);
            }
        }
    }
    let record = tough.wait_until(told).await?;
    if life == Life::CancelledWaiting {
        tough.leave_the_slot().await?;
    }
    check((life, dies), &record, &receiver, &mut tough).await
}

/// Checks the promises over what is left of a life.
async fn check(
    (life, dies): (Life, Dies),
    record: &Value,
    receiver: &Receiver,
    tough: &mut Tough,
) -> Result<(), String> {
    let mut broken = Vec::new();
    let status = record["status"].as_str().unwrap_or_default();
    let expected: &[&str] = match (life, dies) {
        // A task may be lost with its worker, and with nobody else.
        (Life::Completed, Dies::Worker) => &["completed", "failed"],
        (Life::Cancelled, Dies::Worker) => &["cancelled", "failed"],
        (Life::Cancelled, Dies::NoWorker) | (Life::CancelledWaiting, _) => &["cancelled"],
        (Life::Retried | Life::Lost | Life::NotKept, _) => &["failed"],
        (Life::Completed, Dies::NoWorker) | (Life::Redelivered, _) => &["completed"],
    };
    if !expected.contains(&status) {
        broken.push(format!("it ended as {status}"));
    }
    if status == "failed"
        && !matches!(life, Life::Retried | Life::NotKept)
        && record["errorCode"] != "worker_lost"
    {
        broken.push(format!("it failed for another reason than its worker's loss: {}", record["error"]));
    }
    let attempt = record["attempt"].as_u64().unwrap_or_default();
    let name = format!("{ID}.{attempt}");
    let told = receiver.received();
    let of_this: Vec<_> = told.iter().filter(|post| post.header("webhook-id") == Some(&name)).collect();
    let bodies: BTreeSet<_> = of_this.iter().map(|post| post.body.clone()).collect();
    if of_this.is_empty() || bodies.len() != 1 {
        broken.push(format!("told {} times, with {} bodies", of_this.len(), bodies.len()));
    }
    if status == "completed" {
        let log = tough.service.log_lines(ID).await;
        if !log.iter().any(|line| line.contains("\"type\":\"result\"")) {
            broken.push(format!("the last lines are missing: {log:?}"));
        }
    }
    broken.extend(left_over(life, status, tough).await);
    if broken.is_empty() { Ok(()) } else { Err(format!("{broken:?}\n{record:#}\n{}", tough.service.log())) }
}

/// Names what should be gone, once it has had the time to go.
async fn left_over(life: Life, status: &str, tough: &mut Tough) -> Vec<String> {
    let data = tough.service.data.clone();
    let began = Instant::now();
    loop {
        tough.revive();
        let mut left = Vec::new();
        let service = &tough.service;
        left.extend(service.objects_in("active").into_iter().map(|name| format!("active/{name}")));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let overdue = |name: &String| {
            name.split('-').next().and_then(|ms| ms.parse::<u128>().ok()).is_some_and(|ms| ms <= now)
        };
        left.extend(service.objects_in("due").into_iter().filter(overdue).map(|name| format!("due/{name}")));
        let payload = format!("sessions/{ID}/encrypted-payload.bin");
        let is_gone = status == "completed" || life == Life::NotKept;
        if is_gone && service.object(&payload).is_some() {
            left.push("the payload".to_owned());
        }
        left.extend(workspaces(&data));
        if left.is_empty() || began.elapsed() > Duration::from_secs(100) {
            return left;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Workspaces of the service on this data folder, and processes in them.
fn workspaces(data: &Path) -> Vec<String> {
    let base = legwork_wiring::platform::workspaces_dir(data);
    let mut found = names(&base);
    if let Some(base) = base.to_str() {
        found.extend(processes_mentioning(base).into_iter().filter(|line| !line.contains(" serve ")));
    }
    found
}
