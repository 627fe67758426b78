//! Tells everything that can be found out from inside, to see what is masked
//! and what should not have been within reach.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::stage::Stage;

/// Says each finding twice: in JSON, and as a line that is none.
pub(super) fn tell_all(stage: &mut Stage) -> io::Result<()> {
    let mut findings = vec![format!("arguments {:?}", stage.arguments)];
    findings.extend(std::env::current_dir().map(|folder| format!("folder {}", folder.display())));
    findings.extend(stage.variables.iter().map(|(name, value)| format!("variable {name}={value}")));
    findings.extend(processes());
    findings.extend(stage.leaks.iter().flat_map(|leak| disguises(leak)));
    for finding in &findings {
        stage.say(finding)?;
        stage.plain(finding)?;
    }
    for leak in stage.leaks.clone() {
        stage.tool_turn("Bash", &json!({"command": format!("echo {leak}")}), &leak)?;
    }
    Ok(())
}

/// The secret as programs tend to print it.
fn disguises(secret: &str) -> Vec<String> {
    let escaped = json_escaped(secret);
    let mut forms = vec![
        format!("leak plain {secret}"),
        format!("leak inside a sentence: ({secret})."),
        format!("leak json {escaped}"),
        format!("leak json-twice {}", json_escaped(&escaped)),
        format!("leak hex {}", encoded(secret, "", |_plain| false, Case::Lower)),
        format!("leak hex-upper {}", encoded(secret, "", |_plain| false, Case::Upper)),
        format!("leak url {}", encoded(secret, "%", is_unreserved, Case::Upper)),
        format!("leak url-lower {}", encoded(secret, "%", is_unreserved, Case::Lower)),
    ];
    for shift in 0..3 {
        let surrounded = format!("{}{secret}{}", "a".repeat(shift), "z".repeat(3));
        forms.push(format!("leak base64+{shift} {}", STANDARD.encode(surrounded)));
    }
    forms
}

/// The characters between the quotes of the JSON string.
fn json_escaped(text: &str) -> String {
    let quoted = json!(text).to_string();
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().to_owned()
}

#[derive(Clone, Copy)]
enum Case {
    Lower,
    Upper,
}

/// Every byte as prefix and two hex digits, but for those that stay.
fn encoded(text: &str, prefix: &str, stays: fn(u8) -> bool, case: Case) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        let written = match case {
            _ if stays(byte) => write!(encoded, "{}", char::from(byte)),
            Case::Lower => write!(encoded, "{prefix}{byte:02x}"),
            Case::Upper => write!(encoded, "{prefix}{byte:02X}"),
        };
        // Writing to a string does not fail.
        written.unwrap_or_default();
    }
    encoded
}

/// RFC 3986, section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Environment and command line of every process that may be read.
fn processes() -> Vec<String> {
    let ancestors = ancestors();
    let mut findings = Vec::new();
    let mut unreadable = 0_u32;
    for pid in pids() {
        let relation = if ancestors.contains(&pid) { "ancestor" } else { "process" };
        match fs::read(format!("/proc/{pid}/environ")) {
            Ok(environment) => {
                findings.push(format!("environment of {relation} {pid}: {}", spaced(&environment)));
            }
            Err(_denied) => unreadable += 1,
        }
        if let Ok(command_line) = fs::read(format!("/proc/{pid}/cmdline")) {
            findings.push(format!("command line of {relation} {pid}: {}", spaced(&command_line)));
        }
    }
    findings.push(format!("unreadable environments: {unreadable}"));
    findings
}

fn pids() -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// This process, its parent, and so on.
fn ancestors() -> BTreeSet<u32> {
    let mut chain = BTreeSet::new();
    let mut next = Some(std::process::id());
    while let Some(pid) = next.filter(|pid| *pid > 0 && !chain.contains(pid)) {
        chain.insert(pid);
        next = parent(pid);
    }
    chain
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Text whose parts end in NUL, with spaces in their place.
fn spaced(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', " ")
}
