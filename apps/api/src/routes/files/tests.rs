//! Lists and downloads through the whole router, over a store in memory.

use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use legwork_adapters_local::{
    clock::{SystemClock, SystemIds},
    memory::MemoryStorage,
};
use legwork_core::{
    id::Token,
    layout,
    record::{CreateRecord, Record, TaskKind, UploadedFile},
    request::{PermissionMode, RequestLimits},
    secret::Secret,
};
use legwork_engine::{Engine, LogSettings, Ports, Settings};
use legwork_ports::{
    callbacks::MockCallbacks,
    jobs::MockJobs,
    keys::MockKeys,
    storage::{Entry, Key, Object, Precondition, Storage, StorageError, Version},
};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use super::*;
use crate::settings::{ApiSettings, ApiToken};

/// A store that notes the largest part asked for, and may give out addresses.
#[derive(Debug, Default)]
struct Store {
    memory: MemoryStorage,
    largest_part: AtomicU64,
    serves_itself: bool,
}

#[async_trait]
impl Storage for Store {
    async fn get(&self, key: &Key) -> Result<Object, StorageError> {
        self.memory.get(key).await
    }

    async fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Object, StorageError> {
        self.largest_part.fetch_max(length, Ordering::Relaxed);
        self.memory.get_range(key, offset, length).await
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        precondition: Precondition,
    ) -> Result<Version, StorageError> {
        self.memory.put(key, bytes, precondition).await
    }

    async fn put_file(&self, key: &Key, file: File, content_type: &str) -> Result<u64, StorageError> {
        self.memory.put_file(key, file, content_type).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        self.memory.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        self.memory.delete(key).await
    }

    async fn signed_url(
        &self,
        key: &Key,
        valid_for: Duration,
        content_disposition: &str,
    ) -> Result<Option<String>, StorageError> {
        assert_eq!(valid_for, Duration::from_mins(15));
        assert!(content_disposition.starts_with("attachment; "));
        Ok(self.serves_itself.then(|| format!("https://store.example/{key}?signature=1")))
    }

    fn url(&self, key: &Key) -> String {
        self.memory.url(key)
    }

    async fn changed(&self, prefix: &str, at_most: Duration) {
        self.memory.changed(prefix, at_most).await;
    }
}

/// The API over a store.
struct Bench {
    store: Arc<Store>,
    router: axum::Router,
}

/// An answer read to its end.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    #[track_caller]
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Bench {
    fn new() -> Self {
        Self::over(Store::default(), ApiToken::Off)
    }

    fn over(store: Store, token: ApiToken) -> Self {
        let store = Arc::new(store);
        let ports = Ports {
            storage: Arc::<Store>::clone(&store),
            keys: Arc::new(MockKeys::new()),
            jobs: Arc::new(MockJobs::new()),
            callbacks: Arc::new(MockCallbacks::new()),
            clock: Arc::new(SystemClock::new()),
            ids: Arc::new(SystemIds),
        };
        let settings = ApiSettings {
            token,
            check_host: true,
            allowed_hosts: Vec::new(),
            max_body_bytes: 1000,
            reconciling: crate::settings::Reconciling::Off,
            version: "0",
        };
        let api = Api {
            engine: Engine::new(ports, engine_settings()),
            settings: Arc::new(settings),
            stop: CancellationToken::new(),
            background: TaskTracker::new(),
        };
        Self { store, router: crate::routes::router(api) }
    }

    /// A service that knows the task `t`, with these files of one line each.
    async fn with(files: &[&str]) -> Self {
        let bench = Self::new();
        bench.know(&[]).await;
        for path in files {
            bench.put(path, b"one line\n".to_vec()).await;
        }
        bench
    }

    async fn know(&self, uploaded: &[(&str, &str)]) {
        let mut record = Record::create(CreateRecord {
            task_id: task(),
            kind: TaskKind::Async,
            callback_url: None,
            callback_target: None,
            now: Timestamp::from_unix_ms(1),
            metadata: serde_json::value::to_raw_value(&json!({})).unwrap(),
            request_digest: "digest".to_owned(),
            started_by_submitter: false,
            token: Token::from_random([0; 16]),
        });
        let uploaded = uploaded.iter().map(|(path, original)| UploadedFile {
            original_path: (*original).to_owned(),
            gcs_path: self.store.url(&key(path)),
            size_bytes: 9,
        });
        record.uploaded_files = uploaded.collect();
        let key = layout::record(&task());
        self.store.put(&key, record.to_json().into(), Precondition::Always).await.unwrap();
    }

    async fn put(&self, path: &str, content: Vec<u8>) {
        self.store.put(&key(path), content.into(), Precondition::Always).await.unwrap();
    }

    async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = Request::builder().method(method).uri(target).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        let (head, body) = self.send(method, target, headers).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &[]).await
    }

    async fn get_part(&self, target: &str, range: &str) -> Answer {
        self.ask("GET", target, &[("range", range)]).await
    }
}

