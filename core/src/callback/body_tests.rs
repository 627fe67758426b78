//! Laws and limits of the callback body.

use alloc::{format, string::ToString as _, vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::time::Timestamp;

/// Everything that a body borrows.
#[derive(Debug, Clone)]
struct Told {
    id: TaskId,
    status: Status,
    exit_code: Option<i32>,
    logs_path: String,
    summary: Option<Summary>,
    error: Option<String>,
    error_code: Option<ErrorCode>,
    error_detail: Option<String>,
    result: Option<String>,
    metadata: String,
    uploaded_files: Vec<UploadedFile>,
    git_commit: Option<GitCommit>,
    action_errors: Vec<ActionError>,
    attempt: Attempt,
}

impl Told {
    fn nothing() -> Self {
        Self {
            id: "t1".parse().unwrap(),
            status: Status::Completed,
            exit_code: Some(0),
            logs_path: "gs://b/sessions/t1/".into(),
            summary: None,
            error: None,
            error_code: None,
            error_detail: None,
            result: None,
            metadata: "{}".into(),
            uploaded_files: vec![],
            git_commit: None,
            action_errors: vec![],
            attempt: Attempt::FIRST,
        }
    }

    fn json(&self) -> String {
        CallbackBody {
            task_id: &self.id,
            status: self.status,
            exit_code: self.exit_code,
            logs_path: &self.logs_path,
            summary: self.summary.as_ref(),
            error: self.error.as_deref(),
            error_code: self.error_code,
            error_detail: self.error_detail.as_deref(),
            result: self.result.as_deref(),
            metadata: &self.metadata,
            uploaded_files: &self.uploaded_files,
            git_commit: self.git_commit.as_ref(),
            action_errors: &self.action_errors,
            attempt: self.attempt,
        }
        .to_json()
    }
}

fn file(path: &str) -> UploadedFile {
    UploadedFile { original_path: path.into(), gcs_path: format!("gs://b/{path}"), size_bytes: 1 }
}

fn commit(files: Vec<String>) -> GitCommit {
    GitCommit {
        sha: "a1b2".into(),
        message: "m".into(),
        pushed: true,
        branch: Some("main".into()),
        recovery: Some(Recovery {
            method: "branch".into(),
            remote_sha: "c3".into(),
            conflict_files: Some(files),
        }),
    }
}

fn everything() -> Told {
    Told {
        status: Status::Cancelled,
        exit_code: Some(-130),
        summary: Some(Summary {
            duration_ms: 45_000,
            turns: 3,
            errors: 1,
            started_at: Some(Timestamp::from_unix_ms(1_736_512_496_789)),
            completed_at: None,
            cancelled_at: Some(Timestamp::from_unix_ms(1_736_512_541_789)),
            cost_usd: Some(0.123_456),
            usage: Some(Usage {
                input_tokens: 1,
                output_tokens: 2,
                cache_read_tokens: 3,
                cache_creation_tokens: u64::MAX,
            }),
            permission_denials: Some(2),
            session_id: Some("s".into()),
        }),
        error: Some("e".into()),
        error_code: Some(ErrorCode::Cancelled),
        error_detail: Some("d\n".into()),
        result: Some("r".into()),
        metadata: r#" {"b": 1.50, "10": "\u00e9", "b": [ ]} "#.into(),
        uploaded_files: vec![file("x")],
        git_commit: Some(commit(vec!["f".into()])),
        action_errors: vec![ActionError { action: "git".into(), error: "no".into() }],
        attempt: Attempt::FIRST.next(),
        ..Told::nothing()
    }
}

/// Returns the source text of a top-level member.
fn member(body: &str, name: &str) -> Option<String> {
    Document::parse(body).unwrap().root().get(name).map(|value| value.raw().to_string())
}

#[test]
fn members_stand_in_their_order() {
    let wanted = concat!(
        r#"{"taskId":"t1","status":"cancelled","exitCode":-130,"logsPath":"gs://b/sessions/t1/","#,
        r#""summary":{"durationMs":45000,"turns":3,"errors":1,"startedAt":"2025-01-10T12:34:56.789Z","#,
        r#""completedAt":null,"cancelledAt":"2025-01-10T12:35:41.789Z","costUsd":0.1235,"#,
        r#""usage":{"inputTokens":1,"outputTokens":2,"cacheReadTokens":3,"cacheCreationTokens":9007199254740991},"#,
        r#""permissionDenials":2,"sessionId":"s"},"error":"e","errorCode":"cancelled","errorDetail":"d\n","#,
        r#""result":"r","metadata":{"10":"é","b":[]},"#,
        r#""uploadedFiles":[{"originalPath":"x","gcsPath":"gs://b/x","sizeBytes":1}],"#,
        r#""gitCommit":{"sha":"a1b2","message":"m","pushed":true,"branch":"main","#,
        r#""recovery":{"method":"branch","remoteSha":"c3","conflictFiles":["f"]}},"#,
        r#""actionErrors":[{"action":"git","error":"no"}],"attempt":2}"#,
    );

    assert_eq!(everything().json(), wanted);
}

#[test]
fn what_is_absent_is_left_out() {
    let wanted = concat!(
        r#"{"taskId":"t1","status":"completed","exitCode":0,"logsPath":"gs://b/sessions/t1/","#,
        r#""summary":{"durationMs":0,"turns":0,"errors":0,"startedAt":null,"completedAt":null},"#,
        r#""error":null,"metadata":{}}"#,
    );

    assert_eq!(Told::nothing().json(), wanted);
}

#[test]
fn long_strings_are_cut_at_their_limits() {
    let long = "\"".repeat(200_000);
    let told = Told {
        error: Some(long.clone()),
        error_detail: Some(long.clone()),
        result: Some(long),
        ..Told::nothing()
    };

    let body = told.json();

    for (name, limit) in [("error", 1024), ("errorDetail", 4096), ("result", 32_768)] {
        let written = member(&body, name).unwrap();
        assert!((limit - 2..=limit).contains(&written.len()), "{name} takes {}", written.len());
        assert!(written.ends_with("…\""), "{name}");
    }
}

#[test]
fn lists_are_cut_at_their_limits() {
    let told = Told {
        uploaded_files: (0..1000).map(|n| file(&format!("{n:0>60}"))).collect(),
        git_commit: Some(commit((0..99).map(|n| n.to_string()).collect())),
        action_errors: vec![ActionError { action: "a".repeat(99), error: "\0".repeat(999) }; 20],
        ..Told::nothing()
    };

    let body = told.json();

    let document = Document::parse(&body).unwrap();
    let root = document.root();
    let files = root.get("uploadedFiles").unwrap();
    assert!((24 * 1024 - 200..=24 * 1024).contains(&files.raw().len()));
    assert_eq!(files.items().next().unwrap().get("originalPath").unwrap().as_str().unwrap(), "0".repeat(60));
    assert_eq!(root.get("uploadedFilesTotal").unwrap().as_u64(), Some(1000));
    let conflicts = root.get("gitCommit").unwrap().get("recovery").unwrap().get("conflictFiles").unwrap();
    assert_eq!(conflicts.items().count(), 50);
    let errors = root.get("actionErrors").unwrap();
    assert_eq!(errors.items().count(), 10);
    assert!(errors.items().all(|error| (500..=512).contains(&error.raw().len())));
    assert!(errors.items().all(|error| error.get("action").unwrap().raw().ends_with("…\"")));
}

#[test]
fn metadata_that_no_request_can_hold_is_dropped() {
    let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(BODY_BYTES));

    for metadata in ["", "[1]", "null", "{", huge.as_str()] {
        let told = Told { metadata: metadata.into(), ..Told::nothing() };
        assert_eq!(member(&told.json(), "metadata").as_deref(), Some("{}"));
    }
}

