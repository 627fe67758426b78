//! The programs' own log: to stderr, for people.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Crates of ours: a plain level is theirs alone.
const OURS: &[&str] = &[
    "legwork",
    "legwork_core",
    "legwork_ports",
    "legwork_adapters_local",
    "legwork_engine",
    "legwork_wiring",
    "legwork_api",
    "legwork_worker",
    "legwork_cli",
];
/// Crates that would write headers, and with them credentials, at their finest levels.
const TALKATIVE: &[&str] = &["hyper", "hyper_util", "h2", "reqwest", "rustls", "tower", "axum"];

/// Begins to log at this level, or by these filter directives.
///
/// # Errors
/// One sentence where `level` is neither.
pub fn start(level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(directives(level)).map_err(|error| format!("LOG_LEVEL: {error}"))?;
    let stderr = std::io::stderr();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr.is_terminal())
        .with_writer(std::io::stderr)
        .finish();
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())
}

/// Turns a level into directives for our crates, and keeps others from writing what they carry.
fn directives(level: &str) -> String {
    let mut parts = Vec::new();
    if level.parse::<LevelFilter>().is_ok() {
        parts.push("warn".to_owned());
        parts.extend(OURS.iter().map(|name| format!("{name}={level}")));
    } else {
        parts.push(level.to_owned());
    }
    parts.extend(TALKATIVE.iter().map(|name| format!("{name}=warn")));
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_level_is_ours_alone() {
        let text = directives("trace");

        assert!(text.contains("legwork_engine=trace"));
        assert!(text.contains("hyper=warn"));
        assert!(!text.split(',').any(|part| part == "trace"));
    }
}
