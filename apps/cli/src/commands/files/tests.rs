//! Files as a service hands them out, and as a hostile one would.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{Path as UrlPath, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use legwork_core::secret::Secret;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;

/// What a scripted service lists, what it sends, and which tokens it saw where.
#[derive(Debug, Default)]
struct Script {
    pages: Vec<Value>,
    files: BTreeMap<&'static str, Answer>,
    tokens: Mutex<Vec<(&'static str, bool)>>,
}

#[derive(Debug, Clone)]
enum Answer {
    Bytes(&'static str),
    /// To a place below this service, or elsewhere.
    SentOn(&'static str),
}

impl Script {
    fn saw(&self, place: &'static str, headers: &HeaderMap) {
        self.tokens.lock().unwrap().push((place, headers.contains_key(header::AUTHORIZATION)));
    }
}

async fn list(
    State(script): State<Arc<Script>>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> String {
    script.saw("list", &headers);
    let page = query.get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
    script.pages[page].to_string()
}

async fn file(
    State(script): State<Arc<Script>>,
    UrlPath((_task, path)): UrlPath<(String, String)>,
    headers: HeaderMap,
) -> Response {
    script.saw("file", &headers);
    match script.files.get(path.as_str()) {
        Some(Answer::Bytes(bytes)) => bytes.into_response(),
        Some(Answer::SentOn(to)) => (StatusCode::FOUND, [(header::LOCATION, *to)]).into_response(),
        None => (StatusCode::NOT_FOUND, r#"{"error":"The task has no such file"}"#).into_response(),
    }
}

async fn store(State(script): State<Arc<Script>>, headers: HeaderMap) -> &'static str {
    script.saw("store", &headers);
    "signed"
}

/// Does something with a client of a service with this script.
async fn with_service<T>(script: &Arc<Script>, act: impl AsyncFnOnce(&Client) -> T) -> T {
    legwork_wiring::install_tls();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let routes = Router::new()
        .route("/tasks/{task}/files", get(list))
        .route("/tasks/{task}/files/{*path}", get(file))
        .route("/store", get(store))
        .route("/again", get(async || (StatusCode::FOUND, [(header::LOCATION, "/store")])));
    let service = axum::serve(listener, routes.with_state(Arc::clone(script)));
    let client = Client::new(server, Some(Secret::new("token".to_owned()))).unwrap();
    tokio::select! {
        done = act(&client) => done,
        _ = service.into_future() => unreachable!("the service never ends by itself"),
    }
}

fn task() -> TaskId {
    "t-1".parse().unwrap()
}

fn listed(name: &str, size: usize) -> Value {
    json!({"path": name, "gcsPath": "file:///x", "sizeBytes": size, "modified": "2026-01-01T00:00:00.000Z"})
}

/// Fetches all files of the script into a folder, and returns how that ended.
async fn fetch(script: &Arc<Script>, dir: &Path, overwrite: Overwrite) -> ExitCode {
    with_service(script, async |client| {
        let files = collect(client, &task()).await.unwrap();
        fetch_all(client, &task(), &files, dir, overwrite, Form::Paths).await.unwrap()
    })
    .await
}

fn script(files: &[(&'static str, usize, Answer)]) -> Arc<Script> {
    let rows: Vec<Value> = files.iter().map(|(name, size, _)| listed(name, *size)).collect();
    Arc::new(Script {
        pages: vec![json!({"files": rows, "nextCursor": null})],
        files: files.iter().map(|(name, _, answer)| (*name, answer.clone())).collect(),
        tokens: Mutex::default(),
    })
}

/// What stands in a folder, by path.
fn contents(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            let below = contents(&entry.path()).into_iter();
            found.extend(below.map(|(path, text)| (format!("{name}/{path}"), text)));
        } else {
            found.insert(name, std::fs::read_to_string(entry.path()).unwrap());
        }
    }
    found
}

#[track_caller]
fn check_contents(dir: &Path, expected: &[(&str, &str)]) {
    let expected = expected.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    assert_eq!(contents(dir), expected.collect());
}

#[tokio::test]
async fn all_pages_are_listed() {
    let script = Arc::new(Script {
        pages: vec![
            json!({"files": [listed("a", 1)], "nextCursor": "1"}),
            json!({"files": [], "nextCursor": "2"}),
            json!({"files": [listed("b", 2)], "nextCursor": null}),
        ],
        ..Script::default()
    });

    let files = with_service(&script, async |client| collect(client, &task()).await.unwrap()).await;

    let found: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.size_bytes)).collect();
    assert_eq!(found, [("a", 1), ("b", 2)]);
    assert_eq!(serde_json::from_str::<Value>(&files[0].json).unwrap(), listed("a", 1));
}

#[tokio::test]
async fn a_list_that_does_not_get_on_is_left() {
    let script = Arc::new(Script {
        pages: vec![json!({"files": [], "nextCursor": "1"}), json!({"files": [], "nextCursor": "1"})],
        ..Script::default()
    });

    let error = with_service(&script, async |client| collect(client, &task()).await.unwrap_err()).await;

    assert_eq!(error.to_string(), "the service's list of files does not get on");
}

#[tokio::test]
async fn files_arrive_under_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let script = script(&[
        ("a.txt", 3, Answer::Bytes("one")),
        ("sub folder/ü?#%41.txt", 3, Answer::Bytes("two")),
        ("empty", 0, Answer::Bytes("")),
    ]);

