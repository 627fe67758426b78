//! Seeks all spellings of all secrets in one pass over a text.
//!
//! The automaton holds the first bytes of each spelling only; what follows is compared. A
//! key of many lines thus costs little memory, and a text that ends inside a secret is noticed.

use alloc::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    string::{String, ToString as _},
    vec::Vec,
};
use core::{fmt, ops::Range};

use aho_corasick::AhoCorasick;
use zeroize::Zeroizing;

use super::{
    search::Search,
    spellings::{encodings, long_lines},
    words::{MIN_ENVIRONMENT_CHARS, is_common_word},
};

/// Shorter secrets and spellings are not sought: they would be found everywhere.
pub const MIN_SECRET_BYTES: usize = 4;

/// Most spellings that are sought, so that a request full of secrets cannot fill the memory.
pub const MAX_SPELLINGS: usize = 20_000;

/// Most bytes that the spellings may have together.
pub const MAX_SPELLINGS_BYTES: usize = 16 * 1024 * 1024;

/// How much of a spelling the automaton knows, in bytes.
const ANCHOR_BYTES: usize = 16;

pub(super) const MASK: &str = "***";

/// Where a secret comes from, which decides whether it is sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecretKind {
    /// A key, token or password: sought from [`MIN_SECRET_BYTES`] on.
    Credential,
    /// A value of `environmentSecrets`: sought from [`MIN_ENVIRONMENT_CHARS`](super::MIN_ENVIRONMENT_CHARS)
    /// characters on, unless it is a [common word](super::is_common_word).
    Environment,
}

/// Replaces secrets in text from outside.
///
/// Each secret is sought as sent (blanks at its ends aside), by its lines of 16 characters and
/// more, and both of these JSON-escaped once and twice, as quoted in dotenv files and shells,
/// URL-encoded, in hexadecimal, and in base64 at each alignment. Past [`MAX_SPELLINGS`] or
/// [`MAX_SPELLINGS_BYTES`] the encodings of lines are left out first, then the lines, then the
/// encodings of whole secrets.
///
/// # Examples
/// ```
/// use legwork_core::redact::{Redactor, SecretKind};
/// let redactor = Redactor::new([(SecretKind::Credential, "sk-ant-api03-x"), (SecretKind::Environment, "short")]);
/// assert_eq!(redactor.mask_text("key=sk-ant-api03-x"), "key=***");
/// assert_eq!(redactor.mask_text("c2stYW50LWFwaTAzLXg="), "***g=");
/// assert_eq!(redactor.mask_text("a short text"), "a short text");
/// ```
pub struct Redactor {
    spellings: Vec<Zeroizing<String>>,
    /// For each pattern of the automaton, the spellings that begin with it.
    anchored: Vec<Vec<usize>>,
    automaton: AhoCorasick,
    numbers: Vec<Zeroizing<String>>,
    left_out: usize,
}

