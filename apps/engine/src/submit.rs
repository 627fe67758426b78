//! Accepting a task: three round trips to the store, each of which may be repeated by anyone who
//! sends the same request again.
//!
//! 1. wrap a data key ∥ put the record if absent ∥ put the `due/` entry of the next start
//! 2. put the payload if absent ∥ put the `active/` marker ∥ put the `index/` entry
//! 3. start the worker, where the platform lets submitters do that

use std::{sync::Mutex, time::Duration};

use bytes::Bytes;
use legwork_core::{
    envelope::{self, DataKey, Envelope},
    id::{TaskId, Token},
    layout,
    record::{CreateRecord, Event, Payload, Record, Status, TaskKind},
    request::{Parsed, RequestError, Route, TaskRequest},
    secret::Secret,
    time::Timestamp,
};
use legwork_ports::{
    clock::IdSourceExt as _,
    jobs::{Job, JobsError, StartPolicy},
    keys::KeysError,
    storage::{Precondition, StorageError},
};

use crate::{
    Engine, MissingSetting,
    deliver::DELETE_AGAIN,
    records::{Patience, Step, UpdateError},
};

/// A submitter slower than this between winning the record and starting leaves the start to others.
const START_WINDOW: Duration = Duration::from_mins(1);
/// A creator slower than this looks again whether its payload is still wanted.
const RECHECK_AFTER: Duration = Duration::from_secs(5);
/// How long a count of open tasks is trusted.
const COUNT_TRUSTED: Duration = Duration::from_secs(1);

/// A task that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The task.
    pub task_id: TaskId,
    /// Where it stands.
    pub status: Status,
    /// Where its log is.
    pub logs_path: String,
    /// When it was first accepted.
    pub created_at: Timestamp,
    /// The execution that was started for it or has claimed it.
    pub execution_name: Option<String>,
    /// Whether the task was there before.
    pub existed: bool,
}

/// Why a task was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The request is not one.
    #[error(transparent)]
    Invalid(#[from] RequestError),
    /// The service lacks a setting.
    #[error("{message}")]
    NotConfigured {
        /// What clients are told.
        message: &'static str,
    },
    /// Another request has taken this taskId.
    #[error("taskId already exists with another request")]
    Exists,
    /// There are as many open tasks as the service takes.
    #[error("too many open tasks")]
    TooManyOpen,
    /// Something does not answer; the same request sent again resumes.
    #[error("{advice}")]
    Unavailable {
        /// What to do.
        advice: String,
    },
    /// Something refuses and will not heal by itself.
    #[error("{advice}")]
    Refused {
        /// What to do.
        advice: String,
    },
}

/// Counts open tasks, asking the store once a second at most.
#[derive(Debug, Default)]
pub(crate) struct OpenTaskGate {
    counted: Mutex<Option<(Duration, usize)>>,
}

impl Engine {
    /// Accepts a task, or recognises one that was accepted before.
    ///
    /// Sending the same request again is always safe: it resumes what an earlier one left undone, and
    /// never starts a second worker. Credentials may differ.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing runs then, but a task whose record was stored may still be started
    /// later where the error is `Unavailable` or `Refused`.
    pub async fn submit(&self, body: &[u8], route: Route) -> Result<Accepted, SubmitError> {
        if let Some(missing) = self.settings().missing {
            return Err(SubmitError::NotConfigured { message: missing.message() });
        }
        let Some(secrets) = &self.settings().callback_secrets else {
            return Err(SubmitError::NotConfigured { message: MissingSetting::CallbackSecret.message() });
        };
        let Parsed { request, canonical } = TaskRequest::parse(body, route, &self.settings().request_limits)?;
        let (id, named) = match request.task_id.clone() {
            Some(id) => (id, true),
            None => (self.ports().ids.task_id(), false),
        };
        self.admit(&id, named).await?;

        let digests = secrets.request_digests(route_path(route), &canonical);
        let submission = Submission { engine: self, id: &id, request: &request, route, digests };
        let accepted = submission.submit().await?;
        tracing::info!(task.id = %id, existed = accepted.existed, "task accepted");
        Ok(accepted)
    }

