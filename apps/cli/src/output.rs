//! The one place that writes to standard output and standard error.
//!
//! Texts come in escaped ([`crate::terminal`]); colours are dropped where nobody sees them. Each
//! line is flushed, so that a reader at the other end of a pipe has it at once.

use std::io::{self, IsTerminal as _, Write};

use crate::{style, terminal};

/// Standard output takes nothing more.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(crate) struct OutputError {
    #[from]
    source: io::Error,
}

impl OutputError {
    /// Returns whether its reader went away, which is no mistake (`| head`).
    pub(crate) fn is_closed(&self) -> bool {
        self.source.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Returns whether a person reads standard output.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Prints a text for people, with its colours, and a newline.
pub(crate) fn human(text: &str) -> Result<(), OutputError> {
    let mut stdout = anstream::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}

/// Prints a line of JSON and a newline; on a terminal, characters that it would obey are escaped.
pub(crate) fn json(line: &str) -> Result<(), OutputError> {
    let shown = if is_terminal() { terminal::escape_json(line) } else { line.into() };
    let mut stdout = io::stdout().lock();
    stdout.write_all(shown.as_bytes())?;
    stdout.write_all(b"\n")?;
    Ok(stdout.flush()?)
}

/// Prints bytes as they are: for readers that are no terminal.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}

/// Prints a line to standard error. That it cannot be printed is nothing to stop for.
pub(crate) fn note(text: &str) {
    let _printed = writeln!(anstream::stderr(), "{text}");
}

/// Prints an error to standard error.
pub(crate) fn error(text: &str) {
    note(&format!("{} {text}", style::paint(style::BAD, "error:")));
}

/// Hands over what is still buffered, before the process ends.
pub(crate) fn flush() {
    // What fails here has failed at a write before, which was told.
    let _flushed = io::stdout().flush();
}
