//! Number of tasks by team, queue and status: of all, and of those that are jobs by the words for these.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use waybill_domain::id::{QueueName, TeamId};
use waybill_domain::task::{JobStatus, Status};
use waybill_store::{Batch, Store, Tree};

use super::{ModelError, decode, encode, keys};

/// One number per status. Tasks and jobs have as many.
const STATUSES: usize = Status::ALL.len();
const _: () = assert!(JobStatus::ALL.len() == STATUSES);
/// Limit of queues whose numbers are cached between batches.
const MAX_CACHED: usize = 10_000;

/// Tasks of a queue by stored status: a task whose delay has passed still counts as delayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Counts([u64; STATUSES]);

impl Counts {
    pub(super) fn of(&self, status: Status) -> u64 {
        self.0[status as usize]
    }

    /// The number in a slot.
    pub(super) fn at(&self, slot: usize) -> u64 {
        self.0[slot]
    }

    /// Moves some from one slot to another.
    pub(super) fn shift(&mut self, from: usize, to: usize, number: u64) {
        let number = number.min(self.0[from]);
        self.0[from] -= number;
        self.0[to] += number;
    }

    pub(super) fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// Those that are not among some of them.
    pub(super) fn without(mut self, some: &Self) -> Self {
        for (mine, theirs) in self.0.iter_mut().zip(some.0) {
            *mine = mine.saturating_sub(theirs);
        }
        self
    }

    fn is_zero(&self) -> bool {
        self.0 == [0; STATUSES]
    }
}

/// The numbers of queues that are being changed or were changed recently.
#[derive(Debug)]
pub(super) struct CountsCache {
    tree: Tree,
    known: HashMap<(TeamId, QueueName), (Counts, bool)>,
}

impl CountsCache {
    /// Of the numbers in that tree.
    pub(super) fn of(tree: Tree) -> Self {
        Self {
            tree,
            known: HashMap::new(),
        }
    }

    /// Moves a task from one slot, which is its status, to another; `None` if it is created or removed.
    pub(super) fn change(
        &mut self,
        store: &Store,
        team: &TeamId,
        queue: &QueueName,
        from: Option<usize>,
        to: Option<usize>,
    ) -> Result<(), ModelError> {
        if from == to {
            return Ok(());
        }
        let key = (team.clone(), queue.clone());
        let (counts, changed) = match self.known.entry(key) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(unknown) => {
                let stored = match store.get(self.tree, &keys::counts(team, queue))? {
                    Some(row) => decode(self.tree, &row)?,
                    None => Counts::default(),
                };
                unknown.insert((stored, false))
            }
        };
        *changed = true;
        if let Some(from) = from {
            let count = &mut counts.0[from];
            // A negative count would mean that rows and counts contradict each other, so that
            // nothing stored can be trusted.
            *count = count
                .checked_sub(1)
                .ok_or_else(|| super::row_error(self.tree, "a count would fall below zero"))?;
        }
        if let Some(to) = to {
            counts.0[to] += 1;
        }
        Ok(())
    }

    /// Adds the changed counts to the batch.
    pub(super) fn write(&mut self, batch: &mut Batch) {
        for ((team, queue), (counts, changed)) in &mut self.known {
            if std::mem::take(changed) {
                let key = keys::counts(team, queue);
                if counts.is_zero() {
                    batch.delete(self.tree, key);
                } else {
                    batch.put(self.tree, key, encode(counts));
                }
            }
        }
        if self.known.len() > MAX_CACHED {
            self.known.clear();
        }
    }
}
