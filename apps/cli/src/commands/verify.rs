//! `legwork verify`: judges the signature of one callback.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use legwork_core::signature::{Scheme, SigningSecrets, TOLERANCE_SECONDS, Verified, VerifyError};
use serde_json::json;

use crate::{
    exit::{self, UsageError},
    output, signature_check,
    style::{GOOD, paint},
    wall_clock,
};

/// Verifies the signature of one callback, from its body, its headers and the secret.
///
/// Every signature that the headers carry has to fit: X-Webhook-Signature, and webhook-signature of
/// Standard Webhooks. The body has to be what was received, byte for byte.
#[derive(Debug, clap::Args)]
#[command(after_help = MANUAL)]
pub(crate) struct Args {
    /// The callback secret; several are separated by commas, and one has to fit.
    #[arg(long, env = "CLOUDRUN_CALLBACK_SECRET", value_name = "SECRET", hide_env_values = true)]
    secret: String,
    /// A header of the callback; may be repeated.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// A file with the callback's headers, one a line.
    #[arg(long, value_name = "FILE")]
    headers_file: Option<PathBuf>,
    /// The file with the body; `-` is standard input.
    #[arg(long, value_name = "FILE", default_value = "-")]
    body: PathBuf,
    /// How far the signature's time may be from now; raise it for callbacks that were kept.
    #[arg(long, value_name = "SECONDS", default_value_t = TOLERANCE_SECONDS)]
    tolerance: u64,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
}

const MANUAL: &str = "\
Examples:
  legwork verify --secret \"$SECRET\" --body body.json \\
    --header 'X-Webhook-Timestamp: 1736512496' --header 'X-Webhook-Signature: sha256=9f86…'
  legwork verify --headers-file headers.txt --tolerance 86400 < body.json

With --json: {\"valid\": true, \"schemes\": […], \"signedAt\": seconds} or
{\"valid\": false, \"problem\": \"…\"}.

Exit codes: 0 the signature fits, 1 it does not (standard error says why), 2 usage.";

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let secrets = SigningSecrets::parse(&args.secret).map_err(|error| UsageError::new(error.to_string()))?;
    let headers = headers(args)?;
    let body = read_body(&args.body)?;
    let tolerance = Duration::from_secs(args.tolerance);
    let judge = |body: &[u8]| signature_check::check(&secrets, &headers, body, wall_clock::now(), tolerance);
    match judge(&body) {
        Ok(verified) => accepted(&verified, args.json),
        Err(error) => {
            let unbroken = body.strip_suffix(b"\n").is_some_and(|unbroken| judge(unbroken).is_ok());
            refused(&error, unbroken, args.json)
        }
    }
}

fn accepted(verified: &Verified, json: bool) -> anyhow::Result<ExitCode> {
    let schemes: Vec<_> = verified.schemes.iter().map(|scheme| header_of(*scheme)).collect();
    if json {
        output::json(
            &json!({"valid": true, "schemes": schemes, "signedAt": verified.signed_at}).to_string(),
        )?;
    } else {
        output::human(&format!("{} ({})", paint(GOOD, "valid"), schemes.join(", ")))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn refused(error: &VerifyError, fits_without_newline: bool, json: bool) -> anyhow::Result<ExitCode> {
    let hint = "; without the newline at its end the body fits, so something added it";
    let problem = format!("{error}{}", if fits_without_newline { hint } else { "" });
    if json {
        output::json(&json!({"valid": false, "problem": problem}).to_string())?;
    } else {
        output::error(&problem);
    }
    Ok(ExitCode::from(exit::FAILURE))
}

fn header_of(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Own => "X-Webhook-Signature",
        Scheme::StandardWebhooks => "webhook-signature",
    }
}

fn read_body(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut body = Vec::new();
        io::stdin().lock().read_to_end(&mut body).context("cannot read the body from standard input")?;
        return Ok(body);
    }
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn headers(args: &Args) -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for given in &args.headers {
        let header = header(given);
        found.push(header.ok_or_else(|| UsageError::new("--header wants 'Name: value'"))?);
    }
    if let Some(path) = &args.headers_file {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        // Lines that are no header, such as a request line, stand in many a dump.
        found.extend(text.lines().filter_map(header));
    }
    Ok(found)
}

fn header(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    let name = name.trim();
    let is_name = !name.is_empty() && !name.contains(char::is_whitespace);
    is_name.then(|| (name.to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_name_and_the_rest() {
        assert_eq!(header("X-A:  b: c \r"), Some(("X-A".to_owned(), "b: c".to_owned())));
        assert_eq!(header("POST http://a.example/ HTTP/1.1"), None);
        assert_eq!(header(": value"), None);
    }
}
