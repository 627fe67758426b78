//! Other commands of the program, beside a service.

use tokio::process::Command;

use crate::Service;

/// What a command has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its exit code; nothing where a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a command of the program with a service's address, token and data folder, and returns what it said.
pub async fn beside(service: &Service, program: &str, arguments: &[&str], env: &[(&str, &str)]) -> Said {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("LEGWORK_URL", &service.url)
        .env("LEGWORK_API_TOKEN", &service.token)
        .envs(service.platform_env())
        .env("CLOUDRUN_CALLBACK_SECRET", "e2e-callback-secret")
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .envs(env.iter().copied())
        .current_dir("/")
        .output()
        .await
        .expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}
