//! One copy of each string: ten thousand pods share their namespaces, nodes and labels.

use std::collections::HashSet;
use std::sync::Arc;

/// Strings below which nothing is swept.
const SWEEP_FLOOR: usize = 1024;

/// A set of shared strings that forgets those that nobody holds.
#[derive(Debug, Default)]
pub(super) struct Interner {
    strings: HashSet<Arc<str>>,
    sweep_at: usize,
}

impl Interner {
    /// The shared copy of `text`.
    pub(super) fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.strings.get(text) {
            return Arc::clone(known);
        }
        if self.strings.len() >= self.sweep_at.max(SWEEP_FLOOR) {
            self.strings.retain(|held| Arc::strong_count(held) > 1);
            // Twice what is left: the cost of sweeping stays constant per string.
            self.sweep_at = self.strings.len() * 2;
        }
        let new: Arc<str> = text.into();
        self.strings.insert(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_are_one_and_unheld_ones_go() {
        let mut interner = Interner::default();
        let held = interner.get("shop");
        assert!(Arc::ptr_eq(&held, &interner.get("shop")));
        for n in 0..10_000 {
            interner.get(&n.to_string());
        }
        assert!(interner.strings.len() <= SWEEP_FLOOR + 1);
        assert!(Arc::ptr_eq(&held, &interner.get("shop")));
    }
}
