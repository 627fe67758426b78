//! Choosing what is committed.
//!
//! Git lists what has changed and is given back the paths that are wanted, each for itself: it is never left
//! to walk into a folder, where it would take other repositories and the service's own files along.

use std::{collections::BTreeSet, ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use globset::GlobSet;
use legwork_ports::workspace::{CommitOrder, GitError};

use super::commit::Work;
use crate::workspace::globs;

/// How many repositories are told by name.
const MAX_TOLD: usize = 20;

/// How a kind of change is listed, and how it is staged. What is gone comes first: something else may be new
/// in the place of its folder.
const KINDS: [(&[&str], &[&str]); 3] = [
    (
        &["diff-files", "-z", "--name-only", "--ignore-submodules=dirty", "--diff-filter=D"],
        &["update-index", "-z", "--force-remove", "--stdin"],
    ),
    (
        &["diff-files", "-z", "--name-only", "--ignore-submodules=dirty", "--diff-filter=d"],
        &["update-index", "-z", "--remove", "--stdin"],
    ),
    (
        &["ls-files", "-z", "--others", "--exclude-standard"],
        &["update-index", "-z", "--add", "--replace", "--stdin"],
    ),
];

impl Work<'_> {
    /// Stages what an order asks for. Returns what was left out or asked for in vain, in words for people.
    pub(super) async fn stage(&mut self, order: &CommitOrder) -> Result<Vec<String>, GitError> {
        if !order.files.is_empty() {
            // What the agent has staged is not asked for.
            let head = self.head().await?.unwrap_or_else(|| "--empty".to_owned());
            let call = self.call(&["read-tree", &head]);
            self.git.text(call).await?;
        }
        self.unstage(&order.except).await?;
        // Its exit code tells what is listed below.
        let refresh = self.call(&["update-index", "-q", "--unmerged", "--refresh"]);
        self.git.answer(refresh).await?;
        let mut choice = Choice::new(order);
        let mut wanted = Vec::new();
        for (list, update) in KINDS {
            let paths = self.list(list).await?;
            wanted.push((update, choice.choose(&paths)));
        }
        for (update, paths) in wanted {
            if !paths.is_empty() {
                let call = self.call(update).stdin(paths);
                self.git.text(call).await?;
            }
        }
        Ok(choice.told())
    }

    /// Makes the index what the last commit is at these paths, and below them.
    async fn unstage(&mut self, paths: &[String]) -> Result<(), GitError> {
        // Without any path it would be the whole index.
        if paths.is_empty() {
            return Ok(());
        }
        let reset =
            ["--literal-pathspecs", "reset", "--quiet", "--pathspec-from-file=-", "--pathspec-file-nul"];
        let call = self.call(&reset).stdin(paths.join("\0"));
        self.git.text(call).await.map(drop)
    }

    /// Returns paths that end in a zero byte each. A repository in a folder has a slash before that.
    async fn list(&mut self, args: &[&str]) -> Result<Vec<u8>, GitError> {
        let call = self.call(args);
        let listed = self.git.answer(call).await?;
        if listed.code == Some(0) { Ok(listed.stdout) } else { Err(listed.error(None)) }
    }
}

/// What of all changes is wanted.
struct Choice<'o> {
    globs: Option<GlobSet>,
    except: &'o [String],
    repositories: BTreeSet<String>,
    chosen: usize,
    passed_over: usize,
    problems: Vec<String>,
}

impl<'o> Choice<'o> {
    fn new(order: &'o CommitOrder) -> Self {
        let mut problems = Vec::new();
        let globs =
            (!order.files.is_empty()).then(|| globs::set(&order.files, |problem| problems.push(problem)));
        Self {
            globs,
            except: &order.except,
            repositories: BTreeSet::new(),
            chosen: 0,
            passed_over: 0,
            problems,
        }
    }

    /// Returns which of the paths are wanted.
    fn choose(&mut self, paths: &[u8]) -> Vec<u8> {
        let mut wanted = Vec::new();
        for path in paths.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
            if self.is_excepted(path) {
                continue;
            }
            if let Some(folder) = path.strip_suffix(b"/") {
                // Whoever asks for something in such a folder asks for the folder, too.
                if self.is_asked_for(folder) || self.is_asked_for(&[path, b".git"].concat()) {
                    self.repositories.insert(String::from_utf8_lossy(folder).into_owned());
                }
            } else if self.is_asked_for(path) {
                self.chosen = self.chosen.saturating_add(1);
                wanted.extend_from_slice(path);
                wanted.push(0);
            } else {
                self.passed_over = self.passed_over.saturating_add(1);
            }
        }
        wanted
    }

    fn is_asked_for(&self, path: &[u8]) -> bool {
        self.globs.as_ref().is_none_or(|globs| globs.is_match(Path::new(OsStr::from_bytes(path))))
    }

    fn is_excepted(&self, path: &[u8]) -> bool {
        self.except.iter().any(|except| {
            let rest = path.strip_prefix(except.as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    }

    /// Tells what was left out, or asked for in vain.
    fn told(self) -> Vec<String> {
        let mut told = self.problems;
        let names = self.repositories.iter().take(MAX_TOLD);
        told.extend(names.map(|name| format!("{name} is a repository of its own and was left out")));
        let others = self.repositories.len().saturating_sub(MAX_TOLD);
        if others > 0 {
            told.push(format!("{others} more repositories were left out"));
        }
        if self.chosen == 0 && self.passed_over > 0 {
            told.push(format!("none of {} changed files is one that was asked for", self.passed_over));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INNER: &str = "inner is a repository of its own and was left out";
    const SOURCES: &str = "src/inner is a repository of its own and was left out";

    /// What globs choose of some paths, save the exceptions, and what is told.
    #[track_caller]
    fn check(globs: &[&str], except: &[&str], chosen: &[&str], told: &[&str]) {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let order = CommitOrder {
            message: String::new(),
            files: texts(globs),
            except: texts(except),
            default_name: String::new(),
            default_email: String::new(),
        };
        let mut choice = Choice::new(&order);

        let mut wanted = choice.choose(b".env\0docs/a.md\0src/a.rs\0");
        wanted.extend(choice.choose(b"a.txt\0inner/\0src/inner/\0"));

        let expected: Vec<u8> = chosen.iter().flat_map(|path| [path.as_bytes(), b"\0"].concat()).collect();
        assert_eq!(String::from_utf8(wanted), String::from_utf8(expected));
        assert_eq!(choice.told(), told);
    }

    #[test]
    fn without_globs_everything_is_chosen_but_other_repositories() {
        check(&[], &[], &[".env", "docs/a.md", "src/a.rs", "a.txt"], &[INNER, SOURCES]);
    }

    #[test]
    fn what_is_excepted_is_not_chosen_nor_anything_below_it() {
        check(&[], &[".env", "src", "inner", "a"], &["docs/a.md", "a.txt"], &[]);
    }

    #[test]
    fn globs_choose_and_tell_of_repositories_that_they_mean() {
        check(&["./a.txt", "*.{txt,md}"], &[], &["a.txt"], &[]);
        check(&["src/**"], &[], &["src/a.rs"], &[SOURCES]);
        check(&["inner", "docs"], &[], &["docs/a.md"], &[INNER]);
    }

    #[test]
    fn globs_that_choose_nothing_are_told() {
        check(&["none/**"], &[], &[], &["none of 4 changed files is one that was asked for"]);
    }
}
