//! Everything around the agent: its log, its folders, its gateway; and how they come to an end.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use legwork_core::{
    claude::{command, log_line, verdict},
    record::{ErrorCode, Outcome, Status, Summary, Verdict},
    redact::{Redactor, SecretKind},
    request::TaskRequest,
    secret::Secret,
};
use legwork_ports::{
    agent::{AgentCommand, AgentError, AgentRun, Stderr},
    clock::IdSourceExt as _,
    gateway::OpenGateway,
    workspace::{Cloned, ConfigFile, Folders, Placed, SigningAgent},
};
use tokio_util::sync::CancellationToken;

use super::{
    Closing,
    conversation::Conversation,
    interruption::{self, Interruptions, LINES_AFTER_STOP, StopReason},
    preparation::signing_env,
};
use crate::{
    Engine, WorkerPorts,
    claim::ClaimedAttempt,
    logs::{LineBatch, LogWriter},
    oversight::Orders,
};

/// How long lines are waited for after the agent has ended.
const LINES_DEADLINE: Duration = Duration::from_mins(10);

/// Why the agent could not be run at all.
#[derive(Debug)]
pub(super) struct Unplayable {
    pub(super) code: ErrorCode,
    pub(super) error: String,
    pub(super) detail: Option<String>,
}

/// Why a run has no result of its own.
#[derive(Debug)]
pub(super) enum Ended {
    /// The agent could not be run.
    Unplayable(Unplayable),
    /// Something ended it early.
    Stopped(StopReason),
}

impl From<Unplayable> for Ended {
    fn from(unplayable: Unplayable) -> Self {
        Self::Unplayable(unplayable)
    }
}

/// What a run has found, before its lines are all stored.
pub(super) struct Found {
    pub(super) verdict: Verdict,
    pub(super) summary: Summary,
    pub(super) lines_truncated: u64,
}

/// What has been made for a run so far.
#[derive(Debug, Default)]
pub(super) struct Scene {
    pub(super) folders: Option<Folders>,
    pub(super) cloned: Option<Cloned>,
    pub(super) placed: Placed,
}

