//! Signing with a key that the agent cannot read.

use std::{path::Path, time::Duration};

use legwork_core::{id::Attempt, secret::Secret};
use legwork_ports::workspace::GitProblem;
use tokio::time::{sleep, timeout};

use super::{
    WorkspaceBench,
    bench::{PATIENCE, holders, processes_with, quoted, telling},
};

/// Signs with every key behind a socket, and tells their kinds.
fn sign(socket: &Path) -> String {
    let socket = quoted(socket);
    format!("export SSH_AUTH_SOCK={socket}; ssh-add -L > keys && ssh-add -T keys && cut -d' ' -f1 keys")
}

/// The agent signs with the key, which is nowhere to be read.
pub async fn the_agent_signs_with_a_key_that_it_cannot_read(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    let key = bench.key(&folders, "").await;

    let signing = bench.workspace.open_signing_agent(&folders, &key).await.expect("it is opened");

    assert_eq!(bench.shell(&folders, &sign(signing.socket())).await, "ssh-ed25519\n");
    let around = signing.socket().parent().expect("a folder");
    for folder in [folders.root.as_path(), around] {
        let found = holders(folder, telling(&key));
        assert!(found.is_empty(), "{found:?}");
    }
    signing.close().await;
}

/// Nothing is left of a signing agent that was closed, and another one can be opened.
pub async fn nothing_is_left_of_a_closed_signing_agent(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    let key = bench.key(&folders, "").await;
    let signing = bench.workspace.open_signing_agent(&folders, &key).await.expect("it is opened");
    let socket = signing.socket().to_path_buf();
    assert!(socket.exists(), "there is a socket");

    signing.close().await;

    assert!(!socket.exists(), "the socket is left");
    let left = processes_with(socket.parent().expect("a folder"));
    assert!(left.is_empty(), "processes are left: {left:?}");
    let again = bench.workspace.open_signing_agent(&folders, &key).await.expect("it is opened again");
    assert_eq!(bench.shell(&folders, &sign(again.socket())).await, "ssh-ed25519\n");
    again.close().await;
}

/// Dropping a signing agent ends it, too.
pub async fn dropping_a_signing_agent_ends_it(bench: &WorkspaceBench) {
    let folders = bench.folders().await;
    let key = bench.key(&folders, "").await;
    let signing = bench.workspace.open_signing_agent(&folders, &key).await.expect("it is opened");
    let socket = signing.socket().to_path_buf();
    let folder = socket.parent().expect("a folder").to_path_buf();

    drop(signing);

    let gone = timeout(PATIENCE, async {
        while socket.exists() || !processes_with(&folder).is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    });
    gone.await.expect("it ends in time");
}

/// What is no key, and a key that would have to be asked for, are refused.
pub async fn a_key_that_cannot_sign_is_refused(bench: &WorkspaceBench) {
    let (one, other) = (bench.folders().await, bench.folders_of(Attempt::FIRST.next()).await);
    let no_key = Secret::new("no key at all\n".to_owned());
    let locked = bench.key(&other, "passphrase").await;

    for (folders, key) in [(one, no_key), (other, locked)] {
        let opened = bench.workspace.open_signing_agent(&folders, &key).await;
        let error = opened.expect_err("no key to sign with");
        assert_eq!(error.problem, GitProblem::KeyRefused, "{}", error.words);
    }
}
