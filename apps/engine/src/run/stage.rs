//! Everything around the agent: its log, its folders, its gateway; and how they come to an end.

use std::{collections::BTreeMap, time::Duration};

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
    workspace::{ConfigFile, Folders},
};
use tokio_util::sync::CancellationToken;

use super::{
    Closing,
    conversation::{Conversation, StopReason},
};
use crate::{
    Engine, WorkerPorts,
    claim::ClaimedAttempt,
    logs::{LineBatch, LogWriter},
    oversight::Orders,
};

/// How long lines are waited for after the agent has ended.
const LINES_DEADLINE: Duration = Duration::from_mins(10);
/// How long lines are waited for after the worker was told to stop.
pub(super) const STOPPED_LINES_DEADLINE: Duration = Duration::from_secs(8);

/// Why the agent could not be run at all.
#[derive(Debug)]
struct Unplayable {
    code: ErrorCode,
    error: String,
    detail: Option<String>,
}

/// What a run has found, before its lines are all stored.
pub(super) struct Found {
    pub(super) verdict: Verdict,
    pub(super) summary: Summary,
    pub(super) lines_truncated: u64,
}

/// One run and what it uses.
pub(super) struct Stage<'a> {
    engine: &'a Engine,
    worker: &'a WorkerPorts,
    claimed: &'a ClaimedAttempt,
    orders: Orders,
    stop: CancellationToken,
    redactor: Redactor,
    log: LogWriter,
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
        let redactor = redactor(engine, claimed.request.as_ref().ok());
        Self { engine, worker, claimed, orders, stop, redactor, log }
    }

    /// Plays the run and returns what ends the attempt.
    pub(super) async fn play(self) -> Closing {
        self.say_hello().await;
        let found = match self.perform().await {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.remove_workspace().await;
                return Closing::NotOurs;
            }
            Err(unplayable) => self.give_up(unplayable).await,
        };
        self.close(found).await
    }

    async fn say_hello(&self) {
        let isolation: serde_json::Map<_, _> =
            self.worker.workspace.isolation().into_iter().map(|(name, word)| (name, word.into())).collect();
        let isolation = serde_json::Value::Object(isolation).to_string();
        let now = self.engine.ports().clock.now();
        let line = log_line::session_init(self.claimed.record.attempt, &isolation, now);
        self.log.write(LineBatch::one(&line)).await;
    }

    /// Runs the agent; nothing where the claim was lost.
    async fn perform(&self) -> Result<Option<Found>, Unplayable> {
        let request = self.claimed.request.as_ref().map_err(|error| Unplayable {
            code: ErrorCode::Internal,
            error: "The sealed request cannot be opened".to_owned(),
            detail: Some(chain(error)),
        })?;
        refuse_unsupported(request)?;
        let record = &self.claimed.record;
        let folders = self
            .worker
            .workspace
            .prepare(&record.task_id, record.attempt)
            .await
            .map_err(|error| internal("The workspace could not be made", &error))?;
        let token = Secret::new(self.engine.ports().ids.token().as_str().to_owned());
        let gateway = self
            .worker
            .gateway
            .open(&request.credential, token.clone())
            .await
            .map_err(|error| internal("The credential proxy could not be opened", &error))?;
        let command = self.command(request, &folders, gateway.as_ref(), &token).await?;
        let run = self.worker.agent.start(command).await.map_err(|error| self.agent_error(&error))?;
        let found = self.converse(request, run, gateway.as_ref()).await?;
        gateway.close().await;
        Ok(found)
    }

    async fn command(
        &self,
        request: &TaskRequest,
        folders: &Folders,
        gateway: &dyn OpenGateway,
        token: &Secret<String>,
    ) -> Result<AgentCommand, Unplayable> {
        let settings = self.engine.settings();
        let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let plan = command::plan(
            request,
            &command::AgentContext {
                proxy_url: gateway.url(),
                proxy_token: token.clone(),
                home: path(&folders.home),
                tmp: path(&folders.tmp),
                path: settings.agent_path.clone(),
                config_dir: path(&folders.config),
                running_as_root: folders.runs_as_root,
            },
        );
        let files = plan
            .files
            .into_iter()
            .map(|file| ConfigFile { name: file.name, contents: file.contents })
            .collect();
        self.worker
            .workspace
            .configure(folders, files)
            .await
            .map_err(|error| internal("The agent's settings could not be written", &error))?;
        let env: BTreeMap<_, _> =
            plan.env.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
        let directory = self
            .worker
            .workspace
            .directory(
                folders,
                request.cwd_relative.as_ref().map(legwork_core::request::RelativePath::as_str),
            )
            .await
            .map_err(|error| internal("The working directory could not be made", &error))?;
        Ok(AgentCommand {
            program: settings.agent_program.clone(),
            args: plan.args,
            env,
            stdin: Bytes::from(plan.stdin),
            directory,
            spool: folders.spool.clone(),
            user: folders.user,
            reach: folders.reach.clone(),
            stderr: Stderr::Tail,
        })
    }

    async fn converse(
        &self,
        request: &TaskRequest,
        mut run: Box<dyn AgentRun>,
        gateway: &dyn OpenGateway,
    ) -> Result<Option<Found>, Unplayable> {
        let conversation = Conversation {
            engine: self.engine,
            claimed: self.claimed,
            orders: &self.orders,
            stop: &self.stop,
            redactor: &self.redactor,
            log: &self.log,
            timeout: Duration::from_secs(u64::from(request.timeout_minutes) * 60),
        };
        let heard = conversation
            .hear(run.as_mut())
            .await
            .map_err(|error| internal("The agent's output cannot be read", &error))?;
        let exit = run.finish().await.map_err(|error| internal("The agent could not be ended", &error))?;
        if heard.stopped == Some(StopReason::ClaimLost) {
            return Ok(None);
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
        Ok(Some(Found { verdict, summary, lines_truncated: heard.transcript.lines_truncated() }))
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

    /// Removes what is left on this machine and waits for the last lines.
    async fn close(self, found: Found) -> Closing {
        if !self.stop.is_cancelled() {
            let now = self.engine.ports().clock.monotonic();
            self.log.give_up_at(now.saturating_add(LINES_DEADLINE));
        }
        if self.engine.settings().keep_workspace {
            let now = self.engine.ports().clock.now();
            let line = log_line::warning("The workspace was kept, as KEEP_WORKSPACE asks for", now);
            self.log.write(LineBatch::one(&line)).await;
        } else {
            self.remove_workspace().await;
        }
        let end = self.log.finish().await;
        if self.orders.lost.is_cancelled() {
            return Closing::NotOurs;
        }
        let mut log = end.facts;
        log.lines_truncated = found.lines_truncated;
        Closing::End(Box::new(Outcome {
            verdict: found.verdict,
            summary: found.summary,
            uploaded_files: Vec::new(),
            git_commit: None,
            action_errors: Vec::new(),
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

fn internal(what: &str, error: &(dyn std::error::Error + 'static)) -> Unplayable {
    Unplayable { code: ErrorCode::Internal, error: what.to_owned(), detail: Some(chain(error)) }
}

/// Writes an error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What a request may ask for and this version does not do is said, never left out in silence.
fn refuse_unsupported(request: &TaskRequest) -> Result<(), Unplayable> {
    let asked = [
        (request.git.is_some(), "gitRepo"),
        (!request.pre_execution_commands.is_empty(), "preExecutionCommands"),
        (!request.slash_commands.is_empty(), "slashCommands"),
        (!request.subagents.is_empty(), "subagents"),
        (request.actions.git.is_some() || request.actions.upload.is_some(), "postExecutionActions"),
    ];
    let names: Vec<_> = asked.into_iter().filter_map(|(asked, name)| asked.then_some(name)).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Unplayable {
        code: ErrorCode::Internal,
        error: format!("This version of Legwork does not yet run tasks with {}", names.join(", ")),
        detail: None,
    })
}