/// One run and what it uses.
pub(super) struct Stage<'a> {
    pub(super) engine: &'a Engine,
    pub(super) worker: &'a WorkerPorts,
    pub(super) claimed: &'a ClaimedAttempt,
    pub(super) orders: Orders,
    pub(super) stop: CancellationToken,
    pub(super) redactor: Arc<Redactor>,
    pub(super) log: LogWriter,
    /// Lines of the request's commands of which only the beginning was kept.
    pub(super) lines_cut: AtomicU64,
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        worker: &'a WorkerPorts,
        claimed: &'a ClaimedAttempt,
        orders: Orders,
        stop: CancellationToken,
    ) -> Self {
        let record = &claimed.record;
        let log =
            LogWriter::start(engine.ports(), &record.task_id, record.first_chunk, &engine.settings().log);
        let redactor = Arc::new(redactor(engine, claimed.request.as_ref().ok()));
        Self { engine, worker, claimed, orders, stop, redactor, log, lines_cut: AtomicU64::new(0) }
    }

    /// Plays the run and returns what ends the attempt.
    pub(super) async fn play(self) -> Closing {
        let mut scene = Scene::default();
        let found = match self.perform(&mut scene).await {
            Ok(found) => found,
            Err(Ended::Stopped(StopReason::ClaimLost)) => {
                self.remove_workspace().await;
                return Closing::NotOurs;
            }
            Err(Ended::Stopped(reason)) => self.cut_short(reason),
            Err(Ended::Unplayable(unplayable)) => self.give_up(unplayable).await,
        };
        // Boxed: it holds what all actions need.
        Box::pin(self.close(found, scene)).await
    }

    async fn say_hello(&self, folders: Option<&Folders>) {
        let isolation: serde_json::Map<_, _> = self
            .worker
            .workspace
            .isolation(folders)
            .into_iter()
            .map(|(name, word)| (name, word.into()))
            .collect();
        let isolation = serde_json::Value::Object(isolation).to_string();
        let now = self.engine.ports().clock.now();
        let line = log_line::session_init(self.claimed.record.attempt, &isolation, now);
        self.log.write(LineBatch::one(&line)).await;
        let left_out = self.redactor.left_out();
        if left_out > 0 {
            self.warn(&format!(
                "the request has so many or so long secrets that {left_out} encoded forms of the longest are not masked"
            ))
            .await;
        }
    }

    /// Prepares the workspace and runs the agent in it.
    async fn perform(&self, scene: &mut Scene) -> Result<Found, Ended> {
        let request = match &self.claimed.request {
            Ok(request) => request,
            Err(error) => {
                self.say_hello(None).await;
                return Err(internal("The sealed request cannot be opened", error).into());
            }
        };
        let record = &self.claimed.record;
        let workspace = self.worker.workspace.as_ref();
        let prepared = workspace.prepare(&record.task_id, record.attempt).await;
        // After the folders: which user the agent has is known now.
        self.say_hello(prepared.as_ref().ok()).await;
        let prepared = prepared.map_err(|error| internal("The workspace could not be made", &error))?;
        let folders = scene.folders.insert(prepared).clone();
        let interruptions = self.interruptions(request);

        if let Some(source) = &request.git {
            scene.cloned = Some(self.clone_repository(source, &folders, &interruptions).await?);
        }
        let directory = self.directory(request, &folders).await?;
        self.place_files(request, &folders, &directory, &mut scene.placed).await?;
        let signing = self.open_signing_agent(request, &folders).await?;

        let token = Secret::new(self.engine.ports().ids.token().as_str().to_owned());
        let gateway = self
            .worker
            .gateway
            .open(&request.credential, token.clone())
            .await
            .map_err(|error| internal("The credential proxy could not be opened", &error))?;
        let found = self
            .run_agent(
                request,
                &folders,
                directory,
                &mut scene.placed,
                gateway.as_ref(),
                &token,
                signing.as_deref(),
                &interruptions,
            )
            .await;
        gateway.close().await;
        if let Some(signing) = signing {
            signing.close().await;
        }
        found
    }

    fn interruptions(&self, request: &TaskRequest) -> Interruptions<'_> {
        let clock = &self.engine.ports().clock;
        // The limit runs from the claim: what came before counts.
        let spent = clock.monotonic().saturating_sub(self.claimed.claimed_at);
        let limit = Duration::from_secs(u64::from(request.timeout_minutes) * 60);
        Interruptions {
            engine: self.engine,
            claimed: self.claimed,
            orders: &self.orders,
            stop: &self.stop,
            log: &self.log,
            timeout_at: clock.monotonic().saturating_add(limit.saturating_sub(spent)),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each is made by one step of the run and used by this one")]
    async fn run_agent(
        &self,
        request: &TaskRequest,
        folders: &Folders,
        mut directory: PathBuf,
        placed: &mut Placed,
        gateway: &dyn OpenGateway,
        token: &Secret<String>,
        signing: Option<&dyn SigningAgent>,
        interruptions: &Interruptions<'_>,
    ) -> Result<Found, Ended> {
        let (mut plan, files) = self.plan(request, folders, gateway, token);
        if let Some(signing) = signing {
            plan.env.extend(signing_env(signing));
        }
        self.warn_of_variables(request, &plan.env).await;
        self.worker
            .workspace
            .configure(folders, files)
            .await
            .map_err(|error| internal("The agent's settings could not be written", &error))?;
        let command = |directory: PathBuf| AgentCommand {
            program: self.engine.settings().agent_program.clone(),
            args: plan.args.clone(),
            env: plan.env.iter().map(|(name, value)| (name.clone(), Secret::new(value.clone()))).collect(),
            stdin: Bytes::from(plan.stdin.clone()),
            directory,
            spool: folders.spool.clone(),
            user: folders.user,
            reach: folders.reach.clone(),
            stderr: Stderr::Tail,
        };
        if !request.pre_execution_commands.is_empty() {
            let command = || command(directory.clone());
            self.run_commands(&request.pre_execution_commands, command, interruptions).await?;
            directory = self.cover_again(request, folders, placed).await?;
        }
        let started = self.worker.agent.start(command(directory)).await;
        let run = started.map_err(|error| self.agent_error(&error))?;
        self.converse(request, run, gateway, interruptions).await
    }

    fn plan(
        &self,
        request: &TaskRequest,
        folders: &Folders,
        gateway: &dyn OpenGateway,
        token: &Secret<String>,
    ) -> (command::AgentPlan, Vec<ConfigFile>) {
        let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let mut plan = command::plan(
            request,
            &command::AgentContext {
                proxy_url: gateway.url(),
                proxy_token: token.clone(),
                home: path(&folders.home),
                tmp: path(&folders.tmp),
                path: self.engine.settings().agent_path.clone(),
                config_dir: path(&folders.config),
                running_as_root: folders.runs_as_root,
            },
        );
        let files = std::mem::take(&mut plan.files);
        let files = files.into_iter().map(|file| ConfigFile { name: file.name, contents: file.contents });
        (plan, files.collect())
    }

    async fn converse(
        &self,
        request: &TaskRequest,
        mut run: Box<dyn AgentRun>,
        gateway: &dyn OpenGateway,
        interruptions: &Interruptions<'_>,
    ) -> Result<Found, Ended> {
        let conversation =
            Conversation { engine: self.engine, interruptions, redactor: &self.redactor, log: &self.log };
        let heard = conversation
            .hear(run.as_mut())
            .await
            .map_err(|error| internal("The agent's output cannot be read", &error))?;
        let exit = run.finish().await.map_err(|error| internal("The agent could not be ended", &error))?;
        if heard.stopped == Some(StopReason::ClaimLost) {
            return Err(Ended::Stopped(StopReason::ClaimLost));
        }
        let mut summary = heard.transcript.summary();
        if summary.usage.is_none() {
            // Without a result the gateway's own count is what is known.
            summary.usage =
                Some(gateway.usage()).filter(|usage| *usage != legwork_core::record::Usage::default());
        }
        let stderr = self.redactor.mask_text(&exit.stderr_tail).into_owned();
        let verdict = verdict::verdict(&verdict::VerdictInputs {
            exit: heard.exit(exit.kind),
            stopped: heard
                .stopped
                .and_then(|reason| reason.for_verdict(request.timeout_minutes, self.engine.settings())),
            transcript: heard.transcript.facts(),
            altered: exit.altered,
            stderr_tail: &stderr,
        });
        Ok(Found { verdict, summary, lines_truncated: heard.transcript.lines_truncated() })
    }

    fn agent_error(&self, error: &AgentError) -> Unplayable {
        let program = &self.engine.settings().agent_program;
        match error {
            AgentError::Missing { reason, .. } => Unplayable {
                code: ErrorCode::AgentMissing,
                error: format!(
                    "Cannot run {program}: {reason}. Install Claude Code with \
                     `npm install -g @anthropic-ai/claude-code`, or set CLAUDE_COMMAND to its path"
                ),
                detail: None,
            },
            other @ (AgentError::Machine { .. } | _) => internal("The agent could not be started", other),
        }
    }

    /// A task that was stopped before its agent had a word.
    fn cut_short(&self, reason: StopReason) -> Found {
        let minutes = self.claimed.request.as_ref().map_or(0, |request| request.timeout_minutes);
        let stopped = reason.for_verdict(minutes, self.engine.settings());
        let verdict = interruption::stopped(stopped.unwrap_or(verdict::Stopped::WorkerStopped));
        Found { verdict, summary: Summary::default(), lines_truncated: 0 }
    }

    /// A task that could not be run at all has failed, and its log says why.
    async fn give_up(&self, unplayable: Unplayable) -> Found {
        let Unplayable { code, error, detail } = unplayable;
        tracing::warn!(task.id = %self.claimed.record.task_id, code = code.as_str(), %error, detail, "the agent was not run");
        let error = self.redactor.mask_text(&error).into_owned();
        let detail = detail.map(|detail| self.redactor.mask_text(&detail).into_owned());
        let line = log_line::error(&error, self.engine.ports().clock.now());
        self.log.write(LineBatch::one(&line)).await;
        let verdict = Verdict {
            status: Status::Failed,
            exit_code: 1,
            error: Some(error),
            error_code: Some(code),
            error_detail: detail,
            result: None,
        };
        Found { verdict, summary: Summary::default(), lines_truncated: 0 }
    }

    async fn remove_workspace(&self) {
        let record = &self.claimed.record;
        if let Err(error) = self.worker.workspace.remove(&record.task_id, record.attempt).await {
            tracing::error!(task.id = %record.task_id, error = %error, "the workspace could not be removed");
        }
    }

    /// Takes the actions, removes what is left on this machine and waits for the last lines.
    async fn close(self, found: Found, scene: Scene) -> Closing {
        let now = self.engine.ports().clock.monotonic();
        self.log.limit().give_up_at(now.saturating_add(LINES_DEADLINE));
        let attending = self.attend(&found);
        let closing = self.close_unattended(found, scene);
        tokio::select! {
            biased;
            closed = closing => closed,
            () = attending => Closing::NotOurs,
        }
    }

    /// Hears what is said to the worker while it finishes: that it is to end, or that the task is not wanted
    /// any more, which decides the verdict if nothing else has. Never ends.
    fn attend(&self, found: &Found) -> impl Future<Output = ()> + use<'a> {
        let (engine, claimed) = (self.engine, self.claimed);
        let (stop, wish, limit) = (self.stop.clone(), self.orders.cancel.clone(), self.log.limit().clone());
        let summary = found.summary.clone();
        async move {
            let hurrying = async {
                stop.cancelled().await;
                let now = engine.ports().clock.monotonic();
                limit.hurry(now.saturating_add(LINES_AFTER_STOP));
            };
            let granting = async {
                wish.cancelled().await;
                let verdict = interruption::stopped(verdict::Stopped::Cancelled);
                if let Err(error) = engine.begin_finishing(claimed, verdict, summary).await {
                    tracing::warn!(task.id = %claimed.record.task_id, error = %error, "finishing could not be recorded");
                }
            };
            futures_util::join!(hurrying, granting);
            std::future::pending::<()>().await;
        }
    }

    async fn close_unattended(self, mut found: Found, scene: Scene) -> Closing {
        let Some(done) = self.act(&mut found, &scene).await else {
            self.remove_workspace().await;
            return Closing::NotOurs;
        };
        if self.engine.settings().keep_workspace {
            let now = self.engine.ports().clock.now();
            let place =
                scene.folders.map_or_else(String::new, |folders| format!(" in {}", folders.root.display()));
            let warning = format!("The workspace was kept{place}, as KEEP_WORKSPACE asks for");
            self.log.write(LineBatch::one(&log_line::warning(&warning, now))).await;
        } else {
            self.remove_workspace().await;
        }
        let end = self.log.finish().await;
        if self.orders.lost.is_cancelled() {
            return Closing::NotOurs;
        }
        let mut log = end.facts;
        log.lines_truncated = found.lines_truncated.saturating_add(self.lines_cut.load(Ordering::Relaxed));
        Closing::End(Box::new(Outcome {
            verdict: found.verdict,
            summary: found.summary,
            uploaded_files: done.uploaded_files,
            git_commit: done.git_commit,
            action_errors: done.errors,
            log,
            last_chunk: end.last_chunk,
        }))
    }
}

fn redactor(engine: &Engine, request: Option<&TaskRequest>) -> Redactor {
    let service = engine
        .settings()
        .service_secrets
        .iter()
        .map(|secret| (SecretKind::Credential, secret.expose().as_str()));
    let own = request.map(TaskRequest::secrets).unwrap_or_default();
    Redactor::new(service.chain(own))
}

pub(super) fn internal(what: &str, error: &(dyn std::error::Error + 'static)) -> Unplayable {
    Unplayable { code: ErrorCode::Internal, error: what.to_owned(), detail: Some(chain(error)) }
}

/// Writes an error with its causes.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
