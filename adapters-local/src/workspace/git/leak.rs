//! Looking through what a push would send, before it is sent.

use std::{collections::BTreeMap, io, sync::Arc};

use bytes::Bytes;
use legwork_core::redact::Redactor;
use legwork_ports::workspace::{Folders, GitError, GitLimits, Leak, Placed, PlacedFile};

use super::{
    clone::at,
    outgoing_repository,
    runner::{Bench, Call, Git},
};

pub(in crate::workspace) async fn find_leak(
    bench: &Bench,
    folders: &Folders,
    known: &[String],
    commit: &str,
    secrets: &Arc<Redactor>,
    placed: &Placed,
    limits: &GitLimits,
) -> Result<Option<Leak>, GitError> {
    let git = Git::new(bench, folders, limits);
    let mut search = Outgoing { git, folders, revisions: format!("{commit}\n") };
    search.leave_out(known).await?;
    let objects = search.objects().await?;
    for file in &placed.files {
        if let Some(leak) = search.placed(&objects, file).await? {
            return Ok(Some(leak));
        }
    }
    search.secret(&objects, secrets).await
}

/// Everything that a push would send.
struct Outgoing<'a> {
    git: Git<'a>,
    folders: &'a Folders,
    /// The commit, and what the remote has and what is thus left out, a line each.
    revisions: String,
}

impl Outgoing<'_> {
    fn call(&self, args: &[&str]) -> Call {
        at(&outgoing_repository(self.folders), args)
    }

    /// Leaves out what these commits hold, as far as they are here: who cloned everything knows of more.
    async fn leave_out(&mut self, known: &[String]) -> Result<(), GitError> {
        let names: String = known.iter().flat_map(|commit| [commit.as_str(), "^{commit}\n"]).collect();
        let call = self.call(&["cat-file", "--batch-check=%(objectname)"]).stdin(names);
        let answer = self.git.text(call).await?;
        for commit in answer.lines().filter(|line| !line.contains(' ')) {
            self.revisions.extend(["^", commit, "\n"]);
        }
        Ok(())
    }

    /// Returns the names of all objects, with the first path at which each was found.
    async fn objects(&mut self) -> Result<BTreeMap<String, String>, GitError> {
        let call = self.call(&["rev-list", "--objects", "--stdin"]).stdin(self.revisions.clone());
        let answer = self.git.answer(call).await?;
        if answer.code != Some(0) {
            return Err(answer.error(None));
        }
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        let rows = text.lines().filter_map(|line| {
            let (name, path) = line.split_once(' ').unwrap_or((line, ""));
            // A path with a newline continues on a line that is no name of an object.
            name.bytes().all(|b| b.is_ascii_hexdigit()).then(|| (name.to_owned(), path.to_owned()))
        });
        Ok(rows.filter(|(name, _)| name.len() >= 40).collect())
    }

    /// Tells whether a file that the service has put into the workspace is among them.
    async fn placed(
        &mut self,
        objects: &BTreeMap<String, String>,
        file: &PlacedFile,
    ) -> Result<Option<Leak>, GitError> {
        let call = self.call(&["hash-object", "--stdin"]).stdin(Bytes::from(file.contents.clone()));
        let name = self.git.text(call).await?;
        if !objects.contains_key(&name) {
            return Ok(None);
        }
        let is_known = file.is_known_by_content();
        let at_path = (!is_known).then_some(file.path.as_str());
        let commit = self.commit_with(&name, at_path).await?;
        if commit.is_none() && !is_known {
            return Ok(None);
        }
        let path = objects.get(&name).filter(|_| is_known).unwrap_or(&file.path);
        Ok(Some(Leak { commit, path: Some(path.clone()) }))
    }

    /// Reads all objects and tells which one holds a secret, if any does.
    async fn secret(
        &mut self,
        objects: &BTreeMap<String, String>,
        secrets: &Arc<Redactor>,
    ) -> Result<Option<Leak>, GitError> {
        let names: String = objects.keys().flat_map(|name| [name.as_str(), "\n"]).collect();
        let call = self.call(&["cat-file", "--batch", "--buffer"]).stdin(Bytes::from(names));
        let mut reader = BatchReader::new(secrets);
        let mut read = |bytes: &[u8]| reader.read(bytes);
        let answer = self.git.answer_into(call, &mut read).await?;
        if answer.code != Some(0) {
            return Err(answer.error(None));
        }
        let Some((name, is_commit)) = reader.found else { return Ok(None) };
        if is_commit {
            return Ok(Some(Leak { commit: Some(name), path: None }));
        }
        let path = objects.get(&name).filter(|path| !path.is_empty()).cloned();
        Ok(Some(Leak { commit: self.commit_with(&name, None).await?, path }))
    }

    /// Returns the newest commit that brought an object, at a path if one is given.
    async fn commit_with(&mut self, name: &str, path: Option<&str>) -> Result<Option<String>, GitError> {
        let find = format!("--find-object={name}");
        let mut args =
            vec!["--literal-pathspecs", "log", "-1", "-t", "--root", "--format=%H", &find, "--stdin", "--"];
        args.extend(path);
        let call = self.call(&args).stdin(self.revisions.clone());
        let found = self.git.text(call).await?;
        Ok(Some(found).filter(|found| !found.is_empty()))
    }
}

