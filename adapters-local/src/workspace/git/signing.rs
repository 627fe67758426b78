//! Lets the agent sign with the task's key and never read it.
//!
//! The key is in the memory of an `ssh-agent` of the service's own user. What the agent's user may speak
//! to is a relay in front of it, which lets two kinds of messages through: `ssh-agent` itself would also
//! forget the key, take others, and load libraries. Sockets have short names only, so they are in a
//! folder of their own beside the task's.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, lchown},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use legwork_core::{hex, secret::Secret};
use legwork_ports::{
    agent::{Agent as _, AgentCommand, AgentRun, FileReach, Stderr},
    workspace::{Folders, GitError, GitLimits, GitProblem, SigningAgent},
};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::{Mutex, Semaphore},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::agent::may_cover;

use super::{
    machine, make_folder, own_folder,
    runner::{Bench, Call, Git},
};

/// How long the helper may take to begin.
const AT_MOST: Duration = Duration::from_secs(20);
/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);
/// How many may sign at once.
const MAX_CONNECTIONS: usize = 32;
/// The longest message that `ssh-agent` takes or gives.
const MAX_MESSAGE_BYTES: u32 = 256 * 1024;
/// The kinds of messages that ask which keys there are, and for a signature.
const LET_THROUGH: [u8; 2] = [11, 13];
/// The whole answer to a message that was not obeyed.
const FAILURE: u8 = 5;
/// The table in which a user has a name.
const USERS: &str = "/etc/passwd";

/// How many helpers this process has started.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// Returns the folder of a task's sockets: its name is short, whatever the task is called.
pub(in crate::workspace) fn socket_folder(root: &Path) -> PathBuf {
    let digest = Sha256::digest(root.as_os_str().as_encoded_bytes());
    let short = hex::encode(digest.get(..6).unwrap_or(&digest));
    root.parent().unwrap_or(root).join(format!(".{short}"))
}

pub(in crate::workspace) async fn open_signing_agent(
    bench: &Bench,
    folders: &Folders,
    key: &Secret<String>,
) -> Result<Box<dyn SigningAgent>, GitError> {
    let folder = socket_folder(&folders.root);
    // What adds the key may write there, as all of the service's own git may.
    make_folder(&own_folder(folders), 0o700, None, None)?;
    DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .and_then(|()| fs::set_permissions(&folder, Permissions::from_mode(0o711)))
        .map_err(|error| machine("making a folder", &folder, &error))?;
    let needs_a_name = folders.reach.covered.iter().any(|(place, _)| place == Path::new(USERS));
    if needs_a_name && !may_cover() {
        tracing::warn!(
            "the task's user has no name on this machine: OpenSSH's client will refuse to run for it"
        );
    }
    let mut opened = Box::new(Opened { socket: folder.join("a"), folder, run: None, relay: JoinSet::new() });
    match opened.begin(bench, folders, key).await {
        Ok(()) => Ok(opened),
        Err(error) => {
            opened.close().await;
            Err(error)
        }
    }
}

/// The helper and its relay. Dropping it stops both.
#[derive(Debug)]
struct Opened {
    folder: PathBuf,
    socket: PathBuf,
    run: Option<Box<dyn AgentRun>>,
    relay: JoinSet<()>,
}

impl Opened {
    async fn begin(
        &mut self,
        bench: &Bench,
        folders: &Folders,
        key: &Secret<String>,
    ) -> Result<(), GitError> {
        // A helper that was dropped removes its socket when it ends: by then another one may be there.
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let behind = self.folder.join(format!("k{number}"));
        self.run = Some(start(bench, folders, &self.folder, &behind).await?);
        let helper = connect(&behind).await?;
        add_key(bench, folders, &behind, key).await?;
        // Whoever wants to speak to the helper from now on has to go through the relay.
        fs::remove_file(&behind).map_err(|error| machine("closing a socket", &behind, &error))?;
        self.listen(helper, folders.user).map_err(|error| machine("opening a socket", &self.folder, &error))
    }

