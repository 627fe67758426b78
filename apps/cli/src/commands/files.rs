//! `legwork files`: the files that a task uploaded.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use futures_util::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use legwork_core::id::TaskId;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    args::ClientOptions,
    client::Client,
    client_error::ClientError,
    download::{self, DownloadError, Overwrite, Wanted},
    exit,
    interrupts::Interrupts,
    output::{self, OutputError},
    style::{BOLD, DIM, paint},
    task_view,
    terminal::escape,
};

/// How many files are fetched at a time.
const AT_A_TIME: usize = 4;

/// Lists the files that a task uploaded, and fetches them with --download.
///
/// On a terminal the list is a table; through a pipe, or with --json, each file is a line of JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = MANUAL)]
pub(crate) struct Args {
    /// The task's id.
    task: TaskId,
    /// Fetch all files into this folder, which is made where there is none.
    #[arg(long, value_name = "DIR")]
    download: Option<PathBuf>,
    /// Overwrite files that are there already.
    #[arg(long, requires = "download")]
    force: bool,
    #[command(flatten)]
    client: ClientOptions,
}

const MANUAL: &str = "\
Examples:
  legwork files nightly-42
  legwork files nightly-42 --download ./out
  legwork files nightly-42 --json | jq -r .path

With --download each file that has arrived is a line with its path here, and with --json
{\"path\", \"savedTo\"} or {\"path\", \"error\"}; on a terminal there is a bar instead. A file that is not
whole does not get its name. Names that lead out of the folder are refused, and so are links in it.

Exit codes: 0 success, 1 some files did not arrive or there is no such task, 2 usage or configuration,
69 service unreachable, 130 interrupted.";

/// A page of files.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    files: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

/// One file of the list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    path: String,
    size_bytes: u64,
    #[serde(default)]
    modified: String,
    /// As the service sent it.
    #[serde(skip)]
    json: String,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::from_options(&args.client)?;
    let files = collect(&client, &args.task).await?;
    let Some(dir) = &args.download else {
        show(&files, args.client.json || !output::is_terminal())?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut interrupts = Interrupts::listen()?;
    let form = match (args.client.json, output::is_terminal()) {
        (true, _) => Form::Json,
        (false, true) => Form::Bar,
        (false, false) => Form::Paths,
    };
    let overwrite = if args.force { Overwrite::Always } else { Overwrite::Never };
    tokio::select! {
        fetched = fetch_all(&client, &args.task, &files, dir, overwrite, form) => fetched,
        // Files that are under way are dropped, and with them what there is of them.
        () = interrupts.next() => Ok(ExitCode::from(exit::CANCELLED)),
    }
}

/// Asks for page after page.
async fn collect(client: &Client, task: &TaskId) -> Result<Vec<Listed>, ClientError> {
    let mut files = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let json = client.files(task, cursor.as_deref()).await?;
        let page: Page = serde_json::from_str(&json).map_err(|error| no_list(&error))?;
        for raw in page.files {
            let listed: Listed = serde_json::from_str(raw.get()).map_err(|error| no_list(&error))?;
            files.push(Listed { json: raw.get().to_owned(), ..listed });
        }
        match page.next_cursor {
            None => return Ok(files),
            next if next == cursor => {
                let what = "the service's list of files does not get on".to_owned();
                return Err(ClientError::Unexpected { what });
            }
            next => cursor = next,
        }
    }
}

fn no_list(error: &serde_json::Error) -> ClientError {
    ClientError::Unexpected { what: format!("this is no list of files: {error}") }
}

fn show(files: &[Listed], as_json: bool) -> Result<(), OutputError> {
    if as_json {
        return files.iter().try_for_each(|file| output::json(&file.json));
    }
    if files.is_empty() {
        output::note("no files");
        return Ok(());
    }
    output::human(&table(files))
}