fn engine_settings() -> Settings {
    Settings {
        request_limits: RequestLimits {
            max_timeout_minutes: 60,
            allowed_tools: Vec::new(),
            permission_mode: PermissionMode::AcceptEdits,
            dangerously_skip_permissions: false,
            callback_allow_private: true,
        },
        callback_secrets: None,
        missing: None,
        max_open_tasks: 10,
        max_watchers: 10,
        payload_retention: Duration::ZERO,
        retention: None,
        log: LogSettings {
            flush_after: Duration::from_secs(1),
            chunk_lines: 100,
            max_log_bytes: 1000,
            max_line_bytes: 1000,
        },
        idle_timeout: None,
        result_grace: Duration::ZERO,
        agent_program: String::new(),
        agent_path: String::new(),
        service_secrets: Vec::new(),
        keep_workspace: false,
    }
}

fn task() -> TaskId {
    "t".parse().unwrap()
}

fn key(path: &str) -> String {
    layout::upload(&task(), None, &path.parse().unwrap())
}

fn paths(page: &Value) -> Vec<&str> {
    page["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_task_without_uploads_has_an_empty_list() {
    let bench = Bench::with(&[]).await;

    let answer = bench.get("/tasks/t/files").await;

    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({"files": [], "nextCursor": null}));
}

#[tokio::test]
async fn a_listed_file_says_what_is_known_of_it() {
    let bench = Bench::with(&["reports/a.txt"]).await;
    bench.know(&[("reports/a.txt", "out/a.txt")]).await;
    bench.put("b.txt", Vec::new()).await;

    let list = bench.get("/tasks/t/files").await.json();

    let (unknown, known) = (&list["files"][0], &list["files"][1]);
    assert_eq!(unknown["path"], "b.txt");
    assert_eq!((unknown.get("originalPath"), &unknown["sizeBytes"]), (None, &json!(0)));
    assert_eq!(known["path"], "reports/a.txt");
    assert_eq!(known["originalPath"], "out/a.txt");
    assert_eq!(known["gcsPath"], bench.store.url("sessions/t/uploads/reports/a.txt"));
    assert_eq!(known["sizeBytes"], 9);
    assert!(Timestamp::parse(known["modified"].as_str().unwrap()).is_some());
}

#[tokio::test]
async fn pages_hold_every_file_once() {
    let files = ["a b", "a/b", "a/c d", "ü", "z"];
    let bench = Bench::with(&files).await;

    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = bench.get(&format!("/tasks/t/files?limit=2&cursor={cursor}")).await.json();
        seen.extend(paths(&page).into_iter().map(str::to_owned));
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = next.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
    }

    assert_eq!(seen, ["a b", "a/b", "a/c d", "z", "ü"]);
    assert_eq!(bench.get("/tasks/t/files?limit=5").await.json()["nextCursor"], Value::Null);
}

#[tokio::test]
async fn a_page_that_cannot_be_is_refused() {
    let bench = Bench::with(&["a"]).await;

    for (query, code) in [
        ("limit=0", "invalid_limit"),
        ("limit=1001", "invalid_limit"),
        ("limit=x", "invalid_limit"),
        ("cursor=../a", "invalid_cursor"),
        ("cursor=a%0Ab", "invalid_cursor"),
    ] {
        let answer = bench.get(&format!("/tasks/t/files?{query}")).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some(code)), "{query}");
    }
}

#[tokio::test]
async fn an_unknown_task_has_neither_list_nor_files() {
    let bench = Bench::with(&["a"]).await;

    for target in ["/tasks/other/files", "/tasks/other/files/a"] {
        let answer = bench.get(target).await;
        assert_eq!((answer.status, &answer.json()["code"]), (404, &json!("task_not_found")));
        assert_eq!(answer.json()["taskId"], "other");
    }
    assert_eq!(bench.get("/tasks/a%20b/files/a").await.json()["code"], "invalid_task_id");
}

#[tokio::test]
async fn what_a_browser_would_run_is_saved_as_bytes() {
    let files = ["a.html", "b.svg", "c.xhtml", "d.js", "e.pdf", "f.xml", "g.wasm", "h.css", "i"];
    let bench = Bench::with(&files).await;

    for path in files {
        let answer = bench.get(&format!("/tasks/t/files/{path}")).await;

        assert_eq!((answer.status, answer.body.as_ref()), (200, b"one line\n".as_slice()), "{path}");
        assert_eq!(answer.header("content-type"), "application/octet-stream", "{path}");
        assert_eq!(answer.header("content-security-policy"), "sandbox", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "private, no-store", "{path}");
        assert_eq!(answer.header("content-length"), "9", "{path}");
        let expected = format!("attachment; filename=\"{path}\"; filename*=UTF-8''{path}");
        assert_eq!(answer.header("content-disposition"), expected);
    }
}

