//! The program from its start to its exit code.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::process::ExitCode;

use serde_json::json;

use super::script::{Mode, Script};
use super::stage::{Stage, Verdict};
use super::{leaks, probe, processes, tamper, writing};

/// The version of the CLI whose output this program imitates.
pub(super) const VERSION: &str = "2.1.197";

/// `EX_USAGE` of sysexits.h: the prompt was not understood.
const NOT_UNDERSTOOD: u8 = 64;

/// `EX_IOERR` of sysexits.h: the program itself could not go on.
const BROKEN: u8 = 74;

/// Whether the next mode follows, or the run ends with an exit code.
pub(super) type Next = ControlFlow<u8>;

/// Runs the program: reads the prompt from stdin, plays it, returns the exit
/// code.
pub fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(BROKEN)
        }
    }
}

fn run(arguments: Vec<String>) -> io::Result<u8> {
    let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    if arguments.iter().any(|word| word == "--version" || word == "-v") {
        writeln!(&stdout, "{VERSION} (Claude Code)")?;
        return Ok(0);
    }
    let mut prompt = Vec::new();
    io::stdin().read_to_end(&mut prompt)?;
    let script: Script = match String::from_utf8_lossy(&prompt).parse() {
        Ok(script) => script,
        Err(error) => {
            complain(&error.to_string());
            return Ok(NOT_UNDERSTOOD);
        }
    };
    let mut stage = Stage::new(stdout)?;
    stage.arguments = arguments;
    stage.variables = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    play(script, &mut stage)
}

/// Says something on stderr; where that is closed there is nobody to tell.
fn complain(message: &str) {
    drop(writeln!(io::stderr(), "fake agent: {message}"));
}

/// Plays all modes and returns the exit code.
fn play(script: Script, stage: &mut Stage) -> io::Result<u8> {
    stage.leaks = script.leaks;
    let mut final_text = "All done.".to_owned();
    for mode in script.modes {
        if let Mode::Ok { text, .. } = &mode {
            final_text.clone_from(text);
        }
        let next = perform(mode, stage)?;
        stage.flush()?;
        if let Next::Break(code) = next {
            return Ok(code);
        }
    }
    stage.result(Verdict {
        subtype: "success",
        is_error: false,
        api_error_status: None,
        text: &final_text,
    })?;
    Ok(0)
}

fn perform(mode: Mode, stage: &mut Stage) -> io::Result<Next> {
    match mode {
        Mode::Ok { turns, text } => ordinary(stage, turns, &text)?,
        Mode::Tools { name, turns } => {
            for turn in 0..turns {
                stage.tool_turn(&name, &json!({"command": format!("echo {turn}")}), &format!("{turn}"))?;
            }
        }
        Mode::Flood { lines, bytes } => writing::flood(stage, lines, bytes)?,
        Mode::Slow { lines, every_ms } => writing::slow(stage, lines, every_ms)?,
        Mode::Huge { bytes } => writing::huge(stage, bytes)?,
        Mode::NotUtf8 => writing::not_utf8(stage)?,
        Mode::StderrFlood { lines, bytes } => writing::stderr_flood(lines, bytes)?,
        Mode::Env => leaks::tell_all(stage)?,
        Mode::Read { path } => writing::read_file(stage, &path)?,
        Mode::Write { path, text } => writing::write_file(stage, &path, &text)?,
        Mode::Sh { command } => processes::shell_tool(stage, &command)?,
        Mode::Http(request) => probe::once(stage, &request)?,
        Mode::ProxyProbe => probe::all(stage)?,
        Mode::Truncate => tamper::truncate(stage)?,
        Mode::Rewrite { how } => tamper::rewrite(stage, how)?,
        Mode::Children { seconds } => processes::children(stage, seconds)?,
        Mode::LateChildren { every_ms, count } => processes::late_children(stage, every_ms, count)?,
        Mode::BackgroundNoise { every_ms, count } => processes::background_noise(stage, every_ms, count)?,
        Mode::IgnoreTerm => processes::ignore_term(stage)?,
        Mode::Hang => {
            stage.begin()?;
            processes::sleep_for_ever();
        }
        Mode::Signal { name } => {
            stage.begin()?;
            processes::die_by(&name)?;
        }
        Mode::NoResult => {
            stage.say("I stop without a result.")?;
            return Ok(Next::Break(0));
        }
        Mode::NoOutput => return Ok(Next::Break(0)),
        Mode::ErrorResult { rc, subtype, text, status } => {
            stage.result(Verdict {
                subtype: &subtype,
                is_error: true,
                api_error_status: status,
                text: &text,
            })?;
            return Ok(Next::Break(rc));
        }
        Mode::LoneSurrogate => {
            writing::lone_surrogate(stage)?;
            return Ok(Next::Break(0));
        }
        Mode::Exit { code, stderr } => {
            io::stderr().write_all(stderr.as_bytes())?;
            return Ok(Next::Break(code));
        }
    }
    Ok(Next::Continue(()))
}

