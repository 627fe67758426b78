//! Which values of environment secrets are too common to be sought.
//!
//! Clients put plain settings among the secrets, and tool servers have them among their headers.
//! Masking `production` wherever it stands would make a transcript unreadable and protect nothing.

/// Environment secrets of fewer characters are not sought.
pub const MIN_ENVIRONMENT_CHARS: usize = 8;

/// Values that configure rather than protect, in lower case: names of environments, places and
/// roles, switches, regions, and the words of the transcript's own format.
const COMMON_WORDS: &[&str] = &[
    "127.0.0.1",
    "administrator",
    "anonymous",
    "ap-northeast-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "application",
    "application/json",
    "application/json, text/event-stream",
    "asia-east1",
    "asia-northeast1",
    "assistant",
    "automatic",
    "cancelled",
    "completed",
    "critical",
    "database",
    "developer",
    "development",
    "disabled",
    "en_us.utf-8",
    "eu-central-1",
    "eu-west-1",
    "eu-west-2",
    "europe-west1",
    "europe-west2",
    "europe-west3",
    "europe-west4",
    "example.com",
    "external",
    "http://localhost",
    "information",
    "integration",
    "internal",
    "localhost",
    "localhost:3000",
    "localhost:8080",
    "mongodb://localhost",
    "no-reply",
    "optional",
    "password",
    "permissive",
    "postgres",
    "postgresql",
    "pre-production",
    "preproduction",
    "production",
    "read-only",
    "read-write",
    "readonly",
    "readwrite",
    "redis://localhost",
    "required",
    "standard",
    "text/event-stream",
    "text/plain",
    "tool_result",
    "tool_use",
    "undefined",
    "us-central1",
    "us-east-1",
    "us-east-2",
    "us-east1",
    "us-west-1",
    "us-west-2",
    "us-west1",
    "username",
];

/// Tells whether a value is too common to be a secret, whatever its case.
///
/// # Examples
/// ```
/// use legwork_core::redact::is_common_word;
/// assert!(is_common_word("Production"));
/// assert!(!is_common_word("kX3v9QwzT1"));
/// ```
pub fn is_common_word(value: &str) -> bool {
    COMMON_WORDS.iter().any(|word| word.eq_ignore_ascii_case(value))
}
