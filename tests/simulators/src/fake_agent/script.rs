//! The prompt, read: which modes, with which options.

use std::collections::VecDeque;
use std::str::FromStr;

/// What the prompt asks for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Script {
    pub(super) modes: Vec<Mode>,
    /// The strings that `env` writes in many forms.
    pub(super) leaks: Vec<String>,
}

/// One thing to do; the module's documentation says what each means.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mode {
    Ok { turns: u64, text: String },
    Tools { name: String, turns: u64 },
    Flood { lines: u64, bytes: usize },
    Slow { lines: u64, every_ms: u64 },
    Huge { bytes: usize },
    NotUtf8,
    StderrFlood { lines: u64, bytes: usize },
    Env,
    Read { path: String },
    Write { path: String, text: String },
    Sh { command: String },
    Http(HttpRequest),
    ProxyProbe,
    Truncate,
    Rewrite { how: Rewriting },
    Children { seconds: u64 },
    LateChildren { every_ms: u64, count: u64 },
    BackgroundNoise { every_ms: u64, count: u64 },
    IgnoreTerm,
    Hang,
    Signal { name: String },
    NoResult,
    NoOutput,
    ErrorResult { rc: u8, subtype: String, text: String, status: Option<u16> },
    LoneSurrogate,
    Exit { code: u8, stderr: String },
}

/// How a transcript is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rewriting {
    Refill,
    InPlace,
}

/// Which credential a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credential {
    Own,
    Wrong,
    None,
}

/// One raw HTTP request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HttpRequest {
    /// `http://host:port`; absent: `ANTHROPIC_BASE_URL`.
    pub(super) url: Option<String>,
    pub(super) method: String,
    /// The request target, sent untouched.
    pub(super) path: String,
    pub(super) credential: Credential,
    /// Whole header lines, without the line end.
    pub(super) headers: Vec<String>,
    pub(super) body: Option<String>,
    pub(super) timeout_ms: u64,
}

/// Says what is wrong with a prompt.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScriptError {
    #[error("unknown mode {name:?}")]
    UnknownMode { name: String },
    #[error("mode {mode} needs the option {option}")]
    Missing { mode: String, option: String },
    #[error("mode {mode} does not understand {word:?}")]
    Misunderstood { mode: String, word: String },
}

impl FromStr for Script {
    type Err = ScriptError;

    fn from_str(prompt: &str) -> Result<Self, ScriptError> {
        let mut script = Self::default();
        for line in prompt.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("mode:") {
                script.modes.push(mode(rest)?);
            } else if let Some(rest) = line.strip_prefix("leak:") {
                let rest = rest.trim();
                script.leaks.push(serde_json::from_str(rest).unwrap_or_else(|_plain| rest.to_owned()));
            }
        }
        if script.modes.is_empty() {
            script.modes.push(mode("ok")?);
        }
        Ok(script)
    }
}

fn mode(line: &str) -> Result<Mode, ScriptError> {
    let mut words = words(line);
    let name = words.pop_front().unwrap_or_default();
    let mut options = Options { mode: name.clone(), words };
    let mode = match name.as_str() {
        "ok" => Mode::Ok { turns: options.number("turns", 1)?, text: options.text("text", "All done.") },
        "tools" => Mode::Tools { name: options.text("name", "Bash"), turns: options.number("turns", 5)? },
        "flood" => {
            Mode::Flood { lines: options.number("lines", 100_000)?, bytes: options.number("bytes", 200)? }
        }
        "slow" => {
            Mode::Slow { lines: options.number("lines", 10)?, every_ms: options.number("every_ms", 100)? }
        }
        "huge" => Mode::Huge { bytes: options.number("bytes", 1_048_576)? },
        "not-utf8" => Mode::NotUtf8,
        "stderr-flood" => Mode::StderrFlood {
            lines: options.number("lines", 100_000)?,
            bytes: options.number("bytes", 200)?,
        },
        "env" => Mode::Env,
        "read" => Mode::Read { path: options.required("path")? },
        "write" => Mode::Write { path: options.required("path")?, text: options.text("text", "") },
        "sh" => Mode::Sh { command: options.required("command")? },
        "http" => Mode::Http(HttpRequest {
            url: options.take("url"),
            method: options.text("method", "POST"),
            path: options.text("path", "/v1/messages"),
            credential: credential(&mut options)?,
            headers: std::iter::from_fn(|| options.take("header")).collect(),
            body: options.take("body"),
            timeout_ms: options.number("timeout_ms", 10_000)?,
        }),
        "proxy-probe" => Mode::ProxyProbe,
        "truncate" => Mode::Truncate,
        "rewrite" => Mode::Rewrite { how: rewriting(&mut options)? },
        "children" => Mode::Children { seconds: options.number("seconds", 600)? },
        "late-children" => Mode::LateChildren {
            every_ms: options.number("every_ms", 50)?,
            count: options.number("count", 100)?,
        },
        "background-noise" => Mode::BackgroundNoise {
            every_ms: options.number("every_ms", 20)?,
            count: options.number("count", 500)?,
        },
        "ignore-term" => Mode::IgnoreTerm,
        "hang" => Mode::Hang,
        "signal" => Mode::Signal { name: options.text("name", "SEGV") },
        "no-result" => Mode::NoResult,
        "no-output" => Mode::NoOutput,
        "error-result" => Mode::ErrorResult {
            rc: options.number("rc", 0)?,
            subtype: options.text("subtype", "success"),
            text: options.text("text", "API Error: something went wrong"),
            status: options.parsed("status")?,
        },
        "lone-surrogate" => Mode::LoneSurrogate,
        "exit" => Mode::Exit { code: options.number("code", 1)?, stderr: options.text("stderr", "") },
        _ => return Err(ScriptError::UnknownMode { name }),
    };
    options.finish()?;
    Ok(mode)
}