impl Redactor {
    /// Returns a redactor of these secrets; those that are too short or too common are passed
    /// over.
    pub fn new<'s>(secrets: impl IntoIterator<Item = (SecretKind, &'s str)>) -> Self {
        let wholes: BTreeSet<&str> =
            secrets.into_iter().filter_map(|(kind, secret)| sought(kind, secret)).collect();
        let lines: BTreeSet<&str> = wholes.iter().flat_map(|secret| long_lines(secret)).collect();

        let mut gathered = Gathered::default();
        for texts in [&wholes, &lines] {
            for text in texts {
                gathered.add((*text).to_string());
            }
            for spelling in texts.iter().flat_map(|text| encodings(text)) {
                gathered.add(spelling);
            }
        }
        let numbers = wholes
            .iter()
            .filter(|secret| secret.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)))
            .map(|secret| Zeroizing::new((*secret).to_string()))
            .collect();
        gathered.into_redactor(numbers)
    }

    /// Tells whether nothing is sought.
    pub fn is_empty(&self) -> bool {
        self.spellings.is_empty()
    }

    /// Returns how many spellings are not sought because the limits were reached.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Replaces each secret in a text by `***`.
    pub fn mask_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        replaced(text, &self.spans(text, TextEnd::Whole))
    }

    /// Masks a text that was cut at its end: a secret that the cut fell into is masked too, as
    /// far as at least its first 16 bytes are there.
    ///
    /// # Examples
    /// ```
    /// use legwork_core::redact::{Redactor, SecretKind};
    /// let redactor = Redactor::new([(SecretKind::Credential, "sk-ant-api03-abcdefgh")]);
    /// assert_eq!(redactor.mask_cut_text("key=sk-ant-api03-abcd"), "key=***");
    /// assert_eq!(redactor.mask_text("key=sk-ant-api03-abcd"), "key=sk-ant-api03-abcd");
    /// ```
    pub fn mask_cut_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        replaced(text, &self.spans(text, TextEnd::Cut))
    }

    /// Begins to look for secrets in bytes that come in pieces.
    pub fn search(&self) -> Search<'_> {
        Search::new(self)
    }

    /// Returns the length of the longest spelling in bytes.
    pub(super) fn longest_spelling(&self) -> usize {
        self.spellings.iter().map(|spelling| spelling.len()).max().unwrap_or_default()
    }

    /// Tells whether a secret is somewhere in these bytes.
    pub(super) fn is_in(&self, bytes: &[u8]) -> bool {
        !self.is_empty()
            && self.automaton.find_overlapping_iter(bytes).any(|found| {
                let rest = bytes.get(found.start()..).unwrap_or_default();
                let candidates = self.anchored.get(found.pattern().as_usize()).into_iter().flatten();
                let mut spellings = candidates.filter_map(|index| self.spellings.get(*index));
                spellings.any(|spelling| rest.starts_with(spelling.as_bytes()))
            })
    }

    /// Tells whether any spelling begins somewhere in the text; it may be none after all.
    pub(super) fn may_be_in(&self, text: &str) -> bool {
        !self.is_empty() && self.automaton.is_match(text)
    }

    /// Tells whether any secret is a number.
    pub(super) fn knows_numbers(&self) -> bool {
        !self.numbers.is_empty()
    }

    /// Tells whether a number, as it is written, is a secret.
    pub(super) fn is_secret_number(&self, raw: &str) -> bool {
        self.numbers.iter().any(|number| number.as_str() == raw)
    }

    /// Returns where secrets stand, ascending, apart from each other.
    fn spans(&self, text: &str, end: TextEnd) -> Vec<Range<usize>> {
        let mut spans: Vec<Range<usize>> = Vec::new();
        if self.is_empty() {
            return spans;
        }
        for found in self.automaton.find_overlapping_iter(text) {
            let start = found.start();
            let rest = text.as_bytes().get(start..).unwrap_or_default();
            let Some(candidates) = self.anchored.get(found.pattern().as_usize()) else { continue };
            for spelling in candidates.iter().filter_map(|index| self.spellings.get(*index)) {
                let stop = start.saturating_add(spelling.len());
                if rest.starts_with(spelling.as_bytes()) {
                    add_span(&mut spans, start..stop);
                } else if end == TextEnd::Cut && spelling.as_bytes().starts_with(rest) {
                    add_span(&mut spans, start..text.len());
                }
            }
        }
        merged(spans)
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor")
            .field("spellings", &self.spellings.len())
            .field("left_out", &self.left_out)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextEnd {
    Whole,
    Cut,
}

fn sought(kind: SecretKind, secret: &str) -> Option<&str> {
    // Whoever prints a secret often drops the newline at its end.
    let trimmed = secret.trim();
    let wanted = match kind {
        SecretKind::Credential => trimmed.len() >= MIN_SECRET_BYTES,
        SecretKind::Environment => {
            trimmed.chars().count() >= MIN_ENVIRONMENT_CHARS && !is_common_word(trimmed)
        }
    };
    wanted.then_some(trimmed)
}

/// Spellings on their way into a redactor; those that come first are kept.
#[derive(Default)]
struct Gathered {
    spellings: BTreeSet<String>,
    bytes: usize,
    left_out: usize,
}

impl Gathered {
    fn add(&mut self, spelling: String) {
        if spelling.len() < MIN_SECRET_BYTES || self.spellings.contains(&spelling) {
            return;
        }
        let bytes = self.bytes.saturating_add(spelling.len());
        if self.spellings.len() >= MAX_SPELLINGS || bytes > MAX_SPELLINGS_BYTES {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        self.bytes = bytes;
        self.spellings.insert(spelling);
    }

    fn into_redactor(self, numbers: Vec<Zeroizing<String>>) -> Redactor {
        let spellings: Vec<Zeroizing<String>> = self.spellings.into_iter().map(Zeroizing::new).collect();
        let mut by_anchor: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
        for (index, spelling) in spellings.iter().enumerate() {
            let anchor = spelling.as_bytes().get(..ANCHOR_BYTES).unwrap_or(spelling.as_bytes());
            by_anchor.entry(anchor).or_default().push(index);
        }
        #[expect(
            clippy::expect_used,
            reason = "20,000 patterns of 16 bytes are far below the automaton's limit of 2^31 states"
        )]
        let automaton = AhoCorasick::new(by_anchor.keys()).expect("the patterns fit an automaton");
        let anchored = by_anchor.into_values().collect();
        Redactor { spellings, anchored, automaton, numbers, left_out: self.left_out }
    }
}

/// Adds a span, or lengthens the last one: a text that repeats a secret which repeats itself
/// would otherwise give as many spans as it has bytes.
fn add_span(spans: &mut Vec<Range<usize>>, span: Range<usize>) {
    match spans.last_mut() {
        Some(last) if last.start <= span.start && span.start <= last.end => last.end = last.end.max(span.end),
        Some(_) | None => spans.push(span),
    }
}

/// Joins spans that overlap or touch.
fn merged(mut spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    spans.sort_unstable_by_key(|span| span.start);
    let mut apart: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for span in spans {
        add_span(&mut apart, span);
    }
    apart
}

