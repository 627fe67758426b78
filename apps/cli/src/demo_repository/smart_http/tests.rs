//! What git and others get from the server of the demo's repository.

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::demo_repository::{GitProgram, NAME};

/// A repository that is served, and a visitor with an empty folder.
struct Visit {
    folder: TempDir,
    git: GitProgram,
    repository: DemoRepository,
    address: String,
    _serving: JoinSet<io::Result<()>>,
}

impl Visit {
    async fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let git = GitProgram::find("/usr/local/bin:/usr/bin:/bin").unwrap();
        let repository = DemoRepository::make(git.clone(), folder.path()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, repository.clone(), Secret::new("s3cret".to_owned())));
        Self { folder, git, repository, address, _serving: serving }
    }

    fn url(&self, token: &str) -> String {
        format!("http://anybody:{token}@{}/{NAME}", self.address)
    }

    /// Runs git as the visitor; returns whether it succeeded, and what it said.
    async fn git(&self, arguments: &[&str]) -> (bool, String) {
        let identity = ["-c", "user.name=Visitor", "-c", "user.email=visitor@example.com"];
        let arguments = [identity.as_slice(), arguments].concat();
        let output = self.git.run(self.folder.path(), &arguments, b"", None).await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Runs git as the visitor, which has to succeed.
    async fn must(&self, arguments: &[&str]) {
        let (succeeded, said) = self.git(arguments).await;
        assert!(succeeded, "{arguments:?}: {said}");
    }

    /// Commits a file in the folder `copy`.
    async fn commit(&self, name: &str, content: &[u8]) {
        std::fs::write(self.folder.path().join("copy").join(name), content).unwrap();
        self.must(&["-C", "copy", "add", name]).await;
        self.must(&["-C", "copy", "commit", "--quiet", "-m", &format!("Add {name}")]).await;
    }

    /// Asks without git, and returns the status.
    async fn ask(&self, method: &str, target: &str, token: &str, encoding: Option<&str>) -> u16 {
        legwork_wiring::install_tls();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let url = format!("http://{}{target}", self.address);
        let mut request =
            client.request(method.parse().unwrap(), url).basic_auth("anybody", Some(token)).body("0000");
        if let Some(encoding) = encoding {
            request = request.header("Content-Encoding", encoding);
        }
        request.send().await.unwrap().status().as_u16()
    }
}

fn subjects(history: &str) -> Vec<&str> {
    let commits = history.lines().filter(|line| !line.starts_with(' '));
    commits.filter_map(|line| line.split_once(' ')).map(|(_name, subject)| subject).collect()
}

#[tokio::test]
async fn what_was_cloned_comes_back_with_a_push() {
    let visit = Visit::begin().await;

    visit.must(&["clone", "--quiet", &visit.url("s3cret"), "copy"]).await;
    visit.commit("new.txt", b"new\n").await;
    visit.must(&["-C", "copy", "push", "--quiet", "origin", "main"]).await;

    let history = visit.repository.history().await.unwrap();
    assert_eq!(subjects(&history), ["Add new.txt", "Open the guest book"], "{history}");
}

#[tokio::test]
async fn a_push_that_git_sends_in_pieces_arrives_whole() {
    let visit = Visit::begin().await;
    let mut random = vec![0; 300_000];
    getrandom::fill(&mut random).unwrap();

    visit.must(&["clone", "--quiet", &visit.url("s3cret"), "copy"]).await;
    visit.commit("large.bin", &random).await;
    visit.must(&["-c", "http.postBuffer=65536", "-C", "copy", "push", "--quiet", "origin", "main"]).await;

    let history = visit.repository.history().await.unwrap();
    assert!(history.contains("large.bin | Bin 0 -> 300000 bytes"), "{history}");
}

#[tokio::test]
async fn every_version_of_the_protocol_is_spoken() {
    let visit = Visit::begin().await;

    for version in ["0", "1", "2"] {
        let setting = format!("protocol.version={version}");
        let copy = format!("copy{version}");
        visit.must(&["-c", &setting, "clone", "--quiet", "--depth=1", &visit.url("s3cret"), &copy]).await;
        assert!(visit.folder.path().join(copy).join("README.md").is_file(), "{version}");
    }
}

#[tokio::test]
async fn another_token_neither_fetches_nor_pushes() {
    let visit = Visit::begin().await;
    visit.must(&["clone", "--quiet", &visit.url("s3cret"), "copy"]).await;
    visit.commit("new.txt", b"new\n").await;

    let (fetched, fetch) = visit.git(&["ls-remote", &visit.url("S3cret")]).await;
    let (pushed, push) = visit.git(&["-C", "copy", "push", &visit.url("s3cre"), "main"]).await;

    assert!(!fetched && fetch.contains("Authentication failed"), "{fetch}");
    assert!(!pushed && push.contains("Authentication failed"), "{push}");
    assert_eq!(subjects(&visit.repository.history().await.unwrap()), ["Open the guest book"]);
}

#[tokio::test]
async fn without_the_token_it_is_not_even_told_what_is_there() {
    let visit = Visit::begin().await;

    for target in ["/demo.git/info/refs?service=git-receive-pack", "/demo.git/HEAD", "/"] {
        assert_eq!(visit.ask("GET", target, "", None).await, 401, "{target}");
    }
    assert_eq!(visit.ask("POST", "/demo.git/git-receive-pack", "", None).await, 401);
}

#[tokio::test]
async fn nothing_but_the_two_services_is_served() {
    let visit = Visit::begin().await;

    for target in [
        "/",
        "/demo.git",
        "/demo.git/HEAD",
        "/demo.git/info/refs",
        "/demo.git/info/refs?service=git-upload-archive",
        "/demo.git/../demo.git/config",
        "/other.git/info/refs?service=git-upload-pack",
    ] {
        assert_eq!(visit.ask("GET", target, "s3cret", None).await, 404, "{target}");
    }
    assert_eq!(visit.ask("PUT", "/demo.git/git-receive-pack", "s3cret", None).await, 404);
}

#[tokio::test]
async fn a_compressed_question_is_refused_in_place_of_being_misread() {
    let visit = Visit::begin().await;
    let target = "/demo.git/git-receive-pack";

    let compressed = visit.ask("POST", target, "s3cret", Some("gzip")).await;
    let plain = visit.ask("POST", target, "s3cret", None).await;

    assert_eq!((compressed, plain), (415, 200));
}

#[test]
fn an_announcement_begins_with_its_own_length() {
    assert_eq!(announcement("upload-pack"), "001e# service=git-upload-pack\n0000");
    assert_eq!(announcement("receive-pack"), "001f# service=git-receive-pack\n0000");
}
