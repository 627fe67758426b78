//! A service in a process of its own, over a data folder of its own or simulators of Google Cloud.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use legwork_simulators::receiver::Receiver;
use serde_json::{Value, json};

use crate::{
    PATIENCE,
    cloud::{Cloud, is_on_google},
    workers::{Worker, living_workers},
};

/// What differs on Google Cloud: receivers are on this machine, and the service looks after its tasks by
/// itself, as where it is always on.
const ON_GOOGLE: &[(&str, &str)] =
    &[("HOST", "127.0.0.1"), ("CALLBACK_ALLOW_PRIVATE", "true"), ("RECONCILER", "loop")];

/// What a service is started with.
#[derive(Debug, Clone)]
pub struct ServiceBuilder {
    program: PathBuf,
    env: BTreeMap<String, String>,
    data: Option<PathBuf>,
    user: Option<u32>,
    on_google: bool,
    /// What is run for each execution on Google Cloud.
    worker: PathBuf,
    left_out: BTreeSet<String>,
}

/// A service that runs; it ends with the value.
#[derive(Debug)]
pub struct Service {
    child: Child,
    /// Where it listens.
    pub url: String,
    /// What it wants to be shown.
    pub token: String,
    /// Its data folder.
    pub data: PathBuf,
    /// The simulators that it is on, if it is.
    pub cloud: Option<Arc<Cloud>>,
    http: reqwest::Client,
    log: Arc<Mutex<String>>,
    _folder: Option<tempfile::TempDir>,
}

/// A status and a JSON body.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, or null where it is not JSON.
    pub body: Value,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl ServiceBuilder {
    /// Starts from the program and the agent that it is to run.
    pub fn new(program: &str, agent: &str) -> Self {
        let _provider = rustls::crypto::ring::default_provider().install_default();
        let env = [
            ("CLAUDE_COMMAND", agent),
            ("LEGWORK_API_TOKEN", "e2e-token-0123456789"),
            ("CLOUDRUN_CALLBACK_SECRET", "e2e-callback-secret"),
            ("LOG_LEVEL", "trace"),
            ("MAX_CONCURRENT_TASKS", "4"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("HOME", "/nonexistent"),
        ];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let new = Self {
            program: program.into(),
            env: env.collect(),
            data: None,
            user: None,
            on_google: false,
            worker: program.into(),
            left_out: BTreeSet::new(),
        };
        if is_on_google() { new.on_google() } else { new }
    }

    /// Puts the service on Google Cloud's simulators.
    #[must_use]
    pub fn on_google(self) -> Self {
        let this = ON_GOOGLE.iter().fold(self, |this, (name, value)| this.env(name, value));
        Self { on_google: true, ..this }
    }

    /// Runs this for each execution on Google Cloud, in place of the worker.
    #[must_use]
    pub fn worker(self, program: &str) -> Self {
        Self { worker: program.into(), ..self }
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Leaves a variable out, that of the platform too.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self.left_out.insert(name.to_owned());
        self
    }

    /// Uses a data folder that outlives the service.
    #[must_use]
    pub fn data(mut self, folder: &Path) -> Self {
        self.data = Some(folder.to_owned());
        self
    }

    /// Runs the service as this user, which only the superuser can ask for.
    #[must_use]
    pub fn user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// Starts the service and waits until it listens.
    pub fn start(self) -> Service {
        let folder = self.data.is_none().then(|| tempfile::tempdir().expect("a data folder"));
        let data = self.data.unwrap_or_else(|| folder.as_ref().expect("just made").path().join("data"));
        let cloud = self.on_google.then(|| Cloud::of(&data, &self.worker, &self.env));
        let mut command = Command::new(&self.program);
        if let Some(user) = self.user {
            let above = data.parent().expect("a folder above the data folder");
            std::os::unix::fs::chown(above, Some(user), Some(user)).expect("the user owns the folder");
            command.uid(user).gid(user);
        }
        let mut child = command
            .args(["serve", "--port", "0", "--data-dir"])
            .arg(&data)
            .env_clear()
            .envs(&self.env)
            .envs(cloud.iter().flat_map(|cloud| cloud.google().environment()))
            .envs(self.left_out.iter().map(|name| (name, "")))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (found, address) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some(address) = address_in(&line) {
                    drop(found.send(address));
                }
                let mut log = written.lock().expect("no test panics while it logs");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let url = address.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            panic!("the service did not start:\n{}", log.lock().expect("no test panics while it logs"))
        });
        let token = self.env.get("LEGWORK_API_TOKEN").cloned().unwrap_or_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client");
        Service { child, url, token, data, cloud, http, log, _folder: folder }
    }
}

impl Service {
    /// Returns a request to the service with its token.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    /// Asks and returns status and JSON.
    pub async fn get(&self, path: &str) -> Answer {
        answer(self.request(reqwest::Method::GET, path)).await
    }

