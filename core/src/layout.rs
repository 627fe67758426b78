//! Names of objects in the store.
//!
//! ```text
//! sessions/{taskId}/encrypted-payload.bin      the sealed request
//! sessions/{taskId}/metadata.json              the record
//! sessions/{taskId}/NNN-YYYYMMDD-HHMMSS.jsonl  log chunks
//! sessions/{taskId}/uploads/{prefix}/{path}    uploaded files
//! active/{taskId}.{attempt}                    a process is responsible for the attempt now
//! due/{unix ms}-{taskId}.{attempt}             something is owed then and no process holds it
//! index/{descending ms}-{taskId}               all tasks, newest first
//! ```

use alloc::{format, string::String};

use crate::{
    id::{Attempt, TaskId},
    request::RelativePath,
    time::Timestamp,
};

/// Where the markers of attempts that some process is responsible for are.
pub const ACTIVE: &str = "active/";
/// Where the entries of what is owed are.
pub const DUE: &str = "due/";
/// Where the list of tasks is.
pub const INDEX: &str = "index/";
/// The largest number of a log chunk: past it, lines are counted and not stored.
pub const MAX_CHUNK: u32 = 2_000_997;
/// Last number whose code has 3 digits.
const LAST_OF_3: u32 = 998;
/// Last number whose code has 9 digits.
const LAST_OF_9: u32 = 1_000_997;
/// The largest 13-digit number, from which the index counts down.
const INDEX_TOP: u64 = 9_999_999_999_999;

/// Returns the folder of a task, ending in `/`.
pub fn session(id: &TaskId) -> String {
    format!("sessions/{id}/")
}

/// Returns the key of the sealed request.
pub fn payload(id: &TaskId) -> String {
    format!("sessions/{id}/encrypted-payload.bin")
}

/// Returns the key of the record.
pub fn record(id: &TaskId) -> String {
    format!("sessions/{id}/metadata.json")
}

/// Returns the key of the marker that a process is responsible for the attempt.
pub fn active(id: &TaskId, attempt: Attempt) -> String {
    format!("{ACTIVE}{id}.{attempt}")
}

/// Returns the key of an entry that something is owed at `at`.
///
/// # Examples
/// ```
/// use legwork_core::{id::Attempt, layout, time::Timestamp};
/// let key = layout::due(Timestamp::from_unix_ms(1_736_512_496_789), &"t1".parse().unwrap(), Attempt::FIRST);
/// assert_eq!(key, "due/1736512496789-t1.1");
/// assert_eq!(layout::parse_due(&key).unwrap().id.as_str(), "t1");
/// assert!(layout::parse_due("due/soon-t1.1").is_none());
/// ```
pub fn due(at: Timestamp, id: &TaskId, attempt: Attempt) -> String {
    format!("{DUE}{:013}-{id}.{attempt}", at.unix_ms())
}

/// A marker or entry as its name tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The task.
    pub id: TaskId,
    /// The attempt.
    pub attempt: Attempt,
    /// When something is owed; nothing for markers of responsibility.
    pub at: Option<Timestamp>,
}

/// Reads the name of an entry; nothing if it is none.
pub fn parse_due(key: &str) -> Option<Marker> {
    let (at, rest) = key.strip_prefix(DUE)?.split_once('-')?;
    let ms: u64 = Some(at).filter(|at| at.len() == 13)?.parse().ok()?;
    let (id, attempt) = parse_task(rest)?;
    Some(Marker { id, attempt, at: Some(Timestamp::from_unix_ms(ms)) })
}

/// Reads the name of a marker; nothing if it is none.
pub fn parse_active(key: &str) -> Option<Marker> {
    let (id, attempt) = parse_task(key.strip_prefix(ACTIVE)?)?;
    Some(Marker { id, attempt, at: None })
}

fn parse_task(text: &str) -> Option<(TaskId, Attempt)> {
    let (id, attempt) = text.rsplit_once('.')?;
    Some((id.parse().ok()?, Attempt::try_new(attempt.parse().ok()?)?))
}

/// Returns the key that lists a task newest first.
pub fn index(created_at: Timestamp, id: &TaskId) -> String {
    format!("{INDEX}{:013}-{id}", INDEX_TOP.saturating_sub(created_at.unix_ms()))
}

/// Returns the key behind which all tasks are listed that were made before `time`, and none that was made
/// after it.
///
/// # Examples
/// ```
/// use legwork_core::{layout, time::Timestamp};
/// let at = |ms| Timestamp::from_unix_ms(ms);
/// assert!(layout::index(at(999), &"t1".parse().unwrap()) > layout::index_before(at(1000)));
/// assert!(layout::index(at(1001), &"t1".parse().unwrap()) < layout::index_before(at(1000)));
/// ```
pub fn index_before(time: Timestamp) -> String {
    format!("{INDEX}{:013}", INDEX_TOP.saturating_sub(time.unix_ms()))
}

/// Reads the task of an index key; nothing if it is none.
pub fn parse_index(key: &str) -> Option<TaskId> {
    let (_, id) = key.strip_prefix(INDEX)?.split_once('-')?;
    id.parse().ok()
}

