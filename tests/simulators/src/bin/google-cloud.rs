//! Simulations of Cloud Storage, Cloud KMS and Cloud Run, to be used by hand.
//!
//! `google-cloud [PROGRAM [ARGUMENT…]]` prints the environment that leads Legwork to them and serves
//! until it is interrupted. The program is started for each execution of the job, with that environment
//! and its own.

use std::io::{self, Write as _};

use legwork_simulators::google::GoogleCloud;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut words = std::env::args().skip(1);
    let mut cloud = GoogleCloud::start().await;
    let environment = cloud.environment();
    if let Some(program) = words.next() {
        let own = std::env::vars().filter(|(name, _)| environment.iter().all(|(ours, _)| ours != name));
        let all: Vec<_> = own.chain(environment.iter().cloned()).collect();
        cloud = cloud.with_worker(program, words, all);
    }
    let lines = environment.iter().map(|(name, value)| format!("export {name}={value}\n"));
    io::stdout().write_all(lines.collect::<Vec<_>>().concat().as_bytes())?;
    io::stdout().flush()?;
    // Both arms only wait for a signal.
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _terminated = terminated.recv() => {}
    }
    drop(cloud);
    Ok(())
}