#[test]
fn metadata_at_its_limit_stands_beside_everything_else_at_its_limit() {
    let long = "\u{1}".repeat(70_000);
    let metadata = format!("{{\"a\":\"{}\"}}", "x".repeat(METADATA_BYTES - 8));
    let mut told = everything();
    let summary = told.summary.as_mut().unwrap();
    summary.session_id = Some(long.clone());
    summary.cost_usd = Some(f64::MIN);
    summary.duration_ms = u64::MAX;
    summary.completed_at = summary.started_at;
    summary.usage = Some(Usage {
        input_tokens: u64::MAX,
        output_tokens: u64::MAX,
        cache_read_tokens: u64::MAX,
        cache_creation_tokens: u64::MAX,
    });
    let told = Told {
        id: "i".repeat(128).parse().unwrap(),
        logs_path: long.clone(),
        error: Some(long.clone()),
        error_detail: Some(long.clone()),
        result: Some(long.clone()),
        metadata: metadata.clone(),
        uploaded_files: (0..1000).map(|n| file(&n.to_string())).collect(),
        git_commit: Some(GitCommit {
            sha: long.clone(),
            message: long.clone(),
            pushed: false,
            branch: Some(long.clone()),
            recovery: Some(Recovery {
                method: long.clone(),
                remote_sha: long.clone(),
                conflict_files: Some(vec![long.clone(); 99]),
            }),
        }),
        action_errors: vec![ActionError { action: long.clone(), error: long }; 20],
        attempt: Attempt::try_new(u32::MAX).unwrap(),
        ..told
    };

    let body = told.json();

    assert_eq!(metadata.len(), METADATA_BYTES);
    assert_eq!(member(&body, "metadata"), Some(metadata));
    assert!(body.len() <= BODY_BYTES, "{}", body.len());
}

