//! Reads the files that options name, and standard input; each is bounded.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use crate::exit::UsageError;

/// Longest prompt or file that is read, in bytes: what the service reads at most before it refuses.
const MAX_INPUT_BYTES: u64 = 16 * 1024 * 1024;

/// Reads a text file that an option names; a byte order mark is left out.
///
/// # Errors
/// Where it cannot be read or is not UTF-8; the error names the file, and `advice` says what to give.
pub(crate) fn text_file(option: &str, path: &Path, advice: &str) -> Result<String, UsageError> {
    let told = |what: &dyn std::fmt::Display| {
        UsageError::new(format!("{option}: cannot read {}: {what}; {advice}", path.display()))
    };
    let bytes = File::open(path).and_then(bounded).map_err(|error| told(&error))?;
    // The error of the conversion would hold the bytes, which may be secret.
    let text = String::from_utf8(bytes).map_err(|_bytes| told(&"it is not UTF-8 text"))?;
    Ok(text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned))
}

/// Reads standard input as text.
///
/// # Errors
/// Where it cannot be read, is not UTF-8, or does not end.
pub(crate) fn standard_input() -> io::Result<String> {
    let bytes = bounded(io::stdin().lock())?;
    String::from_utf8(bytes)
        .map_err(|_bytes| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

fn bounded(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= MAX_INPUT_BYTES => Ok(bytes),
        Ok(_) | Err(_) => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &[u8], expected: Result<&str, &str>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, content).unwrap();

        let read = text_file("--x", &path, "give another").map_err(|error| error.to_string());

        let told = expected
            .map(str::to_owned)
            .map_err(|what| format!("--x: cannot read {}: {what}; give another", path.display()));
        assert_eq!(read, told);
    }

    #[test]
    fn text_is_read_without_its_byte_order_mark() {
        check("ü\n".as_bytes(), Ok("ü\n"));
        check("\u{feff}a".as_bytes(), Ok("a"));
        check(b"\xff", Err("it is not UTF-8 text"));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_what_to_do() {
        let told = text_file("--ssh-key", Path::new("/none/id"), "give a private key").unwrap_err();

        assert_eq!(
            told.to_string(),
            "--ssh-key: cannot read /none/id: No such file or directory (os error 2); give a private key"
        );
    }

    #[test]
    fn what_does_not_end_is_not_read_whole() {
        let told = text_file("--file", Path::new("/dev/zero"), "x").unwrap_err();

        assert!(told.to_string().contains("larger than 16 MiB"), "{told}");
    }
}
