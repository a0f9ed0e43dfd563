//! Follows retention: what was purged from the stream is removed from the read model, unless it was
//! restated later.
//!
//! A sweep takes many batches. The first one records its target, the last one makes that the floor.
//! In between, the model has no well-defined floor, and must not be compared with another one. A
//! crash in between is harmless: the next sweep continues.

use waybill_domain::task::TaskRow;
use waybill_log::{Stream, StreamSeq};
use waybill_store::{Batch, KeyRange, StoreError, View};

use super::jobs;
use super::keys;
use super::placed::remove_task;
use super::stats::Times;
use super::{
    ACTIVITY, META, ModelError, Projection, QUARANTINE, RESTATED, TASKS, decode, quarantine,
    row_error,
};

const FLOOR: &[u8] = b"floor";
const SWEEPING: &[u8] = b"sweeping";
/// Limit of tasks removed in one batch: eleven rows each, and up to eighteen in the figures of steps of
/// time.
const TASKS_AT_ONCE: usize = 340;
/// Limit of entries removed in one batch.
const ENTRIES_AT_ONCE: usize = 4_000;

/// The first sequence of TASKS that a model has.
pub(crate) fn floor(view: &View<'_>) -> Result<StreamSeq, ModelError> {
    let row = view.get(META, FLOOR)?;
    Ok(row
        .and_then(|bytes| keys::seq(&bytes))
        .unwrap_or(StreamSeq(1)))
}

/// Whether a sweep has begun and not ended.
pub(crate) fn is_sweeping(view: &View<'_>) -> Result<bool, ModelError> {
    Ok(view.get(META, SWEEPING)?.is_some())
}

impl Projection {
    /// Removes everything before `first`, the first sequence that TASKS still has. Returns the
    /// number of removed tasks.
    ///
    /// A task that was created twice, which should never happen, makes the model useless once
    /// retention has purged the first creation but not the second.
    pub fn sweep(&mut self, first: StreamSeq) -> Result<u64, ModelError> {
        if first <= self.floor {
            return Ok(0);
        }
        let has_read = self.applied().tasks >= first;
        // Records from before the floor that the tail has already read must not be applied after
        // the sweep.
        self.skip_to(Stream::Tasks, StreamSeq(first.0 - 1))?;
        let mut begin = Batch::new();
        begin.put(META, SWEEPING, keys::task(first));
        self.store.apply(begin)?;
        let swept = self.sweep_created(first)? + self.sweep_restated(first)?;
        self.sweep_entries(first)?;
        let mut end = Batch::new();
        end.put(META, FLOOR, keys::task(first))
            .delete(META, SWEEPING);
        self.stats
            .follow_retention(&self.store, &mut end, first, has_read)?;
        self.store.apply(end)?;
        self.floor = first;
        self.quarantined = quarantine::count(&self.store.view()?)?;
        Ok(swept)
    }

    /// Removes tasks created between the previous floor and the next one, unless they were restated
    /// behind it.
    fn sweep_created(&mut self, first: StreamSeq) -> Result<u64, ModelError> {
        let mut swept = 0;
        // Tasks that remain before the floor were restated, and are found by their restatement.
        let mut range = KeyRange::all()
            .from(&keys::task(self.floor))
            .before(&keys::task(first));
        loop {
            let rows = self.rows(&range)?;
            let Some(last) = rows.last() else {
                return Ok(swept);
            };
            range = range.after(&keys::task(last.created_seq));
            let gone = rows.into_iter().filter(|row| row.stored_seq < first);
            swept += self.remove(gone.collect(), first)?;
        }
    }

    /// Removes tasks whose latest restatement was purged: they have ended since.
    fn sweep_restated(&mut self, first: StreamSeq) -> Result<u64, ModelError> {
        let mut swept = 0;
        let range = KeyRange::all().before(&keys::task(first));
        loop {
            let gone = {
                let view = self.store.view()?;
                let restated = view.range(RESTATED, &range)?.take(TASKS_AT_ONCE);
                let mut gone: Vec<TaskRow> = Vec::new();
                for entry in restated {
                    let (_, created) = entry?;
                    let row = view.get(TASKS, &created)?;
                    let row = row.ok_or_else(|| row_error(RESTATED, "a task without a row"))?;
                    gone.push(decode(TASKS, &row)?);
                }
                gone
            };
            if gone.is_empty() {
                return Ok(swept);
            }
            swept += self.remove(gone, first)?;
        }
    }

