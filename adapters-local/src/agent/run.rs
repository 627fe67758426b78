//! A command that runs, as the worker sees it.

use std::{
    fmt,
    fs::File,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use legwork_ports::agent::{AgentError, AgentExit, AgentRun, ExitKind};
use tokio::{process::ChildStdin, sync::watch, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    spool::text_at_the_end,
    supervise::{Progress, Supervisor},
    tail::Tail,
};

/// The pause after a look that found nothing new, at first and at most: an agent that writes is
/// followed within 2 ms, one that is silent costs 40 looks a second, some 0.2 % of a CPU.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(25);

/// A run under a guard.
pub(super) struct GuardedRun {
    /// The pipe to the guard. Closing it stops the tree.
    control: Option<ChildStdin>,
    stop_asked: CancellationToken,
    progress: watch::Receiver<Progress>,
    supervisor: JoinSet<()>,
    tail: Arc<Mutex<Tail>>,
    errors: Arc<File>,
    /// Follows the messages, where all of them are wanted.
    errors_tail: Option<Arc<Mutex<Tail>>>,
}

impl fmt::Debug for GuardedRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedRun").field("progress", &*self.progress.borrow()).finish_non_exhaustive()
    }
}

impl GuardedRun {
    /// Takes over a command that was started.
    pub(super) fn new(
        control: ChildStdin,
        supervisor: Supervisor,
        progress: watch::Receiver<Progress>,
        output: File,
    ) -> io::Result<Self> {
        let stop_asked = supervisor.stop_asked.clone();
        let errors = Arc::clone(&supervisor.errors);
        let errors_tail = if supervisor.only_the_end { None } else { Some(errors.try_clone()?) };
        let mut following = JoinSet::new();
        following.spawn(supervisor.run());
        Ok(Self {
            control: Some(control),
            stop_asked,
            progress,
            supervisor: following,
            tail: Arc::new(Mutex::new(Tail::new(output))),
            errors,
            errors_tail: errors_tail.map(|file| Arc::new(Mutex::new(Tail::new(file)))),
        })
    }

    /// Tells whether nothing of the tree lives any more.
    fn is_gone(&self) -> bool {
        // A supervisor that ended without a word has failed: nobody is left to wait for.
        self.progress.borrow().is_gone || self.progress.has_changed().is_err()
    }

    /// Reads what is new.
    ///
    /// # Cancel safety
    /// What is read stays in the tail until it is fetched here, after the last await.
    async fn look(tail: &Arc<Mutex<Tail>>) -> Result<Option<Bytes>, AgentError> {
        let looking = Arc::clone(tail);
        let looked = tokio::task::spawn_blocking(move || with(&looking, Tail::look)).await;
        looked.map_err(io::Error::other).flatten().map_err(failed("read the output"))?;
        Ok(with(tail, Tail::fetch))
    }
}

#[async_trait]
impl AgentRun for GuardedRun {
    async fn read(&mut self) -> Result<Option<Bytes>, AgentError> {
        let mut pause = PAUSE_MIN;
        loop {
            // Before the look: what is written until the tree is gone is found by it.
            let is_gone = self.is_gone();
            let bytes = Self::look(&self.tail).await?;
            if bytes.is_some() || is_gone {
                return Ok(bytes);
            }
            // Neither holds anything.
            tokio::select! {
                _ = self.progress.changed() => {}
                () = sleep(pause) => {}
            }
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    async fn read_stderr(&mut self) -> Result<Option<Bytes>, AgentError> {
        match &self.errors_tail {
            Some(tail) => Self::look(tail).await,
            None => Ok(None),
        }
    }

    fn has_ended(&self) -> bool {
        self.progress.borrow().kind.is_some() || self.is_gone()
    }

    fn stop(&mut self) {
        self.control = None;
        self.stop_asked.cancel();
    }

    async fn finish(&mut self) -> Result<AgentExit, AgentError> {
        while !self.is_gone() {
            if self.progress.changed().await.is_err() {
                break;
            }
        }
        while self.supervisor.join_next().await.is_some() {}
        let Progress { kind, left, is_gone } = self.progress.borrow().clone();
        if left > 0 || !is_gone {
            let source = io::Error::other(format!("{left} of its processes could not be ended"));
            return Err(failed("end the command")(source));
        }
        let (tail, errors) = (Arc::clone(&self.tail), Arc::clone(&self.errors));
        let only_the_end = self.errors_tail.is_none();
        let looked = tokio::task::spawn_blocking(move || {
            let end = if only_the_end { text_at_the_end(&errors)? } else { String::new() };
            Ok((with(&tail, Tail::is_altered)?, end))
        });
        let (altered, stderr_tail) =
            looked.await.map_err(io::Error::other).flatten().map_err(failed("read the messages"))?;
        Ok(AgentExit { kind: kind.unwrap_or(ExitKind::Signal(9)), stderr_tail, altered })
    }
}

/// Uses the tail. A look that panicked has left nothing half done that matters.
fn with<T>(tail: &Mutex<Tail>, using: impl FnOnce(&mut Tail) -> T) -> T {
    using(&mut tail.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Returns what makes the port's error of this.
pub(super) fn failed(action: &str) -> impl FnOnce(io::Error) -> AgentError + use<'_> {
    move |source| AgentError::Machine { action: action.to_owned(), source }
}
