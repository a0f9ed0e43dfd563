//! The name of one ordered map of bytes inside a store.

/// The name of a tree. Trees are fixed when the store is opened; a store with another list of trees
/// is a different store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tree(&'static str);

impl Tree {
    /// Names a tree: 1 to 64 of `a-z`, `0-9` and `_`, checked when the store is opened.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }

    /// Names are used in the manifest and in engine files, so only harmless characters are allowed.
    pub(crate) fn is_well_named(self) -> bool {
        (1..=64).contains(&self.0.len())
            && self
                .0
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    }
}