#[tokio::test]
async fn a_harmless_file_keeps_its_type_and_is_saved_all_the_same() {
    let bench = Bench::with(&["a/b.png"]).await;

    let answer = bench.get("/tasks/t/files/a/b.png").await;

    assert_eq!(answer.header("content-type"), "image/png");
    assert!(answer.header("content-disposition").starts_with("attachment; filename=\"b.png\""));
}

#[tokio::test]
async fn a_missing_file_is_told_as_json() {
    let bench = Bench::with(&["a/b", "a/d"]).await;
    let long = format!("a/{}", "x".repeat(400));

    for path in ["a", "a/c", "a/b/c", "b", "a/%252e%252e", "A/B", long.as_str()] {
        let answer = bench.get(&format!("/tasks/t/files/{path}")).await;
        assert_eq!((answer.status, &answer.json()["code"]), (404, &json!("file_not_found")), "{path}");
    }
}

#[tokio::test]
async fn no_path_leaves_the_uploads() {
    let bench = Bench::with(&["a"]).await;
    let long = "a".repeat(513);

    for path in [
        "../metadata.json",
        "a/../../metadata.json",
        "%2e%2e%2fmetadata.json",
        "%2E%2E/metadata.json",
        "..%2Fmetadata.json",
        "%2e%2e",
        ".",
        "a//b",
        "a/",
        "/a",
        "%2Fa",
        "a%00",
        "a%0D%0Ab",
        "..%5Cmetadata.json",
        "a%FF",
        long.as_str(),
    ] {
        let answer = bench.get(&format!("/tasks/t/files/{path}")).await;
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("invalid_path")), "{path}");
    }
}

#[tokio::test]
async fn the_guard_judges_these_routes_too() {
    let token = ApiToken::Required(Secret::new("secret".to_owned()));
    let bench = Bench::over(Store::default(), token);
    bench.know(&[]).await;
    bench.put("a", Vec::new()).await;
    let shown = ("x-legwork-token", "secret");

    for target in ["/tasks/t/files", "/tasks/t/files/a"] {
        assert_eq!(bench.ask("GET", target, &[shown]).await.status, 200);
        assert_eq!(bench.get(target).await.status, 401);
        assert_eq!(bench.ask("GET", target, &[shown, ("origin", "http://evil.example")]).await.status, 403);
        assert_eq!(bench.ask("GET", target, &[shown, ("host", "evil.example")]).await.status, 403);
        assert_eq!(bench.ask("POST", target, &[shown]).await.status, 405);
    }
}

