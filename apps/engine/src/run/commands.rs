//! The request's own commands, which run before the agent and as it does.

use std::time::Duration;

use bytes::Bytes;
use legwork_core::{
    chunk::{LineSplitter, SplitLine},
    claude::log_line::{self, OutputStream},
    record::{ErrorCode, Summary},
};
use legwork_ports::agent::{AgentCommand, AgentError, AgentRun, ExitKind, Stderr};

use super::{
    interruption::Interruptions,
    stage::{Ended, Stage, Unplayable, internal},
};
use crate::logs::LineBatch;

/// How long one command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_mins(5);
/// How often stderr is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How much of the end of the output a failure tells, in bytes.
const TOLD_BYTES: usize = 4 * 1024;
/// How much of a command its lines in the log name, in characters.
const NAMED_CHARS: usize = 200;

impl Stage<'_> {
    /// Runs the commands in order; the first failure is the task's.
    pub(super) async fn run_commands(
        &self,
        commands: &[String],
        template: impl Fn() -> AgentCommand,
        interruptions: &Interruptions<'_>,
    ) -> Result<(), Ended> {
        for command in commands {
            let spawned = AgentCommand {
                program: "sh".to_owned(),
                args: vec!["-c".to_owned(), command.clone()],
                stdin: Bytes::new(),
                stderr: Stderr::Whole,
                ..template()
            };
            tracing::info!(task.id = %self.claimed.record.task_id, "running a command of the request");
            let run = self.worker.agent.start(spawned).await;
            let run = run.map_err(|error| internal("A command could not be started", &error))?;
            self.hear_command(command, run, interruptions).await?;
        }
        Ok(())
    }

    async fn hear_command(
        &self,
        command: &str,
        mut run: Box<dyn AgentRun>,
        interruptions: &Interruptions<'_>,
    ) -> Result<(), Ended> {
        let clock = &self.engine.ports().clock;
        let unreadable = |error: AgentError| internal("A command's output cannot be read", &error);
        let ends_at = clock.monotonic().saturating_add(COMMAND_TIMEOUT);
        let mut output = Output::new(self, command);
        let (mut stopped, mut is_late) = (None, false);
        loop {
            let left = ends_at.saturating_sub(clock.monotonic());
            tokio::select! {
                biased;
                // The order is that of urgency: an agent that never stops writing is heard last.
                trigger = interruptions.next(), if stopped.is_none() => {
                    stopped = Some(interruptions.end_early(trigger, Summary::default(), || run.stop()).await);
                }
                () = clock.sleep(left), if !is_late => {
                    is_late = true;
                    run.stop();
                }
                // Reading is cancel safe, and the other arms only wait.
                () = self.log.hand_over(&mut output.waiting), if !output.waiting.is_empty() => {}
                read = run.read(), if output.waiting.is_empty() => match read.map_err(unreadable)? {
                    Some(bytes) => output.take(OutputStream::Stdout, &bytes),
                    None => break,
                },
                () = clock.sleep(LOOK), if output.waiting.is_empty() => {
                    output.take_stderr(run.as_mut()).await.map_err(unreadable)?;
                }
            }
        }
        while output.take_stderr(run.as_mut()).await.map_err(unreadable)? {
            self.log.write(std::mem::take(&mut output.waiting)).await;
        }
        output.finish();
        self.log.write(std::mem::take(&mut output.waiting)).await;
        let exit = run.finish().await.map_err(|error| internal("A command could not be ended", &error))?;
        if let Some(reason) = stopped {
            return Err(Ended::Stopped(reason));
        }
        let how = match exit.kind {
            _ if is_late => format!("did not end within {} minutes", COMMAND_TIMEOUT.as_secs() / 60),
            ExitKind::Code(0) => return Ok(()),
            ExitKind::Code(code) => format!("exited with code {code}"),
            ExitKind::Signal(signal) => format!("was ended by signal {signal}"),
        };
        Err(Ended::Unplayable(Unplayable {
            code: ErrorCode::CommandFailed,
            error: format!("The command {:?} of preExecutionCommands {how}", named(command)),
            detail: Some(output.end).filter(|end| !end.is_empty()),
        }))
    }
}

fn named(command: &str) -> String {
    let mut named: String = command.chars().take(NAMED_CHARS).collect();
    if named.len() < command.len() {
        named.push('…');
    }
    named
}

/// What a command writes, on its way into the log.
struct Output<'a> {
    stage: &'a Stage<'a>,
    command: String,
    stdout: LineSplitter,
    stderr: LineSplitter,
    /// The end of all of it.
    end: String,
    /// Lines that the log has no room for yet.
    waiting: LineBatch,
}

impl<'a> Output<'a> {
    fn new(stage: &'a Stage<'a>, command: &str) -> Self {
        let max_line_bytes = stage.engine.settings().log.max_line_bytes;
        Self {
            stage,
            command: stage.redactor.mask_text(&named(command)).into_owned(),
            stdout: LineSplitter::new(max_line_bytes),
            stderr: LineSplitter::new(max_line_bytes),
            end: String::new(),
            waiting: LineBatch::default(),
        }
    }

    /// Takes the next piece of stderr, and tells whether there was one.
    async fn take_stderr(&mut self, run: &mut dyn AgentRun) -> Result<bool, AgentError> {
        let bytes = run.read_stderr().await?;
        if let Some(bytes) = &bytes {
            self.take(OutputStream::Stderr, bytes);
        }
        Ok(bytes.is_some())
    }

    fn take(&mut self, stream: OutputStream, bytes: &[u8]) {
        let mut lines = Vec::new();
        let splitter = match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        };
        splitter.push(bytes, |line| lines.push(text(line)));
        self.write(stream, &lines);
    }

    fn finish(&mut self) {
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            let mut lines = Vec::new();
            let splitter = match stream {
                OutputStream::Stdout => &mut self.stdout,
                OutputStream::Stderr => &mut self.stderr,
            };
            splitter.finish(|line| lines.push(text(line)));
            self.write(stream, &lines);
        }
    }

    fn write(&mut self, stream: OutputStream, lines: &[String]) {
        let now = self.stage.engine.ports().clock.now();
        for line in lines {
            let line = self.stage.redactor.mask_text(line);
            self.end.push_str(&line);
            self.end.push('\n');
            let json = log_line::command_output(&self.command, stream, &line, now);
            self.waiting.push(json.as_bytes());
        }
        let mut surplus = self.end.len().saturating_sub(TOLD_BYTES);
        while !self.end.is_char_boundary(surplus) {
            surplus = surplus.saturating_add(1);
        }
        self.end.drain(..surplus);
    }
}

fn text(line: SplitLine<'_>) -> String {
    String::from_utf8_lossy(line.bytes()).into_owned()
}
