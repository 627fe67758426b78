//! Raw HTTP requests, written by hand so that no client tidies up the target.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::script::{Credential, HttpRequest};
use super::stage::Stage;

/// How much of an answer is shown.
const SHOWN_BYTES: usize = 4096;

/// The smallest request that the API understands.
const MINIMAL_BODY: &str =
    r#"{"model":"claude-simulated","max_tokens":1,"messages":[{"role":"user","content":"probe"}]}"#;

/// Makes one request and says how it was answered, with the status line.
pub(super) fn once(stage: &mut Stage, request: &HttpRequest) -> io::Result<()> {
    let answer = exchange(&stage.variables, request);
    let shown = match &answer {
        Answer::Http(text) => text.as_str(),
        Answer::None(why) => why,
    };
    stage.say(&format!("{} -> {shown}", title(request)))
}

/// Makes requests that a careful proxy answers very differently, and says
/// each one's status.
pub(super) fn all(stage: &mut Stage) -> io::Result<()> {
    use Credential::{None, Own, Wrong};
    let base = stage.variables.get("ANTHROPIC_BASE_URL").cloned().unwrap_or_default();
    let own_absolute = format!("{base}/v1/messages");
    let targets = [
        (Own, "POST", "/v1/messages"),
        (Own, "POST", "/v1/messages?beta=true"),
        (Own, "POST", "/v1/messages/count_tokens"),
        (None, "HEAD", "/"),
        (Wrong, "POST", "/v1/messages"),
        (None, "POST", "/v1/messages"),
        (Own, "GET", "/v1/messages"),
        (Own, "GET", "/v1/models"),
        (Own, "POST", "/v1/models"),
        (Own, "POST", "/v1/files"),
        (Own, "POST", "/v1/messages/../messages"),
        (Own, "POST", "/v1/messages/../models"),
        (Own, "POST", "/v1/messages/batches"),
        (Own, "POST", "/v1/messages/"),
        (Own, "POST", "//v1/messages"),
        (Own, "POST", "/v1%2fmessages"),
        (Own, "POST", "/v1/%6dessages"),
        (Own, "POST", "/V1/MESSAGES"),
        (Own, "POST", "/v1/messages?foo=bar"),
        (Own, "POST", "/v1/messages?beta=true&foo=bar"),
        (Own, "POST", own_absolute.as_str()),
        (Own, "POST", "http://example.com/v1/messages"),
        (Own, "CONNECT", "example.com:443"),
    ];
    for (credential, method, path) in targets {
        let request = HttpRequest {
            url: Option::None,
            method: method.to_owned(),
            path: path.to_owned(),
            credential,
            headers: Vec::new(),
            body: Option::None,
            timeout_ms: 10_000,
        };
        let answer = exchange(&stage.variables, &request);
        stage.say(&format!("{} -> {}", title(&request), answer.status()))?;
    }
    Ok(())
}

enum Answer {
    /// The beginning of the answer, status line first.
    Http(String),
    /// Why there is none: `refused`, `closed` or `timeout`.
    None(&'static str),
}

impl Answer {
    /// The status, or why there is none.
    fn status(&self) -> &str {
        match self {
            Self::Http(text) => text.split(' ').nth(1).unwrap_or("closed"),
            Self::None(why) => why,
        }
    }
}

fn title(request: &HttpRequest) -> String {
    let credential = match request.credential {
        Credential::Own => "own",
        Credential::Wrong => "wrong",
        Credential::None => "none",
    };
    format!("{credential} {} {}", request.method, request.path)
}

fn exchange(variables: &BTreeMap<String, String>, request: &HttpRequest) -> Answer {
    let base = request.url.as_ref().or_else(|| variables.get("ANTHROPIC_BASE_URL"));
    let base = base.map(String::as_str).unwrap_or_default();
    let host = base.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let Ok(mut stream) = TcpStream::connect(host) else { return Answer::None("refused") };
    match talk(
        &mut stream,
        &encode(variables, request, host),
        Duration::from_millis(request.timeout_ms.max(1)),
    ) {
        Ok(answer) if answer.is_empty() => Answer::None("closed"),
        Ok(answer) => Answer::Http(answer),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Answer::None("timeout")
        }
        Err(_broken) => Answer::None("closed"),
    }
}

