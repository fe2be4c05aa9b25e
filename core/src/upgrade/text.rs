//! Words that the messages of this module share.

/// `1 pod`, `3 pods`.
pub(super) fn pods(count: u32) -> String {
    if count == 1 { "1 pod".to_owned() } else { format!("{count} pods") }
}