fn credential(options: &mut Options) -> Result<Credential, ScriptError> {
    match options.text("credential", "own").as_str() {
        "own" => Ok(Credential::Own),
        "wrong" => Ok(Credential::Wrong),
        "none" => Ok(Credential::None),
        other => Err(options.misunderstood(other)),
    }
}

fn rewriting(options: &mut Options) -> Result<Rewriting, ScriptError> {
    match options.text("how", "refill").as_str() {
        "refill" => Ok(Rewriting::Refill),
        "inplace" => Ok(Rewriting::InPlace),
        other => Err(options.misunderstood(other)),
    }
}

/// The options of one mode that were not taken yet.
struct Options {
    mode: String,
    words: VecDeque<String>,
}

impl Options {
    /// Takes the first option of this name.
    fn take(&mut self, name: &str) -> Option<String> {
        let belongs = |word: &String| word.split_once('=').is_some_and(|(key, _)| key == name);
        let word = self.words.iter().position(belongs).and_then(|at| self.words.remove(at))?;
        word.split_once('=').map(|(_, value)| value.to_owned())
    }

    fn text(&mut self, name: &str, default: &str) -> String {
        self.take(name).unwrap_or_else(|| default.to_owned())
    }

    fn required(&mut self, name: &str) -> Result<String, ScriptError> {
        let taken = self.take(name);
        taken.ok_or_else(|| ScriptError::Missing { mode: self.mode.clone(), option: name.to_owned() })
    }

    fn parsed<N: FromStr>(&mut self, name: &str) -> Result<Option<N>, ScriptError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_unreadable| self.misunderstood(&format!("{name}={value}")))
    }

    fn number<N: FromStr>(&mut self, name: &str, default: N) -> Result<N, ScriptError> {
        Ok(self.parsed(name)?.unwrap_or(default))
    }

    fn finish(mut self) -> Result<(), ScriptError> {
        match self.words.pop_front() {
            Some(word) => Err(self.misunderstood(&word)),
            None => Ok(()),
        }
    }

    fn misunderstood(&self, word: &str) -> ScriptError {
        ScriptError::Misunderstood { mode: self.mode.clone(), word: word.to_owned() }
    }
}

/// Splits at spaces that are not inside double quotes, and reads each quoted
/// part as a JSON string.
fn words(line: &str) -> VecDeque<String> {
    let mut words = VecDeque::new();
    let mut word = String::new();
    let mut chars = line.trim().chars();
    while let Some(next) = chars.next() {
        match next {
            '"' => word.push_str(&quoted(&mut chars)),
            ' ' if word.is_empty() => {}
            ' ' => words.push_back(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    if !word.is_empty() {
        words.push_back(word);
    }
    words
}

/// Reads on to the closing quote; what is no JSON string stays as it stands.
fn quoted(chars: &mut std::str::Chars<'_>) -> String {
    let mut literal = String::from("\"");
    while let Some(next) = chars.next() {
        literal.push(next);
        match next {
            '"' => break,
            '\\' => literal.extend(chars.next()),
            _ => {}
        }
    }
    serde_json::from_str(&literal).unwrap_or(literal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prompt: &str, expected: &[Mode]) {
        assert_eq!(prompt.parse::<Script>().unwrap().modes, expected);
    }

    #[test]
    fn a_prompt_without_modes_means_ok() {
        let ok = Mode::Ok { turns: 1, text: "All done.".into() };

        check("", std::slice::from_ref(&ok));
        check("please fix the tests\n", &[ok]);
    }

    #[test]
    fn modes_are_read_in_order_with_their_options() {
        check(
            "mode: flood lines=7 bytes=90\nsome text\nmode: slow  every_ms=5\n",
            &[Mode::Flood { lines: 7, bytes: 90 }, Mode::Slow { lines: 10, every_ms: 5 }],
        );
    }

    #[test]
    fn a_quoted_value_is_a_json_string() {
        check(
            r#"mode: write path=a/b text="two \"words\"\n""#,
            &[Mode::Write { path: "a/b".into(), text: "two \"words\"\n".into() }],
        );
    }

    #[test]
    fn a_leak_is_the_rest_of_its_line_or_a_json_string() {
        let script: Script = "leak: sk ant=1\nleak: \"two\\nlines\"\nmode: env".parse().unwrap();

        assert_eq!(script.leaks, ["sk ant=1", "two\nlines"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for prompt in
            ["mode: nosuch", "mode: flood line=7", "mode: flood lines=x", "mode: sh", "mode: rewrite how=x"]
        {
            assert!(prompt.parse::<Script>().is_err(), "{prompt}");
        }
    }
}
