//! Variables for the agent: `NAME=VALUE`, `NAME` from this program's environment, and files of them.

use std::str::FromStr;

use legwork_core::secret::Secret;

use crate::exit::UsageError;

/// One variable of `--env`.
#[derive(Debug, Clone)]
pub(crate) enum EnvOption {
    /// With its value.
    Given(String, Secret<String>),
    /// With the value that it has here.
    Inherited(String),
}

impl FromStr for EnvOption {
    type Err = UsageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        if name.is_empty() {
            return Err(UsageError::new("give NAME=VALUE, or NAME for the value that it has here"));
        }
        let name = name.to_owned();
        Ok(match value {
            Some(value) => Self::Given(name, Secret::new(value.to_owned())),
            None => Self::Inherited(name),
        })
    }
}

impl EnvOption {
    /// Returns the name and its value.
    ///
    /// # Errors
    /// Where the name has no value here, or one that is not text.
    pub(crate) fn resolve(&self) -> Result<(&str, Secret<String>), UsageError> {
        match self {
            Self::Given(name, value) => Ok((name, value.clone())),
            Self::Inherited(name) => match inherited(name) {
                Ok(value) => Ok((name, Secret::new(value))),
                Err(std::env::VarError::NotPresent) => Err(UsageError::new(format!(
                    "--env {name}: there is no {name} in the environment; export it, or give --env {name}=VALUE"
                ))),
                Err(std::env::VarError::NotUnicode(_)) => {
                    Err(UsageError::new(format!("--env {name}: its value is not UTF-8 text")))
                }
            },
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "which variable is read is what the option says")]
fn inherited(name: &str) -> Result<String, std::env::VarError> {
    std::env::var(name)
}

/// Reads the text of a `.env` file; a `$` stands for itself.
///
/// # Errors
/// Where a line is not `NAME=VALUE`; `what` names the file. The line is not shown: it may hold a secret.
pub(crate) fn parse_env_file(text: &str, what: &str) -> Result<Vec<(String, Secret<String>)>, UsageError> {
    let malformed =
        || UsageError::new(format!("{what} has a line that is not NAME=VALUE, or whose value needs quotes"));
    // The reader knows no way to leave `$NAME` alone, which would bring in variables of this program. So
    // it is shown a character in the place of each `$` that no backslash makes literal.
    let stand_in = ('\u{e000}'..='\u{f8ff}').find(|c| !text.contains(*c)).ok_or_else(malformed)?;
    let shown = without_substitutions(text, stand_in);
    let entries = dotenvy::from_read_iter(shown.as_bytes());
    let entries = entries.map(|entry| {
        let (name, value) = entry.map_err(|_line| malformed())?;
        Ok((name, Secret::new(value.replace(stand_in, "$"))))
    });
    entries.collect()
}

fn without_substitutions(text: &str, stand_in: char) -> String {
    let mut escaped = false;
    let shown = text.chars().map(|c| {
        let literal = escaped;
        escaped = c == '\\' && !literal;
        if c == '$' && !literal { stand_in } else { c }
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        let entries = parse_env_file(text, "x.env").unwrap();
        entries.into_iter().map(|(name, value)| (name, value.expose().clone())).collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(parsed(text), [("A".to_owned(), expected.to_owned())]);
    }

    #[test]
    fn values_are_read_as_dotenv_has_them() {
        check("# don't\n\nexport A=1 # one\n", "1");
        check("A='it is'", "it is");
        check("A=\"two\\nlines\"", "two\nlines");
        check("A=", "");
    }

    #[test]
    fn a_dollar_stands_for_itself() {
        check("A=$PATH", "$PATH");
        check("A=\"${PATH}-$A\"", "${PATH}-$A");
        check("A='$PATH'", "$PATH");
        check("A=\\$PATH", "$PATH");
        check("A='\\\\$PATH'", "\\\\$PATH");
        check("A=\"\\\\$PATH\"", "\\$PATH");
    }

    #[test]
    fn a_malformed_line_is_told_without_its_words() {
        let told = parse_env_file("A=1\nhunter2 is my password\n", "x.env").unwrap_err();

        assert_eq!(told.to_string(), "x.env has a line that is not NAME=VALUE, or whose value needs quotes");
    }

    #[test]
    fn a_name_alone_has_the_value_that_it_has_here() {
        let option: EnvOption = "CARGO_MANIFEST_DIR".parse().unwrap();
        let missing: EnvOption = "LEGWORK_NO_SUCH_VARIABLE".parse().unwrap();

        assert_eq!(option.resolve().unwrap().1.expose(), env!("CARGO_MANIFEST_DIR"));
        assert!(missing.resolve().unwrap_err().to_string().contains("export it"));
        assert!("=x".parse::<EnvOption>().is_err());
    }

    proptest! {
        #[test]
        fn what_stands_in_single_quotes_is_the_value(value in "[^'\\\\\0\r\n]{0,30}") {
            let text = format!("A='{value}'\n");

            prop_assert_eq!(parsed(&text), [("A".to_owned(), value)]);
        }
    }
}
