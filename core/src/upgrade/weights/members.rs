//! A JSON object whose members keep their order and their text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// The members of an object in the order of the text, each with its text as it stood there.
#[derive(Clone, Debug, Default)]
pub(super) struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    /// The text of the one member of that name; None where there is none.
    ///
    /// TKE reads with Go's `encoding/json`, which takes a name in any case and, of several, the last. What
    /// could be read one way here and another way there is refused.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, String> {
        let mut found = None;
        for (member, value) in &self.0 {
            if !member.eq_ignore_ascii_case(name) {
                continue;
            }
            if member != name {
                return Err(format!(".{member}: must be spelled `{name}`"));
            }
            if found.replace(value.get()).is_some() {
                return Err(format!(".{name}: stands there twice"));
            }
        }
        Ok(found)
    }

    /// The elements of the member of that name; None where there is no such member.
    pub(super) fn list(&self, name: &str) -> Result<Option<Vec<Box<RawValue>>>, String> {
        let Some(text) = self.get(name)? else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|_| format!(".{name}: must be an array"))
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(member, _)| member == name)
    }

    /// Whether there is no member beside these.
    pub(super) fn only(&self, names: &[&str]) -> bool {
        self.0.iter().all(|(member, _)| names.contains(&member.as_str()))
    }

    /// In the place where the member stands, or else at the end.
    pub(super) fn set(&mut self, name: &str, value: impl Serialize) {
        let value = raw(value);
        match self.0.iter_mut().find(|(member, _)| member == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// As [`Self::set`]; an empty list does not add a member.
    pub(super) fn set_list<T: Serialize>(&mut self, name: &str, list: &[T]) {
        if !list.is_empty() || self.has(name) {
            self.set(name, list);
        }
    }

    /// Removes a member that was not there before.
    pub(super) fn remove_new(&mut self, name: &str, before: Option<&Self>) {
        if !before.is_some_and(|before| before.has(name)) {
            self.0.retain(|(member, _)| member != name);
        }
    }
}

/// The JSON text of a value of this module's own making.
#[expect(
    clippy::expect_used,
    reason = "serialization fails for maps whose keys are no strings, and for types that refuse; \
              neither is here"
)]
fn raw(value: impl Serialize) -> Box<RawValue> {
    to_raw_value(&value).expect("lists, numbers and members are plain JSON")
}

/// The JSON text of a value of this module's own making.
pub(super) fn text(value: impl Serialize) -> String {
    raw(value).get().to_owned()
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
