//! Where a program is, and whether this process may execute it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

/// Where a program is sought that is only named when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Returns every place where the program may be, in order: itself where it has a slash, else its
/// name in every folder of `path`.
pub(super) fn places(program: &str, path: Option<&str>, directory: &Path) -> Vec<PathBuf> {
    if program.is_empty() {
        Vec::new()
    } else if program.contains('/') {
        vec![directory.join(program)]
    } else {
        path.unwrap_or(DEFAULT_PATH).split(':').map(|folder| directory.join(folder).join(program)).collect()
    }
}

/// Returns the first of these places where there is a file, executable or not.
pub(super) fn first_file(places: &[PathBuf]) -> Option<&PathBuf> {
    places.iter().find(|place| is_file(place))
}

/// Returns the first of these places with a file that this process's user may execute.
pub(super) fn first_executable(places: &[PathBuf]) -> Option<&PathBuf> {
    places.iter().find(|place| is_file(place) && access(place.as_path(), Access::EXEC_OK).is_ok())
}

fn is_file(place: &Path) -> bool {
    fs::metadata(place).is_ok_and(|metadata| metadata.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(program: &str, path: Option<&str>, expected: &[&str]) {
        let found = places(program, path, Path::new("/desk"));

        assert_eq!(found, expected.iter().map(PathBuf::from).collect::<Vec<_>>());
    }

    #[test]
    fn a_name_is_sought_in_every_folder_of_the_path() {
        check("claude", Some("/a:/b"), &["/a/claude", "/b/claude"]);
        check("claude", Some("bin:"), &["/desk/bin/claude", "/desk/claude"]);
    }

    #[test]
    fn a_program_with_a_slash_is_not_sought() {
        check("/opt/claude", Some("/a"), &["/opt/claude"]);
        check("./claude", Some("/a"), &["/desk/./claude"]);
    }

    #[test]
    fn an_empty_name_is_nowhere() {
        check("", Some("/a"), &[]);
    }

    #[test]
    fn a_folder_is_no_program() {
        assert_eq!(first_executable(&[PathBuf::from("/")]), None);
        assert_eq!(
            first_executable(&[PathBuf::from("/"), PathBuf::from("/bin/sh")]),
            Some(&PathBuf::from("/bin/sh"))
        );
    }
}
