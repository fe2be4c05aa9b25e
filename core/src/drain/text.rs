//! Words that the messages of this module share.

/// Names of Services shown in a message; the rest is counted.
const SERVICES_SHOWN: usize = 4;

/// `Service shop/web`, `Services shop/a, shop/b and 3 more`. Sorted, each once.
pub(super) fn services<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    let word = if names.len() == 1 { "Service" } else { "Services" };
    let shown = names.iter().take(SERVICES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SERVICES_SHOWN) {
        0 => format!("{word} {shown}"),
        more => format!("{word} {shown} and {more} more"),
    }
}
