//! Number of tasks by team, queue and status.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use waybill_domain::id::{QueueName, TeamId};
use waybill_domain::task::Status;
use waybill_store::{Batch, Store};

use super::{COUNTS, ModelError, decode, encode, keys};

/// One number per status.
const STATUSES: usize = Status::ALL.len();
/// Limit of queues whose numbers are cached between batches.
const MAX_CACHED: usize = 10_000;

/// Tasks of a queue by stored status: a task whose delay has passed still counts as delayed.
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

/// The numbers of queues that are being changed or were changed recently.
#[derive(Debug, Default)]
pub(super) struct CountsCache {
    known: HashMap<(TeamId, QueueName), (Counts, bool)>,
}

impl CountsCache {
    /// Moves a task from one status to another; `None` if it is created or removed.
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
            // A negative count would mean that rows and counts contradict each other, so that
            // nothing stored can be trusted.
            *count = count
                .checked_sub(1)
                .ok_or_else(|| super::row_error(COUNTS, "a count would fall below zero"))?;
        }
        if let Some(to) = to {
            counts.0[to as usize] += 1;
        }
        Ok(())
    }

    /// Adds the changed counts to the batch.
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