#[tokio::test]
async fn a_part_of_a_file_is_given_where_it_has_one() {
    let bench = Bench::with(&[]).await;
    bench.put("a", b"0123456789".to_vec()).await;

    for (range, status, body, content_range) in [
        ("bytes=0-3", 206, "0123", "bytes 0-3/10"),
        ("bytes=4-", 206, "456789", "bytes 4-9/10"),
        ("bytes=8-99999999999999999999", 206, "89", "bytes 8-9/10"),
        ("bytes=-3", 206, "789", "bytes 7-9/10"),
        ("bytes=-99", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=0-0,2-3", 200, "0123456789", ""),
        ("bytes=3-2", 200, "0123456789", ""),
        ("lines=0-3", 200, "0123456789", ""),
    ] {
        let answer = bench.get_part("/tasks/t/files/a", range).await;

        assert_eq!(answer.status, status, "{range}");
        assert_eq!(answer.body, body, "{range}");
        assert_eq!(answer.header("content-range"), content_range, "{range}");
        assert_eq!(answer.header("content-length"), body.len().to_string(), "{range}");
        assert_eq!(answer.header("content-security-policy"), "sandbox", "{range}");
    }
    for range in ["bytes=10-", "bytes=99999999999999999999-", "bytes=-0"] {
        let answer = bench.get_part("/tasks/t/files/a", range).await;

        assert_eq!((answer.status, answer.header("content-range")), (416, "bytes */10"), "{range}");
        assert_eq!(answer.json()["code"], "range_not_satisfiable");
    }
}

#[tokio::test]
async fn a_download_goes_on_only_where_the_file_is_the_same() {
    let bench = Bench::with(&[]).await;
    bench.put("a", b"0123456789".to_vec()).await;
    let etag = bench.get("/tasks/t/files/a").await.header("etag").to_owned();
    let rest = [("range", "bytes=4-"), ("if-range", etag.as_str())];

    let same = bench.ask("GET", "/tasks/t/files/a", &rest).await;
    bench.put("a", b"abcdefghij".to_vec()).await;
    let other = bench.ask("GET", "/tasks/t/files/a", &rest).await;

    assert_eq!((same.status, same.body.as_ref()), (206, b"456789".as_slice()));
    assert_eq!((other.status, other.body.as_ref()), (200, b"abcdefghij".as_slice()));
}

#[tokio::test]
async fn a_head_tells_the_same_without_the_file() {
    let bench = Bench::with(&["a.txt"]).await;

    let head = bench.ask("HEAD", "/tasks/t/files/a.txt", &[("range", "bytes=0-1")]).await;
    let get = bench.get("/tasks/t/files/a.txt").await;

    assert_eq!((head.status, head.body.len()), (200, 0));
    let headers = ["content-length", "content-type", "content-disposition", "etag", "accept-ranges"];
    for name in headers.into_iter().chain(["content-security-policy", "cache-control"]) {
        assert_eq!(head.header(name), get.header(name), "{name}");
        assert!(!head.header(name).is_empty(), "{name}");
    }
    assert_eq!(bench.ask("HEAD", "/tasks/t/files/b", &[]).await.status, 404);
}

#[tokio::test]
async fn an_empty_file_is_given_whole() {
    let bench = Bench::with(&[]).await;
    bench.put("a", Vec::new()).await;

    let answer = bench.get("/tasks/t/files/a").await;

    assert_eq!((answer.status, answer.header("content-length"), answer.body.len()), (200, "0", 0));
    assert_eq!(bench.get_part("/tasks/t/files/a", "bytes=0-").await.status, 416);
}

#[tokio::test]
async fn a_large_file_comes_in_pieces() {
    let bench = Bench::with(&[]).await;
    let content: Vec<u8> = (0..=250).cycle().take(10 * 1024 * 1024 + 7).collect();
    bench.put("a.bin", content.clone()).await;

    let answer = bench.get("/tasks/t/files/a.bin").await;
    let part = bench.get_part("/tasks/t/files/a.bin", "bytes=1000000-5000000").await;

    assert_eq!(answer.header("content-length"), "10485767");
    assert!(answer.body == content);
    assert!(part.body == content[1_000_000..=5_000_000]);
    assert_eq!(bench.store.largest_part.load(Ordering::Relaxed), 1024 * 1024);
}

#[tokio::test]
async fn a_file_that_is_replaced_meanwhile_breaks_off() {
    let bench = Bench::with(&[]).await;
    bench.put("a.bin", vec![1; 3 * 1024 * 1024]).await;
    let mut body = bench.send("GET", "/tasks/t/files/a.bin", &[]).await.into_body();

    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    bench.put("a.bin", vec![2; 3 * 1024 * 1024]).await;
    let second = body.frame().await.unwrap();

    assert!(first.iter().all(|byte| *byte == 1));
    assert!(second.is_err());
}

#[tokio::test]
async fn a_store_that_serves_files_itself_is_pointed_to() {
    let bench = Bench::over(Store { serves_itself: true, ..Store::default() }, ApiToken::Off);
    bench.know(&[]).await;
    bench.put("a.html", b"x".to_vec()).await;

    let answer = bench.get("/tasks/t/files/a.html").await;

    assert_eq!(answer.status, 302);
    assert_eq!(answer.header("location"), "https://store.example/sessions/t/uploads/a.html?signature=1");
    assert_eq!(answer.header("content-security-policy"), "sandbox");
    assert_eq!(answer.header("cache-control"), "private, no-store");
    assert_eq!(bench.get("/tasks/t/files/b.html").await.status, 404);
}

#[tokio::test]
async fn names_with_odd_characters_are_found_and_told() {
    let name = "50% \"off\"; ü=1.txt";
    let bench = Bench::with(&[name]).await;

    let answer = bench.get("/tasks/t/files/50%25%20%22off%22;%20%C3%BC=1.txt").await;

    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-disposition"),
        "attachment; filename=\"50_ _off_; _=1.txt\"; \
         filename*=UTF-8''50%25%20%22off%22%3B%20%C3%BC%3D1.txt"
    );
}

#[test]
fn no_name_adds_to_a_header() {
    let hostile =
        ["a\r\nSet-Cookie: x=1", "a\"; filename=\"b", "a\\", "\u{202e}gpj.exe", "", "'%0d%0a", "\u{7f}"];

    for name in hostile {
        let text = disposition(&format!("x\"y/{name}"));

        assert!(HeaderValue::from_str(&text).is_ok(), "{name:?}");
        assert!(text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()), "{text}");
        assert_eq!(text.matches('"').count(), 2, "{text}");
        assert_eq!(text.matches('\\').count(), 0, "{text}");
        let (_, extended) = text.split_once("filename*=UTF-8''").unwrap();
        assert!(!extended.contains(['\'', ' ', ';', '"']), "{text}");
    }
}
