//! Secrets in files of their own: made on first use, by one process of many, and closed to others.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use legwork_core::{hex, secret::Secret};
use legwork_ports::clock::{IdSource as _, IdSourceExt as _};

use crate::clock::SystemIds;

/// Returns 64 hexadecimal digits of fresh randomness.
pub fn random_hex() -> String {
    let mut bytes = [0; 32];
    SystemIds.fill(&mut bytes);
    hex::encode(&bytes)
}

/// Returns the file's text without blanks around it, making the file where there is none. Of several
/// processes that make it at once, one wins, and all return what it wrote.
///
/// # Errors
/// Where the file cannot be read or made, is empty, or may be read by others.
pub fn read_or_create(path: &Path, make: impl FnOnce() -> String) -> io::Result<Secret<String>> {
    if !path.exists() {
        create(path, &make())?;
    }
    let metadata = fs::metadata(path)?;
    if metadata.mode() & 0o077 != 0 {
        return Err(io::Error::other(format!("others may read it: chmod 600 {}", path.display())));
    }
    let text = fs::read_to_string(path)?.trim().to_owned();
    if text.is_empty() {
        return Err(io::Error::other(format!("it is empty: remove {} to have it made anew", path.display())));
    }
    Ok(Secret::new(text))
}

/// Makes the file whole, unless somebody else just did.
fn create(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let half = path.with_extension(format!("{}.new", SystemIds.token().as_str()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    // A link fails where the name is taken: the first one wins.
    let linked = fs::hard_link(&half, path);
    fs::remove_file(&half)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");

        let first = read_or_create(&path, random_hex).unwrap();
        let second = read_or_create(&path, random_hex).unwrap();

        assert_eq!(first, second);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();

        let error = read_or_create(&path, random_hex).unwrap_err();

        assert!(error.to_string().contains("chmod 600"));
    }
}
