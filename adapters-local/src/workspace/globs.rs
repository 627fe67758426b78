//! Globs, as a request has them for files that are uploaded or committed.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// What makes a glob more than a name.
const WILD: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

/// Makes one set of globs, which match `/`-separated paths below the workspace. What is no glob is told, and
/// matches nothing.
pub(super) fn set(globs: &[String], mut tell: impl FnMut(String)) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        for spelled in spellings(glob) {
            match GlobBuilder::new(&spelled).literal_separator(true).backslash_escape(true).build() {
                Ok(built) => drop(set.add(built)),
                Err(error) => tell(format!("the glob {glob} is none: {}", error.kind())),
            }
        }
    }
    set.build().unwrap_or_else(|error| {
        tell(format!("the globs cannot be used: {error}"));
        GlobSet::empty()
    })
}

/// A folder's name is everything in it, with a slash at its end or without.
fn spellings(glob: &str) -> Vec<String> {
    match glob.trim_start_matches("./") {
        "" | "." => vec!["**".to_owned()],
        folder if folder.ends_with('/') => vec![format!("{folder}**")],
        name if !name.contains(WILD) => vec![name.to_owned(), format!("{name}/**")],
        wild => vec![wild.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(glob: &str, matching: &[&str], others: &[&str]) {
        let mut problems = Vec::new();
        let set = set(&[glob.to_owned()], |problem| problems.push(problem));

        assert_eq!(problems, Vec::<String>::new());
        for path in matching {
            assert!(set.is_match(path), "{glob} does not match {path}");
        }
        for path in others {
            assert!(!set.is_match(path), "{glob} matches {path}");
        }
    }

    #[test]
    fn a_star_stays_in_its_folder_and_two_do_not() {
        check("*.md", &["a.md", ".md"], &["b/a.md", "a.txt"]);
        check("**/*.md", &["a.md", "b/c/a.md"], &["a.txt"]);
        check("src/**", &["src/a", "src/b/c"], &["src", "other/src/a"]);
        check("./*.{txt,md}", &["a.txt", "a.md"], &["a.rs", "b/a.md"]);
    }

    #[test]
    fn a_folder_is_everything_in_it() {
        check("src/", &["src/a", "src/b/c"], &["src2/a", "a"]);
        check("src", &["src", "src/a", "src/b/c"], &["src2/a", "b/src/a"]);
        check("./a b/c.txt", &["a b/c.txt"], &["c.txt"]);
        check(".", &["a", "b/c"], &[]);
        check("./", &["a", "b/c"], &[]);
    }

    #[test]
    fn what_is_no_glob_is_told_and_the_others_match() {
        let mut problems = Vec::new();

        let set = set(&["[".to_owned(), "*.log".to_owned()], |problem| problems.push(problem));

        assert!(set.is_match("a.log"));
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}