fn encode(variables: &BTreeMap<String, String>, request: &HttpRequest, host: &str) -> String {
    let mut lines = vec![
        format!("{} {} HTTP/1.1", request.method, request.path),
        format!("host: {host}"),
        "anthropic-version: 2023-06-01".to_owned(),
        "connection: close".to_owned(),
    ];
    lines.extend(credential_line(variables, request.credential));
    lines.extend(request.headers.iter().cloned());
    let body = match (&request.body, request.method.as_str()) {
        (Some(body), _) => body.as_str(),
        (None, "POST") => MINIMAL_BODY,
        (None, _) => "",
    };
    if !body.is_empty() {
        lines
            .extend(["content-type: application/json".to_owned(), format!("content-length: {}", body.len())]);
    }
    format!("{}\r\n\r\n{body}", lines.join("\r\n"))
}

/// The credential as the CLI would send it: a key, or else a token.
fn credential_line(variables: &BTreeMap<String, String>, credential: Credential) -> Option<String> {
    match credential {
        Credential::None => None,
        Credential::Wrong => Some("x-api-key: wrong-credential".to_owned()),
        Credential::Own => {
            let key = variables.get("ANTHROPIC_API_KEY").map(|key| format!("x-api-key: {key}"));
            let names = ["CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_AUTH_TOKEN"];
            key.or_else(|| {
                let token = names.iter().find_map(|name| variables.get(*name))?;
                Some(format!("authorization: Bearer {token}"))
            })
        }
    }
}

/// Sends the request and reads until the end, the limit, or a silence.
fn talk(stream: &mut TcpStream, request: &str, timeout: Duration) -> io::Result<String> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while answer.len() < SHOWN_BYTES {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(size) => answer.extend(buffer.iter().take(size)),
            // A server may refuse and close before it has read everything: its answer counts.
            Err(_broken) if !answer.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(credential: Credential) -> HttpRequest {
        HttpRequest {
            url: None,
            method: "POST".into(),
            path: "/v1%2fmessages".into(),
            credential,
            headers: vec!["x-more: 1".into()],
            body: Some("{}".into()),
            timeout_ms: 1000,
        }
    }

    #[test]
    fn the_target_goes_out_untouched() {
        let encoded = encode(&BTreeMap::new(), &request(Credential::None), "127.0.0.1:1");

        assert!(encoded.starts_with("POST /v1%2fmessages HTTP/1.1\r\nhost: 127.0.0.1:1\r\n"), "{encoded}");
        assert!(encoded.contains("\r\nx-more: 1\r\n") && encoded.ends_with("\r\n\r\n{}"), "{encoded}");
    }

    #[test]
    fn a_key_is_preferred_to_a_token() {
        let both = BTreeMap::from([
            ("ANTHROPIC_API_KEY".to_owned(), "key".to_owned()),
            ("CLAUDE_CODE_OAUTH_TOKEN".to_owned(), "token".to_owned()),
        ]);
        let token = BTreeMap::from([("CLAUDE_CODE_OAUTH_TOKEN".to_owned(), "token".to_owned())]);

        assert_eq!(credential_line(&both, Credential::Own).as_deref(), Some("x-api-key: key"));
        assert_eq!(credential_line(&token, Credential::Own).as_deref(), Some("authorization: Bearer token"));
    }

    #[test]
    fn a_port_that_nobody_listens_on_is_refused() {
        let nobody = HttpRequest { url: Some("http://127.0.0.1:1".into()), ..request(Credential::None) };

        assert_eq!(exchange(&BTreeMap::new(), &nobody).status(), "refused");
    }
}