    /// Posts JSON and returns status and JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.request(reqwest::Method::POST, path).header("content-type", "application/json");
        answer(request.body(body.to_string())).await
    }

    /// Submits a task for the simulated agent and returns its id.
    pub async fn submit(&self, prompt: &str, callback: Option<&Receiver>, more: Value) -> String {
        let mut body = json!({
            "prompt": prompt,
            "anthropicApiKey": "sk-ant-e2e-0123456789abcdef",
            "callbackUrl": callback.map(Receiver::url),
        });
        let members = body.as_object_mut().expect("an object");
        members.extend(more.as_object().cloned().unwrap_or_default());
        let answer = self.post("/run-async", &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.body["taskId"].as_str().expect("a taskId").to_owned()
    }

    /// Returns the task's record.
    pub async fn record(&self, id: &str) -> Value {
        let answer = self.get(&format!("/tasks/{id}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Waits until the record satisfies a condition.
    pub async fn wait_for(&self, id: &str, patience: Duration, condition: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let record = self.record(id).await;
            if condition(&record) {
                return record;
            }
            assert!(
                began.elapsed() < patience,
                "waited too long for {id}: {record:#}\n{}\n{}",
                self.log(),
                self.worker_logs()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the task has ended.
    pub async fn wait_for_end(&self, id: &str) -> Value {
        self.wait_for(id, PATIENCE, |record| {
            matches!(record["status"].as_str(), Some("completed" | "failed" | "cancelled"))
        })
        .await
    }

    /// Returns the lines of the task's log as the API gives them.
    pub async fn log_lines(&self, id: &str) -> Vec<String> {
        let request = self.request(reqwest::Method::GET, &format!("/tasks/{id}/logs"));
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        let text = response.text().await.expect("a body");
        text.lines().map(str::to_owned).collect()
    }

    /// Returns what the service has written to its own log.
    pub fn log(&self) -> String {
        self.log.lock().expect("no test panics while it logs").clone()
    }

    /// Returns what all workers have written to theirs.
    pub fn worker_logs(&self) -> String {
        if let Some(cloud) = &self.cloud {
            return cloud.worker_logs();
        }
        let entries = std::fs::read_dir(self.data.join("worker-logs")).into_iter().flatten().flatten();
        entries.map(|entry| std::fs::read_to_string(entry.path()).unwrap_or_default()).collect()
    }

    /// Returns all files below the data folder with their contents; on Google Cloud the objects as if they
    /// were there.
    pub fn stored(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn walk(folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    walk(&path, found);
                } else if let Ok(bytes) = std::fs::read(&path) {
                    found.push((path, bytes));
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.data, &mut found);
        if let Some(cloud) = &self.cloud {
            let keys = cloud.google().objects().into_iter();
            found.extend(keys.filter_map(|key| {
                let bytes = cloud.google().object(&key)?;
                Some((self.data.join("objects").join(key), bytes.to_vec()))
            }));
        }
        found
    }

    /// Returns the bytes of an object in the store, or nothing where there is none.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        match &self.cloud {
            Some(cloud) => cloud.google().object(key).map(|bytes| bytes.to_vec()),
            None => std::fs::read(self.data.join("objects").join(key)).ok(),
        }
    }

    /// Returns the names of what is right below a folder of the store.
    pub fn objects_in(&self, folder: &str) -> Vec<String> {
        if let Some(cloud) = &self.cloud {
            let keys = cloud.google().objects().into_iter();
            let below = |key: String| key.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned);
            return keys.filter_map(below).filter(|name| !name.contains('/')).collect();
        }
        let entries = std::fs::read_dir(self.data.join("objects").join(folder)).into_iter().flatten();
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Returns what the addresses of all objects begin with.
    pub fn store_url(&self) -> String {
        match &self.cloud {
            Some(cloud) => format!("gs://{}/", cloud.google().bucket()),
            None => format!("file://{}/", self.data.join("objects").display()),
        }
    }

    /// Returns the environment by which another process of the program works on the same store.
    pub fn platform_env(&self) -> Vec<(String, String)> {
        let folder = ("LEGWORK_DATA_DIR".to_owned(), self.data.display().to_string());
        let google = self.cloud.iter().flat_map(|cloud| {
            let fixed = ON_GOOGLE.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            fixed.chain(cloud.google().environment())
        });
        google.chain([folder]).collect()
    }

    /// Returns the worker that a running task's record names.
    pub fn worker(&self, record: &Value) -> Worker {
        match &self.cloud {
            Some(cloud) => Worker::in_cloud(cloud, record),
            None => Worker::of(&self.data, record),
        }
    }

    /// Counts the workers that live.
    pub fn living_workers(&self) -> usize {
        self.cloud.as_ref().map_or_else(|| living_workers(&self.data), |cloud| cloud.living())
    }

    /// Returns the service's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells whether the service still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|ended| ended.is_none())
    }

    /// Ends the service without a word.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Finds where the service listens in a line of its log: text, or JSON on Google Cloud.
fn address_in(line: &str) -> Option<String> {
    if let Ok(line) = serde_json::from_str::<Value>(line) {
        return line["address"].as_str().map(str::to_owned);
    }
    let (_, rest) = line.split_once("address=")?;
    Some(rest.split_whitespace().next()?.trim_matches('"').to_owned())
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let status = response.status().as_u16();
    let bytes = response.bytes().await.expect("a body");
    Answer { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null), headers }
}
