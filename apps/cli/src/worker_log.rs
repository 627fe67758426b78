//! A worker's own log, where it is a file on this machine that this user may read.
//!
//! Which file that is, the service says; it is believed only for files of the local data folder's
//! `worker-logs`, whatever else it names.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use legwork_wiring::{
    config::default_data_dir,
    values::{EnvFile, Values},
};
use rustix::fs::{self, FileType, Mode, OFlags};

/// The folder of the logs in the data folder.
const FOLDER: &str = "worker-logs";
/// How much is read at a time.
const PIECE_BYTES: u64 = 64 * 1024;

/// Returns the data folder of the service on this machine.
pub(crate) fn data_dir(given: Option<&Path>) -> Option<PathBuf> {
    match given {
        Some(folder) => Some(folder.to_owned()),
        None => default_data_dir(&Values::read([], &EnvFile::Never).ok()?),
    }
}

/// Returns the name of the file in `worker-logs` of a data folder that a `file://` URL means; nothing
/// where it means anything else.
///
/// The service writes the path as it is, without percent-encoding.
pub(crate) fn local_name<'u>(url: &'u str, data_dir: &Path) -> Option<&'u str> {
    let path = Path::new(url.strip_prefix("file://")?);
    let name = path.file_name()?.to_str()?;
    let is_plain = !name.starts_with('.') && !name.contains(char::is_control);
    let ours = data_dir.join(FOLDER).canonicalize().ok()?;
    let is_ours = path.parent()?.canonicalize().is_ok_and(|parent| parent == ours);
    let is_log = Path::new(name).extension().is_some_and(|ending| ending == "log");
    (is_plain && is_ours && is_log && url.ends_with(&format!("/{name}"))).then_some(name)
}

/// Opens a log by the name that [`local_name`] gave: a regular file, through no link.
///
/// # Errors
/// Where there is none, it is something else, or it is not for this user to read.
pub(crate) fn open(data_dir: &Path, name: &str) -> io::Result<File> {
    let folder = fs::open(data_dir.join(FOLDER), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // Opening a pipe would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::openat(&folder, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file"));
    }
    Ok(File::from(file))
}

/// Returns what was written since the last call, a piece at most; empty where that is all so far.
///
/// # Errors
/// Where the file cannot be read.
pub(crate) fn next_piece(file: &mut File) -> io::Result<Vec<u8>> {
    let mut piece = Vec::new();
    file.take(PIECE_BYTES).read_to_end(&mut piece)?;
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::fs::symlink};

    use super::*;

    fn data() -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        std::fs::create_dir(data.path().join(FOLDER)).unwrap();
        std::fs::write(data.path().join("worker-logs/a.log"), "one\n").unwrap();
        data
    }

    #[track_caller]
    fn check(data: &Path, url: &str, expected: Option<&str>) {
        assert_eq!(local_name(url, data), expected, "{url}");
    }

    #[test]
    fn a_log_of_this_data_folder_is_found() {
        let data = data();
        let folder = data.path().display();

        check(data.path(), &format!("file://{folder}/worker-logs/a.log"), Some("a.log"));
        check(&data.path().join("."), &format!("file://{folder}/worker-logs/gone.log"), Some("gone.log"));
    }

    #[test]
    fn files_elsewhere_are_not_opened_whatever_the_service_says() {
        let (data, other) = (data(), data());
        let folder = data.path().display();

        for url in [
            "file:///etc/shadow".to_owned(),
            "file:///etc/worker-logs/x.log".to_owned(),
            format!("file://{}/worker-logs/a.log", other.path().display()),
            format!("file://{folder}/api-token"),
            format!("file://{folder}/worker-logs"),
            format!("file://{folder}/worker-logs/../api-token"),
            format!("file://{folder}/worker-logs/../x.log"),
            format!("file://{folder}/worker-logs/.."),
            format!("file://{folder}/worker-logs/a.log/"),
            format!("file://{folder}/worker-logs/a.log/."),
            format!("file://{folder}/worker-logs/.a.log"),
            format!("file://{folder}/worker-logs/a.txt"),
            format!("file://{folder}/worker-logs/\u{1b}.log"),
            format!("file:{folder}/worker-logs/a.log"),
            "https://console.cloud.google.com/logs".to_owned(),
        ] {
            check(data.path(), &url, None);
        }
    }

    #[test]
    fn only_a_regular_file_is_read() {
        let data = data();
        symlink("/etc/hostname", data.path().join("worker-logs/link.log")).unwrap();
        std::fs::create_dir(data.path().join("worker-logs/folder.log")).unwrap();

        assert!(open(data.path(), "a.log").is_ok());
        for other in ["link.log", "folder.log", "gone.log"] {
            assert!(open(data.path(), other).is_err(), "{other}");
        }
    }

    #[test]
    fn what_is_written_later_is_read_later() {
        let data = data();
        let mut log = open(data.path(), "a.log").unwrap();

        let first = next_piece(&mut log).unwrap();
        let nothing = next_piece(&mut log).unwrap();
        let path = data.path().join("worker-logs/a.log");
        std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"two\n").unwrap();
        let second = next_piece(&mut log).unwrap();

        assert_eq!(
            (first.as_slice(), nothing.as_slice(), second.as_slice()),
            (&b"one\n"[..], &b""[..], &b"two\n"[..])
        );
    }
}
