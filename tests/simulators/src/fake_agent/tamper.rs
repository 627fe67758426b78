//! Modes that change what was already written.

use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::script::Rewriting;
use super::stage::Stage;

const FORGED: &[u8] = b"{\"type\":\"assistant\",\"forged\":true}\n";

/// Cuts the transcript to nothing, by the descriptor: opening it by name may
/// not be allowed.
pub(super) fn truncate(stage: &mut Stage) -> io::Result<()> {
    stage.begin()?;
    stage.flush()?;
    stage.transcript.set_len(0)
}

/// Replaces what was written, so that the size does not give it away.
pub(super) fn rewrite(stage: &mut Stage, how: Rewriting) -> io::Result<()> {
    stage.begin()?;
    stage.flush()?;
    let size_bytes = stage.transcript.metadata()?.len();
    match how {
        Rewriting::Refill => {
            stage.transcript.set_len(0)?;
            let mut written = 0;
            while written <= size_bytes {
                stage.write(FORGED)?;
                written += u64::try_from(FORGED.len()).map_err(io::Error::other)?;
            }
            stage.flush()
        }
        Rewriting::InPlace => {
            // Linux appends even positioned writes while O_APPEND is set.
            let flags = fcntl_getfl(&stage.transcript)?;
            fcntl_setfl(&stage.transcript, flags - OFlags::APPEND)?;
            stage.transcript.write_all_at(FORGED, 0)?;
            Ok(fcntl_setfl(&stage.transcript, flags)?)
        }
    }
}
