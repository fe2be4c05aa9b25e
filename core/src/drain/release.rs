//! A person lets a pod go now, whatever it waits for: the break-glass, and its record.
//!
//! It is an annotation on the pod, so it needs the right to change that pod, and the API server's audit log has
//! it. It names the pod's UID: one that stands in a template, or was copied to another pod, does nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Characters of a name or a reason that are repeated in messages: both come from a person.
const WORDS_MAX: usize = 200;

/// Who let a pod go, and why. The JSON of [`crate::names::ANNOTATION_RELEASE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// UID of the pod that is meant.
    pub uid: String,
    /// Who it was, by the API server's name for them.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When it was written, by the clock of who wrote it.
    pub at: Timestamp,
}

impl Release {
    /// Reads the annotation of the pod with this UID. None where it means another pod, or cannot be read: what
    /// nobody understands lets nothing go.
    #[must_use]
    pub fn read(annotation: &str, uid: &str) -> Option<Self> {
        serde_json::from_str::<Self>(annotation).ok().filter(|release| release.uid == uid)
    }

    /// `alice let it go: reason`, in one line.
    #[must_use]
    pub fn words(&self) -> String {
        let short = |text: &str| -> String {
            text.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
        };
        format!("{} let it go: {}", short(&self.by), short(&self.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_means_one_pod_and_must_be_understood() {
        let text = r#"{"uid":"u-1","by":"alice","reason":"stuck\nsince noon","at":"2026-11-22T10:00:00Z"}"#;
        let release = Release::read(text, "u-1").expect("it can be read");
        assert_eq!(release.words(), "alice let it go: stucksince noon");
        for (text, uid) in [(text, "u-2"), ("true", "u-1"), ("", ""), (r#"{"uid":"u-1"}"#, "u-1")] {
            assert_eq!(Release::read(text, uid), None, "{text}");
        }
        let long = Release { reason: "x".repeat(9000), ..release };
        assert!(long.words().len() < 300);
    }
}
