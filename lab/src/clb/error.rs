//! The API's errors: a code, and a sentence. They go out with HTTP 200.

use serde_json::{Value, json};

/// An error as the API tells it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiError {
    /// `InvalidParameter.LBIdNotFound` and the like.
    pub code: String,
    /// For a person.
    pub message: String,
}

impl ApiError {
    /// An error with the given code.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }

    /// `MissingParameter` for `name`.
    #[must_use]
    pub fn missing(name: &str) -> Self {
        let message = format!("The request is missing a required parameter `{name}`.");
        Self::new("MissingParameter", message)
    }

    /// The `Error` member of an answer.
    #[must_use]
    pub fn value(&self) -> Value {
        json!({"Code": self.code, "Message": self.message})
    }
}