/// Returns the code of a chunk's number, such that text order is number order and no code begins
/// another: 3 digits up to 998; `999` and 6 digits up to 1,000,997; `999999999` and 6 digits up to
/// [`MAX_CHUNK`]. Nothing outside 1 to that.
///
/// # Examples
/// ```
/// use legwork_core::layout::chunk_code;
/// assert_eq!(chunk_code(1).as_deref(), Some("001"));
/// assert_eq!(chunk_code(998).as_deref(), Some("998"));
/// assert_eq!(chunk_code(999).as_deref(), Some("999000000"));
/// assert_eq!(chunk_code(1_000_998).as_deref(), Some("999999999000000"));
/// assert_eq!(chunk_code(0), None);
/// ```
pub fn chunk_code(number: u32) -> Option<String> {
    match number {
        1..=LAST_OF_3 => Some(format!("{number:03}")),
        999..=LAST_OF_9 => Some(format!("999{:06}", number.saturating_sub(999))),
        1_000_998..=MAX_CHUNK => Some(format!("999999999{:06}", number.saturating_sub(1_000_998))),
        _ => None,
    }
}

/// Reads a chunk's code; nothing if it is none.
pub fn parse_chunk_code(code: &str) -> Option<u32> {
    let number = match code.len() {
        3 => code.parse().ok()?,
        9 => code.strip_prefix("999")?.parse::<u32>().ok()?.checked_add(999)?,
        15 => code.strip_prefix("999999999")?.parse::<u32>().ok()?.checked_add(1_000_998)?,
        _ => return None,
    };
    // Signs and codes that stand for another range are refused by writing it again.
    Some(number).filter(|number| chunk_code(*number).as_deref() == Some(code))
}

/// Returns the key of a log chunk; nothing for a number without a code.
pub fn chunk(id: &TaskId, number: u32, at: Timestamp) -> Option<String> {
    Some(format!("sessions/{id}/{}-{}.jsonl", chunk_code(number)?, at.compact()))
}

/// Reads the number of a log chunk of this task; nothing if the key is none.
pub fn parse_chunk(id: &TaskId, key: &str) -> Option<u32> {
    let name = key.strip_prefix(session(id).as_str())?.strip_suffix(".jsonl")?;
    let (code, time) = name.split_once('-')?;
    let stamp = time.len() == 15 && time.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    parse_chunk_code(code).filter(|_| stamp)
}

/// Returns the key after which chunks from `number` on are listed, and none before it.
pub fn chunks_from(id: &TaskId, number: u32) -> String {
    // A code is followed by '-', and '-' sorts before every digit: the bare code of `number` is
    // after all chunks before it and before its own.
    format!("sessions/{id}/{}", chunk_code(number).unwrap_or_else(|| "~".into()))
}

/// Returns the folder of a task's uploaded files, with its final `/`.
///
/// # Examples
/// ```
/// let folder = legwork_core::layout::uploads(&"nightly-42".parse().unwrap());
/// assert_eq!(folder, "sessions/nightly-42/uploads/");
/// ```
pub fn uploads(id: &TaskId) -> String {
    format!("{}uploads/", session(id))
}

/// Returns the key of an uploaded file.
///
/// # Examples
/// ```
/// use legwork_core::layout;
/// let (id, path) = ("nightly-42".parse().unwrap(), "coverage/index.html".parse().unwrap());
/// assert_eq!(layout::upload(&id, None, &path), "sessions/nightly-42/uploads/coverage/index.html");
/// let prefix = "reports".parse().unwrap();
/// assert!(layout::upload(&id, Some(&prefix), &path).ends_with("/uploads/reports/coverage/index.html"));
/// ```
pub fn upload(id: &TaskId, prefix: Option<&RelativePath>, path: &RelativePath) -> String {
    let prefix = prefix.map(|prefix| format!("{}/", prefix.as_str())).unwrap_or_default();
    format!("{}{prefix}{}", uploads(id), path.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_all_numbers_rise_as_text_and_none_begins_another() {
        let mut before = String::new();

        for number in 1..=MAX_CHUNK {
            let code = chunk_code(number).unwrap();
            assert!(before < code && !code.starts_with(&before) || number == 1, "{before} then {code}");
            assert_eq!(parse_chunk_code(&code), Some(number));
            before = code;
        }

        assert_eq!(chunk_code(MAX_CHUNK + 1), None);
    }

    #[test]
    fn a_chunk_listed_from_its_number_comes_first() {
        let id: TaskId = "t".parse().unwrap();
        let at = Timestamp::from_unix_ms(1);

        for number in [1, 2, 998, 999, 1000, 1_000_997, 1_000_998, MAX_CHUNK] {
            assert!(chunks_from(&id, number) < chunk(&id, number, at).unwrap());
            if number > 1 {
                assert!(chunks_from(&id, number) > chunk(&id, number - 1, at).unwrap());
            }
        }
    }

    #[test]
    fn newer_tasks_are_listed_first() {
        let id: TaskId = "t".parse().unwrap();

        let older = index(Timestamp::from_unix_ms(1000), &id);
        let newer = index(Timestamp::from_unix_ms(1001), &id);

        assert!(newer < older);
        assert_eq!(parse_index(&newer), Some(id));
    }
}
