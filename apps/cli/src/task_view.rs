//! Shows tasks to people: how one ended, where one stands, a table of many.
//!
//! Pure: facts in, text out, with colours and everything from outside escaped.

use crate::{
    style::{BAD, BOLD, DIM, GOOD, ODD, paint},
    task_facts::TaskFacts,
    terminal::escape,
};

/// Shows how a task ended, or that it has not: one line, and more below where there is more to say.
pub(crate) fn ending(task: &TaskFacts) -> String {
    let (mark, style) = match task.status.as_str() {
        "completed" => ("✔", GOOD),
        "failed" => ("✘", BAD),
        "cancelled" => ("■", ODD),
        _ => ("…", DIM),
    };
    let mut facts = vec![paint(style, &format!("{mark} {}", escape(&task.status)))];
    if let Some(summary) = &task.summary {
        facts.push(counted(summary.turns, "turn"));
        facts.push(duration(summary.duration_ms));
        facts.extend(summary.cost_usd.map(|cost| format!("${cost:.4}")));
    }
    facts.extend(task.exit_code.map(|code| format!("exit {code}")));
    let mut lines = vec![facts.join(" · ")];
    lines.extend(details(task).into_iter().map(|detail| indent(&detail)));
    lines.join("\n")
}

fn details(task: &TaskFacts) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(error) = &task.error {
        let code = task.error_code.as_deref().map(|code| format!(" ({})", escape(code)));
        lines.push(paint(BAD, &format!("{}{}", escape(error), code.unwrap_or_default())));
    }
    lines.extend(task.error_detail.iter().map(|detail| paint(DIM, escape(detail).trim_end())));
    let denials = task.summary.as_ref().and_then(|summary| summary.permission_denials).filter(|n| *n > 0);
    lines.extend(denials.map(|n| {
        let calls = counted(n, "tool call");
        paint(ODD, &format!("{calls} denied; `--allow TOOL` allows a tool"))
    }));
    if let Some(commit) = &task.git_commit {
        let sha: String = commit.sha.chars().take(10).collect();
        let branch = commit.branch.as_deref().map(|branch| format!(" on {}", escape(branch)));
        let pushed = if commit.pushed { "pushed" } else { "not pushed" };
        let subject = commit.message.lines().next().unwrap_or_default();
        lines.push(format!(
            "commit {}{}, {pushed}: {}",
            escape(&sha),
            branch.unwrap_or_default(),
            escape(subject)
        ));
    }
    lines.extend(uploads(task));
    for failed in &task.action_errors {
        lines.push(paint(BAD, &format!("{}: {}", escape(&failed.action), escape(&failed.error))));
    }
    lines
}

fn uploads(task: &TaskFacts) -> Vec<String> {
    const SHOWN: usize = 10;
    let listed = u64::try_from(task.uploaded_files.len()).unwrap_or(u64::MAX);
    let total = task.uploaded_files_total.unwrap_or(listed).max(listed);
    let mut lines: Vec<String> = task
        .uploaded_files
        .iter()
        .take(SHOWN)
        .map(|file| format!("uploaded {} ({})", escape(&file.original_path), size(file.size_bytes)))
        .collect();
    let more = total.saturating_sub(u64::try_from(lines.len()).unwrap_or(u64::MAX));
    if more > 0 {
        lines.push(format!("uploaded {more} more"));
    }
    lines
}

/// Shows where a task stands, one fact a line.
pub(crate) fn record(task: &TaskFacts) -> String {
    let attempt = task.attempt.filter(|attempt| *attempt > 1).map(|attempt| attempt.to_string());
    let facts = [
        ("created", &task.created_at),
        ("started", &task.started_at),
        ("ended", &task.completed_at),
        ("cancelled", &task.cancelled_at),
        ("cancel asked", &task.cancel_requested_at.clone().filter(|_| !task.has_ended())),
        ("attempt", &attempt),
        ("phase", &task.phase.clone().filter(|_| !task.has_ended())),
        ("execution", &task.execution_name),
        ("worker log", &task.worker_logs_url),
        ("callback", &callback(task)),
    ];
    let mut lines = vec![format!("{} {}", paint(BOLD, &escape(&task.task_id)), ending(task))];
    let known = facts.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    lines.extend(
        known.map(|(name, value)| {
            indent(&format!("{} {}", paint(DIM, &format!("{name:<12}")), escape(value)))
        }),
    );
    if let Some(result) = &task.result {
        lines.push(String::new());
        lines.push(escape(result.trim_end()).into_owned());
    }
    lines.join("\n")
}

fn callback(task: &TaskFacts) -> Option<String> {
    let url = task.callback_url.as_ref()?;
    let callback = task.callback.as_ref()?;
    let attempts = counted(u64::try_from(callback.attempts.len()).unwrap_or(u64::MAX), "attempt");
    let next = callback.next_attempt_at.as_deref().map(|at| format!(", next {at}"));
    Some(format!("{} after {attempts}{}, {url}", callback.state, next.unwrap_or_default()))
}

