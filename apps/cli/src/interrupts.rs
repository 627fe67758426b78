//! Ctrl-C as something to wait for, in place of the end of the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Counts as many interrupts as the user types while it lives.
#[derive(Debug)]
pub(crate) struct Interrupts(Signal);

impl Interrupts {
    /// Takes Ctrl-C from here on: it no longer ends the process.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::interrupt())?))
    }

    /// Waits for the next one; without a deadline, because a user may never interrupt.
    ///
    /// # Cancel safety
    /// No interrupt is lost when the wait is dropped.
    pub(crate) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // No more signals can arrive; waiting for one never ends.
            std::future::pending::<()>().await;
        }
    }
}
