//! Our zeros into the user's text.

use std::collections::BTreeSet;

use super::document::{Document, Entry, Group, Key};
use super::{Invalid, Port, Zeros};

/// The user's text with these ordinals at weight 0 on each of the ports. Every port gets its group: one
/// without would leave them at the default there.
pub(super) fn merge(
    original: Option<&str>,
    ports: &[Port],
    zeros: &Zeros,
) -> Result<String, Invalid> {
    let mut document = original.map_or_else(|| Ok(Document::ours()), Document::parse)?;
    let mut changed = false;
    for port in ports {
        let group = document.group_mut(Key::from(*port));
        for (set, ordinals) in zeros {
            changed |= zero(group, set, ordinals);
        }
    }
    match original {
        // The user has all of them at weight 0: not a byte has to change.
        Some(original) if !changed => Ok(original.to_owned()),
        _ => Ok(document.text()),
    }
}

/// Whether that changed anything.
fn zero(group: &mut Group, set: &str, ordinals: &BTreeSet<u32>) -> bool {
    // Listed once, at 0: the user's own zero stays where it is, and says the same.
    let users = |ordinal: u32| group.listings(set, ordinal).eq([0]);
    let ours: BTreeSet<u32> = ordinals.iter().copied().filter(|&ordinal| !users(ordinal)).collect();
    if ours.is_empty() {
        return false;
    }
    for listed in group.sets.iter_mut().filter(|listed| listed.name == set) {
        listed.take(&ours, |_| true);
    }
    group.set_mut(set).entries.push(Entry::new(0, ours.into_iter().collect()));
    true
}
