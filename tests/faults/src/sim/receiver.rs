//! Receivers: what they are told, and what they answer.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use legwork_ports::callbacks::{CallbackAnswer, CallbackError, CallbackPost, Callbacks};
use tokio::time::sleep;

use super::{gate::Gate, world::World};

/// One process's way to receivers.
#[derive(Debug)]
pub(super) struct SimReceiver {
    pub(super) gate: Arc<Gate>,
    pub(super) world: Arc<World>,
}

#[async_trait]
impl Callbacks for SimReceiver {
    async fn post(&self, post: CallbackPost) -> Result<CallbackAnswer, CallbackError> {
        self.gate.before().await;
        sleep(self.world.latency()).await;
        let named = post.headers.iter().find(|(name, _)| *name == "webhook-id");
        let id = named.map(|(_, id)| id.clone()).unwrap_or_default();
        let answer = self.world.receive(&id, &post.body).await;
        let answered = match answer {
            200 => Ok(CallbackAnswer { status: 200, retry_after: None }),
            0 => {
                sleep(post.deadline).await;
                Err(CallbackError::Deadline { seconds: post.deadline.as_secs() })
            }
            429 => Ok(CallbackAnswer {
                status: 429,
                retry_after: Some(Duration::from_secs(self.world.below(100))),
            }),
            status => Ok(CallbackAnswer { status, retry_after: None }),
        };
        self.gate.after().await;
        answered
    }
}
