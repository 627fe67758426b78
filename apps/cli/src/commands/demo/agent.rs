//! Who works in the demo: the real agent where there is one and a key for it, else a simulated one.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use legwork_core::secret::Secret;

use super::{Args, BUDGET_USD};

/// Who works.
#[derive(Debug)]
pub(super) enum DemoAgent {
    /// `claude`, as it is on PATH.
    Real {
        /// What it asks its model with.
        key: Secret<String>,
    },
    /// This program, in the place of `claude`.
    Simulated {
        /// What starts it.
        program: PathBuf,
    },
}

impl DemoAgent {
    /// Chooses, and puts the simulated one's program into the folder where that one works.
    pub(super) fn choose(args: &Args, folder: &Path) -> anyhow::Result<Self> {
        let installed = args.path.split(':').any(|place| Path::new(place).join("claude").is_file());
        let key = args.anthropic_api_key.as_ref().filter(|key| !key.trim().is_empty());
        if let (Some(key), true, false) = (key, installed, args.simulated) {
            return Ok(Self::Real { key: Secret::new(key.clone()) });
        }
        let programs = folder.join("bin");
        fs::create_dir(&programs)?;
        let copy = programs.join("legwork");
        fs::copy(std::env::current_exe()?, &copy).context("this program cannot be copied")?;
        let program = programs.join("claude");
        fs::write(&program, format!("#!/bin/sh\nexec '{}' __demo-agent \"$@\"\n", copy.display()))?;
        for path in [&programs, &copy, &program] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self::Simulated { program })
    }

    /// Returns what a request names as its key.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Real { key } => key.expose().as_str(),
            Self::Simulated { .. } => "simulated-key",
        }
    }

    /// Says who it is and what that costs.
    pub(super) fn introduction(&self) -> String {
        match self {
            Self::Real { .. } => {
                format!(
                    "The real claude works, with your ANTHROPIC_API_KEY and for at most {BUDGET_USD} USD."
                )
            }
            Self::Simulated { .. } => "A simulated agent works: it needs no key and asks no model.\n\
                 With claude on PATH and ANTHROPIC_API_KEY set, the real one would."
                .to_owned(),
        }
    }
}
