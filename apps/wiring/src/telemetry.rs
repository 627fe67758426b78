//! The programs' own log: to stderr, for people, or as Cloud Logging reads it.

mod cloud_logging;

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, filter::LevelFilter, layer::SubscriberExt as _};

use self::cloud_logging::CloudLogging;
use crate::config::{Config, GoogleConfig, Platform};

/// Crates of ours: a plain level is theirs alone.
const OURS: &[&str] = &[
    "legwork",
    "legwork_core",
    "legwork_ports",
    "legwork_adapters_local",
    "legwork_adapters_gcp",
    "legwork_engine",
    "legwork_wiring",
    "legwork_api",
    "legwork_worker",
    "legwork_cli",
];
/// Crates that would write headers, and with them credentials, at their finest levels.
const TALKATIVE: &[&str] = &[
    "hyper",
    "hyper_util",
    "h2",
    "reqwest",
    "rustls",
    "tower",
    "axum",
    "object_store",
    "google_cloud_auth",
    "google_cloud_gax_internal",
];

/// Begins to log as the configuration says.
///
/// # Errors
/// One sentence where the level is none, and no directives either.
pub fn start(config: &Config) -> Result<(), String> {
    let directives = directives(&config.log_level);
    let filter = EnvFilter::try_new(directives).map_err(|error| format!("LOG_LEVEL: {error}"))?;
    let is_terminal = std::io::stderr().is_terminal();
    let begun = match json_of(&config.platform, is_terminal) {
        Some(google) => {
            let registry = tracing_subscriber::registry().with(filter);
            tracing::subscriber::set_global_default(registry.with(CloudLogging::new(&google.project)))
        }
        None => tracing::subscriber::set_global_default(
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_ansi(is_terminal)
                .with_writer(std::io::stderr)
                .finish(),
        ),
    };
    begun.map_err(|error| error.to_string())
}

/// Returns for which project lines are JSON; nothing where they are text, as for somebody who sits before them.
fn json_of(platform: &Platform, is_terminal: bool) -> Option<&GoogleConfig> {
    match platform {
        Platform::Google(google) if !is_terminal => Some(google),
        Platform::Google(_) | Platform::Local => None,
    }
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
    use crate::config::{Endpoints, GoogleCredentials};

    #[test]
    fn a_plain_level_is_ours_alone() {
        let text = directives("trace");

        assert!(text.contains("legwork_engine=trace"));
        assert!(text.contains("hyper=warn"));
        assert!(!text.split(',').any(|part| part == "trace"));
    }

    #[test]
    fn lines_are_json_where_cloud_logging_reads_them() {
        let google = Platform::Google(Box::new(GoogleConfig {
            bucket: None,
            project: "p".to_owned(),
            region: String::new(),
            key: String::new(),
            job: String::new(),
            schedules: String::new(),
            endpoints: Endpoints::default(),
            credentials: GoogleCredentials::Anonymous,
            execution: None,
        }));

        assert_eq!(json_of(&google, false).map(|google| google.project.as_str()), Some("p"));
        assert!(json_of(&google, true).is_none());
        assert!(json_of(&Platform::Local, false).is_none());
    }
}
