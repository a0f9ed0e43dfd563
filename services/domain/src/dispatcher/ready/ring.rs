//! Turns: the children of a node are served one after the other, each for one task.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::ops::Bound::{Excluded, Included};

/// A place in the sequence of all turns that were ever given; a lower one comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct At(u64);

impl At {
    /// The place right after this one.
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The children of many nodes, each in the order of their turns. A child enters behind all others
/// of its node, and goes there again after it was served. So with `n` children no child waits for
/// more than `n - 1` others between two of its own, however many tasks these have.
#[derive(Debug)]
pub(super) struct Ring<N, C> {
    order: BTreeMap<(N, At), C>,
    places: HashMap<(N, C), At>,
    next: At,
}

impl<N, C> Default for Ring<N, C> {
    fn default() -> Self {
        Self {
            order: BTreeMap::new(),
            places: HashMap::new(),
            next: At(0),
        }
    }
}

impl<N: Copy + Ord + Hash, C: Copy + Eq + Hash> Ring<N, C> {
    /// Adds a child, unless the node has it.
    pub(super) fn enter(&mut self, node: N, child: C) {
        if !self.places.contains_key(&(node, child)) {
            self.append(node, child);
        }
    }

    fn append(&mut self, node: N, child: C) {
        self.order.insert((node, self.next), child);
        self.places.insert((node, child), self.next);
        self.next = self.next.next();
    }

    pub(super) fn leave(&mut self, node: N, child: C) {
        if let Some(at) = self.places.remove(&(node, child)) {
            self.order.remove(&(node, at));
        }
    }

    /// The first child whose turn is at this place or after it.
    pub(super) fn first(&self, node: N, from: At) -> Option<(At, C)> {
        let (&(of, at), &child) = self.order.range((node, from)..).next()?;
        (of == node).then_some((at, child))
    }

    /// The child was served, so all others come before it.
    pub(super) fn served(&mut self, node: N, child: C) {
        if self.order.len() == 1 {
            return;
        }
        let Some(&at) = self.places.get(&(node, child)) else {
            return;
        };
        if self.first(node, at.next()).is_some() {
            self.order.remove(&(node, at));
            self.append(node, child);
        }
    }

    /// Puts all children whose turns are before this place behind the others, in their order.
    pub(super) fn pass_over(&mut self, node: N, before: At) {
        let range = (Included((node, At(0))), Excluded((node, before)));
        let passed: Vec<_> = self.order.range(range).map(|(key, _)| *key).collect();
        for key in passed {
            if let Some(child) = self.order.remove(&key) {
                self.append(node, child);
            }
        }
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn children(&self) -> impl Iterator<Item = (N, C)> + '_ {
        self.order.iter().map(|(&(node, _), &child)| (node, child))
    }

    /// Panics if order and places do not match.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn check(&self) {
        assert_eq!(self.order.len(), self.places.len(), "each child once");
        for (&(node, at), &child) in &self.order {
            assert_eq!(self.places.get(&(node, child)), Some(&at));
            assert!(at < self.next);
        }
    }
}
