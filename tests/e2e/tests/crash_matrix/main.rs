//! kill -9 at every step: the task still ends once, its receiver is told, and nothing is left.
//!
//! `table` says where; `docs/crash-matrix.md` is made of it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests fail the test, and real processes take real time"
)]

mod life;
mod table;

use std::{collections::BTreeSet, fs};

use futures_util::{StreamExt as _, stream};
use legwork_e2e::crash::{crash_file, steps_file};

use crate::{
    life::{Dies, Life, live},
    table::{ON_GOOGLE, ON_THIS_MACHINE, rows, sides, table, told},
};

/// How many rows are lived at once: nearly all of them wait.
const AT_ONCE: usize = 24;

/// How many lives are lived at most until somebody comes to a row's step.
const LIVES: usize = 3;

/// Lives a life with one death in it: again where everything went well without anybody coming to that
/// step, because on a busy machine another process was faster.
async fn live_and_die(life: Life, row: &str) -> Result<(), String> {
    for _ in 0..LIVES {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::write(crash_file(&data), row).unwrap();
        let dies = if row.starts_with("worker ") { Dies::Worker } else { Dies::NoWorker };
        let lived = live(life, dies, &data).await;
        if lived.is_err() || !crash_file(&data).exists() {
            return lived;
        }
    }
    Err(format!("nobody came to this step in {LIVES} lives"))
}

async fn survive_all(life: Life, role: &str) {
    let rows = rows(life, role);
    assert!(!rows.is_empty());
    let living = rows.into_iter().map(|row| async move {
        let lived = live_and_die(life, &row).await;
        lived.err().map(|broken| format!("{life:?}, {row}: {broken}"))
    });
    let broken: Vec<String> = stream::iter(living.collect::<Vec<_>>())
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;

    assert!(broken.is_empty(), "{} rows:\n{}", broken.len(), broken.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_may_die_at_any_step_of_a_submission() {
    survive_all(Life::Completed, "serve").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_may_die_at_any_step_of_a_run() {
    survive_all(Life::Completed, "worker").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_may_die_at_any_step_of_a_cancel() {
    survive_all(Life::Cancelled, "serve").await;
    survive_all(Life::Cancelled, "worker").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_may_die_at_any_step_of_a_cancel_of_a_waiting_task() {
    survive_all(Life::CancelledWaiting, "serve").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_may_die_at_any_step_of_a_retry() {
    survive_all(Life::Retried, "serve").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconciler_may_die_at_any_step_of_ending_a_lost_workers_task() {
    survive_all(Life::Lost, "serve").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_may_die_at_any_step_of_a_redelivery() {
    survive_all(Life::Redelivered, "serve").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_may_die_at_any_step_of_a_run_whose_request_is_not_kept() {
    survive_all(Life::NotKept, "worker").await;
}

/// The steps that were taken in each life are those of the table: a new one needs a row.
#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_a_life_has_a_row() {
    let known: BTreeSet<String> = table()
        .iter()
        .flat_map(|(_, parts)| parts.iter().copied().flatten())
        .map(|(who, step, _)| format!("{who} {step}"))
        .collect();
    for (life, _) in table() {
        let life = *life;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::write(steps_file(&data), "").unwrap();

        live(life, Dies::NoWorker, &data).await.unwrap();

        let taken = fs::read_to_string(steps_file(&data)).unwrap();
        let kinds: BTreeSet<String> = taken
            .lines()
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(step, _)| step.trim_end().to_owned())
            .collect();
        let unknown: Vec<_> = kinds.difference(&known).collect();
        assert!(unknown.is_empty() && kinds.len() > 8, "{life:?}: {unknown:?} in\n{taken}");
    }
}

#[test]
fn the_table_of_the_documentation_is_this_one() {
    let mut text = String::from(
        "# Where processes were killed\n\n\
         Made of the table in `tests/e2e/tests/crash_matrix/table.rs`, whose tests kill the real processes with `kill -9` at\n\
         each of these steps and leave the rest alone. Each time the task ended once, its receiver was told under one\n\
         `webhook-id`, and no payload, marker, process or workspace was left.\n\
",
    );
    for (heading, table) in [
        ("On this machine", ON_THIS_MACHINE),
        ("On Google Cloud, over simulators of its services", ON_GOOGLE),
    ] {
        text.push_str("\n## ");
        text.push_str(heading);
        text.push_str("\n\n| what happens to the task | who dies | at which step |\n|---|---|---|\n");
        for (life, parts) in table {
            for (who, step, number) in parts.iter().copied().flatten() {
                let sides = sides(step).join(" and ");
                text.extend([format!("| {} | `{who}` | {sides} `{step}` no. {number} |\n", told(*life))]);
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/crash-matrix.md");
    if std::env::var_os("LEGWORK_UPDATE_DOCS").is_some() {
        fs::write(path, &text).unwrap();
    }

    let stands = fs::read_to_string(path).unwrap_or_default();

    assert!(
        stands == text,
        "docs/crash-matrix.md is older than the table; set LEGWORK_UPDATE_DOCS=1 to write it"
    );
}

legwork_e2e::also_on_google!(
    a_service_may_die_at_any_step_of_a_submission,
    a_worker_may_die_at_any_step_of_a_run,
    anybody_may_die_at_any_step_of_a_cancel,
    a_service_may_die_at_any_step_of_a_retry,
    a_reconciler_may_die_at_any_step_of_ending_a_lost_workers_task,
    a_service_may_die_at_any_step_of_a_redelivery,
    a_worker_may_die_at_any_step_of_a_run_whose_request_is_not_kept,
    every_step_of_a_life_has_a_row,
);
