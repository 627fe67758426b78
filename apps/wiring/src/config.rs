//! The validated configuration. All mistakes are reported together.

mod google;
mod reader;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use legwork_core::{
    request::{HostPattern, RequestLimits},
    secret::Secret,
    signature::SigningSecrets,
};
use legwork_engine::{LogSettings, MissingSetting, Ports};
use url::Url;

pub use self::google::{Endpoints, GoogleConfig, GoogleCredentials};
use self::reader::Reader;
use crate::{names, values::Values};

/// A Cloud Run job lives 24 hours at most, less what follows the agent's own time.
const LONGEST_TIMEOUT_MINUTES: u32 = 1405;
/// The agent's `PATH` where the service has none.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// One mistake in the configuration, as a sentence that says how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(pub String);

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which adapters are wired.
#[derive(Debug, Clone)]
pub enum Platform {
    /// This machine.
    Local,
    /// Google Cloud.
    Google(Box<GoogleConfig>),
}

/// What clients have to show.
#[derive(Debug, Clone)]
pub enum TokenSetting {
    /// The one in the data folder, made on first use.
    FromDataFolder,
    /// This one.
    Given(Secret<String>),
    /// Nothing: it is disabled, or Cloud Run's own check stands in front.
    Off,
}

/// When the service ends what nobody else ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReconcilerSetting {
    /// All the time.
    Loop,
    /// When it is asked to, by `POST /reconcile`.
    Request,
    /// Never: another process does.
    Off,
}

/// Wraps the ports of a service, a worker or a reconciler that is about to run on this configuration.
pub type PortsLayer = fn(&Config, Ports) -> Ports;

/// Everything that configures the programs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which adapters are wired.
    pub platform: Platform,
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0: any free one.
    pub port: u16,
    /// What clients have to show.
    pub api_token: TokenSetting,
    /// Further `Host` names that are accepted.
    pub allowed_hosts: Vec<String>,
    /// Where the local platform keeps everything; nothing is kept there on Google Cloud.
    pub data_dir: PathBuf,
    /// Signs callbacks; nothing: on this machine the one in the data folder, made on first use.
    pub callback_secrets: Option<SigningSecrets>,
    /// The agent's program.
    pub claude_command: String,
    /// The agent's `PATH`.
    pub agent_path: String,
    /// Where the credential proxy forwards to.
    pub upstream: Url,
    /// Limits and defaults of requests.
    pub request_limits: RequestLimits,
    /// Tasks that run at once on this machine.
    pub max_concurrent: NonZeroU32,
    /// Tasks that may be pending or running.
    pub max_open_tasks: usize,
    /// Followers of logs.
    pub max_watchers: usize,
    /// Request body limit in bytes.
    pub max_body_bytes: usize,
    /// Whether callbacks may reach addresses that are not globally routable.
    pub callback_allow_private: bool,
    /// Hosts that callbacks may go to; none: any.
    pub callback_allowed_hosts: Vec<HostPattern>,
    /// Level or filter directives of the service's own log.
    pub log_level: String,
    /// How tasks' logs are cut and bounded.
    pub log: LogSettings,
    /// How long the sealed request of a failed or cancelled task is kept.
    pub payload_retention: Duration,
    /// After how long settled tasks are removed from this machine; a bucket has its own lifecycle.
    pub retention: Duration,
    /// No line for so long ends a task.
    pub idle_timeout: Option<Duration>,
    /// How long the agent may live on after its result.
    pub result_grace: Duration,
    /// When the service ends what nobody else ends.
    pub reconciler: ReconcilerSetting,
    /// Leave workspaces in place.
    pub keep_workspace: bool,
    /// Files and folders that no agent is to see, besides the service's own.
    pub hidden: Vec<PathBuf>,
    /// What git is given as its environment.
    pub git_env: BTreeMap<String, String>,
    /// What workers are given as their environment.
    pub worker_env: Vec<(String, String)>,
    /// The file that was read.
    pub env_file: Option<PathBuf>,
    /// Wraps every port, for programs that embed the commands: to measure, or to make them fail.
    pub layer: PortsLayer,
}

