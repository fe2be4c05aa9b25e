//! Our zeros out of a text that somebody edited after us.

use std::collections::BTreeSet;

use super::document::{Document, Entry, Group, Set};
use super::{Invalid, Zeros};

/// Their text without our entries: ordinals that are ours, at weight 0, where `original` did not list them
/// at 0. Containers that are empty by that go, unless `original` had them. What an entry of ours displaced
/// comes back. None: nothing of theirs is left.
///
/// # Errors
/// As [`Document::parse`]; [`Invalid::Record`] where it is the recorded original.
pub(super) fn strip(
    text: &str,
    original: Option<&str>,
    zeros: &Zeros,
) -> Result<Option<String>, Invalid> {
    let original = original
        .map(Document::parse)
        .transpose()
        .map_err(|_| Invalid::Record("the recorded text cannot be understood".to_owned()))?;
    let mut document = Document::parse(text)?;

    let mut stripped = false;
    document.groups.retain_mut(|group| {
        let before = original.as_ref().and_then(|original| original.group(&group.key));
        let mut ours = false;
        for (set, ordinals) in zeros {
            ours |= strip_set(group, before, set, ordinals);
        }
        stripped |= ours;
        if ours {
            group.forget_empty(before);
        }
        !(ours && group.is_bare() && before.is_none())
    });
    if !stripped {
        return Ok(Some(text.to_owned()));
    }
    document.forget_empty(original.as_ref());
    let nothing_left = original.is_none() && document.is_ours();
    Ok((!nothing_left).then(|| document.text()))
}

/// Whether anything of ours was there.
fn strip_set(
    group: &mut Group,
    before: Option<&Group>,
    name: &str,
    ordinals: &BTreeSet<u32>,
) -> bool {
    let weight_before = |ordinal: u32| before.and_then(|before| before.weight(name, ordinal));
    let ours =
        ordinals.iter().copied().filter(|&ordinal| weight_before(ordinal) != Some(0)).collect();
    let set_before = before.and_then(|before| before.sets.iter().rfind(|set| set.name == name));

    let mut taken = BTreeSet::new();
    group.sets.retain_mut(|set| {
        if set.name != name {
            return true;
        }
        let here = set.take(&ours, |weight| weight == 0);
        if here.is_empty() {
            return true;
        }
        taken.extend(here);
        set.forget_empty(set_before);
        set_before.is_some() || !set.is_bare()
    });
    for &ordinal in &taken {
        // Left out, it would fall to the default, which may be 0 itself.
        if let Some(weight) = weight_before(ordinal)
            && group.listings(name, ordinal).next().is_none()
        {
            put_back(group.set_mut(name), weight, ordinal);
        }
    }
    !taken.is_empty()
}

/// Into the list of that weight where there is still one, in its place where the list has an order.
fn put_back(set: &mut Set, weight: u8, ordinal: u32) {
    match set.entries.iter_mut().rfind(|entry| entry.weight == weight) {
        Some(Entry { ordinals, .. }) if ordinals.is_sorted() => {
            ordinals.insert(ordinals.partition_point(|&before| before < ordinal), ordinal);
        }
        Some(entry) => entry.ordinals.push(ordinal),
        None => set.entries.push(Entry::new(weight, vec![ordinal])),
    }
}
