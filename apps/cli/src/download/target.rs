//! Where a file goes: a pure function of the folder and the name that the service gives.

use std::path::{Path, PathBuf};

/// The name leads out of the folder, or to no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name is not safe: it must be relative, without `..`, backslashes and control characters")]
pub(crate) struct UnsafeName;

/// Returns the path of a file below `dir`.
///
/// A name is segments with `/` between them: none is empty, `.` or `..`, and none holds a control
/// character or a backslash. So the path is `dir` and at least one plain segment.
///
/// # Errors
/// [`UnsafeName`].
pub(crate) fn target(dir: &Path, name: &str) -> Result<PathBuf, UnsafeName> {
    let bad = |c: char| c.is_control() || c == '\\';
    let is_plain = |segment: &str| !matches!(segment, "" | "." | "..");
    if name.contains(bad) || !name.split('/').all(is_plain) {
        return Err(UnsafeName);
    }
    Ok(dir.join(name))
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Option<&str>) {
        assert_eq!(target(Path::new("/d"), name).ok(), expected.map(PathBuf::from), "{name:?}");
    }

    #[test]
    fn plain_names_go_below_the_folder() {
        check("a", Some("/d/a"));
        check("a/b c/ü.txt", Some("/d/a/b c/ü.txt"));
        check("..a/...", Some("/d/..a/..."));
        check("-rf/~", Some("/d/-rf/~"));
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for name in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../a",
            "a/..",
            "a/../../b",
            ".",
            "./a",
            "a/.",
            "a//b",
            "a/",
            "a\\..\\b",
            "a\0b",
            "a\nb",
            "\u{1b}[2J",
            "\u{9b}",
        ] {
            check(name, None);
        }
    }

    proptest! {
        #[test]
        fn whatever_the_name_the_path_stays_below_the_folder(
            dir in "[a-z./]{0,8}",
            name in prop_oneof![any::<String>(), "([a-c]|/|\\.|\\.\\.|\\\\|\n){0,8}"],
        ) {
            let dir = Path::new(&dir);

            if let Ok(path) = target(dir, &name) {
                let below = path.strip_prefix(dir).unwrap();
                prop_assert!(below.components().count() > 0);
                prop_assert!(below.components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert_eq!(below.to_str(), Some(name.as_str()));
            }
        }

        #[test]
        fn names_of_plain_segments_are_taken(
            segments in proptest::collection::vec("[^/\\\\\\p{Cc}.][^/\\\\\\p{Cc}]{0,5}", 1..4),
        ) {
            let name = segments.join("/");

            prop_assert_eq!(target(Path::new("d"), &name), Ok(Path::new("d").join(&name)));
        }
    }
}