impl Config {
    /// Checks all values and returns the configuration.
    ///
    /// # Errors
    /// Every mistake that was found.
    pub fn parse(values: &Values) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader { values, problems: Vec::new() };
        let platform = reader.platform();
        let defaults = Defaults::of(&platform);
        let host = values.get(names::HOST).unwrap_or(defaults.host).to_owned();
        let api_token = match values.get(names::API_TOKEN) {
            None => defaults.api_token,
            Some("off") => TokenSetting::Off,
            Some(token) => TokenSetting::Given(Secret::new(token.to_owned())),
        };
        let is_local = matches!(platform, Platform::Local);
        if is_local && matches!(api_token, TokenSetting::Off) && !is_loopback(&host) {
            reader.problem(format!(
                "{}=off would open the service to everybody who reaches {host}: set a token, or HOST=127.0.0.1",
                names::API_TOKEN
            ));
        }
        let callback_secrets =
            values.get(names::CALLBACK_SECRET).and_then(|text| match SigningSecrets::parse(text) {
                Ok(secrets) => Some(secrets),
                Err(error) => {
                    reader.problem(format!("{}: {error}", names::CALLBACK_SECRET));
                    None
                }
            });
        let max_timeout_minutes = reader.number(names::MAX_TIMEOUT_MINUTES, 60, 1..=LONGEST_TIMEOUT_MINUTES);
        let callback_allow_private = reader.boolean(names::CALLBACK_ALLOW_PRIVATE, is_local);
        let request_limits = RequestLimits {
            max_timeout_minutes,
            allowed_tools: list(values.get(names::ALLOWED_TOOLS)),
            permission_mode: reader.permission_mode(),
            dangerously_skip_permissions: reader.boolean(names::SKIP_PERMISSIONS, false),
            callback_allow_private,
        };
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let half = u32::try_from(cores / 2).unwrap_or(u32::MAX).max(1);
        let max_concurrent = reader.number(names::MAX_CONCURRENT_TASKS, half, 1..=10_000);
        let idle_minutes = reader.number(names::IDLE_TIMEOUT_MINUTES, 0_u64, 0..=100_000);
        let config = Self {
            platform,
            port: reader.number(names::PORT, 8080, 0..=u16::MAX),
            allowed_hosts: list(values.get(names::ALLOWED_HOSTS)),
            data_dir: reader.data_dir(is_local),
            claude_command: values.get(names::CLAUDE_COMMAND).unwrap_or("claude").to_owned(),
            agent_path: values.get(names::PATH).unwrap_or(DEFAULT_PATH).to_owned(),
            upstream: reader.upstream(),
            max_concurrent: NonZeroU32::new(max_concurrent).unwrap_or(NonZeroU32::MIN),
            max_open_tasks: reader.number(names::MAX_OPEN_TASKS, 1000, 1..=1_000_000),
            max_watchers: reader.number(names::MAX_WATCHERS, 1000, 1..=1_000_000),
            max_body_bytes: reader.number(names::MAX_BODY_BYTES, 2_097_152, 1024..=16_777_216),
            callback_allowed_hosts: reader.host_patterns(),
            log_level: values.get(names::LOG_LEVEL).unwrap_or("info").to_owned(),
            log: LogSettings {
                flush_after: Duration::from_millis(reader.number(
                    names::LOG_FLUSH_MS,
                    defaults.log_flush_ms,
                    1..=60_000,
                )),
                chunk_lines: reader.number(names::LOG_CHUNK_LINES, 100, 1..=100_000),
                max_log_bytes: reader.number(names::MAX_LOG_BYTES, 1_073_741_824, 1024..=u64::MAX),
                max_line_bytes: reader.number(names::MAX_LINE_BYTES, 8_388_608, 65_536..=8_388_608),
            },
            payload_retention: hours(reader.number(
                names::PAYLOAD_RETENTION_HOURS,
                defaults.payload_retention_hours,
                0..=8760,
            )),
            retention: hours(reader.number::<u64>(names::RETENTION_DAYS, 30, 1..=36_500).saturating_mul(24)),
            idle_timeout: Some(Duration::from_secs(idle_minutes.saturating_mul(60)))
                .filter(|idle| !idle.is_zero()),
            result_grace: Duration::from_secs(reader.number(names::RESULT_GRACE_SECONDS, 30, 1..=3600)),
            reconciler: reader.reconciler(defaults.reconciler),
            keep_workspace: reader.boolean(names::KEEP_WORKSPACE, false),
            hidden: hidden(values),
            git_env: given(values, names::FOR_GIT).collect(),
            worker_env: given(values, names::FOR_WORKERS).chain(given(values, names::FOR_GIT)).collect(),
            env_file: values.file().map(ToOwned::to_owned),
            layer: |_, ports| ports,
            host,
            api_token,
            callback_secrets,
            request_limits,
            callback_allow_private,
        };
        if !is_local && config.keep_workspace {
            reader.problem(format!(
                "{} is for the local platform: the disk of an execution is gone with it",
                names::KEEP_WORKSPACE
            ));
        }
        for name in names::FOR_WORKERS.iter().filter(|name| values.is_broken(name)) {
            reader.problem(format!("{name} is not UTF-8 text"));
        }
        if reader.problems.is_empty() { Ok(config) } else { Err(reader.problems) }
    }

    /// Returns the setting without which tasks cannot be accepted, if it is missing.
    pub fn missing(&self) -> Option<MissingSetting> {
        let Platform::Google(google) = &self.platform else { return None };
        match (&google.bucket, &self.callback_secrets) {
            (None, _) => Some(MissingSetting::Bucket),
            (Some(_), None) => Some(MissingSetting::CallbackSecret),
            (Some(_), Some(_)) => None,
        }
    }

    /// Returns whether only this machine reaches the service.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

