//! `legwork logs --worker`: what the worker wrote about its own work.

use std::{fs::File, io, path::Path, time::Duration};

use anyhow::Context as _;
use legwork_core::id::TaskId;
use tokio::time::Instant;

use super::lines::Lines;
use crate::{
    client::Client,
    client_error::ClientError,
    output::{self, OutputError},
    server_url::Way,
    task_facts::TaskFacts,
    terminal::escape,
    worker_log,
};

/// How often a followed log and its task are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long the service may be away before following is given up.
const MAX_OUTAGE: Duration = Duration::from_mins(2);

/// Shows the worker's log, or says where it is.
pub(super) async fn show(
    client: &Client,
    task: &TaskId,
    follow: bool,
    data_dir: Option<&Path>,
) -> anyhow::Result<()> {
    let mut outage = Outage::default();
    let url = find(client, task, follow, &mut outage).await?;
    // A service elsewhere means a file there, whatever has its name here.
    let is_here = client.server().way() == Way::Loopback;
    let data_dir = worker_log::data_dir(data_dir).filter(|_| is_here);
    let local = data_dir.as_deref().and_then(|dir| Some((dir, worker_log::local_name(&url, dir)?)));
    let Some((dir, name)) = local else { return Ok(point_to(&url)?) };
    match worker_log::open(dir, name) {
        Ok(log) if follow => follow_file(client, task, log, outage).await,
        Ok(mut log) => {
            let mut printer = Printer::default();
            print_rest(&mut log, &mut printer)?;
            Ok(printer.end()?)
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            point_to(&url)?;
            output::note("It is for the user to read that the service runs as.");
            Ok(())
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", escape(&url))),
    }
}

/// Returns where the log is; while following, a task without a worker is waited for.
async fn find(client: &Client, task: &TaskId, follow: bool, outage: &mut Outage) -> anyhow::Result<String> {
    loop {
        let facts = outage.tolerate(record(client, task).await)?;
        match facts {
            Some(TaskFacts { worker_logs_url: Some(url), .. }) => return Ok(url),
            Some(facts) if facts.has_ended() => anyhow::bail!("no worker of this task has a log"),
            Some(_) if !follow => {
                anyhow::bail!("no worker has taken this task yet; -f waits for one")
            }
            Some(_) | None => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Says where a log is that cannot be shown from here.
fn point_to(url: &str) -> Result<(), OutputError> {
    output::human(&escape(url))?;
    if url.starts_with("https://") {
        output::note("The worker's log is there; open it in a browser.");
    } else {
        output::note(
            "The worker's log is on the service's machine, or in another data folder; --data-dir names one.",
        );
    }
    Ok(())
}

async fn follow_file(
    client: &Client,
    task: &TaskId,
    mut log: File,
    mut outage: Outage,
) -> anyhow::Result<()> {
    let mut printer = Printer::default();
    loop {
        // Asked before the file is read: what the worker wrote until then is not missed.
        let facts = outage.tolerate(record(client, task).await)?;
        print_rest(&mut log, &mut printer)?;
        if facts.is_some_and(|facts| facts.has_ended()) {
            return Ok(printer.end()?);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn record(client: &Client, task: &TaskId) -> Result<TaskFacts, ClientError> {
    TaskFacts::parse(&client.record(task).await?)
}

fn print_rest(log: &mut File, printer: &mut Printer) -> anyhow::Result<()> {
    loop {
        let piece = worker_log::next_piece(log).context("cannot read the worker's log")?;
        if piece.is_empty() {
            return Ok(());
        }
        printer.push(&piece)?;
    }
}

/// Whether the service answers. One that never did is told at once.
#[derive(Debug, Default)]
enum Outage {
    #[default]
    NeverSeen,
    Over,
    Since(Instant),
}

impl Outage {
    /// Returns the answer, or nothing where the service is away for a while.
    fn tolerate(&mut self, answer: Result<TaskFacts, ClientError>) -> Result<Option<TaskFacts>, ClientError> {
        match answer {
            Ok(facts) => {
                *self = Self::Over;
                Ok(Some(facts))
            }
            Err(error) if error.is_transient() && self.is_short() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_short(&mut self) -> bool {
        let now = Instant::now();
        match *self {
            Self::NeverSeen => false,
            Self::Over => {
                *self = Self::Since(now);
                true
            }
            Self::Since(since) => now.duration_since(since) < MAX_OUTAGE,
        }
    }
}

/// Prints bytes as they are, but on a terminal as lines that it obeys in nothing.
#[derive(Debug, Default)]
struct Printer(Lines);

impl Printer {
    fn push(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        if !output::is_terminal() {
            return output::raw(bytes);
        }
        self.0.push(bytes).iter().try_for_each(|line| output::human(&escape(line)))
    }

    fn end(self) -> Result<(), OutputError> {
        self.0.rest().map_or(Ok(()), |line| output::human(&escape(&line)))
    }
}
