//! `legwork listen`: a receiver of callbacks for development.

use std::{net::IpAddr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use axum::http::StatusCode;
use legwork_core::signature::SigningSecrets;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

use crate::{
    exit::UsageError,
    interrupts::Interrupts,
    output::{self, OutputError},
    receiver::{self, Delivery},
    style::{BAD, BOLD, DIM, paint},
    task_facts::TaskFacts,
    task_view,
    terminal::escape,
};

/// How many callbacks may wait to be printed.
const WAITING: usize = 64;

/// Receives callbacks, verifies their signatures and prints them, until Ctrl-C.
///
/// Callbacks that are not signed with the secret, or whose time is more than 5 minutes off, are
/// answered with 401. Any path is taken.
#[derive(Debug, clap::Args)]
#[command(after_help = MANUAL)]
pub(crate) struct Args {
    /// The port to listen on; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 8787)]
    port: u16,
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,
    /// The callback secret; several are separated by commas [default: the local service's own].
    #[arg(long, env = "CLOUDRUN_CALLBACK_SECRET", value_name = "SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// The local service's data folder, where its secret is [default: the user's data folder].
    #[arg(long, env = "LEGWORK_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The HTTP status to answer verified callbacks with; try 503 to see deliveries repeated.
    #[arg(long, value_name = "STATUS", default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..600))]
    status: u16,
    /// Print one JSON object a line in place of text for people.
    #[arg(long)]
    json: bool,
}

const MANUAL: &str = "\
Example, in two terminals:
  legwork listen
  legwork submit 'Say hello' --callback http://127.0.0.1:8787/done

With --json: {\"verified\", \"answered\", \"webhookId\", \"problem\", \"body\"} for each callback; the
body is null where it is not verified. The address stands on standard error at the start.

Exit codes: 0 ended by Ctrl-C, 1 the port is taken, 2 usage or no secret.";

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let secrets = secrets(&args)?;
    let status = StatusCode::from_u16(args.status)?;
    let mut interrupts = Interrupts::listen()?;
    let address = (args.host, args.port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {}, port {}", args.host, args.port))?;
    output::note(&format!("Listening on http://{} (Ctrl-C ends)", listener.local_addr()?));
    let (sender, mut deliveries) = mpsc::channel(WAITING);
    let receiving = receiver::receive(listener, secrets, status, sender);
    let printing = async {
        while let Some(delivery) = deliveries.recv().await {
            print(&delivery, args.json)?;
        }
        Ok::<(), OutputError>(())
    };
    tokio::select! {
        // All three end the command: what is dropped with it is a callback that its sender repeats.
        ended = receiving => ended.context("cannot go on listening")?,
        printed = printing => printed?,
        () = interrupts.next() => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn secrets(args: &Args) -> Result<SigningSecrets, UsageError> {
    let local = || legwork_wiring::client::local_callback_secret(args.data_dir.as_deref());
    let Some(text) = args.secret.clone().or_else(local) else {
        return Err(UsageError::new(
            "no callback secret: give --secret or CLOUDRUN_CALLBACK_SECRET, or start the local service once",
        ));
    };
    SigningSecrets::parse(&text).map_err(|error| UsageError::new(error.to_string()))
}

fn print(delivery: &Delivery, as_json: bool) -> Result<(), OutputError> {
    if as_json { output::json(&json_line(delivery)) } else { output::human(&text(delivery)) }
}

/// Shows a callback as one line of JSON. An unverified body is left out: anybody may have sent it.
fn json_line(delivery: &Delivery) -> String {
    let body: Value = match &delivery.verified {
        Ok(_) => serde_json::from_slice(&delivery.body)
            .unwrap_or_else(|_not_json| String::from_utf8_lossy(&delivery.body).into()),
        Err(_) => Value::Null,
    };
    json!({
        "verified": delivery.verified.is_ok(),
        "answered": delivery.answered,
        "webhookId": delivery.webhook_id,
        "problem": delivery.verified.as_ref().err().map(ToString::to_string),
        "body": body,
    })
    .to_string()
}

fn text(delivery: &Delivery) -> String {
    let id = escape(delivery.webhook_id.as_deref().unwrap_or("without id"));
    let answered = paint(DIM, &format!("answered {} to {id}", delivery.answered));
    if let Err(problem) = &delivery.verified {
        return format!("{} {problem}\n  {answered}", paint(BAD, "refused:"));
    }
    let body = String::from_utf8_lossy(&delivery.body);
    match TaskFacts::parse(&body) {
        Ok(task) => {
            format!("{} {}\n  {answered}", paint(BOLD, &escape(&task.task_id)), task_view::ending(&task))
        }
        Err(_) => format!("{}\n  {answered}", escape(&body)),
    }
}

#[cfg(test)]
mod tests {
    use legwork_core::signature::{Verified, VerifyError};

    use super::*;

    fn delivery(verified: Result<Verified, VerifyError>) -> Delivery {
        let body = r#"{"taskId":"a-1","status":"completed","exitCode":0}"#.into();
        Delivery { webhook_id: Some("a-1.1".to_owned()), answered: 200, verified, body }
    }

    #[test]
    fn a_verified_callback_is_shown_whole() {
        let verified = delivery(Ok(Verified { schemes: vec![], signed_at: 1 }));

        let line: Value = serde_json::from_str(&json_line(&verified)).unwrap();

        assert_eq!(line["body"]["taskId"], "a-1");
        assert_eq!((&line["verified"], &line["webhookId"]), (&json!(true), &json!("a-1.1")));
        let shown = anstream::adapter::strip_str(&text(&verified)).to_string();
        assert_eq!(shown, "a-1 ✔ completed · exit 0\n  answered 200 to a-1.1");
    }

    #[test]
    fn of_an_unverified_callback_only_the_problem_is_shown() {
        let refused = delivery(Err(VerifyError::NoSignature));

        let line: Value = serde_json::from_str(&json_line(&refused)).unwrap();

        assert_eq!((&line["verified"], &line["body"]), (&json!(false), &Value::Null));
        assert!(text(&refused).contains(&VerifyError::NoSignature.to_string()));
        assert!(!text(&refused).contains("completed"));
    }
}
