//! Names of all variables that configure the programs.

/// Which adapters are wired: `local` or `gcp`.
pub const PLATFORM: &str = "LEGWORK_PLATFORM";
/// Port to listen on.
pub const PORT: &str = "PORT";
/// Address to listen on.
pub const HOST: &str = "HOST";
/// What clients have to show; `off` disables it.
pub const API_TOKEN: &str = "LEGWORK_API_TOKEN";
/// Further `Host` names that are accepted, comma-separated.
pub const ALLOWED_HOSTS: &str = "LEGWORK_ALLOWED_HOSTS";
/// Where the local platform keeps everything; nothing is kept there on Google Cloud.
pub const DATA_DIR: &str = "LEGWORK_DATA_DIR";
/// Google: the bucket that everything is kept in.
pub const BUCKET: &str = "GCS_LOGS_BUCKET";
/// Google: the project of the key and the job.
pub const PROJECT: &str = "PROJECT_ID";
/// Google: the project of the bucket, and of the others where `PROJECT_ID` is not set.
pub const BUCKET_PROJECT: &str = "GCS_PROJECT_ID";
/// Google: where the job is, and the key where nothing else is said.
pub const REGION: &str = "REGION";
/// Google: where the key is.
pub const KMS_LOCATION: &str = "KMS_LOCATION";
/// Google: the key ring.
pub const KMS_KEY_RING: &str = "KMS_KEY_RING";
/// Google: the key that wraps data keys.
pub const KMS_KEY_NAME: &str = "KMS_KEY_NAME";
/// Google: the job whose executions are workers.
pub const JOB_NAME: &str = "CLOUDRUN_JOB_NAME";
/// Google: another endpoint of Cloud Storage.
pub const GCS_ENDPOINT: &str = "GCS_ENDPOINT";
/// Google: another endpoint of Cloud KMS.
pub const KMS_ENDPOINT: &str = "KMS_ENDPOINT";
/// Google: another endpoint of Cloud Run.
pub const RUN_ENDPOINT: &str = "RUN_ENDPOINT";
/// Google: another endpoint of Cloud Scheduler, which `doctor` alone asks.
pub const SCHEDULER_ENDPOINT: &str = "SCHEDULER_ENDPOINT";
/// Google: where the schedule is that calls the reconciler; `REGION` where nothing is said.
pub const SCHEDULER_LOCATION: &str = "SCHEDULER_LOCATION";
/// Google: seek no credentials, for emulators.
pub const ANONYMOUS: &str = "LEGWORK_GCP_ANONYMOUS";
/// The short name of the execution that a worker is, as Cloud Run sets it.
pub const CLOUD_RUN_EXECUTION: &str = "CLOUD_RUN_EXECUTION";
/// A file of credentials of Google's, which no agent is to see.
pub const GOOGLE_CREDENTIALS: &str = "GOOGLE_APPLICATION_CREDENTIALS";
/// Signs callbacks; several, comma-separated, while they are rotated.
pub const CALLBACK_SECRET: &str = "CLOUDRUN_CALLBACK_SECRET";
/// The agent's program.
pub const CLAUDE_COMMAND: &str = "CLAUDE_COMMAND";
/// Where the credential proxy forwards to.
pub const UPSTREAM_URL: &str = "ANTHROPIC_UPSTREAM_URL";
/// Tools for requests that name none, comma-separated.
pub const ALLOWED_TOOLS: &str = "ALLOWED_TOOLS";
/// Permission mode for requests that name none.
pub const PERMISSION_MODE: &str = "PERMISSION_MODE";
/// Whether requests that do not say skip permissions.
pub const SKIP_PERMISSIONS: &str = "DANGEROUSLY_SKIP_PERMISSIONS";
/// Upper bound of `timeoutMinutes`.
pub const MAX_TIMEOUT_MINUTES: &str = "MAX_TIMEOUT_MINUTES";
/// Tasks that run at once on this machine.
pub const MAX_CONCURRENT_TASKS: &str = "MAX_CONCURRENT_TASKS";
/// Tasks that may be pending or running.
pub const MAX_OPEN_TASKS: &str = "MAX_OPEN_TASKS";
/// Followers of logs.
pub const MAX_WATCHERS: &str = "MAX_WATCHERS";
/// Request body limit in bytes.
pub const MAX_BODY_BYTES: &str = "MAX_BODY_BYTES";
/// Whether callbacks may reach addresses that are not globally routable.
pub const CALLBACK_ALLOW_PRIVATE: &str = "CALLBACK_ALLOW_PRIVATE";
/// Hosts that callbacks may go to, comma-separated.
pub const CALLBACK_ALLOWED_HOSTS: &str = "CALLBACK_ALLOWED_HOSTS";
/// Level or filter directives of the service's own log.
pub const LOG_LEVEL: &str = "LOG_LEVEL";
/// A chunk is written at latest this many milliseconds after its first line.
pub const LOG_FLUSH_MS: &str = "LOG_FLUSH_MS";
/// Lines of a chunk.
pub const LOG_CHUNK_LINES: &str = "LOG_CHUNK_LINES";
/// Bytes of a task's log.
pub const MAX_LOG_BYTES: &str = "MAX_LOG_BYTES";
/// Bytes of a line.
pub const MAX_LINE_BYTES: &str = "MAX_LINE_BYTES";
/// Hours for which the sealed request of a failed or cancelled task is kept.
pub const PAYLOAD_RETENTION_HOURS: &str = "PAYLOAD_RETENTION_HOURS";
/// Days after which settled tasks are removed.
pub const RETENTION_DAYS: &str = "RETENTION_DAYS";
/// Minutes without a line that end a task; 0: off.
pub const IDLE_TIMEOUT_MINUTES: &str = "IDLE_TIMEOUT_MINUTES";
/// Seconds that the agent may live on after its result.
pub const RESULT_GRACE_SECONDS: &str = "RESULT_GRACE_SECONDS";
/// Who ends what nobody else ends: `loop`, `request` or `off`.
pub const RECONCILER: &str = "RECONCILER";
/// Leave workspaces in place.
pub const KEEP_WORKSPACE: &str = "KEEP_WORKSPACE";
/// The task that a worker runs.
pub const TASK_ID: &str = "TASK_ID";
/// Key of the sealed request that a worker runs.
pub const PAYLOAD_PATH: &str = "ENCRYPTED_PAYLOAD_PATH";
/// The name of the execution that a worker is.
pub const EXECUTION: &str = "LEGWORK_EXECUTION";
/// Where programs are sought.
pub const PATH: &str = "PATH";
/// The user's home, below which the default data folder is.
pub const HOME: &str = "HOME";
/// The user's data folder, below which the default data folder is.
pub const XDG_DATA_HOME: &str = "XDG_DATA_HOME";

