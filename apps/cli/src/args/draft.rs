//! A request in the making: members of a file, and what options put over them.
//!
//! Members that no option sets pass as they were written: a number or an order of names that this
//! program would change is the task's own. Whether the request is a good one, the service says.

use std::collections::BTreeMap;

use legwork_core::secret::Secret;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::exit::UsageError;

/// Members of a JSON object, each as it was written.
pub(super) type Members = BTreeMap<String, Box<RawValue>>;

/// The members of a request so far.
#[derive(Default)]
pub(crate) struct Draft(Members);

/// Shows names: values may be secret.
impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Draft").field(&self.0.keys()).finish()
    }
}

impl Draft {
    /// Begins with the members of a file.
    ///
    /// # Errors
    /// Where it is no JSON object.
    pub(crate) fn of_file(text: &str) -> Result<Self, UsageError> {
        Ok(Self(object(text, "the file of --file")?))
    }

    /// Returns a member, if it is there and not null.
    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.get(name).map(AsRef::as_ref).filter(|raw| raw.get() != "null")
    }

    /// Returns whether a member is there, be it null.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Sets a member, or one of a member's own: `path` leads to it from the top. What stands beside it
    /// stays.
    ///
    /// # Errors
    /// Where the file has something else than an object on the way, or the value cannot be JSON.
    pub(crate) fn set<T: Serialize + ?Sized>(&mut self, path: &[&str], value: &T) -> Result<(), UsageError> {
        insert(&mut self.0, path, to_raw_value(value).map_err(|error| unwritable(&error))?)
    }

    /// Sets a member where there is a value.
    ///
    /// # Errors
    /// Those of [`Draft::set`].
    pub(crate) fn set_some<T: Serialize>(
        &mut self,
        path: &[&str],
        value: Option<T>,
    ) -> Result<(), UsageError> {
        value.map_or(Ok(()), |value| self.set(path, &value))
    }

    /// Sets a member to a list that is not empty.
    ///
    /// # Errors
    /// Those of [`Draft::set`].
    pub(crate) fn set_list(&mut self, path: &[&str], items: &[String]) -> Result<(), UsageError> {
        self.set_some(path, Some(items).filter(|items| !items.is_empty()))
    }

    /// Sets a member to true where a flag was given: without it, the file's word stands.
    ///
    /// # Errors
    /// Those of [`Draft::set`].
    pub(crate) fn set_flag(&mut self, path: &[&str], given: bool) -> Result<(), UsageError> {
        self.set_some(path, given.then_some(true))
    }

    /// Sets a member to a JSON object, which stays as it is written; `what` names its origin.
    ///
    /// # Errors
    /// Where it is no JSON object.
    pub(crate) fn set_object(&mut self, path: &[&str], json: &str, what: &str) -> Result<(), UsageError> {
        object(json, what)?;
        let raw = RawValue::from_string(json.trim().to_owned());
        insert(&mut self.0, path, raw.map_err(|error| unwritable(&error))?)
    }

    /// Takes a member out of one of the members.
    ///
    /// # Errors
    /// Those of [`Draft::set`].
    pub(crate) fn remove(&mut self, parents: &[&str], name: &str) -> Result<(), UsageError> {
        within(&mut self.0, parents, &mut |members| {
            members.remove(name);
            Ok(())
        })
    }

    /// Returns the JSON to send.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(crate) fn to_json(&self) -> Result<Secret<String>, UsageError> {
        Ok(Secret::new(serde_json::to_string(&self.0).map_err(|error| unwritable(&error))?))
    }
}

/// Reads the members of an object; `what` names it in the error.
pub(super) fn object(text: &str, what: &str) -> Result<Members, UsageError> {
    // The error names a place and an expectation, and quotes no value.
    serde_json::from_str(text).map_err(|error| UsageError::new(format!("{what} is no JSON object: {error}")))
}

fn insert(members: &mut Members, path: &[&str], raw: Box<RawValue>) -> Result<(), UsageError> {
    let Some((name, parents)) = path.split_last() else { return Ok(()) };
    let mut raw = Some(raw);
    within(members, parents, &mut |members| {
        members.extend(raw.take().map(|raw| ((*name).to_owned(), raw)));
        Ok(())
    })
}

/// Changes the object that `path` leads to, making it and those on the way where there are none.
fn within(
    members: &mut Members,
    path: &[&str],
    change: &mut dyn FnMut(&mut Members) -> Result<(), UsageError>,
) -> Result<(), UsageError> {
    let Some((name, rest)) = path.split_first() else { return change(members) };
    let given = members.get(*name).filter(|raw| raw.get() != "null");
    let given = given.map(|raw| object(raw.get(), &format!("`{name}` in the file of --file")));
    let mut inner = given.transpose()?.unwrap_or_default();
    within(&mut inner, rest, change)?;
    members.insert((*name).to_owned(), to_raw_value(&inner).map_err(|error| unwritable(&error))?);
    Ok(())
}

pub(super) fn unwritable(error: &serde_json::Error) -> UsageError {
    UsageError::new(format!("the request cannot be written as JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(draft: &Draft) -> String {
        draft.to_json().unwrap().expose().clone()
    }

    #[test]
    fn what_stands_beside_a_changed_member_stays_as_it_is_written() {
        let mut draft = Draft::of_file(r#"{"a":{"x":1.50,"b":{"c":1}},"z":[1, 2]}"#).unwrap();

        draft.set(&["a", "b", "d"], "new").unwrap();
        draft.set(&["n", "m"], &true).unwrap();
        draft.remove(&["a"], "none").unwrap();

        assert_eq!(json(&draft), r#"{"a":{"b":{"c":1,"d":"new"},"x":1.50},"n":{"m":true},"z":[1, 2]}"#);
    }

    #[test]
    fn what_is_no_object_is_not_overwritten_in_silence() {
        let mut draft = Draft::of_file(r#"{"a":[1],"n":null}"#).unwrap();

        let refused = draft.set(&["a", "b"], &1).unwrap_err();

        assert!(refused.to_string().contains("`a` in the file of --file is no JSON object"), "{refused}");
        assert!(draft.set(&["n", "b"], &1).is_ok());
    }

    #[test]
    fn values_are_not_shown() {
        let draft = Draft::of_file(r#"{"anthropicApiKey":"sk-1"}"#).unwrap();

        assert_eq!(format!("{draft:?}"), "Draft([\"anthropicApiKey\"])");
    }
}
