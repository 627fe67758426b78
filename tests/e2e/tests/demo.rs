//! `legwork demo` needs nothing but the program itself and git.

#![expect(
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "the program is run as a person runs it; helpers of tests fail the test"
)]

use std::{
    path::Path,
    process::{Command, Output},
};

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

fn legwork_demo(path: &str, temporary: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_legwork-under-test"))
        .arg("demo")
        .env_clear()
        .env("PATH", path)
        .env("TMPDIR", temporary)
        .output()
        .unwrap()
}

fn everything_shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The lines that git prints about a repository.
fn git(repository: &Path, arguments: &[&str]) -> Vec<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(repository)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn the_demo_commits_pushes_uploads_and_verifies_its_callback() {
    let output = legwork_demo(PATH, &std::env::temp_dir());

    let shown = everything_shown(&output);
    assert!(output.status.success(), "{shown}");
    let folder = shown.lines().find_map(|line| line.trim().strip_prefix("rm -r ")).unwrap();
    let folder = Path::new(folder.split_whitespace().next().unwrap());
    let repository = folder.join("demo.git");
    let name = git(&repository, &["log", "-1", "--abbrev=7", "--format=%h", "main"]).concat();
    let commit = format!("commit {name} on main: Sign the guest book (pushed)");
    for wanted in [
        "simulated agent",
        "repository http://127.0.0.1:",
        "accepted 202",
        &commit,
        "upload hello.md",
        "signature verified",
        "Look at",
        &format!("git -C {} show main", repository.display()),
        "Try next",
    ] {
        assert!(shown.contains(wanted), "{wanted} in:\n{shown}");
    }
    assert_eq!(
        git(&repository, &["log", "--format=%s", "main"]),
        ["Sign the guest book", "Open the guest book"]
    );
    let changes = git(&repository, &["show", "--format=", "--name-status", "main"]);
    assert_eq!(changes, ["M\tREADME.md", "A\thello.md"]);
    let signature = git(&repository, &["show", "main:README.md"]).pop().unwrap();
    assert!(signature.starts_with("- a simulated agent"), "{signature}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn without_git_the_demo_says_how_to_install_it_and_leaves_nothing_behind() {
    let empty = tempfile::tempdir().unwrap();

    let output = legwork_demo(&empty.path().display().to_string(), empty.path());

    let shown = everything_shown(&output);
    assert_eq!(output.status.code(), Some(2), "{shown}");
    assert!(shown.contains("apt-get install git"), "{shown}");
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0, "{shown}");
}