/// Reads what `git cat-file --batch` writes: for each object a line with name, kind and size, its
/// content, and a newline.
struct BatchReader<'r> {
    secrets: &'r Redactor,
    header: Vec<u8>,
    /// The object that is being read: its name, whether it is a commit, and what is left of it.
    object: Option<(String, bool, u64)>,
    search: legwork_core::redact::Search<'r>,
    found: Option<(String, bool)>,
}

impl<'r> BatchReader<'r> {
    fn new(secrets: &'r Redactor) -> Self {
        Self { secrets, header: Vec::new(), object: None, search: secrets.search(), found: None }
    }

    fn read(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() && self.found.is_none() {
            bytes = match self.object.take() {
                None => self.read_header(bytes)?,
                Some((name, is_commit, left)) => self.read_content(bytes, name, is_commit, left),
            };
        }
        Ok(())
    }

    fn read_header<'b>(&mut self, bytes: &'b [u8]) -> io::Result<&'b [u8]> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        self.header.extend_from_slice(line);
        if end.is_none() {
            return Ok(rest);
        }
        let header = String::from_utf8_lossy(&std::mem::take(&mut self.header)).into_owned();
        let mut words = header.split(' ');
        let (name, kind, size) = (words.next(), words.next(), words.next());
        let size = size.and_then(|size| size.parse::<u64>().ok());
        let (Some(name), Some(kind), Some(size)) = (name, kind, size) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("git has not read {header}")));
        };
        self.search = self.secrets.search();
        // With the newline after it.
        self.object = Some((name.to_owned(), kind == "commit", size.saturating_add(1)));
        Ok(rest.get(1..).unwrap_or_default())
    }

    fn read_content<'b>(&mut self, bytes: &'b [u8], name: String, is_commit: bool, left: u64) -> &'b [u8] {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let (content, rest) = bytes.split_at(length);
        if self.search.feed(content) {
            self.found = Some((name, is_commit));
            return rest;
        }
        let left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
        if left > 0 {
            self.object = Some((name, is_commit, left));
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use legwork_core::redact::SecretKind;

    use super::*;

    fn read(pieces: impl Iterator<Item = Vec<u8>>) -> Option<(String, bool)> {
        let secrets = Redactor::new([(SecretKind::Credential, "hunter2-hunter2")]);
        let mut reader = BatchReader::new(&secrets);
        for piece in pieces {
            reader.read(&piece).unwrap();
        }
        reader.found
    }

    #[test]
    fn the_object_with_the_secret_is_named_wherever_the_pieces_are_cut() {
        let stream = b"aa blob 3\nx\ny\nbb commit 0\n\ncc blob 17\n hunter2-hunter2\n\ndd blob 1\nx\n";

        for size in 1..stream.len() {
            let found = read(stream.chunks(size).map(<[u8]>::to_vec));
            assert_eq!(found, Some(("cc".to_owned(), false)), "pieces of {size}");
        }
    }

    #[test]
    fn a_secret_over_two_objects_is_none() {
        let stream = b"aa blob 8\nhunter2-\nbb blob 7\nhunter2\n";

        assert_eq!(read(stream.chunks(5).map(<[u8]>::to_vec)), None);
    }

    #[test]
    fn an_object_that_is_missing_is_an_error() {
        let secrets = Redactor::new([]);

        assert!(BatchReader::new(&secrets).read(b"aa missing\n").is_err());
    }
}