    fn listen(&mut self, helper: UnixStream, user: Option<u32>) -> io::Result<()> {
        let listener = UnixListener::bind(&self.socket)?;
        fs::set_permissions(&self.socket, Permissions::from_mode(0o600))?;
        lchown(&self.socket, user, user)?;
        self.relay.spawn(relay(listener, helper));
        Ok(())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // What stays goes with the task.
        fs::remove_dir_all(&self.folder).ok();
    }
}

#[async_trait]
impl SigningAgent for Opened {
    fn socket(&self) -> &Path {
        &self.socket
    }

    async fn close(mut self: Box<Self>) {
        self.relay.shutdown().await;
        if let Some(mut run) = self.run.take() {
            run.stop();
            if let Err(error) = run.finish().await {
                tracing::warn!(error = %error, "the helper that signs could not be ended");
            }
        }
    }
}

/// Serves whoever connects.
async fn relay(listener: UnixListener, helper: UnixStream) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let helper = Arc::new(Mutex::new(Some(helper)));
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let helper = Arc::clone(&helper);
        connections.spawn(async move {
            // Whoever hangs up, or says what is no message, ends it.
            serve(client, &helper).await.ok();
            drop(permit);
        });
    }
}

/// Answers one client's messages: what uses the key by asking the helper, all others with a refusal.
async fn serve(mut client: UnixStream, helper: &Mutex<Option<UnixStream>>) -> io::Result<()> {
    loop {
        let request = read_message(&mut client).await?;
        let is_let_through = request.first().is_some_and(|kind| LET_THROUGH.contains(kind));
        let answer = if is_let_through { ask(helper, &request).await? } else { vec![FAILURE] };
        write_message(&mut client, &answer).await?;
    }
}

async fn ask(helper: &Mutex<Option<UnixStream>>, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut held = helper.lock().await;
    // Kept for the next one only when it has answered: what is left of an answer is no other one's.
    let mut stream = held.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
    write_message(&mut stream, request).await?;
    let answer = read_message(&mut stream).await?;
    *held = Some(stream);
    Ok(answer)
}

/// Reads a message: four bytes of length, big-endian, and so many bytes, of which the first is its kind.
async fn read_message(from: &mut UnixStream) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    if !(1..=MAX_MESSAGE_BYTES).contains(&length) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "that is no message"));
    }
    let mut message = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    from.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_message(to: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    to.write_all(&[length.to_be_bytes().as_slice(), message].concat()).await
}

async fn start(
    bench: &Bench,
    folders: &Folders,
    folder: &Path,
    socket: &Path,
) -> Result<Box<dyn AgentRun>, GitError> {
    let socket = socket.to_string_lossy().into_owned();
    let command = AgentCommand {
        program: "ssh-agent".to_owned(),
        // In the foreground, and loading nobody's libraries.
        args: ["-D", "-P", "none", "-a", socket.as_str()].map(str::to_owned).to_vec(),
        env: [("PATH".to_owned(), Secret::new(bench.path.clone()))].into(),
        stdin: Bytes::new(),
        directory: folder.to_path_buf(),
        spool: folders.spool.clone(),
        user: None,
        reach: FileReach {
            writable: vec![folder.to_path_buf()],
            hidden: folders.reach.hidden.clone(),
            ..FileReach::default()
        },
        stderr: Stderr::Tail,
    };
    bench
        .agent
        .start(command)
        .await
        .map_err(|_no_such_program| GitError::new(GitProblem::Missing { program: "ssh-agent".to_owned() }))
}

/// Connects to the helper as soon as it listens.
async fn connect(socket: &Path) -> Result<UnixStream, GitError> {
    let connecting = async {
        loop {
            match UnixStream::connect(socket).await {
                Ok(stream) => return stream,
                Err(_not_yet) => sleep(LOOK).await,
            }
        }
    };
    tokio::time::timeout(AT_MOST, connecting)
        .await
        .map_err(|_elapsed| GitError::new(GitProblem::TimedOut { after: AT_MOST }))
}