fn replaced<'t>(text: &'t str, spans: &[Range<usize>]) -> Cow<'t, str> {
    if spans.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for span in spans {
        out.push_str(text.get(from..span.start).unwrap_or_default());
        out.push_str(MASK);
        from = span.end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use std::{format, vec};

    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use proptest::prelude::*;

    use super::*;

    fn credential(secret: &str) -> Redactor {
        Redactor::new([(SecretKind::Credential, secret)])
    }

    #[test]
    fn short_and_common_environment_secrets_are_not_sought() {
        let redactor = Redactor::new(
            ["result", "123456", "production", "Password"].map(|s| (SecretKind::Environment, s)),
        );

        assert!(redactor.is_empty());
        assert_eq!(redactor.mask_text("production result 123456"), "production result 123456");
    }

    #[test]
    fn an_empty_credential_masks_nothing() {
        assert_eq!(credential("").mask_text("abc"), "abc");
        assert_eq!(credential(" \n").mask_text("a \n b"), "a \n b");
    }

    #[test]
    fn secrets_that_overlap_are_masked_together() {
        let redactor = Redactor::new(["abcdefgh", "fghijklm"].map(|s| (SecretKind::Environment, s)));

        assert_eq!(redactor.mask_text("<abcdefghijklm>"), "<***>");
    }

    #[test]
    fn the_longer_of_two_secrets_is_masked_whole() {
        let redactor = Redactor::new(["token-abc", "token-abc-long"].map(|s| (SecretKind::Credential, s)));

        assert_eq!(redactor.mask_text("token-abc-long token-abc"), "*** ***");
    }

    #[test]
    fn a_key_is_masked_by_its_lines() {
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\r\nb3BlbnNzaC1rZXktdjEA\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
        let redactor = credential(key);

        assert_eq!(redactor.mask_text("> b3BlbnNzaC1rZXktdjEA <"), "> *** <");
        assert_eq!(redactor.mask_text(key.trim_end()), "***");
        assert_eq!(redactor.mask_text("AAAA"), "AAAA");
    }

    #[test]
    fn a_secret_that_repeats_itself_is_masked_once() {
        let redactor = credential(&"a".repeat(2000));

        assert_eq!(redactor.mask_text(&"a".repeat(100_000)), "***");
    }

    #[test]
    fn a_request_full_of_secrets_stays_within_the_limits() {
        let many: Vec<String> = (0..1000).map(|n| format!("value/{n}/ü\nand another line {n}")).collect();

        let redactor = Redactor::new(many.iter().map(|s| (SecretKind::Environment, s.as_str())));

        assert!(redactor.left_out() > 0);
        assert!(redactor.spellings.len() <= MAX_SPELLINGS);
        assert!(many.iter().all(|secret| redactor.mask_text(secret) == "***"));
    }

    #[test]
    fn its_debug_form_shows_no_secret() {
        assert!(!format!("{:?}", credential("hunter2hunter2")).contains("hunter2"));
    }

    fn spelled(secret: &str) -> Vec<String> {
        let json = |text: &str| {
            let quoted = serde_json::to_string(text).unwrap();
            quoted.strip_prefix('"').unwrap().strip_suffix('"').unwrap().to_string()
        };
        let url: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        vec![
            secret.to_string(),
            json(secret),
            json(&json(secret)),
            url.replace('+', "%20"),
            url,
            crate::hex::encode(secret.as_bytes()),
        ]
    }

    proptest! {
        #[test]
        fn no_spelling_of_a_secret_is_left(
            secret in "[!-)+-~äß\"\\\\/ \n]{8,40}", before in "[a-z ]{0,9}", after in "[a-z ]{0,9}",
        ) {
            prop_assume!(secret.trim().len() >= MIN_SECRET_BYTES);
            let redactor = credential(&secret);

            for spelling in spelled(secret.trim()) {
                let masked = redactor.mask_text(&format!("{before}{spelling}{after}")).into_owned();

                prop_assert!(!masked.contains(&spelling), "{spelling:?} is in {masked:?}");
                prop_assert!(masked.contains(MASK));
            }
        }

        #[test]
        fn base64_is_masked_wherever_the_secret_stands(
            secret in "[A-Za-z0-9_/+-]{12,60}", before in "[ -~]{0,9}", after in "[ -~]{0,9}",
        ) {
            let redactor = credential(&secret);

            let encoded = STANDARD.encode(format!("{before}{secret}{after}"));
            let masked = redactor.mask_text(&encoded);

            prop_assert!(masked.contains(MASK));
            prop_assert!(masked.len() <= encoded.len() - (secret.len() - 4) * 4 / 3 + MASK.len());
        }

        #[test]
        fn text_without_secrets_passes(text in "[a-z\n\"\\\\]{0,200}") {
            prop_assert_eq!(credential("SECRET-SECRET").mask_text(&text), text.as_str());
        }
    }
}
