//! What worker, guard and trampoline say to each other.
//!
//! Orders go down as one frame: four bytes of length, big-endian, then JSON. They never go over
//! arguments, an environment or a file, because they hold the command's environment. Reports come
//! up as JSON, one object a line.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read, Write},
};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

/// The hidden subcommand that makes this program the guard.
pub(super) const GUARD: &str = "__guard";
/// The hidden subcommand that makes this program the trampoline.
pub(super) const EXEC: &str = "__exec";

/// The longest order. Linux takes some 2 MiB of arguments and environment; JSON may spell a byte
/// in six.
const MAX_FRAME_BYTES: u32 = 16 * 1024 * 1024;

/// What the trampoline is to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "camelCase")]
pub(super) enum Order {
    /// Become this command.
    Run(Box<Spec>),
    /// Become this user, kill everything of that user, end.
    EndUser {
        /// The user, who must not be the superuser.
        user: u32,
    },
}

/// A command, and the files around it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) program: String,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, Hidden>,
    pub(super) directory: String,
    /// Opened for reading by the trampoline.
    pub(super) stdin: String,
    /// Opened for appending by the guard.
    pub(super) stdout: String,
    /// Opened for appending by the guard.
    pub(super) stderr: String,
    pub(super) user: Option<u32>,
    pub(super) files: Files,
}

/// What the command may reach of this machine's files; everything where all lists are empty.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Files {
    pub(super) writable: Vec<String>,
    pub(super) readable: Vec<String>,
    pub(super) hidden: Vec<String>,
    pub(super) covered: Vec<(String, String)>,
    pub(super) kept: Vec<String>,
}

/// A value that is not shown and leaves memory when dropped.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Hidden(pub(super) String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// What the guard tells the worker, in this order: `Started` or `Failed`; `Ended` or `Killed`;
/// `Gone` or `Left`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub(super) enum Report {
    /// The command runs.
    Started,
    /// It could not be started, and nothing runs.
    Failed(Refusal),
    /// The command itself ended with this code.
    Ended { code: i32 },
    /// The command itself was ended by this signal.
    Killed { signal: i32 },
    /// No process of the tree is left.
    Gone,
    /// The guard gave up while so many processes were left.
    Left { processes: usize },
}

/// Why a command could not be started.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(super) enum Refusal {
    /// The program is not there.
    Missing { reason: String },
    /// The program may not be executed.
    Permission { reason: String },
    /// Something on this machine failed.
    Machine { action: String, code: Option<i32>, message: String },
}

impl Refusal {
    /// Tells that `action` failed.
    pub(super) fn machine(action: &str, error: &io::Error) -> Self {
        Self::Machine { action: action.to_owned(), code: error.raw_os_error(), message: error.to_string() }
    }
}

/// Returns the frame that holds this order.
pub(super) fn frame(order: &Order) -> io::Result<Zeroizing<Vec<u8>>> {
    let json = Zeroizing::new(serde_json::to_vec(order).map_err(io::Error::other)?);
    let length =
        u32::try_from(json.len()).ok().filter(|length| *length <= MAX_FRAME_BYTES).ok_or_else(too_long)?;
    let mut frame = Zeroizing::new(Vec::with_capacity(json.len().saturating_add(4)));
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&json);
    Ok(frame)
}

/// Reads one frame and returns the JSON in it.
pub(super) fn read_frame(from: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_FRAME_BYTES {
        return Err(too_long());
    }
    let mut json = Zeroizing::new(vec![0; usize::try_from(length).map_err(io::Error::other)?]);
    from.read_exact(&mut json)?;
    Ok(json)
}

/// Reads an order from the JSON of a frame.
pub(super) fn parse(json: &[u8]) -> io::Result<Order> {
    serde_json::from_slice(json).map_err(io::Error::other)
}

/// Writes one report as a line of its own, in one write.
pub(super) fn write_report(to: &mut impl Write, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report).map_err(io::Error::other)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the command and its environment are too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_arrives_as_it_was_sent_and_is_not_shown() {
        let spec = Spec {
            program: "claude".to_owned(),
            args: vec!["-p".to_owned()],
            env: BTreeMap::from([("TOKEN".to_owned(), Hidden("s3cret".to_owned()))]),
            directory: "/work".to_owned(),
            stdin: "/spool/in".to_owned(),
            stdout: "/spool/out".to_owned(),
            stderr: "/spool/err".to_owned(),
            user: Some(58_500),
            files: Files { hidden: vec!["/data".to_owned()], ..Files::default() },
        };

        let frame = frame(&Order::Run(Box::new(spec))).unwrap();
        let order = parse(&read_frame(&mut frame.as_slice()).unwrap()).unwrap();

        let Order::Run(read) = &order else { panic!("another order: {order:?}") };
        assert_eq!(read.env["TOKEN"].0, "s3cret");
        assert_eq!(read.user, Some(58_500));
        assert_eq!(read.files.hidden, ["/data"]);
        assert!(!format!("{order:?}").contains("s3cret"));
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused_before_memory_is_taken() {
        let claim = u32::MAX.to_be_bytes();

        let read = read_frame(&mut claim.as_slice());

        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_report_is_one_line() {
        let mut line = Vec::new();

        write_report(&mut line, &Report::Failed(Refusal::Missing { reason: "a\nb".to_owned() })).unwrap();

        assert_eq!(line, b"{\"event\":\"failed\",\"kind\":\"missing\",\"reason\":\"a\\nb\"}\n");
    }
}
