//! RFC 6902 operations, as the API server takes them.

use serde::Serialize;
use serde_json::{Map, Value};

/// One operation of a JSON patch.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// Sets a member whether or not it is there, or inserts into a list.
    Add {
        /// JSON pointer.
        path: String,
        /// The new value.
        value: Value,
    },
    /// Takes a member away.
    Remove {
        /// JSON pointer.
        path: String,
    },
}

/// Operations in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patch {
    operations: Vec<Operation>,
}

impl Patch {
    /// Sets the member at `path`, whether or not it is there; its parent must be.
    pub(crate) fn set(&mut self, path: impl Into<String>, value: impl Into<Value>) {
        self.operations.push(Operation::Add { path: path.into(), value: value.into() });
    }

    /// Removes the member at `path`, which must be there.
    pub(crate) fn remove(&mut self, path: impl Into<String>) {
        self.operations.push(Operation::Remove { path: path.into() });
    }

    /// Sets members of the object at `parent`; creates the object where it is missing.
    pub(crate) fn set_members(
        &mut self,
        parent: &str,
        parent_exists: bool,
        members: impl IntoIterator<Item = (&'static str, Value)>,
    ) {
        if parent_exists {
            for (name, value) in members {
                self.set(format!("{parent}/{}", escape(name)), value);
            }
        } else {
            let members: Map<String, Value> =
                members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            if !members.is_empty() {
                self.set(parent, members);
            }
        }
    }

    /// Appends to the list at `path`; creates the list where it is missing.
    pub(crate) fn append(&mut self, path: &str, list_exists: bool, value: Value) {
        if list_exists {
            self.set(format!("{path}/-"), value);
        } else {
            self.set(path, vec![value]);
        }
    }

    /// Inserts at the head of the list at `path`; creates the list where it is missing.
    pub(crate) fn prepend(&mut self, path: &str, list_exists: bool, value: Value) {
        if list_exists {
            self.set(format!("{path}/0"), value);
        } else {
            self.set(path, vec![value]);
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

/// A member name as it stands in a JSON pointer (RFC 6901).
pub(crate) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