/// Files and folders that no agent is to see, separated by colons.
pub const HIDDEN_PATHS: &str = "LEGWORK_HIDDEN_PATHS";

/// What git needs to know of the network: proxies and certificate authorities.
pub const FOR_GIT: &[&str] = &[
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "GIT_SSL_CAINFO",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// All names that a worker is given by the service that starts it. The API token is among them to be masked.
pub const FOR_WORKERS: &[&str] = &[
    PLATFORM,
    DATA_DIR,
    API_TOKEN,
    CALLBACK_SECRET,
    CLAUDE_COMMAND,
    UPSTREAM_URL,
    ALLOWED_TOOLS,
    PERMISSION_MODE,
    SKIP_PERMISSIONS,
    MAX_TIMEOUT_MINUTES,
    MAX_OPEN_TASKS,
    CALLBACK_ALLOW_PRIVATE,
    CALLBACK_ALLOWED_HOSTS,
    LOG_LEVEL,
    LOG_FLUSH_MS,
    LOG_CHUNK_LINES,
    MAX_LOG_BYTES,
    MAX_LINE_BYTES,
    PAYLOAD_RETENTION_HOURS,
    IDLE_TIMEOUT_MINUTES,
    RESULT_GRACE_SECONDS,
    KEEP_WORKSPACE,
    HIDDEN_PATHS,
    PATH,
    HOME,
    XDG_DATA_HOME,
];
