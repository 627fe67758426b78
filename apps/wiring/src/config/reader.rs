//! Reading single values, each with its mistake.

use std::{path::PathBuf, str::FromStr};

use legwork_core::request::{HostPattern, PermissionMode};
use url::Url;

use super::{GoogleConfig, Platform, Problem, ReconcilerSetting, default_data_dir, is_loopback, list};
use crate::{names, values::Values};

/// Names workspaces on Google Cloud where nothing is said; nothing is kept there.
const NO_DATA_DIR: &str = "/var/lib/legwork";

pub(super) struct Reader<'v> {
    pub(super) values: &'v Values,
    pub(super) problems: Vec<Problem>,
}

impl Reader<'_> {
    pub(super) fn problem(&mut self, text: String) {
        self.problems.push(Problem(text));
    }

    pub(super) fn number<N>(&mut self, name: &str, default: N, bounds: std::ops::RangeInclusive<N>) -> N
    where
        N: FromStr + PartialOrd + std::fmt::Display,
    {
        let Some(text) = self.values.get(name) else { return default };
        match text.parse::<N>() {
            Ok(number) if bounds.contains(&number) => number,
            _ => {
                let (low, high) = bounds.into_inner();
                self.problem(format!("{name} must be a whole number from {low} to {high}, not {text:?}"));
                default
            }
        }
    }

    pub(super) fn boolean(&mut self, name: &str, default: bool) -> bool {
        match self.values.get(name) {
            None => default,
            Some("true" | "1" | "yes") => true,
            Some("false" | "0" | "no") => false,
            Some(text) => {
                self.problem(format!("{name} must be true or false, not {text:?}"));
                default
            }
        }
    }

    pub(super) fn platform(&mut self) -> Platform {
        match self.values.get(names::PLATFORM) {
            None | Some("local") => Platform::Local,
            Some("gcp") => Platform::Google(Box::new(GoogleConfig::read(self))),
            Some(text) => {
                self.problem(format!("{} must be local or gcp, not {text:?}", names::PLATFORM));
                Platform::Local
            }
        }
    }

    pub(super) fn reconciler(&mut self, default: ReconcilerSetting) -> ReconcilerSetting {
        match self.values.get(names::RECONCILER) {
            None => default,
            Some("loop") => ReconcilerSetting::Loop,
            Some("request") => ReconcilerSetting::Request,
            Some("off") => ReconcilerSetting::Off,
            Some(text) => {
                self.problem(format!("{} must be loop, request or off, not {text:?}", names::RECONCILER));
                default
            }
        }
    }

    pub(super) fn permission_mode(&mut self) -> PermissionMode {
        let Some(text) = self.values.get(names::PERMISSION_MODE) else { return PermissionMode::AcceptEdits };
        match text.parse() {
            Ok(mode) => mode,
            Err(error) => {
                self.problem(format!("{}: {error}", names::PERMISSION_MODE));
                PermissionMode::AcceptEdits
            }
        }
    }

    pub(super) fn upstream(&mut self) -> Url {
        let text = self.values.get(names::UPSTREAM_URL).unwrap_or("https://api.anthropic.com");
        let parsed = Url::parse(text).ok().filter(|url| {
            let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
            plain
                && (url.scheme() == "https"
                    || (url.scheme() == "http" && url.host_str().is_some_and(is_loopback)))
        });
        if let Some(url) = parsed {
            return url;
        }
        self.problem(format!("{} must be an https URL, or http to this machine", names::UPSTREAM_URL));
        fallback_upstream()
    }

    pub(super) fn host_patterns(&mut self) -> Vec<HostPattern> {
        let mut patterns = Vec::new();
        for text in list(self.values.get(names::CALLBACK_ALLOWED_HOSTS)) {
            match text.parse() {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => self.problem(format!("{}: {text:?}: {error}", names::CALLBACK_ALLOWED_HOSTS)),
            }
        }
        patterns
    }

    pub(super) fn data_dir(&mut self, is_needed: bool) -> PathBuf {
        default_data_dir(self.values).unwrap_or_else(|| {
            if is_needed {
                self.problem(format!(
                    "{} must name a folder: there is no HOME to put one into",
                    names::DATA_DIR
                ));
            }
            PathBuf::from(NO_DATA_DIR)
        })
    }
}

#[expect(clippy::expect_used, reason = "a constant that parses")]
fn fallback_upstream() -> Url {
    Url::parse("https://api.anthropic.com").expect("a constant that parses")
}
