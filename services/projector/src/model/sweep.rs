//! Following retention: what the stream has dropped leaves the read model, unless it was restated behind that.
//!
//! A sweep takes many batches. The first one says how far the sweep goes, the last one makes that the floor; in between the model is that
//! of no floor, and is not to be compared with another one. A crash between them is harmless: the next sweep goes on.

use waybill_domain::task::TaskRow;
use waybill_log::{Stream, StreamSeq};
use waybill_store::{Batch, KeyRange, StoreError, View};

use super::keys;
use super::projection::remove_task;
use super::{
    ACTIVITY, META, ModelError, Projection, QUARANTINE, RESTATED, TASKS, decode, quarantine,
    row_error,
};

const FLOOR: &[u8] = b"floor";
const SWEEPING: &[u8] = b"sweeping";
/// Tasks taken out in one batch: eight rows each.
const TASKS_AT_ONCE: usize = 500;
/// Entries taken out in one batch.
const ENTRIES_AT_ONCE: usize = 4_000;

/// The first sequence of TASKS that a model holds.
pub(crate) fn floor(view: &View<'_>) -> Result<StreamSeq, ModelError> {
    let row = view.get(META, FLOOR)?;
    Ok(row
        .and_then(|bytes| keys::seq(&bytes))
        .unwrap_or(StreamSeq(1)))
}

/// Has a sweep begun and not ended?
pub(crate) fn is_sweeping(view: &View<'_>) -> Result<bool, ModelError> {
    Ok(view.get(META, SWEEPING)?.is_some())
}

impl Projection {
    /// Takes out everything before `first`, the first sequence that TASKS still holds. Returns how many tasks went.
    ///
    /// A task that was created twice, which never should be, makes the model useless once retention comes between the two.
    pub fn sweep(&mut self, first: StreamSeq) -> Result<u64, ModelError> {
        if first <= self.floor {
            return Ok(0);
        }
        // What the tail has in hand from before the floor must not come in after the sweep.
        self.skip_to(Stream::Tasks, StreamSeq(first.0 - 1))?;
        let mut begin = Batch::new();
        begin.put(META, SWEEPING, keys::task(first));
        self.store.apply(begin)?;
        let swept = self.sweep_created(first)? + self.sweep_restated(first)?;
        self.sweep_entries(first)?;
        let mut end = Batch::new();
        end.put(META, FLOOR, keys::task(first))
            .delete(META, SWEEPING);
        self.store.apply(end)?;
        self.floor = first;
        self.quarantined = quarantine::count(&self.store.view()?)?;
        Ok(swept)
    }

    /// Tasks created between the former floor and the next one, but for those that were restated behind it.
    fn sweep_created(&mut self, first: StreamSeq) -> Result<u64, ModelError> {
        let mut swept = 0;
        // What is left before the floor was restated: it is looked at by the place of its restatement.
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

    /// Tasks whose latest restatement is gone: they have ended since.
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
                // Of what is left in the log another row would be made, and only the log can say which one.
                let reason = format!(
                    "{} was created twice, and retention took the first one",
                    row.id
                );
                return Err(row_error(TASKS, reason));
            }
            remove_task(&mut batch, &row, Some(row.status));
            self.counts
                .change(&self.store, &row.team, &row.queue, Some(row.status), None)?;
            self.open_rows.remove(&row.id);
        }
        self.counts.write(&mut batch);
        self.store.apply(batch)?;
        Ok(count)
    }

    /// Entries are ordered by team first: each team's old ones stand together.
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
            // No stream has this number, so nothing of the team comes after it.
            Some(team) => KeyRange::all().from(&[team, &[u8::MAX]].concat()),
        };
        let view = self.store.view()?;
        let Some(row) = view.range(ACTIVITY, &range)?.next() else {
            return Ok(None);
        };
        Ok(keys::team_of_activity(&row?.0).map(<[u8]>::to_vec))
    }
}