#[test]
fn costs_are_rounded_to_four_decimals() {
    let written = |cost| {
        let summary = Summary { cost_usd: Some(cost), ..Summary::default() };
        let body = Told { summary: Some(summary), ..Told::nothing() }.json();
        let document = Document::parse(&body).unwrap();
        document.root().get("summary").unwrap().get("costUsd").map(|cost| cost.raw().to_string())
    };

    assert_eq!(written(0.123_45).as_deref(), Some("0.1235"));
    assert_eq!(written(0.000_1).as_deref(), Some("0.0001"));
    assert_eq!(written(0.000_01).as_deref(), Some("0"));
    assert_eq!(written(-0.000_01).as_deref(), Some("0"));
    assert_eq!(written(2.0).as_deref(), Some("2"));
    assert_eq!(written(f64::NAN), None);
    assert_eq!(written(f64::INFINITY), None);
}

/// Text that is often long, and often dear to write.
fn any_text() -> impl Strategy<Value = String> {
    (any::<String>(), prop_oneof![3 => Just(1), 1 => 1..4000_usize])
        .prop_map(|(text, times)| text.repeat(times))
}

fn any_metadata() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("{}".to_string()),
        any::<String>(),
        proptest::collection::vec((any::<String>(), any::<f64>()), 0..20).prop_map(|members| {
            let members: Vec<_> = members
                .iter()
                .map(|(name, value)| {
                    let value = if value.is_finite() { format!("{value:e}") } else { "[ ]".into() };
                    format!("{}: {value}", serde_json::to_string(name).unwrap())
                })
                .collect();
            format!("{{{}}}", members.join(" ,"))
        }),
    ]
}

prop_compose! {
    fn any_commit()(
        texts in proptest::collection::vec(any_text(), 4),
        pushed: bool,
        conflict_files in proptest::option::of(proptest::collection::vec(any_text(), 0..80)),
    ) -> GitCommit {
        GitCommit {
            sha: texts[0].clone(),
            message: texts[1].clone(),
            pushed,
            branch: Some(texts[2].clone()),
            recovery: Some(Recovery { method: texts[3].clone(), remote_sha: texts[0].clone(), conflict_files }),
        }
    }
}

prop_compose! {
    fn any_summary()(counts: [u64; 8], cost_usd: Option<f64>, times: [Option<u64>; 3], session in any_text()) -> Summary {
        Summary {
            duration_ms: counts[0],
            turns: counts[1],
            errors: counts[2],
            started_at: times[0].map(Timestamp::from_unix_ms),
            completed_at: times[1].map(Timestamp::from_unix_ms),
            cancelled_at: times[2].map(Timestamp::from_unix_ms),
            cost_usd,
            usage: Some(Usage {
                input_tokens: counts[3],
                output_tokens: counts[4],
                cache_read_tokens: counts[5],
                cache_creation_tokens: counts[6],
            }),
            permission_denials: Some(counts[7]),
            session_id: Some(session),
        }
    }
}

prop_compose! {
    fn anything()(
        id in "[A-Za-z0-9_-]{1,128}".prop_filter("a route", |id| id != "status"),
        exit_code: Option<i32>,
        summary in proptest::option::of(any_summary()),
        texts in proptest::collection::vec(proptest::option::of(any_text()), 4),
        metadata in any_metadata(),
        files in proptest::collection::vec((any_text(), any_text(), any::<u64>()), 0..40),
        git_commit in proptest::option::of(any_commit()),
        errors in proptest::collection::vec((any_text(), any_text()), 0..15),
        attempt in 1..9_u32,
    ) -> Told {
        Told {
            id: id.parse().unwrap(),
            exit_code,
            logs_path: texts[0].clone().unwrap_or_default(),
            summary,
            error: texts[1].clone(),
            error_detail: texts[2].clone(),
            result: texts[3].clone(),
            metadata,
            uploaded_files: files
                .into_iter()
                .map(|(original_path, gcs_path, size_bytes)| UploadedFile { original_path, gcs_path, size_bytes })
                .collect(),
            git_commit,
            action_errors: errors.into_iter().map(|(action, error)| ActionError { action, error }).collect(),
            attempt: Attempt::try_new(attempt).unwrap(),
            ..Told::nothing()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn parsing_and_writing_a_body_again_changes_no_byte(told in anything()) {
        let body = told.json();

        let document = Document::parse(&body).unwrap();
        prop_assert_eq!(normalise(document.root()), body);
    }

    #[test]
    fn no_body_exceeds_its_limit(told in anything()) {
        prop_assert!(told.json().len() <= BODY_BYTES);
    }
}
