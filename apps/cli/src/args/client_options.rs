//! Which service to ask, and how to print its answer.

use std::path::PathBuf;

use legwork_core::secret::Secret;

use crate::server_url::ServerUrl;

/// Options of every command that asks a service.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Service")]
pub(crate) struct ClientOptions {
    /// Where the service is. It has to be https, or on this machine, to be sent a secret.
    #[arg(long, env = "LEGWORK_URL", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) server: ServerUrl,

    /// The service's API token [default: the local service's own, if it can be read].
    #[arg(long, env = "LEGWORK_API_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<Secret<String>>,

    /// The local service's data folder, where its API token is [default: the user's data folder].
    #[arg(long, env = "LEGWORK_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Print JSON as the service sends it, in place of text for people.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}
