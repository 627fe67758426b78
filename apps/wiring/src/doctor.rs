//! Checks of a configuration, end to end: each does what the programs will do, and says how to mend what fails.

mod google;
mod machine;

use std::{error::Error, fmt, time::Duration};

use bytes::Bytes;
use legwork_core::secret::Secret;
use legwork_engine::{MissingSetting, Ports};
use legwork_ports::{
    keys::KeysError,
    storage::{Precondition, StorageError},
};

use crate::{
    config::{Config, Platform, ReconcilerSetting},
    platform::{self, PlatformError},
};

/// How long one check may take.
const PATIENCE: Duration = Duration::from_secs(45);
/// What mends what may pass by itself.
const TRY_AGAIN: &str = "see whether it is reached from here, and try again";
/// Where the store is tried. No task is there.
const FOLDER: &str = "doctor";

/// What a check has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It works.
    Works,
    /// It was not tried, as it cannot be from here.
    Untried,
    /// It works, or cannot be told from here; somebody should know.
    Warning,
    /// Tasks will fail by it.
    Fails,
}

/// One check and what has come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was checked: one word.
    pub check: &'static str,
    /// What has come of it.
    pub outcome: Outcome,
    /// What was seen, as a sentence without a full stop.
    pub detail: String,
    /// What mends it, where something has to be mended.
    pub mend: Option<String>,
}

impl Finding {
    fn works(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Works, detail: detail.into(), mend: None }
    }

    fn untried(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Untried, detail: detail.into(), mend: None }
    }

    fn warning(check: &'static str, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Warning, detail: detail.into(), mend: Some(mend.into()) }
    }

    fn fails(check: &'static str, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Fails, detail: detail.into(), mend: Some(mend.into()) }
    }
}

/// Checks everything that the configuration names, and returns a finding for each in the order in which
/// a task meets them.
///
/// # Errors
/// [`PlatformError`] where nothing can be checked at all.
pub async fn examine(config: &Config) -> Result<Vec<Finding>, PlatformError> {
    let service = platform::service(config).await?;
    let ports = service.engine.ports();
    let (store, keys) = tokio::join!(in_time("store", store(ports)), in_time("key", key(ports)));
    let mut findings = vec![secret(config), store, keys];
    match &config.platform {
        Platform::Local => {
            findings.push(reconciler(config));
            findings.extend(machine::examine(config).await);
        }
        Platform::Google(google) => findings.extend(google::examine(config, google).await?),
    }
    Ok(findings)
}

/// Gives a check its time.
async fn in_time(check: &'static str, work: impl Future<Output = Finding>) -> Finding {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(finding) => finding,
        Err(_) => Finding::fails(
            check,
            format!("no answer within {} s", PATIENCE.as_secs()),
            "see whether this machine reaches it, and try again",
        ),
    }
}

fn secret(config: &Config) -> Finding {
    match (&config.platform, &config.callback_secrets) {
        (_, Some(secrets)) => Finding::works("secret", format!("{} sign callbacks", secrets.all().len())),
        (Platform::Local, None) => Finding::works("secret", "the data folder's own signs callbacks"),
        (Platform::Google(_), None) => Finding::fails(
            "secret",
            MissingSetting::CallbackSecret.message(),
            "run ./scripts/create-secrets.sh, then ./scripts/deploy-service.sh and ./scripts/deploy-job.sh",
        ),
    }
}

fn reconciler(config: &Config) -> Finding {
    match config.reconciler {
        ReconcilerSetting::Loop => {
            Finding::works("reconciler", "the service looks after its tasks by itself")
        }
        ReconcilerSetting::Request => Finding::warning(
            "reconciler",
            "the service looks after its tasks only when it is asked to",
            "call POST /reconcile every minute, or set RECONCILER=loop",
        ),
        ReconcilerSetting::Off => Finding::warning(
            "reconciler",
            "the service does not look after its tasks",
            "let `legwork reconcile` run beside it, or set RECONCILER=loop",
        ),
    }
}

/// Writes, swaps, lists, reads and deletes an object.
async fn store(ports: &Ports) -> Finding {
    let mut name = [0; 8];
    ports.ids.fill(&mut name);
    let key = format!("{FOLDER}/{}", legwork_core::hex::encode(&name));
    let tried = try_store(ports, &key).await;
    // Whatever came of it: nothing is to be left.
    let deleted = ports.storage.delete(&key).await;
    match tried.and_then(|whole| deleted.map(|()| whole)) {
        Ok(true) => Finding::works(
            "store",
            format!("{}: written, swapped, listed, read and deleted", ports.storage.url("")),
        ),
        Ok(false) => Finding::fails(
            "store",
            format!("{} does not give back what was written", ports.storage.url("")),
            "use a bucket, or a folder, that nothing else writes into",
        ),
        Err(StorageError::Refused { advice, source, .. }) => {
            Finding::fails("store", Chain(source.as_ref()).to_string(), advice)
        }
        Err(error) => Finding::fails("store", Chain(&error).to_string(), TRY_AGAIN),
    }
}

async fn try_store(ports: &Ports, key: &str) -> Result<bool, StorageError> {
    let storage = &ports.storage;
    let (first, second) = (Bytes::from_static(b"one"), Bytes::from_static(b"two"));
    let version = storage.put(key, first.clone(), Precondition::Absent).await?;
    let again = storage.put(key, first, Precondition::Absent).await;
    storage.put(key, second.clone(), Precondition::Unchanged(version)).await?;
    let listed = storage.list(&format!("{FOLDER}/"), None, 100).await?;
    let read = storage.get(key).await?;
    let is_refused = matches!(again, Err(StorageError::Conflict { .. }));
    Ok(is_refused && listed.iter().any(|entry| entry.key == key) && read.bytes == second)
}

/// Wraps a key and opens it again. The service may only do the one, a worker only the other.
async fn key(ports: &Ports) -> Finding {
    let mut bytes = [0; 32];
    ports.ids.fill(&mut bytes);
    let key = Secret::new(bytes);
    let bound = FOLDER.as_bytes();
    let wrapped = match ports.keys.wrap(&key, bound).await {
        Ok(wrapped) => wrapped,
        Err(KeysError::Refused { advice, source }) => {
            return Finding::fails("key", Chain(source.as_ref()).to_string(), advice);
        }
        Err(error) => return Finding::fails("key", Chain(&error).to_string(), TRY_AGAIN),
    };
    match ports.keys.unwrap(&wrapped, bound).await {
        Ok(opened) if opened == key => Finding::works("key", "wraps and opens data keys"),
        Ok(_) => Finding::fails("key", "another key comes back than went in", "use another key"),
        Err(KeysError::Refused { advice, source }) => Finding::warning(
            "key",
            format!("wraps data keys; opening them is refused here: {}", Chain(source.as_ref())),
            format!("nothing, where this is the service's own account; for a worker's: {advice}"),
        ),
        Err(error) => Finding::fails("key", Chain(&error).to_string(), TRY_AGAIN),
    }
}

/// An error and what it comes from.
struct Chain<'e>(&'e (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let causes = std::iter::successors(Some(self.0), |error| (*error).source());
        for (place, cause) in causes.enumerate() {
            let between = if place == 0 { "" } else { ": " };
            write!(f, "{between}{cause}")?;
        }
        Ok(())
    }
}