    fn rows(&self, range: &KeyRange) -> Result<Vec<TaskRow>, ModelError> {
        let view = self.store.view()?;
        view.range(TASKS, range)?
            .take(TASKS_AT_ONCE)
            .map(|row| decode(TASKS, &row?.1))
            .collect()
    }

    fn remove(&mut self, gone: Vec<TaskRow>, first: StreamSeq) -> Result<u64, ModelError> {
        let count = gone.len() as u64;
        let mut batch = Batch::new();
        for row in gone {
            if row.created_again.is_some_and(|again| again >= first) {
                // What is left in the log leads to another row, and only the log can tell which
                // one.
                let reason = format!(
                    "{} was created twice, and retention took the first one",
                    row.id
                );
                return Err(row_error(TASKS, reason));
            }
            remove_task(&mut batch, &row, Some(row.status));
            let slot = Some(row.status as usize);
            self.counts
                .change(&self.store, &row.team, &row.queue, slot, None)?;
            if row.is_pulled() {
                self.pulled_counts
                    .change(&self.store, &row.team, &row.queue, slot, None)?;
            }
            self.job_counts
                .change(&self.store, &row.team, &row.queue, jobs::slot(&row), None)?;
            let times = Some(Times::of(&row));
            self.stats
                .change(&self.store, &row.team, &row.queue, times, None)?;
            self.open_rows.remove(&row.id);
        }
        self.counts.write(&mut batch);
        self.job_counts.write(&mut batch);
        self.pulled_counts.write(&mut batch);
        self.stats.write(&mut batch);
        self.store.apply(batch)?;
        Ok(count)
    }

    /// Removes old entries. Entries are ordered by team first, so each team's old ones are
    /// adjacent.
    fn sweep_entries(&self, first: StreamSeq) -> Result<(), ModelError> {
        let mut batch = Batch::new();
        let mut team: Option<Vec<u8>> = None;
        while let Some(next) = self.next_team(team.as_deref())? {
            let old = KeyRange::prefix(&keys::activity(&next, Stream::Tasks))
                .before(&keys::activity_at(&next, Stream::Tasks, first));
            self.remove_range(&mut batch, ACTIVITY, &old)?;
            team = Some(next);
        }
        let old = quarantine::of_tasks_before(first);
        self.remove_range(&mut batch, QUARANTINE, &old)?;
        Ok(self.store.apply(batch)?)
    }

    fn remove_range(
        &self,
        batch: &mut Batch,
        tree: waybill_store::Tree,
        range: &KeyRange,
    ) -> Result<(), ModelError> {
        let mut range = range.clone();
        loop {
            let found = {
                let view = self.store.view()?;
                let rows = view.range(tree, &range)?.take(ENTRIES_AT_ONCE);
                rows.map(|row| row.map(|(key, _)| key))
                    .collect::<Result<Vec<_>, StoreError>>()?
            };
            let Some(last) = found.last() else {
                return Ok(());
            };
            range = range.after(last);
            for key in found {
                batch.delete(tree, key);
            }
            if batch.rows() >= ENTRIES_AT_ONCE {
                self.store.apply(std::mem::take(batch))?;
            }
        }
    }

    fn next_team(&self, after: Option<&[u8]>) -> Result<Option<Vec<u8>>, ModelError> {
        let range = match after {
            None => KeyRange::all(),
            // No stream has this number, so no entry of the team follows.
            Some(team) => KeyRange::all().from(&[team, &[u8::MAX]].concat()),
        };
        let view = self.store.view()?;
        let Some(row) = view.range(ACTIVITY, &range)?.next() else {
            return Ok(None);
        };
        Ok(keys::team_of_activity(&row?.0).map(<[u8]>::to_vec))
    }
}
