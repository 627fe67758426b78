//! The tables of users and groups that a task's user finds itself in.
//!
//! What must not be here: who the users are.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// What the task's user and its group are called.
const NAME: &str = "legwork";

/// Writes copies of this machine's tables into `folder`, with the user and its home added where the
/// machine does not know it, and returns what each is to lie over.
pub(super) fn write(folder: &Path, user: u32, home: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let account = format!("{NAME}:x:{user}:{user}:A task of Legwork:{}:/bin/sh", home.display());
    let group = format!("{NAME}:x:{user}:");
    let mut covered = Vec::new();
    for (table, line) in [("passwd", account), ("group", group)] {
        let place = Path::new("/etc").join(table);
        let Ok(known) = fs::read_to_string(&place) else { continue };
        if let Some(text) = with_entry(&known, user, &line) {
            let copy = folder.join(table);
            fs::write(&copy, text)?;
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o644))?;
            covered.push((place, copy));
        }
    }
    Ok(covered)
}

/// Returns the table with the line at its end, or nothing where the number has an entry already.
fn with_entry(table: &str, number: u32, line: &str) -> Option<String> {
    let number = number.to_string();
    let is_known = table.lines().any(|entry| entry.split(':').nth(2) == Some(number.as_str()));
    (!is_known).then(|| format!("{}\n{line}\n", table.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_an_entry_gets_one_on_a_line_of_its_own() {
        let with = with_entry("root:x:0:0::/root:/bin/sh", 58_500, "legwork:x:58500:58500::/h:/bin/sh");

        let expected = "root:x:0:0::/root:/bin/sh\nlegwork:x:58500:58500::/h:/bin/sh\n";
        assert_eq!(with.as_deref(), Some(expected));
    }

    #[test]
    fn a_user_that_the_machine_knows_keeps_its_entry() {
        assert_eq!(with_entry("ci:x:58500:58500::/ci:/bin/sh\n", 58_500, "legwork"), None);
    }
}
