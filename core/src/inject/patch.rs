//! RFC 6902 operations, as the API server takes them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// One operation of a JSON patch. Values are JSON text already: they are written once, and never read
/// again on the way to the API server.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// Sets a member whether or not it is there, or inserts into a list.
    Add {
        /// JSON pointer.
        path: String,
        /// The new value.
        value: Box<RawValue>,
    },
    /// Takes a member away.
    Remove {
        /// JSON pointer.
        path: String,
    },
}

impl PartialEq for Operation {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Add { path, value }, Self::Add { path: other_path, value: other_value }) => {
                path == other_path && value.get() == other_value.get()
            }
            (Self::Remove { path }, Self::Remove { path: other_path }) => path == other_path,
            _ => false,
        }
    }
}

/// Operations in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patch {
    operations: Vec<Operation>,
}

impl Patch {
    /// Sets the member at `path`, whether or not it is there; its parent must be.
    pub(crate) fn set(&mut self, path: impl Into<String>, value: impl Serialize) {
        self.operations.push(Operation::Add { path: path.into(), value: text(value) });
    }

    /// Removes the member at `path`, which must be there.
    pub(crate) fn remove(&mut self, path: impl Into<String>) {
        self.operations.push(Operation::Remove { path: path.into() });
    }

    /// Sets members of the object at `parent`; creates the object where it is missing.
    pub(crate) fn set_members<V: Serialize>(
        &mut self,
        parent: &str,
        parent_exists: bool,
        members: impl IntoIterator<Item = (&'static str, V)>,
    ) {
        if parent_exists {
            for (name, value) in members {
                self.set(format!("{parent}/{}", escape(name)), value);
            }
        } else {
            let members: BTreeMap<&str, V> = members.into_iter().collect();
            if !members.is_empty() {
                self.set(parent, members);
            }
        }
    }

    /// Appends to the list at `path`; creates the list where it is missing.
    pub(crate) fn append(&mut self, path: &str, list_exists: bool, value: impl Serialize) {
        if list_exists {
            self.set(format!("{path}/-"), value);
        } else {
            self.set(path, [value]);
        }
    }

    /// Inserts at the head of the list at `path`; creates the list where it is missing.
    pub(crate) fn prepend(&mut self, path: &str, list_exists: bool, value: impl Serialize) {
        if list_exists {
            self.set(format!("{path}/0"), value);
        } else {
            self.set(path, [value]);
        }
    }

    /// Whether nothing was added yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The operations.
    pub(crate) fn into_operations(self) -> Vec<Operation> {
        self.operations
    }
}

/// The JSON text of a value of this module's own making.
#[expect(
    clippy::expect_used,
    reason = "serialization fails for maps whose keys are no strings, and for types that refuse; \
              injection has neither"
)]
fn text(value: impl Serialize) -> Box<RawValue> {
    to_raw_value(&value).expect("injected values are plain JSON")
}

/// A member name as it stands in a JSON pointer (RFC 6901).
pub(crate) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