    let code = fetch(&script, &dir.path().join("out"), Overwrite::Never).await;

    assert_eq!(code, ExitCode::SUCCESS);
    let expected = [("out/a.txt", "one"), ("out/sub folder/ü?#%41.txt", "two"), ("out/empty", "")];
    check_contents(dir.path(), &expected);
}

#[tokio::test]
async fn the_token_goes_to_the_service_and_not_to_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let script = script(&[("a", 6, Answer::SentOn("/store"))]);

    let code = fetch(&script, dir.path(), Overwrite::Never).await;

    assert_eq!(code, ExitCode::SUCCESS);
    check_contents(dir.path(), &[("a", "signed")]);
    assert_eq!(*script.tokens.lock().unwrap(), [("list", true), ("file", true), ("store", false)]);
}

#[tokio::test]
async fn a_store_that_sends_on_or_stands_elsewhere_unencrypted_is_not_asked() {
    let dir = tempfile::tempdir().unwrap();
    let script = script(&[
        ("twice", 6, Answer::SentOn("/again")),
        ("plain", 6, Answer::SentOn("http://store.example/x")),
        ("file", 6, Answer::SentOn("file:///etc/passwd")),
    ]);

    let code = fetch(&script, dir.path(), Overwrite::Never).await;

    assert_eq!(code, ExitCode::from(exit::FAILURE));
    check_contents(dir.path(), &[]);
    assert!(script.tokens.lock().unwrap().iter().all(|(place, _)| *place != "store"));
}

#[tokio::test]
async fn what_is_not_as_listed_is_not_kept_and_the_others_are() {
    let dir = tempfile::tempdir().unwrap();
    let script = script(&[
        ("short", 9, Answer::Bytes("short")),
        ("long", 1, Answer::Bytes("long")),
        ("good", 4, Answer::Bytes("good")),
    ]);

    let code = fetch(&script, dir.path(), Overwrite::Never).await;

    assert_eq!(code, ExitCode::from(exit::FAILURE));
    check_contents(dir.path(), &[("good", "good")]);
}

#[tokio::test]
async fn nothing_is_written_outside_of_the_folder() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("in");
    std::fs::create_dir(&dir).unwrap();
    std::fs::create_dir(outer.path().join("target")).unwrap();
    std::os::unix::fs::symlink("../target", dir.join("link")).unwrap();
    let answer = || Answer::Bytes("bad");
    let script = script(&[
        ("../out", 3, answer()),
        ("/etc/legwork-test", 3, answer()),
        ("link/x", 3, answer()),
        ("a//b", 3, answer()),
        ("a\nb", 3, answer()),
        ("", 3, answer()),
    ]);

    let code = fetch(&script, &dir, Overwrite::Always).await;

    assert_eq!(code, ExitCode::from(exit::FAILURE));
    std::fs::remove_file(dir.join("link")).unwrap();
    check_contents(outer.path(), &[]);
    // Names that are refused are not even asked for.
    let asked = script.tokens.lock().unwrap().iter().filter(|(place, _)| *place == "file").count();
    assert_eq!(asked, 0);
}

#[tokio::test]
async fn what_is_there_stays_without_force() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "old").unwrap();
    let script = script(&[("a", 3, Answer::Bytes("new"))]);

    let refused = fetch(&script, dir.path(), Overwrite::Never).await;
    check_contents(dir.path(), &[("a", "old")]);
    let forced = fetch(&script, dir.path(), Overwrite::Always).await;

    assert_eq!((refused, forced), (ExitCode::from(exit::FAILURE), ExitCode::SUCCESS));
    check_contents(dir.path(), &[("a", "new")]);
}

#[test]
fn the_table_is_aligned_and_obeyed_in_nothing() {
    let file = |path: &str, size_bytes| Listed {
        path: path.to_owned(),
        size_bytes,
        modified: "T\u{202e}".to_owned(),
        json: String::new(),
    };

    let shown = table(&[file("a/b.txt", 2048), file("c\n\u{1b}[2J", 5)]);

    assert_eq!(
        anstream::adapter::strip_str(&shown).to_string(),
        " SIZE  MODIFIED   PATH\n2 KiB  T\\u{202e}  a/b.txt\n  5 B  T\\u{202e}  c\\n\\x1b[2J",
    );
}