    /// Refuses new tasks while too many are open. A task that exists may always be asked for again.
    async fn admit(&self, id: &TaskId, named: bool) -> Result<(), SubmitError> {
        let max = self.settings().max_open_tasks;
        let now = self.ports().clock.monotonic();
        let trusted = self.inner.gate.count(now);
        let open = if let Some(open) = trusted {
            open
        } else {
            let listed =
                self.ports().storage.list(layout::ACTIVE, None, max).await.map_err(store_error)?.len();
            self.inner.gate.set(now, listed);
            listed
        };
        if open < max || (named && self.exists(id).await?) {
            self.inner.gate.add_one();
            return Ok(());
        }
        Err(SubmitError::TooManyOpen)
    }

    async fn exists(&self, id: &TaskId) -> Result<bool, SubmitError> {
        Ok(self.ports().read_record(id).await.map_err(update_error)?.is_some())
    }

    pub(crate) fn accepted(&self, record: &Record, existed: bool) -> Accepted {
        Accepted {
            task_id: record.task_id.clone(),
            status: record.status,
            logs_path: self.logs_path(&record.task_id),
            created_at: record.created_at,
            execution_name: record.execution_name.clone(),
            existed,
        }
    }

    /// Lists the task; its name is always the same.
    pub(crate) async fn put_index(&self, record: &Record) -> Result<(), StorageError> {
        let key = layout::index(record.created_at, &record.task_id);
        self.ports().put_patiently(&key, Bytes::new(), Precondition::Absent, Patience::Short).await
    }

    async fn put_payload(&self, id: &TaskId, sealed: &Bytes, patience: Patience) -> Result<(), StorageError> {
        self.ports().put_patiently(&layout::payload(id), sealed.clone(), Precondition::Absent, patience).await
    }

    /// Looks whether the task ended meanwhile and its sealed request is not wanted any more.
    async fn recheck(&self, id: &TaskId, patience: Patience) -> Result<Record, SubmitError> {
        let (record, _) = self
            .ports()
            .read_patiently(id, patience)
            .await
            .map_err(update_error)?
            .ok_or_else(|| unavailable("the record vanished; send the same request again"))?;
        if record.payload == Payload::Deleted {
            // An earlier try of the put may land once the object is gone: it is deleted once more.
            let again_at = self.ports().clock.now().plus(DELETE_AGAIN);
            self.ports().put_due(id, &record, again_at, patience).await.map_err(store_error)?;
            self.ports().delete_patiently(&layout::payload(id), patience).await.map_err(store_error)?;
        }
        Ok(record)
    }

    /// Marks that a process is responsible for the record's attempt.
    pub(crate) async fn put_active(&self, record: &Record) -> Result<(), StorageError> {
        let ports = self.ports();
        let mark = Bytes::from(ports.ids.token().as_str().to_owned());
        let key = layout::active(&record.task_id, record.attempt);
        // A worker's heartbeat must not be overwritten: absent, or it stands already.
        ports.put_patiently(&key, mark, Precondition::Absent, Patience::Short).await
    }

    /// Returns where a task's log is, for people and programs with access to the store.
    pub(crate) fn logs_path(&self, id: &TaskId) -> String {
        self.ports().storage.url(&layout::session(id))
    }
}

impl OpenTaskGate {
    fn count(&self, now: Duration) -> Option<usize> {
        let counted = *self.counted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        counted.filter(|(at, _)| now.saturating_sub(*at) < COUNT_TRUSTED).map(|(_, open)| open)
    }

    fn set(&self, now: Duration, open: usize) {
        *self.counted.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((now, open));
    }

    fn add_one(&self) {
        if let Some((_, open)) = &mut *self.counted.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        {
            *open = open.saturating_add(1);
        }
    }
}

/// One submission under way.
struct Submission<'a> {
    engine: &'a Engine,
    id: &'a TaskId,
    request: &'a TaskRequest,
    route: Route,
    /// The request's digest under each listed secret, the first being the one to write.
    digests: Vec<String>,
}

