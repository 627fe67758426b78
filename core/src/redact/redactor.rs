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
    /// A value of `environmentSecrets`, or of a tool server's `env` and `headers`: sought from
    /// [`MIN_ENVIRONMENT_CHARS`](super::MIN_ENVIRONMENT_CHARS) characters on, unless it is a
    /// [common word](super::is_common_word).
    Environment,
}

/// Replaces secrets in text from outside.
///
/// Each secret is sought as sent (blanks at its ends aside), by its lines of 16 characters and
/// more, and both of these JSON-escaped once and twice, as quoted in dotenv files and shells,
/// URL-encoded, in hexadecimal, and in base64 at each alignment. Past [`MAX_SPELLINGS`] or
/// [`MAX_SPELLINGS_BYTES`] the encodings of lines are left out first, then the lines, then the
/// encodings of whole secrets; and of each the longest first.
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
        let wholes = shortest_first(secrets.into_iter().filter_map(|(kind, secret)| sought(kind, secret)));
        let lines = shortest_first(wholes.iter().flat_map(|secret| long_lines(secret)));

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

/// Returns each text once, and the long ones last: a huge one has thousands of spellings.
fn shortest_first<'s>(texts: impl Iterator<Item = &'s str>) -> Vec<&'s str> {
    let by_length: BTreeSet<(usize, &str)> = texts.map(|text| (text.len(), text)).collect();
    by_length.into_iter().map(|(_, text)| text).collect()
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
mod tests;