/// What a platform presumes where nothing is said.
struct Defaults {
    host: &'static str,
    api_token: TokenSetting,
    log_flush_ms: u64,
    payload_retention_hours: u64,
    reconciler: ReconcilerSetting,
}

impl Defaults {
    fn of(platform: &Platform) -> Self {
        match platform {
            Platform::Local => Self {
                host: "127.0.0.1",
                api_token: TokenSetting::FromDataFolder,
                log_flush_ms: 100,
                payload_retention_hours: 24,
                reconciler: ReconcilerSetting::Loop,
            },
            Platform::Google(_) => Self {
                host: "0.0.0.0",
                api_token: TokenSetting::Off,
                log_flush_ms: 1000,
                payload_retention_hours: 0,
                reconciler: ReconcilerSetting::Request,
            },
        }
    }
}

/// Where programs keep credentials in a user's home.
const CREDENTIALS: &[&str] = &[
    ".aws",
    ".azure",
    ".claude/.credentials.json",
    ".claude.json",
    ".config/gcloud",
    ".config/gh",
    ".config/git/credentials",
    ".docker",
    ".git-credentials",
    ".gnupg",
    ".kube",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".ssh",
];

/// What no agent is to see besides the data folder: what the operator names, the file that was read, and
/// this user's credentials.
fn hidden(values: &Values) -> Vec<PathBuf> {
    let named =
        values.get(names::HIDDEN_PATHS).unwrap_or_default().split(':').filter(|path| !path.is_empty());
    let home = values.get(names::HOME).map(PathBuf::from);
    let credentials = home.iter().flat_map(|home| CREDENTIALS.iter().map(|name| home.join(name)));
    let file = values.file().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let google = values.get(names::GOOGLE_CREDENTIALS).map(PathBuf::from);
    named.map(PathBuf::from).chain(file).chain(google).chain(credentials).collect()
}

fn given<'v>(values: &'v Values, names: &'v [&str]) -> impl Iterator<Item = (String, String)> + use<'v> {
    names.iter().filter_map(|name| values.get(name).map(|value| ((*name).to_owned(), value.to_owned())))
}

/// Returns the data folder: the one that is named, or the user's own; nothing where the user has none.
pub fn default_data_dir(values: &Values) -> Option<PathBuf> {
    let named = values.get(names::DATA_DIR).map(PathBuf::from);
    let absolute = |name| values.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let chosen = named
        .or_else(|| absolute(names::XDG_DATA_HOME).map(|folder| folder.join("legwork")))
        .or_else(|| absolute(names::HOME).map(|home| home.join(".local/share/legwork")))?;
    Some(std::path::absolute(&chosen).unwrap_or(chosen))
}

/// Returns whether a host names this machine alone.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn list(text: Option<&str>) -> Vec<String> {
    let parts = text.unwrap_or_default().split(',').map(str::trim);
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours.saturating_mul(3600))
}