fn ordinary(stage: &mut Stage, turns: u64, text: &str) -> io::Result<()> {
    stage.say("Running it.")?;
    for turn in 0..turns {
        let input = json!({"command": format!("echo hello {turn}"), "description": "Says hello"});
        stage.tool_turn("Bash", &input, &format!("hello {turn}"))?;
    }
    stage.say(text)
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use serde_json::Value;

    use super::*;

    /// Plays a prompt and returns the exit code and the bytes of its stdout.
    fn played(prompt: &str) -> (u8, Vec<u8>) {
        let mut file = tempfile::tempfile().unwrap();
        let mut stage = Stage::new(file.try_clone().unwrap()).unwrap();
        let code = play(prompt.parse().unwrap(), &mut stage).unwrap();
        drop(stage);
        let mut written = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut written).unwrap();
        (code, written)
    }

    fn lines(written: &[u8]) -> Vec<Value> {
        let lines = written.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    fn types(written: &[u8]) -> Vec<String> {
        lines(written).iter().map(|line| line["type"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn ok_reads_like_a_run_of_the_cli() {
        let (code, written) = played("mode: ok text=\"It works.\"");

        let lines = lines(&written);
        assert_eq!(code, 0);
        assert_eq!(types(&written), ["system", "assistant", "assistant", "user", "assistant", "result"]);
        assert_eq!(lines[2]["message"]["content"][0]["id"], lines[3]["message"]["content"][0]["tool_use_id"]);
        assert_eq!(lines[5]["result"], "It works.");
        assert_eq!(lines[5]["is_error"], false);
    }

    #[test]
    fn a_flood_has_its_lines_and_their_length() {
        let (_, written) = played("mode: flood lines=300 bytes=123");

        let flood: Vec<_> = written.split_inclusive(|byte| *byte == b'\n').skip(1).take(300).collect();
        let lines = lines(&written);
        assert!(flood.iter().all(|line| line.len() == 123));
        assert_eq!(lines.len(), 302);
        assert_eq!(lines[300]["n"], 299);
    }

    #[test]
    fn a_huge_line_has_the_length_asked_for() {
        let (_, written) = played("mode: huge bytes=300000");

        let longest = written.split(|byte| *byte == b'\n').map(<[u8]>::len).max();
        assert_eq!(longest, Some(300_000));
        assert_eq!(types(&written), ["system", "assistant", "result"]);
    }

    #[test]
    fn a_run_without_output_writes_nothing() {
        assert_eq!(played("mode: no-output"), (0, Vec::new()));
        assert_eq!(played("mode: exit code=3"), (3, Vec::new()));
    }

    #[test]
    fn an_error_result_ends_the_run_with_its_code() {
        let (code, written) = played("mode: error-result rc=1 subtype=error_max_turns text=limit\nmode: ok");

        let lines = lines(&written);
        assert_eq!(code, 1);
        assert_eq!(types(&written), ["system", "result"]);
        assert_eq!(lines[1]["errors"][0], "limit");
    }

    #[test]
    fn a_lone_surrogate_is_in_the_result() {
        let (_, written) = played("mode: lone-surrogate");

        let text = String::from_utf8(written).unwrap();
        let last = text.lines().last().unwrap();
        assert!(last.contains(r"\ud83d ") && last.contains("1e999"), "{last}");
    }

    #[test]
    fn not_utf8_is_not() {
        let (_, written) = played("mode: not-utf8");

        assert!(std::str::from_utf8(&written).is_err());
    }

    #[test]
    fn truncate_leaves_only_what_follows() {
        let (_, written) = played("mode: ok\nmode: truncate");

        let kept = written.iter().position(|byte| *byte != 0).unwrap();
        assert_eq!(types(&written[kept..]), ["result"]);
    }

    #[test]
    fn a_leak_shows_plain_and_in_disguise() {
        let (_, written) = played("leak: top secret/+\"1\nmode: env");

        let text = String::from_utf8_lossy(&written);
        for form in [
            "leak plain top secret/+\"1",
            "746f7020736563726574",
            "top%20secret%2F%2B%221",
            "dG9wIHNlY3JldC8rIj",
        ] {
            assert!(text.contains(form), "{form}");
        }
    }
}
