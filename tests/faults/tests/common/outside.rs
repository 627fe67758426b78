//! A receiver that answers as it is told, jobs of which nobody says more, tokio's time, and randomness that
//! spreads no pause.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use legwork_core::time::Timestamp;
use legwork_ports::{
    callbacks::{CallbackAnswer, CallbackError, CallbackPost, Callbacks},
    clock::{Clock, IdSource},
    jobs::{Execution, ExecutionStatus, Job, Jobs, JobsError, Slot, StartPolicy},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// What the wall clock says when a test begins, in milliseconds.
const EPOCH_MS: u64 = 1_800_000_000_000;

/// What a receiver answers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Status(u16),
    /// A status and `Retry-After`.
    Busy(u16, Duration),
    /// Nothing, until the sender's deadline.
    Hangs,
    /// A status, to a sender that was held for so long.
    Late(Duration, u16),
    /// Nothing, to a sender that never goes on.
    Never,
}

/// What a receiver was told.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    /// How long after the beginning.
    pub(crate) at: Duration,
    pub(crate) webhook_id: String,
    pub(crate) body: Bytes,
}

/// A receiver, however it is reached.
#[derive(Debug)]
pub(crate) struct Receiver {
    began: Instant,
    answers: Mutex<VecDeque<Answer>>,
    then: Answer,
    posts: watch::Sender<Vec<Post>>,
}

impl Receiver {
    /// Returns one that gives these answers, and then always the last one.
    pub(crate) fn new(answers: impl IntoIterator<Item = Answer>, then: Answer) -> Self {
        Self {
            began: Instant::now(),
            answers: Mutex::new(answers.into_iter().collect()),
            then,
            posts: watch::Sender::new(Vec::new()),
        }
    }

    pub(crate) fn posts(&self) -> Vec<Post> {
        self.posts.borrow().clone()
    }

    /// Waits until it was told so often.
    pub(crate) async fn told(&self, times: usize) {
        let mut posts = self.posts.subscribe();
        posts.wait_for(|posts| posts.len() >= times).await.unwrap();
    }
}

#[async_trait]
impl Callbacks for Receiver {
    async fn post(&self, post: CallbackPost) -> Result<CallbackAnswer, CallbackError> {
        let named = post.headers.iter().find(|(name, _)| *name == "webhook-id");
        let webhook_id = named.map(|(_, id)| id.clone()).unwrap_or_default();
        let told = Post { at: self.began.elapsed(), webhook_id, body: post.body };
        self.posts.send_modify(|posts| posts.push(told));
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(self.then);
        match answer {
            Answer::Status(status) => Ok(CallbackAnswer { status, retry_after: None }),
            Answer::Busy(status, pause) => Ok(CallbackAnswer { status, retry_after: Some(pause) }),
            Answer::Hangs => {
                sleep(post.deadline).await;
                Err(CallbackError::Deadline { seconds: post.deadline.as_secs() })
            }
            Answer::Late(held, status) => {
                sleep(held).await;
                Ok(CallbackAnswer { status, retry_after: None })
            }
            Answer::Never => std::future::pending().await,
        }
    }
}

/// Jobs of which nobody says more: the test runs the worker itself.
#[derive(Debug)]
pub(crate) enum SilentJobs {
    /// Starts wait for a slot, and there is none.
    NoSlot,
    /// Whatever is to be started is.
    Starting,
}

#[async_trait]
impl Jobs for SilentJobs {
    fn start_policy(&self) -> StartPolicy {
        match self {
            Self::NoSlot => StartPolicy::WhenSlotFree,
            Self::Starting => StartPolicy::AtOnce,
        }
    }

    fn is_exact(&self) -> bool {
        false
    }

    async fn reserve(&self) -> Result<Option<Slot>, JobsError> {
        Ok(None)
    }

    async fn slot_freed(&self, at_most: Duration) {
        sleep(at_most).await;
    }

    async fn start(&self, job: Job) -> Result<Execution, JobsError> {
        match self {
            Self::NoSlot => Err(JobsError::Unavailable { source: "nobody starts jobs here".into() }),
            Self::Starting => Ok(Execution { name: format!("e-{}", job.task_id), worker_logs_url: None }),
        }
    }

    async fn cancel(&self, _: &str) -> Result<(), JobsError> {
        Ok(())
    }

    async fn status(&self, _: &str) -> Result<ExecutionStatus, JobsError> {
        Ok(ExecutionStatus::Unknown)
    }
}

/// Tokio's time, which stands still in tests that say so.
#[derive(Debug)]
pub(super) struct TokioClock {
    began: Instant,
}

impl TokioClock {
    pub(super) fn new() -> Self {
        Self { began: Instant::now() }
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(EPOCH_MS).plus(self.began.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        sleep(duration).await;
    }
}

/// Values that differ, and a jitter of one half: pauses are as long as their schedule says.
#[derive(Debug, Default)]
pub(super) struct EvenIds {
    drawn: AtomicU64,
}

impl IdSource for EvenIds {
    fn fill(&self, bytes: &mut [u8]) {
        // A jitter has four bytes, the lowest first.
        if bytes.len() == 4 {
            bytes.copy_from_slice(&[0, 0, 0, 0x80]);
            return;
        }
        let number = self.drawn.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        for (byte, drawn) in bytes.iter_mut().zip(number.into_iter().cycle()) {
            *byte = drawn;
        }
    }
}