async fn add_key(
    bench: &Bench,
    folders: &Folders,
    socket: &Path,
    key: &Secret<String>,
) -> Result<(), GitError> {
    let limits = GitLimits { at_most: AT_MOST, stop: CancellationToken::new() };
    let mut add = Call::service(folders.root.clone(), &[]).stdin(Bytes::from(key.expose().clone()));
    add.program = "ssh-add";
    add.args = ["-q", "-"].map(str::to_owned).to_vec();
    let add = add
        .env("SSH_AUTH_SOCK", socket.to_string_lossy())
        // A key with a passphrase is asked for nowhere.
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env("SSH_ASKPASS", "/bin/false");
    let answer = Git::new(bench, folders, &limits).answer(add).await?;
    if answer.code == Some(0) {
        return Ok(());
    }
    Err(GitError { problem: GitProblem::KeyRefused, words: answer.stderr.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kinds of messages that would change which keys there are, or load libraries, and some that are
    /// none.
    const REFUSED: [u8; 14] = [0, 1, 9, 17, 18, 19, 20, 21, 22, 23, 25, 26, 27, 255];

    #[tokio::test]
    async fn only_listing_and_signing_reach_the_helper() {
        let (mut client, served) = UnixStream::pair().unwrap();
        let (mut helper, asked) = UnixStream::pair().unwrap();
        let asked = Mutex::new(Some(asked));

        let serving = async {
            // Until the client hangs up; then nobody speaks to the helper any more.
            serve(served, &asked).await.unwrap_err();
            drop(asked.lock().await.take());
        };
        let helping = async {
            let mut seen = Vec::new();
            while let Ok(request) = read_message(&mut helper).await {
                write_message(&mut helper, b"answer").await.unwrap();
                seen.push(request);
            }
            seen
        };
        let asking = async {
            let mut answers = Vec::new();
            for kind in REFUSED.into_iter().chain([11, 13, 19]) {
                write_message(&mut client, &[kind, 0, 7]).await.unwrap();
                answers.push(read_message(&mut client).await.unwrap());
            }
            drop(client);
            answers
        };
        let ((), seen, answers) = tokio::join!(serving, helping, asking);

        assert_eq!(seen, [[11, 0, 7], [13, 0, 7]]);
        let (refused, others) = answers.split_at(REFUSED.len());
        assert!(refused.iter().all(|answer| *answer == [FAILURE]), "{refused:?}");
        assert_eq!(others, [b"answer".to_vec(), b"answer".to_vec(), vec![FAILURE]]);
    }

    #[tokio::test]
    async fn what_is_no_message_ends_the_connection_and_asks_nobody() {
        for length in [0, MAX_MESSAGE_BYTES + 1, u32::MAX] {
            let (mut client, served) = UnixStream::pair().unwrap();
            let (mut helper, asked) = UnixStream::pair().unwrap();
            let asked = Mutex::new(Some(asked));
            client.write_all(&length.to_be_bytes()).await.unwrap();

            let served = serve(served, &asked).await;
            drop(asked);
            let mut heard = Vec::new();
            helper.read_to_end(&mut heard).await.unwrap();

            assert_eq!(served.unwrap_err().kind(), io::ErrorKind::InvalidData, "{length}");
            assert!(heard.is_empty(), "{length}: {heard:?}");
        }
    }

    #[tokio::test]
    async fn a_helper_that_is_gone_answers_nobody() {
        let (helper, asked) = UnixStream::pair().unwrap();
        let asked = Mutex::new(Some(asked));
        drop(helper);

        assert!(ask(&asked, &[11]).await.is_err());
        assert_eq!(ask(&asked, &[11]).await.unwrap_err().kind(), io::ErrorKind::NotConnected);
    }
}
