//! SSH keys, made by `ssh-keygen`.

use std::path::{Path, PathBuf};

use super::program::{must, run, text};

/// Which key is made, and how its private part is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// Ed25519, as OpenSSH writes keys today.
    Ed25519,
    /// RSA in the older PEM form.
    RsaPem,
}

/// A pair of keys on disk, without a passphrase.
#[derive(Debug)]
pub(super) struct KeyPair {
    private_path: PathBuf,
}

impl KeyPair {
    /// Makes `<folder>/<name>` and `<folder>/<name>.pub`.
    pub(super) fn make(folder: &Path, name: &str, form: Form) -> Self {
        let mut arguments = vec!["-q", "-N", "", "-C", name, "-f", name, "-t"];
        match form {
            Form::Ed25519 => arguments.push("ed25519"),
            // 2048 bits are the least that nobody refuses, and fast to find.
            Form::RsaPem => arguments.extend(["rsa", "-b", "2048", "-m", "PEM"]),
        }
        must(run("ssh-keygen", folder, &arguments, &[], b""));
        Self { private_path: folder.join(name) }
    }

    /// Returns where the private key is.
    pub(super) fn private_path(&self) -> &Path {
        &self.private_path
    }

    /// Returns the text of the private key, a newline at its end.
    pub(super) fn private_text(&self) -> String {
        text(&self.private_path)
    }

    /// Returns `<kind> <base64> <comment>` and a newline.
    pub(super) fn public_line(&self) -> String {
        text(&self.private_path.with_extension("pub"))
    }
}
