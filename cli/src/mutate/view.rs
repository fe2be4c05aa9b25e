//! Reviews as text: unified diffs, or manifests.

use lameduck_core::inject::Outcome;
use serde::Serialize;
use serde_json::Value;
use serde_saphyr::ser_options;
use similar::TextDiff;

use crate::common::failure::Failure;
use crate::common::failure::one_line;
use crate::common::screen::Layout;
use crate::common::table::Tone;
use crate::explain::document::API_VERSION;

use super::documents::Problem;
use super::review::{Change, Reviewed};

/// What `mutate` says: with `-o json` and `-o yaml` as it stands here.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// `cli.lameduck.dev/v1`.
    pub api_version: &'static str,
    /// `Mutation`.
    pub kind: &'static str,
    /// The objects, in the order of the input.
    pub objects: Vec<Reviewed>,
    /// What in the input makes no sense.
    pub problems: Vec<Problem>,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            api_version: API_VERSION,
            kind: "Mutation",
            objects: Vec::new(),
            problems: Vec::new(),
        }
    }
}

/// The text for people. Diffs are not wrapped: they can be copied.
#[must_use]
pub fn text(document: &Document, layout: Layout) -> String {
    let mut out = String::new();
    for reviewed in &document.objects {
        let subject = one_line(&reviewed.subject());
        let file = &one_line(&reviewed.file);
        if reviewed.change.outcome.is_some() || layout.wide {
            change(&mut out, &subject, file, &reviewed.change);
        }
        // Nobody needs to read twice that nothing happens.
        let has_news = |pod: &&Change| {
            pod.outcome != reviewed.change.outcome
                || !pod.operations.is_empty()
                || !pod.warnings.is_empty()
        };
        if let Some(pod) = reviewed.pod.as_ref().filter(has_news) {
            change(&mut out, &format!("pod of {subject}"), file, pod);
        }
    }
    if out.is_empty() && document.problems.is_empty() {
        out.push_str("Nothing in the input is of a kind that the webhook looks at.\n");
    }
    out
}

fn change(out: &mut String, subject: &str, file: &str, change: &Change) {
    let word = change.word();
    let (tone, why) = match reason(change) {
        _ if !change.operations.is_empty() => (Tone::Good, String::new()),
        why => (Tone::Quiet, format!(": {why}")),
    };
    out.push_str(&format!("{}: {}{why}\n", Tone::Strong.paint(subject), tone.paint(word)));
    for warning in change.warnings.iter().map(|warning| one_line(warning)) {
        out.push_str(&format!("  {} {warning}\n", Tone::Notable.paint("Warning:")));
    }
    if change.operations.is_empty() {
        return;
    }
    let (before, after) = (yaml(&change.original), yaml(&change.patched));
    let (Ok(before), Ok(after)) = (before, after) else { return };
    let diff = TextDiff::from_lines(&before, &after);
    let headers = (format!("{subject} ({file})"), format!("{subject} (patched)"));
    for line in diff.unified_diff().header(&headers.0, &headers.1).to_string().lines() {
        let tone = match line {
            _ if line.starts_with("--- ") || line.starts_with("+++ ") => Tone::Strong,
            _ if line.starts_with("@@") => Tone::Quiet,
            _ if line.starts_with('+') => Tone::Good,
            _ if line.starts_with('-') => Tone::Bad,
            _ => Tone::Plain,
        };
        // Terminal codes of a manifest are no business of the terminal.
        let line: String = line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
        out.push_str(&tone.paint(&line));
        out.push('\n');
    }
}

fn reason(change: &Change) -> &'static str {
    match change.outcome {
        None => "the webhook is not asked about this kind",
        Some(Outcome::Patched | Outcome::Restored) => "",
        Some(Outcome::Unchanged) => "it is as it should be already",
        Some(Outcome::Observed) => "the policy's mode is Observe, so nothing is changed",
        Some(Outcome::NotEnrolled) => {
            "neither it nor its namespace has the label lameduck.dev/policy; --policy gives the namespace one"
        }
        Some(Outcome::OptedOut) => "its label says none, or its namespace is never enrolled",
        Some(Outcome::UnknownPolicy) => {
            "its policy is not among the manifests: add it with another -f"
        }
        Some(Outcome::PolicyOff) => "the policy's mode is Off",
        Some(Outcome::Skipped(skip)) => skip.message(),
    }
}

/// The manifests as they become, as YAML of many documents.
///
/// # Errors
/// An object cannot be written as YAML.
pub fn patched(document: &Document) -> Result<String, Failure> {
    let objects: Result<Vec<String>, Failure> =
        document.objects.iter().map(|reviewed| yaml(&reviewed.change.patched)).collect();
    Ok(objects?.join("---\n"))
}

/// An object as YAML, one line for a string: what is folded cannot be compared line by line.
fn yaml(object: &Value) -> Result<String, Failure> {
    let options = ser_options! { min_fold_chars: usize::MAX, folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(object, options)
        .map_err(|error| Failure::refused(format!("the object cannot be printed: {error}")))
}
