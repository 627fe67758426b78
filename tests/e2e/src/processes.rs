//! Programs that every user of the machine can run, and which processes live.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// A program under a path that the agent's own user can reach.
#[derive(Debug, Clone)]
pub struct Reachable(PathBuf);

impl Reachable {
    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("the path is text")
    }
}

/// Copies a program to where every user can reach it: a checkout may be closed to others.
pub fn reachable(program: &Path) -> Reachable {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let found = fs::metadata(program).expect("the program is there");
    let name = program.file_name().and_then(|name| name.to_str()).expect("the program has a name");
    let folder =
        std::env::temp_dir().join(format!("legwork-e2e-{}-{}-{}", found.ino(), found.mtime(), found.len()));
    let target = folder.join(name);
    if target.exists() {
        return Reachable(target);
    }
    fs::create_dir_all(&folder).expect("a folder for programs");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("others may enter");
    let half = folder.join(format!("{name}.{}", std::process::id()));
    fs::copy(program, &half).expect("the program is copied");
    fs::set_permissions(&half, fs::Permissions::from_mode(0o755)).expect("others may run it");
    // Whoever is first puts it in place: what others run already is not replaced below them.
    if let Err(error) = fs::hard_link(&half, &target) {
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "the program is put in place: {error}");
    }
    fs::remove_file(&half).expect("the copy has another name");
    Reachable(target)
}

/// Returns the living processes whose working folder, command line or environment mentions `text`.
pub fn processes_mentioning(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let state =
            String::from_utf8_lossy(&read("stat")).rsplit(')').next().unwrap_or_default().trim().to_owned();
        let folder = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let environment = String::from_utf8_lossy(&read("environ")).replace('\0', " ");
        let mentions =
            folder.to_string_lossy().contains(text) || command.contains(text) || environment.contains(text);
        if mentions && !state.starts_with('Z') {
            found.push(format!("{pid}: {command}"));
        }
    }
    found
}
