//! Turns: the children of a node are served one after the other, each for as many tasks as it has
//! weight. That is deficit round robin in which each task costs one: what a turn is worth is its
//! weight, and a child that runs out of tasks takes nothing of it along.

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
/// of its node, and goes there again when its turn is over: after as many tasks as its weight. So
/// between two turns of a child each other one has one, however many tasks it has.
#[derive(Debug)]
pub(super) struct Ring<N, C> {
    order: BTreeMap<(N, At), C>,
    places: HashMap<(N, C), At>,
    /// How many tasks were served in turns that have begun and are not over.
    used: HashMap<(N, C), u32>,
    next: At,
}

impl<N, C> Default for Ring<N, C> {
    fn default() -> Self {
        Self {
            order: BTreeMap::new(),
            places: HashMap::new(),
            used: HashMap::new(),
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
            self.used.remove(&(node, child));
        }
    }

    /// The first child whose turn is at this place or after it.
    pub(super) fn first(&self, node: N, from: At) -> Option<(At, C)> {
        let (&(of, at), &child) = self.order.range((node, from)..).next()?;
        (of == node).then_some((at, child))
    }

    /// The child was served. If it was for as many tasks as its weight, all others come before it.
    pub(super) fn served(&mut self, node: N, child: C, weight: u32) {
        if self.order.len() == 1 {
            return;
        }
        let Some(&at) = self.places.get(&(node, child)) else {
            return;
        };
        if weight > 1 {
            let used = self.used.entry((node, child)).or_default();
            *used += 1;
            if *used < weight {
                return;
            }
        }
        self.used.remove(&(node, child));
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
                self.used.remove(&(node, child));
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
        for of in self.used.keys() {
            assert!(self.places.contains_key(of), "who is gone has no turn");
        }
        for (&(node, at), &child) in &self.order {
            assert_eq!(self.places.get(&(node, child)), Some(&at));
            assert!(at < self.next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn in_each_round_every_child_has_its_share(
            weights in proptest::collection::vec(1..=100_u32, 2..8),
            rounds in 1..5_usize,
        ) {
            let mut ring = Ring::default();
            for child in 0..weights.len() {
                ring.enter((), child);
            }
            let all: u32 = weights.iter().sum();
            for _ in 0..rounds {
                let mut served = vec![0; weights.len()];
                for _ in 0..all {
                    let (_, child) = ring.first((), At::default()).expect("a child");
                    served[child] += 1;
                    ring.served((), child, weights[child]);
                    ring.check();
                }
                prop_assert_eq!(&served, &weights);
            }
        }

        #[test]
        fn nobody_waits_for_more_than_one_turn_of_each_other(
            weights in proptest::collection::vec(1..=9_u32, 2..6),
            leaves in proptest::collection::vec(any::<usize>(), 1..300),
        ) {
            let mut ring = Ring::default();
            for child in 0..weights.len() {
                ring.enter((), child);
            }
            // What each has seen of the turns of others since its own last one.
            let mut since = vec![vec![0_u32; weights.len()]; weights.len()];
            for which in leaves {
                let (_, child) = ring.first((), At::default()).expect("a child");
                ring.served((), child, weights[child]);
                for (of, seen) in since.iter_mut().enumerate() {
                    if of == child {
                        seen.fill(0);
                    } else {
                        seen[child] += 1;
                        prop_assert!(seen[child] <= weights[child], "{of} waits for {child}");
                    }
                }
                // Some run out of tasks and get others: they stand behind all, with a whole turn.
                let gone = which % (3 * weights.len());
                if gone < weights.len() {
                    ring.leave((), gone);
                    ring.enter((), gone);
                    since[gone].fill(0);
                    for seen in &mut since {
                        seen[gone] = 0;
                    }
                }
                ring.check();
            }
        }
    }
}
