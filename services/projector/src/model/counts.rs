//! How many tasks stand where, by team and queue.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use waybill_domain::id::{QueueName, TeamId};
use waybill_domain::task::Status;
use waybill_store::{Batch, Store};

use super::{COUNTS, ModelError, decode, encode, keys};

/// One number for each status.
const STATUSES: usize = Status::ALL.len();
/// Queues whose numbers are kept in memory between batches.
const MAX_CACHED: usize = 10_000;

/// Tasks of a queue by status, by what is stored: a delay that has passed unnoticed still counts as delayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Counts([u64; STATUSES]);

impl Counts {
    pub(super) fn of(&self, status: Status) -> u64 {
        self.0[status as usize]
    }

    pub(super) fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    fn is_zero(&self) -> bool {
        self.0 == [0; STATUSES]
    }
}

/// The numbers of queues that change now, and of those that changed lately.
#[derive(Debug, Default)]
pub(super) struct CountsCache {
    known: HashMap<(TeamId, QueueName), (Counts, bool)>,
}

impl CountsCache {
    /// A task moves from one status to another, comes (from none) or goes (to none).
    pub(super) fn change(
        &mut self,
        store: &Store,
        team: &TeamId,
        queue: &QueueName,
        from: Option<Status>,
        to: Option<Status>,
    ) -> Result<(), ModelError> {
        if from == to {
            return Ok(());
        }
        let key = (team.clone(), queue.clone());
        let (counts, changed) = match self.known.entry(key) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(unknown) => {
                let stored = match store.get(COUNTS, &keys::counts(team, queue))? {
                    Some(row) => decode(COUNTS, &row)?,
                    None => Counts::default(),
                };
                unknown.insert((stored, false))
            }
        };
        *changed = true;
        if let Some(from) = from {
            let count = &mut counts.0[from as usize];
            // A count below zero means rows and counts disagree: nothing that is stored can be trusted then.
            *count = count
                .checked_sub(1)
                .ok_or_else(|| super::row_error(COUNTS, "a count would fall below zero"))?;
        }
        if let Some(to) = to {
            counts.0[to as usize] += 1;
        }
        Ok(())
    }

    /// Puts what changed into the batch.
    pub(super) fn write(&mut self, batch: &mut Batch) {
        for ((team, queue), (counts, changed)) in &mut self.known {
            if std::mem::take(changed) {
                let key = keys::counts(team, queue);
                if counts.is_zero() {
                    batch.delete(COUNTS, key);
                } else {
                    batch.put(COUNTS, key, encode(counts));
                }
            }
        }
        if self.known.len() > MAX_CACHED {
            self.known.clear();
        }
    }
}