impl Submission<'_> {
    async fn submit(&self) -> Result<Accepted, SubmitError> {
        let ports = self.engine.ports();
        let began = ports.clock.monotonic();
        let token = ports.ids.token();
        let record = self.new_record(&token);
        let own_entry = record.starts.next_at;
        let mut key = [0; 32];
        ports.ids.fill(&mut key);
        let key: DataKey = Secret::new(key);

        let (wrapped, created, due) = futures_util::join!(
            ports.keys.wrap(&key, envelope::bound_data(self.id)),
            self.create(&record),
            ports.put_due(self.id, &record, record.starts.next_at, Patience::Short),
        );
        let (record, existed) = created?;
        due.map_err(store_error)?;
        if existed && own_entry != record.starts.next_at {
            // The record that stands asks for another one.
            self.engine.remove_moot(self.id, record.attempt, Some(own_entry));
        }
        let sealed = self.seal(&key, wrapped.map_err(keys_error)?);
        let same = self.route == Route::RunAsync && self.digests.contains(&record.request_digest);
        if existed && !same {
            return Err(SubmitError::Exists);
        }
        if existed && (record.status != Status::Pending || record.payload == Payload::Deleted) {
            self.engine.put_index(&record).await.map_err(store_error)?;
            return Ok(self.engine.accepted(&record, true));
        }

        if existed || ports.clock.monotonic().saturating_sub(began) >= RECHECK_AFTER {
            // Whoever created the record may have died before its entry stood; and one that stood for long
            // without its record may have been taken for a stray.
            ports
                .put_due(self.id, &record, record.starts.next_at, Patience::Short)
                .await
                .map_err(store_error)?;
        }
        let (payload, active, index) = futures_util::join!(
            self.put_payload(&sealed),
            self.engine.put_active(&record),
            self.engine.put_index(&record),
        );
        let elapsed = ports.clock.monotonic().saturating_sub(began);
        let is_in_doubt = payload.is_err();
        let put = payload.and(active).and(index).map_err(store_error);
        // Whatever came of the others: a sealed request that nobody wants any more is not to stay.
        let is_late = existed || elapsed >= RECHECK_AFTER;
        let rechecked =
            if is_late { self.engine.recheck(self.id, Patience::Short).await } else { Ok(record) };
        if is_in_doubt || rechecked.is_err() {
            self.decide_beside(sealed);
        }
        put?;
        let record = rechecked?;

        match ports.jobs.start_policy() {
            StartPolicy::WhenSlotFree => Ok(self.engine.accepted(&record, existed)),
            StartPolicy::AtOnce if !existed && elapsed < START_WINDOW => self.start(record).await,
            StartPolicy::AtOnce => self.resume_start(record).await,
        }
    }

    fn new_record(&self, token: &Token) -> Record {
        let callback = self.request.callback_url.as_ref();
        Record::create(CreateRecord {
            task_id: self.id.clone(),
            kind: match self.route {
                Route::Run => TaskKind::Sync,
                Route::RunAsync => TaskKind::Async,
            },
            callback_url: callback.map(legwork_core::request::CallbackUrl::shown),
            callback_target: callback.map(|url| url.target().to_owned()),
            now: self.engine.ports().clock.now(),
            metadata: metadata(&self.request.metadata),
            request_digest: self.digests.first().cloned().unwrap_or_default(),
            started_by_submitter: self.engine.ports().jobs.start_policy() == StartPolicy::AtOnce,
            token: token.clone(),
        })
    }

    /// Puts the record where there is none, and returns the one that stands, and whether somebody
    /// else's was there.
    async fn create(&self, record: &Record) -> Result<(Record, bool), SubmitError> {
        let ports = self.engine.ports();
        let key = layout::record(self.id);
        let bytes = Bytes::from(record.to_json());
        match ports.storage.put(&key, bytes.clone(), Precondition::Absent).await {
            Ok(_) => return Ok((record.clone(), false)),
            Err(StorageError::Conflict { .. }) => {}
            Err(_) => {
                let put = ports.put_patiently(&key, bytes, Precondition::Absent, Patience::Short);
                put.await.map_err(store_error)?;
            }
        }
        // A store may have applied the put and answered that the object is there: the token tells.
        let (stands, _) = ports
            .read_record(self.id)
            .await
            .map_err(update_error)?
            .ok_or_else(|| unavailable("the record vanished; send the same request again"))?;
        let existed = stands.creation != record.creation;
        Ok((stands, existed))
    }

    fn seal(&self, key: &DataKey, wrapped: Vec<u8>) -> Bytes {
        let mut iv = [0; 12];
        self.engine.ports().ids.fill(&mut iv);
        let plain = self.request.to_json(self.route, &self.engine.settings().request_limits);
        Bytes::from(Envelope::seal(plain.expose().as_bytes(), key, wrapped, iv, self.id).to_json())
    }

    async fn put_payload(&self, sealed: &Bytes) -> Result<(), StorageError> {
        self.engine.put_payload(self.id, sealed, Patience::Short).await
    }

    /// A put that was not answered may still land: it is made until it is decided, and undone if the task
    /// has ended meanwhile.
    fn decide_beside(&self, sealed: Bytes) {
        let (engine, id) = (self.engine.clone(), self.id.clone());
        self.engine.inner.background.spawn(async move {
            let put = engine.put_payload(&id, &sealed, Patience::Long).await.map_err(store_error);
            let decided = match put {
                Ok(()) => engine.recheck(&id, Patience::Long).await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = decided {
                tracing::warn!(task.id = %id, error = %error, "a sealed request may stay longer than it should");
            }
        });
    }

    /// Starts again what somebody else may have left unstarted, by the rule for everybody.
    async fn resume_start(&self, record: Record) -> Result<Accepted, SubmitError> {
        let ports = self.engine.ports();
        let now = ports.clock.now();
        if record.status != Status::Pending || record.starts.next_at > now {
            return Ok(self.engine.accepted(&record, true));
        }
        let token = ports.ids.token();
        let won = ports
            .update(
                self.id,
                Patience::Short,
                |record| record.starts.token == token,
                |record| {
                    let event = Event::Started { token: token.clone(), now };
                    let due = record.apply(event.clone())?.starts.next_at;
                    Ok(Step::swap_after(due, event))
                },
            )
            .await;
        match won {
            Ok((record, _)) => self.start(record).await,
            // Somebody else started it, or it has ended: both are as good.
            Err(UpdateError::NotAllowed(_)) => Ok(self.engine.accepted(&record, true)),
            Err(error) => Err(update_error(error)),
        }
    }

    async fn start(&self, record: Record) -> Result<Accepted, SubmitError> {
        let job = Job {
            task_id: self.id.clone(),
            attempt: record.attempt,
            payload_key: layout::payload(self.id),
            slot: None,
        };
        let execution = self.engine.ports().jobs.start(job).await.map_err(jobs_error)?;
        let mut accepted = self.engine.accepted(&record, false);
        accepted.execution_name = Some(execution.name);
        Ok(accepted)
    }
}