fn table(files: &[Listed]) -> String {
    let head = ["SIZE", "MODIFIED", "PATH"].map(str::to_owned);
    let rows = files.iter().map(|file| {
        [task_view::size(file.size_bytes), escape(&file.modified).into_owned(), one_line(&file.path)]
    });
    let rows: Vec<[String; 3]> = std::iter::once(head).chain(rows).collect();
    let width = |cell: fn(&[String; 3]) -> &String| {
        rows.iter().map(|row| cell(row).chars().count()).max().unwrap_or_default()
    };
    let (sizes, times) = (width(|[size, ..]| size), width(|[_, modified, _]| modified));
    let lines = rows.iter().enumerate().map(|(at, [size, modified, path])| {
        let line = format!("{size:>sizes$}  {modified:<times$}  {path}");
        if at == 0 { paint(BOLD, &line) } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn one_line(text: &str) -> String {
    escape(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// What is shown of files that are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A bar, and what it came to.
    Bar,
    /// The path of each file here, exactly.
    Paths,
    /// A line of JSON for each file.
    Json,
}

async fn fetch_all(
    client: &Client,
    task: &TaskId,
    files: &[Listed],
    dir: &Path,
    overwrite: Overwrite,
    form: Form,
) -> anyhow::Result<ExitCode> {
    let bar = bar(files, form);
    let wanted = |file: &Listed| Wanted { name: file.path.clone(), size_bytes: file.size_bytes };
    let fetched = futures_util::stream::iter(files.iter().map(wanted)).map(|wanted| {
        let bar = &bar;
        async move {
            let end = download::fetch(client, task, &wanted, dir, overwrite, bar).await;
            (wanted, end)
        }
    });
    let mut fetched = std::pin::pin!(fetched.buffer_unordered(AT_A_TIME));
    let mut failed = Vec::new();
    while let Some((wanted, end)) = fetched.next().await {
        let error = end.err().map(explained);
        bar.suspend(|| report(&wanted, dir, error.as_deref(), form))?;
        failed.extend(error.map(|error| (wanted.name, error)));
    }
    bar.finish_and_clear();
    if form == Form::Bar && failed.is_empty() {
        output::human(&summary(files, dir))?;
    }
    for (name, error) in &failed {
        output::error(&format!("{}: {}", one_line(name), escape(error)));
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    output::note(&format!("{} of {} files did not arrive", failed.len(), files.len()));
    Ok(ExitCode::from(exit::FAILURE))
}

fn bar(files: &[Listed], form: Form) -> ProgressBar {
    if form != Form::Bar {
        return ProgressBar::hidden();
    }
    let total = files.iter().fold(0_u64, |total, file| total.saturating_add(file.size_bytes));
    let bar = ProgressBar::new(total);
    match ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}") {
        Ok(style) => bar.with_style(style),
        Err(_malformed) => bar,
    }
}

fn report(wanted: &Wanted, dir: &Path, error: Option<&str>, form: Form) -> Result<(), OutputError> {
    let saved_to = download::target(dir, &wanted.name).unwrap_or_default();
    match (form, error) {
        (Form::Bar, _) | (Form::Paths, Some(_)) => Ok(()),
        (Form::Paths, None) => {
            let mut line = saved_to.into_os_string().into_encoded_bytes();
            line.push(b'\n');
            output::raw(&line)
        }
        (Form::Json, None) => {
            let saved_to = saved_to.to_string_lossy();
            output::json(&serde_json::json!({"path": wanted.name, "savedTo": saved_to}).to_string())
        }
        (Form::Json, Some(error)) => {
            output::json(&serde_json::json!({"path": wanted.name, "error": error}).to_string())
        }
    }
}

/// The error and what it comes from, in one line.
fn explained(error: DownloadError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

fn summary(files: &[Listed], dir: &Path) -> String {
    let total = files.iter().fold(0_u64, |total, file| total.saturating_add(file.size_bytes));
    let count = task_view::counted(u64::try_from(files.len()).unwrap_or(u64::MAX), "file");
    let place = escape(&dir.to_string_lossy()).into_owned();
    format!("{count}, {} {}", task_view::size(total), paint(DIM, &format!("in {place}")))
}

#[cfg(test)]
mod tests;
