//! An agent that may use the SSH key signs with it, and gets neither the key nor anything else by it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::Path;

use legwork_e2e::{Service, ServiceBuilder, modes, processes_mentioning, reachable};
use legwork_simulators::git_server::{BareRepositories, BareRepository, SshServer};
use serde_json::{Value, json};

/// Looks for the key wherever the agent may look, and for the memory of the process that holds it.
const SEARCH: &str = r#"
search() {
    grep -rlas 'PRIVATE [K]EY' ~ . "$TMPDIR" "${HOME%/*}" "${SSH_AUTH_SOCK%/*}" /proc/[0-9]*/environ /proc/[0-9]*/cmdline
}
found=$(search)
test -z "$found" || { echo "the key is in $found"; exit 1; }
printf 'PRIVATE %s' KEY > ~/lure
search | grep -q lure || { echo 'the search finds nothing'; exit 1; }
for process in /proc/[0-9]*; do
    cat $process/cmdline 2>/dev/null | tr '\0' ' ' | grep -q "^ssh-agent .*${SSH_AUTH_SOCK%/*}/" || continue
    echo 'holder found'
    if cat $process/maps || cat $process/environ; then echo 'its memory is open'; exit 1; fi
done
"#;

/// Asks the holder of the key to load a library, which it would do as the service's user.
const LOAD: &str = r#"
library=$(readlink -f "$(ls /usr/lib/*/libc.so.6 /usr/lib*/libc.so.6 2>/dev/null | head -n 1)")
test -f "$library" || exit 1
if SSH_ASKPASS_REQUIRE=force SSH_ASKPASS=/bin/echo ssh-add -s "$library"; then exit 1; fi
for process in /proc/[0-9]*; do
    parent=$(sed -n 's/^PPid:[[:space:]]*//p' $process/status 2>/dev/null)
    cat /proc/${parent:-0}/cmdline 2>/dev/null | tr '\0' ' ' | grep -q "^ssh-agent .*${SSH_AUTH_SOCK%/*}/" || continue
    echo "the holder has started $(tr '\0' ' ' < $process/cmdline)"
    exit 1
done
"#;

fn service() -> Service {
    let agent = reachable(Path::new(env!("CARGO_BIN_EXE_fake-agent")));
    ServiceBuilder::new(env!("CARGO_BIN_EXE_legwork-under-test"), agent.as_str()).start()
}

fn repository(repositories: &BareRepositories) -> BareRepository {
    let repository = repositories.repository("project");
    repository.commit("main", "first", &[("README.md", b"hello\n")]);
    repository
}

fn request(server: &SshServer, may_use_key: bool, commands: &[&str]) -> Value {
    json!({
        "gitRepo": server.url("project"),
        "sshKey": server.client_key(),
        "agentMayUseSshKey": may_use_key,
        "preExecutionCommands": commands,
    })
}

/// What the commands have written to stdout.
async fn output(service: &Service, id: &str) -> Vec<String> {
    let lines = service.log_lines(id).await;
    let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let output = lines.filter(|line| line.get("stream").is_some_and(|stream| stream == "stdout"));
    output.filter_map(|line| line.get("text").and_then(Value::as_str).map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_may_use_the_key_signs_with_it_and_cannot_read_it() {
    let repositories = BareRepositories::new();
    let repository = repository(&repositories);
    let server = SshServer::start(&repositories).await;
    let service = service();
    let sign = "ssh-add -l && git fetch -q origin && git ls-remote -q origin && \
                git push -q origin HEAD:refs/heads/by-agent && echo \"socket $SSH_AUTH_SOCK\"";

    let id = service.submit(&modes(&["ok"]), None, request(&server, true, &[sign, SEARCH])).await;
    let record = service.wait_for_end(&id).await;

    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(repository.log("by-agent"), ["first"]);
    let output = output(&service, &id).await;
    assert!(output.iter().any(|line| line == "holder found"), "{output:#?}");
    let socket = output.iter().find_map(|line| line.strip_prefix("socket ")).expect("a socket is named");
    let folder = Path::new(socket).parent().unwrap();
    assert!(!folder.exists(), "{} is left", folder.display());
    assert_eq!(processes_mentioning(folder.to_str().unwrap()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_holder_of_the_key_loads_no_library_for_the_agent() {
    let repositories = BareRepositories::new();
    repository(&repositories);
    let server = SshServer::start(&repositories).await;
    let service = service();

    let id = service.submit(&modes(&["ok"]), None, request(&server, true, &["ssh-add -l", LOAD])).await;
    let record = service.wait_for_end(&id).await;

    assert_eq!(record["status"], "completed", "{record:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_may_not_use_the_key_signs_nothing() {
    let repositories = BareRepositories::new();
    repository(&repositories);
    let server = SshServer::start(&repositories).await;
    let service = service();
    let refused = "test -z \"$SSH_AUTH_SOCK\" || exit 1; if ssh-add -l; then exit 1; fi; \
                   export GIT_SSH_COMMAND='ssh -o BatchMode=yes -o StrictHostKeyChecking=no'; \
                   if git ls-remote origin; then exit 1; fi; echo refused";

    let id = service.submit(&modes(&["ok"]), None, request(&server, false, &[refused])).await;
    let record = service.wait_for_end(&id).await;

    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(output(&service, &id).await, ["refused"]);
    assert!(server.log().contains("Accepted publickey"), "the key is none of this server");
}

legwork_e2e::also_on_google!(
    an_agent_that_may_use_the_key_signs_with_it_and_cannot_read_it,
    the_holder_of_the_key_loads_no_library_for_the_agent,
    an_agent_that_may_not_use_the_key_signs_nothing,
);