fn metadata(text: &str) -> Box<serde_json::value::RawValue> {
    serde_json::value::RawValue::from_string(text.to_owned()).unwrap_or_else(|_| {
        // The request's metadata was written by our own serialiser; an empty object is the safe reading.
        serde_json::value::to_raw_value(&serde_json::Map::new())
            .unwrap_or_else(|_| serde_json::value::RawValue::NULL.to_owned())
    })
}

fn route_path(route: Route) -> &'static str {
    match route {
        Route::RunAsync => "/run-async",
        Route::Run => "/run",
    }
}

fn unavailable(advice: &str) -> SubmitError {
    SubmitError::Unavailable { advice: advice.to_owned() }
}

fn store_error(error: StorageError) -> SubmitError {
    tracing::warn!(error = %error, source = ?std::error::Error::source(&error).map(ToString::to_string), "the store failed a submission");
    match error {
        StorageError::Refused { advice, .. } => {
            SubmitError::Refused { advice: format!("The store refuses: {advice}") }
        }
        StorageError::NotFound { .. }
        | StorageError::Conflict { .. }
        | StorageError::Unavailable { .. }
        | _ => unavailable("The store does not answer; send the same request again"),
    }
}

fn keys_error(error: KeysError) -> SubmitError {
    tracing::warn!(error = %error, source = ?std::error::Error::source(&error).map(ToString::to_string), "the key service failed a submission");
    match error {
        KeysError::Refused { advice, .. } => {
            SubmitError::Refused { advice: format!("The key service refuses: {advice}") }
        }
        KeysError::Rejected | KeysError::Unavailable { .. } | _ => {
            unavailable("The key service does not answer; send the same request again")
        }
    }
}

fn jobs_error(error: JobsError) -> SubmitError {
    tracing::warn!(error = %error, source = ?std::error::Error::source(&error).map(ToString::to_string), "the job service failed a submission");
    match error {
        JobsError::Refused { advice, .. } => SubmitError::Refused {
            advice: format!("The task is stored, but the job service refuses: {advice}"),
        },
        JobsError::Unavailable { .. } | _ => unavailable(
            "The task is stored, but the job service does not answer; send the same request again",
        ),
    }
}

fn update_error(error: UpdateError) -> SubmitError {
    match error {
        UpdateError::Store(error) => store_error(error),
        UpdateError::Unreadable(error) => {
            tracing::error!(error = %error, "a stored record cannot be read");
            SubmitError::Refused {
                advice: "The task's stored record cannot be read; use another taskId".to_owned(),
            }
        }
        UpdateError::Missing | UpdateError::NotAllowed(_) => {
            unavailable("The task changed meanwhile; send the same request again")
        }
    }
}
