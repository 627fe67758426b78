//! Globs, as far as a client has to be told at once that one of them can match nothing.
//!
//! Matching is an adapter's work. What is no glob to it is none here: its syntax is that of the crate
//! `globset` with `\` as escape. Its paths are relative to the workspace, and no `..` is in them.

use core::str::Chars;

/// Judges a text; what comes as an error is what it would have to be.
pub(super) fn check(glob: &str) -> Result<(), &'static str> {
    let below = glob.trim_start_matches("./");
    if below.starts_with('/') || below.split('/').any(|segment| segment == "..") {
        return Err("a glob relative to the workspace, without .. in it");
    }
    let mut chars = below.chars();
    let mut open_alternates = 0_usize;
    while let Some(c) = chars.next() {
        match c {
            '\\' => chars.next().map(drop).ok_or("a glob with a character behind each \\")?,
            '[' => pass_class(&mut chars)?,
            '{' => open_alternates = open_alternates.saturating_add(1),
            '}' => open_alternates = open_alternates.checked_sub(1).ok_or("a glob with a { for each }")?,
            _ => {}
        }
    }
    if open_alternates == 0 { Ok(()) } else { Err("a glob with a } for each {") }
}

/// Passes over a class of characters, from behind its `[` to its `]`.
fn pass_class(chars: &mut Chars<'_>) -> Result<(), &'static str> {
    let mut behind = chars.clone();
    if matches!(behind.next(), Some('!' | '^')) {
        *chars = behind;
    }
    // Where the range begins that was read last: a further `-` moves its end.
    let mut begin: Option<char> = None;
    let mut is_end_due = false;
    loop {
        let c = chars.next().ok_or("a glob with a ] for each [, behind a character at least")?;
        match (c, begin) {
            (']', Some(_)) => return Ok(()),
            ('-', Some(_)) if !is_end_due => is_end_due = true,
            (end, Some(begin)) if is_end_due => {
                if end < begin {
                    return Err("a glob whose ranges of characters ascend");
                }
                is_end_due = false;
            }
            (single, _) => begin = Some(single),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_all(globs: &[&str], expected: Result<(), &str>) {
        for glob in globs {
            assert_eq!(check(glob), expected, "{glob}");
        }
    }

    #[test]
    fn globs_that_adapters_take_are_taken() {
        check_all(
            &[
                "*",
                "**",
                ".playwright/**/*.webm",
                "*.log",
                "coverage/**",
                "./out/*.{md,txt}",
                "out/",
                "{a,{b,c}}",
                "a,b",
                "[a-z]*",
                "[!a]x",
                "[^]]",
                "[]]",
                "[]-a]",
                "[-x]",
                "[x-]",
                "[a-c-e]",
                "[[]",
                "[{]",
                "\\[",
                "\\{x",
                "a..b",
                "...",
                "..a/b..",
                "\u{fc}?",
            ],
            Ok(()),
        );
    }

    #[test]
    fn what_leads_out_of_the_workspace_is_refused() {
        check_all(
            &["../../etc/*", "..", "a/../b", "./../x", "/etc/*", "/", ".//etc", "**/.."],
            Err("a glob relative to the workspace, without .. in it"),
        );
    }

    #[test]
    fn what_is_no_glob_is_refused() {
        let class = Err("a glob with a ] for each [, behind a character at least");

        check_all(&["[", "[]", "[!", "[!]", "[^]", "a[b", "[a-", "[\\"], class);
        check_all(&["[z-a]", "[z--]", "[a-z-9]", "[!b-a]"], Err("a glob whose ranges of characters ascend"));
        check_all(&["{a,b", "{a,{b,c}", "{"], Err("a glob with a } for each {"));
        check_all(&["a,b}", "{a,b}}", "}"], Err("a glob with a { for each }"));
        check_all(&["\\", "a\\\\\\"], Err("a glob with a character behind each \\"));
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_a_glob(name in "[^/]{0,20}") {
            let escaped: alloc::string::String = name.chars().flat_map(|c| ['\\', c]).collect();

            prop_assert_eq!(check(&escaped), Ok(()));
        }

        #[test]
        fn a_glob_is_judged_the_same_behind_a_dot(glob in "[\\[\\]{},!^a-z\\\\/.*-]{0,30}") {
            prop_assert_eq!(check(&alloc::format!("./{glob}")), check(&glob));
        }
    }
}
