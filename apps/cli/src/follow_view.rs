//! Prints a task that is being followed: as a transcript, as JSON lines, or only its end.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    output::{self, OutputError},
    task_facts::TaskFacts,
    task_view,
    terminal::escape,
    transcript_view::TranscriptView,
};

/// How often the spinner moves.
const TICK: Duration = Duration::from_millis(120);

/// What is printed of a followed task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A transcript for people.
    Transcript,
    /// Each line as it is, and how the task ended on standard error.
    JsonLines,
    /// The closing JSON alone.
    EndOnly,
}

/// Prints one followed task. The spinner goes to standard error, and leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct FollowView {
    form: Form,
    transcript: TranscriptView,
    spinner: ProgressBar,
}

impl FollowView {
    /// Begins to print; `doing` stands beside the spinner.
    pub(crate) fn new(form: Form, doing: &'static str) -> Self {
        let spinner = ProgressBar::new_spinner().with_message(doing);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
            spinner.set_style(style);
        }
        if !spinner.is_hidden() {
            spinner.enable_steady_tick(TICK);
        }
        Self { form, transcript: TranscriptView::default(), spinner }
    }

    /// Changes what stands beside the spinner.
    pub(crate) fn doing(&self, doing: &'static str) {
        self.spinner.set_message(doing);
    }

    /// Prints a line of the log, at once.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), OutputError> {
        match self.form {
            Form::Transcript => match self.transcript.render(line) {
                Some(shown) => self.spinner.suspend(|| output::human(&shown)),
                None => Ok(()),
            },
            Form::JsonLines => self.spinner.suspend(|| output::json(line)),
            Form::EndOnly => Ok(()),
        }
    }

    /// Prints something about the following itself, to standard error.
    pub(crate) fn notice(&self, text: &str) {
        self.spinner.suspend(|| output::note(&escape(text)));
    }

    /// Prints how the task ended; `body` is the closing JSON that `task` was read from.
    pub(crate) fn end(&self, body: &str, task: &TaskFacts) -> Result<(), OutputError> {
        self.spinner.finish_and_clear();
        match self.form {
            Form::Transcript => output::human(&format!("\n{}", task_view::ending(task))),
            Form::JsonLines => {
                output::note(&task_view::ending(task));
                Ok(())
            }
            Form::EndOnly => output::json(body),
        }
    }
}

impl Drop for FollowView {
    fn drop(&mut self) {
        self.spinner.finish_and_clear();
    }
}