/// Shows tasks as a table, in the order in which they come.
pub(crate) fn table(tasks: &[TaskFacts]) -> String {
    let rows = tasks.iter().map(|task| {
        let took = task.summary.as_ref().map(|summary| duration(summary.duration_ms));
        let error = task.error.as_deref().map(|error| escape(error).replace(['\n', '\t'], " "));
        [
            escape(&task.task_id).into_owned(),
            escape(&task.status).into_owned(),
            task.created_at.as_deref().map(|at| escape(at).into_owned()).unwrap_or_default(),
            took.unwrap_or_default(),
            error.unwrap_or_default(),
        ]
    });
    let head = ["TASK", "STATUS", "CREATED", "TOOK", "ERROR"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths = [width(0), width(1), width(2), width(3), 0];
    let lines = rows.iter().enumerate().map(|(at, row)| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        if at == 0 { paint(BOLD, line.trim_end()) } else { line.trim_end().to_owned() }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Writes a duration for people.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds}.{} s", ms % 1000 / 100),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Writes a size for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}

/// Writes a number of things.
pub(crate) fn counted(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn indent(text: &str) -> String {
    format!("  {}", text.replace('\n', "\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(json: &str) -> TaskFacts {
        TaskFacts::parse(json).unwrap()
    }

    /// What is left of a text without its colours.
    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[track_caller]
    fn check_ending(json: &str, expected: &str) {
        assert_eq!(plain(&ending(&task(json))), expected);
    }

    #[test]
    fn an_ending_says_what_it_took() {
        check_ending(
            r#"{"taskId":"a","status":"completed","exitCode":0,"summary":{"durationMs":12345,"turns":3,"costUsd":0.01234}}"#,
            "✔ completed · 3 turns · 12.3 s · $0.0123 · exit 0",
        );
        check_ending(r#"{"taskId":"a","status":"running"}"#, "… running");
    }

    #[test]
    fn a_failure_says_why() {
        check_ending(
            r#"{"taskId":"a","status":"failed","exitCode":1,"error":"Claude process exited with code 1",
                "errorCode":"agent_failed","errorDetail":"one\ntwo\n"}"#,
            "✘ failed · exit 1\n  Claude process exited with code 1 (agent_failed)\n  one\n  two",
        );
    }

    #[test]
    fn what_was_done_with_the_work_is_listed() {
        check_ending(
            r#"{"taskId":"a","status":"completed","summary":{"durationMs":1,"turns":1,"permissionDenials":1},
                "gitCommit":{"sha":"0123456789abcdef","message":"Fix\n\nmore","pushed":true,"branch":"main"},
                "uploadedFiles":[{"originalPath":"a.txt","sizeBytes":2048}],"uploadedFilesTotal":3,
                "actionErrors":[{"action":"git","error":"no remote"}]}"#,
            "✔ completed · 1 turn · 1 ms\n  1 tool call denied; `--allow TOOL` allows a tool\n  \
             commit 0123456789 on main, pushed: Fix\n  uploaded a.txt (2 KiB)\n  uploaded 2 more\n  git: no remote",
        );
    }

    #[test]
    fn nothing_from_outside_reaches_the_terminal_unescaped() {
        let nasty = "\\u001b[2J\\u202e";
        let json = format!(
            r#"{{"taskId":"{nasty}","status":"{nasty}","error":"{nasty}","errorCode":"{nasty}","errorDetail":"{nasty}",
                "result":"{nasty}","createdAt":"{nasty}","executionName":"{nasty}","phase":"{nasty}",
                "workerLogsUrl":"{nasty}","callbackUrl":"{nasty}","callback":{{"state":"{nasty}"}},
                "gitCommit":{{"sha":"{nasty}","message":"{nasty}","branch":"{nasty}"}},
                "uploadedFiles":[{{"originalPath":"{nasty}"}}],"actionErrors":[{{"action":"{nasty}","error":"{nasty}"}}]}}"#
        );
        let task = task(&json);

        let shown = [ending(&task), record(&task), table(&[task])].concat();

        assert!(!shown.contains('\u{202e}') && !shown.contains("\u{1b}[2J"), "{shown:?}");
    }

    #[test]
    fn a_table_is_aligned() {
        let tasks = [
            task(
                r#"{"taskId":"a-1","status":"completed","createdAt":"T","summary":{"durationMs":100,"turns":1}}"#,
            ),
            task(r#"{"taskId":"b","status":"failed","createdAt":"T","error":"late\nand more"}"#),
        ];

        assert_eq!(
            plain(&table(&tasks)),
            "TASK  STATUS     CREATED  TOOK    ERROR\n\
             a-1   completed  T        100 ms\n\
             b     failed     T                late and more",
        );
    }

    #[test]
    fn durations_are_written_for_people() {
        let written = [999, 1_050, 59_999, 60_000, 3_599_000, 3_600_000].map(duration);

        assert_eq!(written, ["999 ms", "1.0 s", "59.9 s", "1 min 00 s", "59 min 59 s", "1 h 00 min"]);
    }
}
