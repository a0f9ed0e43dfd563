//! The tasks of one queue that are held back, in the order in which they are let go: fairness keys
//! take turns by their weights, and within a key the order is that of the ready queue. So a limit of a queue takes
//! nothing away from fairness.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Included, Unbounded};

use super::ready;
use crate::id::TaskId;

/// Where a task stands among those of its queue that are held back. It never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rank {
    /// Hash of its fairness key; 0 without one.
    pub(super) fairness: u64,
    /// How many tasks of that key start in a turn.
    pub(super) weight: u8,
    /// Its place among the tasks of that key.
    pub(super) place: ready::Place,
}

#[derive(Debug, Default)]
pub(super) struct Parked {
    /// The tasks of each fairness key; no key without a task.
    keys: BTreeMap<u64, BTreeMap<ready::Place, TaskId>>,
    /// Weights of keys, as far as they are not 1: that of the task that came last.
    weights: HashMap<u64, u8>,
    /// The key that has the turn, or had the last one, and how many tasks it let go in it.
    last: Option<(u64, u8)>,
}

impl Parked {
    pub(super) fn insert(&mut self, rank: Rank, id: TaskId) {
        if rank.weight > 1 {
            self.weights.insert(rank.fairness, rank.weight);
        } else {
            self.weights.remove(&rank.fairness);
        }
        let tasks = self.keys.entry(rank.fairness).or_default();
        tasks.insert(rank.place, id);
    }

    pub(super) fn remove(&mut self, rank: Rank) {
        if let Some(tasks) = self.keys.get_mut(&rank.fairness) {
            tasks.remove(&rank.place);
            if tasks.is_empty() {
                self.keys.remove(&rank.fairness);
                self.weights.remove(&rank.fairness);
            }
        }
    }

    /// Takes out the first task of the key whose turn it is.
    pub(super) fn pop(&mut self) -> Option<TaskId> {
        let goes_on = self.last.filter(|(key, used)| {
            let weight = self.weights.get(key).copied().unwrap_or(1);
            *used < weight && self.keys.contains_key(key)
        });
        let (from, used) = match (goes_on, self.last) {
            (Some((key, used)), _) => (Included(key), used),
            (None, Some((key, _))) => (Excluded(key), 0),
            (None, None) => (Unbounded, 0),
        };
        let next = self.keys.range((from, Unbounded)).next();
        let (&key, tasks) = next.or_else(|| self.keys.first_key_value())?;
        let (&place, &id) = tasks.first_key_value()?;
        self.last = Some((key, used.saturating_add(1)));
        self.remove(Rank {
            fairness: key,
            weight: 1,
            place,
        });
        Some(id)
    }

    /// How many tasks of the same key come before that one, counted up to `most`.
    pub(super) fn ahead(&self, rank: Rank, most: usize) -> usize {
        let tasks = self.keys.get(&rank.fairness);
        tasks.map_or(0, |tasks| tasks.range(..rank.place).take(most).count())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn contains(&self, rank: Rank) -> bool {
        let tasks = self.keys.get(&rank.fairness);
        tasks.is_some_and(|tasks| tasks.contains_key(&rank.place))
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn len(&self) -> usize {
        self.keys.values().map(BTreeMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Partition;
    use crate::seq::StreamSeq;
    use crate::task::Priority;
    use crate::time::Timestamp;

    fn id(number: u64) -> TaskId {
        let partition = Partition::new(0).expect("a partition");
        TaskId::new(Timestamp(1), u128::from(number), partition)
    }

    fn rank(fairness: u64, priority: u8, seq: u64) -> Rank {
        let priority = Priority::new(priority).expect("1 to 10");
        let place = ready::Place::of(priority, Timestamp(1), StreamSeq(seq));
        Rank {
            fairness,
            weight: 1,
            place,
        }
    }

    #[test]
    fn keys_take_turns_and_within_a_key_the_highest_priority_goes_first() {
        let mut parked = Parked::default();
        for seq in 1..=4 {
            parked.insert(rank(1, 5, seq), id(seq));
        }
        parked.insert(rank(1, 9, 5), id(5));
        parked.insert(rank(2, 5, 6), id(6));
        let order: Vec<_> = std::iter::from_fn(|| parked.pop()).collect();
        assert_eq!(order, [id(5), id(6), id(1), id(2), id(3), id(4)]);
        assert!(parked.is_empty());
    }

    #[test]
    fn a_key_lets_as_many_go_in_a_turn_as_it_has_weight() {
        let mut parked = Parked::default();
        for seq in 1..=4 {
            let rank = Rank {
                weight: 2,
                ..rank(1, 5, seq)
            };
            parked.insert(rank, id(seq));
        }
        for seq in 5..=7 {
            parked.insert(rank(2, 5, seq), id(seq));
        }
        let order: Vec<_> = std::iter::from_fn(|| parked.pop()).collect();
        assert_eq!(order, [1, 2, 5, 3, 4, 6, 7].map(id));
    }

    #[test]
    fn the_turn_goes_on_where_it_ended() {
        let mut parked = Parked::default();
        for seq in 1..=3 {
            parked.insert(rank(seq, 5, seq), id(seq));
        }
        assert_eq!(parked.pop(), Some(id(1)));
        parked.insert(rank(1, 5, 4), id(4));
        parked.remove(rank(2, 5, 2));
        assert_eq!([parked.pop(), parked.pop()], [Some(id(3)), Some(id(4))]);
        assert_eq!(parked.pop(), None);
    }
}
