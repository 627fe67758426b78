//! The request's own commands, which run before the agent and as it does.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use legwork_core::{
    chunk::{LineSplitter, SplitLine},
    claude::log_line::{self, OutputStream},
    record::{ErrorCode, Summary},
    redact::Redactor,
    time::Timestamp,
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
            error: format!("The command {:?} of preExecutionCommands {how}", output.command),
            detail: Some(output.end).filter(|end| !end.is_empty()),
        }))
    }
}

/// Returns how a command is named: masked before it is shortened, so that no secret is cut and missed.
fn named(command: &str, redactor: &Redactor) -> String {
    let masked = redactor.mask_text(command);
    let mut named: String = masked.chars().take(NAMED_CHARS).collect();
    if named.len() < masked.len() {
        named.push('…');
    }
    named
}

/// One line of a command's output, masked.
#[derive(Debug, PartialEq, Eq)]
struct MaskedLine {
    text: String,
    /// How much of it is not here, in bytes.
    cut_bytes: u64,
}

impl MaskedLine {
    fn of(line: SplitLine<'_>, redactor: &Redactor) -> Self {
        let text = line.text();
        let masked = if line.is_cut() { redactor.mask_cut_text(&text) } else { redactor.mask_text(&text) };
        Self { text: masked.into_owned(), cut_bytes: line.cut_bytes() }
    }

    /// Returns the line of the log. One that was too long looks as one of the agent's.
    fn logged(&self, command: &str, stream: OutputStream, now: Timestamp) -> String {
        if self.cut_bytes > 0 {
            return log_line::cut_text(&self.text, self.cut_bytes);
        }
        log_line::command_output(command, stream, &self.text, now)
    }
}

/// What a command writes, on its way into the log.
struct Output<'a> {
    stage: &'a Stage<'a>,
    /// How the command is named.
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
            command: named(command, &stage.redactor),
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
        let redactor = &self.stage.redactor;
        let mut lines = Vec::new();
        self.splitter(stream).push(bytes, |line| lines.push(MaskedLine::of(line, redactor)));
        self.write(stream, &lines);
    }

    fn finish(&mut self) {
        let redactor = &self.stage.redactor;
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            let mut lines = Vec::new();
            self.splitter(stream).finish(|line| lines.push(MaskedLine::of(line, redactor)));
            self.write(stream, &lines);
        }
    }

    fn splitter(&mut self, stream: OutputStream) -> &mut LineSplitter {
        match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        }
    }

    fn write(&mut self, stream: OutputStream, lines: &[MaskedLine]) {
        let now = self.stage.engine.ports().clock.now();
        for line in lines {
            self.end.push_str(&line.text);
            self.end.push('\n');
            self.waiting.push(line.logged(&self.command, stream, now).as_bytes());
            self.stage.lines_cut.fetch_add(u64::from(line.cut_bytes > 0), Ordering::Relaxed);
        }
        let mut surplus = self.end.len().saturating_sub(TOLD_BYTES);
        while !self.end.is_char_boundary(surplus) {
            surplus = surplus.saturating_add(1);
        }
        self.end.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use legwork_core::redact::SecretKind;

    use super::*;

    const SECRET: &str = "hunter2-hunter2-hunter2";

    fn redactor() -> Redactor {
        Redactor::new([(SecretKind::Credential, SECRET)])
    }

    fn read(bytes: &[u8], max_line_bytes: usize) -> Vec<MaskedLine> {
        let (redactor, mut splitter) = (redactor(), LineSplitter::new(max_line_bytes));
        let mut lines = Vec::new();
        splitter.push(bytes, |line| lines.push(MaskedLine::of(line, &redactor)));
        splitter.finish(|line| lines.push(MaskedLine::of(line, &redactor)));
        lines
    }

    #[test]
    fn a_command_is_masked_before_it_is_shortened() {
        let before = "x".repeat(NAMED_CHARS - 10);

        assert_eq!(named(&format!("{before}{SECRET}"), &redactor()), format!("{before}***"));
        assert_eq!(
            named(&format!("{before}{SECRET} > out.txt"), &redactor()),
            format!("{before}*** > out.…")
        );
        assert_eq!(named("make all", &redactor()), "make all");
    }

    #[test]
    fn a_line_within_the_limit_is_one_of_the_command() {
        let lines = read(format!("a {SECRET}\nb").as_bytes(), 100);
        let logged = lines[0].logged("make", OutputStream::Stderr, Timestamp::from_unix_ms(0));

        assert_eq!(lines.len(), 2);
        assert_eq!(
            logged,
            r#"{"type":"command_output","command":"make","stream":"stderr","text":"a ***","timestamp":"1970-01-01T00:00:00.000Z"}"#
        );
    }

    #[test]
    fn a_line_past_the_limit_is_masked_at_its_cut_and_tells_what_is_missing() {
        let lines = read(format!("0123456789{SECRET}\n").as_bytes(), 30);
        let logged = lines[0].logged("make", OutputStream::Stdout, Timestamp::from_unix_ms(0));

        assert_eq!(logged, r#"{"type":"text","content":"0123456789***","truncatedBytes":3}"#);
    }

    #[test]
    fn a_character_that_the_cut_fell_into_is_left_out() {
        assert_eq!(read("aüüüü\n".as_bytes(), 4), [MaskedLine { text: "aü".to_owned(), cut_bytes: 5 }]);
    }
}
