//! Where configuration comes from: flags, then environment, then a file.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Which file of variables is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvFile {
    /// None.
    Never,
    /// `./.env`, where it belongs to the same user.
    IfOurs,
    /// This one; it has to be there.
    Named(PathBuf),
}

/// Names and values from all sources, the stronger ones first.
#[derive(Debug, Clone, Default)]
pub struct Values {
    by_name: BTreeMap<String, String>,
    /// Names whose values are not text.
    broken: Vec<String>,
    file: Option<PathBuf>,
}

impl Values {
    /// Reads environment and file; `flags` win over both.
    ///
    /// # Errors
    /// One sentence where a file cannot be read.
    pub fn read(
        flags: impl IntoIterator<Item = (&'static str, Option<String>)>,
        file: &EnvFile,
    ) -> Result<Self, String> {
        let mut read = Self::default();
        read.read_file(file)?;
        for (name, value) in std::env::vars_os() {
            read.add(name, value);
        }
        for (name, value) in flags {
            if let Some(value) = value {
                read.by_name.insert(name.to_owned(), value);
            }
        }
        Ok(read)
    }

    /// Returns values from pairs alone.
    pub fn from_pairs<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> Self {
        let values = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { by_name: values, ..Self::default() }
    }

    fn add(&mut self, name: OsString, value: OsString) {
        let Ok(name) = name.into_string() else { return };
        match value.into_string() {
            Ok(value) => drop(self.by_name.insert(name, value)),
            Err(_) => self.broken.push(name),
        }
    }

    fn read_file(&mut self, file: &EnvFile) -> Result<(), String> {
        let path = match file {
            EnvFile::Never => return Ok(()),
            EnvFile::Named(path) => path.clone(),
            EnvFile::IfOurs => match ours(Path::new(".env")) {
                Ok(Some(path)) => path,
                Ok(None) => return Ok(()),
                Err(error) => return Err(format!("./.env cannot be read: {error}")),
            },
        };
        let entries = dotenvy::from_path_iter(&path)
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        for entry in entries {
            // The error would show the line, and with it perhaps a secret.
            let (name, value) =
                entry.map_err(|_| format!("{} has a line that is not NAME=VALUE", path.display()))?;
            self.by_name.insert(name, value);
        }
        self.file = Some(path);
        Ok(())
    }

    /// Returns a value; one that is empty or blank counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.by_name.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Returns whether the variable is there but is not text.
    pub fn is_broken(&self, name: &str) -> bool {
        self.broken.iter().any(|broken| broken == name)
    }

    /// Returns the file that was read.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

/// A file in the working folder is configuration only if nobody else could have put it there.
fn ours(path: &Path) -> io::Result<Option<PathBuf>> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.uid() == rustix::process::geteuid().as_raw() => {
            Ok(Some(path.to_owned()))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
