//! What happened to tasks in each step of time, by team and queue.
//!
//! Steps of 10 seconds are kept for two hours, of a minute for two days, and of an hour for thirty
//! days, each a little longer, since old ones leave by the hour. So a queue has at most some 4,500
//! rows, and one that rests has none.
//!
//! Figures of tasks are sums over the rows of the model, like the counts by status: a task that
//! retention removes takes its figures along, and a rebuilt model has the same ones. Failed attempts
//! are counted by their events, since a row remembers only some of them. After retention has moved,
//! those count that happened a while after the creation of the first task that is left: what a rebuilt
//! model cannot have seen lies before that.

mod read;
mod sketch;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::{Deserialize, Serialize};
use waybill_domain::event::TaskEvent;
use waybill_domain::id::{QueueName, TeamId};
use waybill_domain::task::{Status, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_log::subject::TaskSubject;
use waybill_log::{Record, StreamSeq};
use waybill_store::{Batch, KeyRange, Store, Tree, View};

use super::keys::{self, millis};
use super::{FAILED_ATTEMPTS, META, ModelError, STATS, TASKS, decode, encode, row_error, sweep};
use sketch::Sketch;

pub(super) use read::stats;

const HOUR_MS: u64 = 3_600_000;
/// The latest hour of the log, on which it depends which steps are kept.
const LATEST_HOUR: &[u8] = b"hour";
/// How far the clocks of those that write events may be apart for a model that follows retention to
/// equal a rebuilt one.
const CLOCKS_APART_MS: u64 = HOUR_MS;
/// Limit of cells that are cached between batches.
const MAX_CACHED: usize = 10_000;
/// Limit of rows removed in one batch.
const ROWS_AT_ONCE: usize = 4_000;

/// How fine steps are, finest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fineness {
    TenSeconds,
    Minute,
    Hour,
}

impl Fineness {
    pub(super) const ALL: [Self; 3] = [Self::TenSeconds, Self::Minute, Self::Hour];

    /// Length of a step, in milliseconds.
    pub(super) fn step(self) -> u64 {
        match self {
            Self::TenSeconds => 10_000,
            Self::Minute => 60_000,
            Self::Hour => HOUR_MS,
        }
    }

    /// How long steps are kept, in milliseconds.
    pub(super) fn kept(self) -> u64 {
        match self {
            Self::TenSeconds => 2 * HOUR_MS,
            Self::Minute => 48 * HOUR_MS,
            Self::Hour => 720 * HOUR_MS,
        }
    }

    /// Steps that begin earlier are not kept, in a model that has read up to this hour.
    fn oldest(self, hour: u64) -> u64 {
        (hour * HOUR_MS).saturating_sub(self.kept())
    }

    fn byte(self) -> u8 {
        self as u8
    }
}

/// The times in the life of a task that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    created: Timestamp,
    /// When it was to run first.
    due: Timestamp,
    /// When the first attempt began.
    started: Option<Timestamp>,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    at: Timestamp,
    status: Status,
    ok: bool,
}

impl Times {
    pub(super) fn of(row: &TaskRow) -> Self {
        let end = row.completed_at.filter(|_| row.status.is_terminal());
        Self {
            created: row.created_at,
            due: row.not_before.unwrap_or(row.created_at).max(row.created_at),
            started: row.started_at,
            end: end.map(|at| End {
                at,
                status: row.status,
                ok: row.ok == Some(true),
            }),
        }
    }

    fn since_due(&self, at: Timestamp) -> u64 {
        millis(at).saturating_sub(millis(self.due))
    }
}

/// What happened in one step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Cell {
    accepted: u64,
    /// By status: completed, failed, timeout, cancelled.
    ended: [u64; 4],
    /// Of the ended ones: those that count as a success.
    ok: u64,
    /// Milliseconds from when a task was to run to its first attempt, of those that began.
    wait: Sketch,
    /// Milliseconds from when a task was to run to its end, of those that ended and were not cancelled.
    total: Sketch,
}

/// A change of a cell.
#[derive(Clone, Copy)]
enum Part {
    Accepted,
    Started { wait: u64 },
    Ended { end: End, total: u64 },
}

impl Cell {
    fn add(&mut self, part: Part) {
        match part {
            Part::Accepted => self.accepted += 1,
            Part::Started { wait } => self.wait.add(wait),
            Part::Ended { end, total } => {
                self.ended[place(end.status)] += 1;
                self.ok += u64::from(end.ok);
                if end.status != Status::Cancelled {
                    self.total.add(total);
                }
            }
        }
    }

    /// `None` if that was not added before.
    fn remove(&mut self, part: Part) -> Option<()> {
        match part {
            Part::Accepted => self.accepted = self.accepted.checked_sub(1)?,
            Part::Started { wait } => self.wait.remove(wait)?,
            Part::Ended { end, total } => {
                let ended = &mut self.ended[place(end.status)];
                *ended = ended.checked_sub(1)?;
                self.ok = self.ok.checked_sub(u64::from(end.ok))?;
                if end.status != Status::Cancelled {
                    self.total.remove(total)?;
                }
            }
        }
        Some(())
    }

    fn merge(&mut self, other: &Self) {
        self.accepted += other.accepted;
        for (mine, theirs) in self.ended.iter_mut().zip(other.ended) {
            *mine += theirs;
        }
        self.ok += other.ok;
        self.wait.merge(&other.wait);
        self.total.merge(&other.total);
    }
}

/// Place of a final status in a cell.
fn place(status: Status) -> usize {
    match status {
        Status::Failed => 1,
        Status::Timeout => 2,
        Status::Cancelled => 3,
        _ => 0,
    }
}

/// From which time on failed attempts count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    /// All: retention has removed nothing.
    Ever,
    /// None yet: no task was created since the floor.
    Unknown,
    At(u64),
}

/// Cells that are being changed or were changed recently.
#[derive(Debug)]
pub(super) struct Stats {
    cells: HashMap<Vec<u8>, (Cell, bool)>,
    failed: HashMap<Vec<u8>, (u64, bool)>,
    /// The latest hour that a record was stored in.
    hour: u64,
    failed_from: Since,
}

impl Stats {
    pub(super) fn resume(view: &View<'_>) -> Result<Self, ModelError> {
        let hour = view.get(META, LATEST_HOUR)?;
        Ok(Self {
            cells: HashMap::new(),
            failed: HashMap::new(),
            hour: hour
                .and_then(|row| keys::seq(&row))
                .map_or(0, |hour| hour.0),
            failed_from: failed_from(view, sweep::floor(view)?)?,
        })
    }

    /// Takes in the times of the records that are applied next, before anything of them. What is too
    /// old by then leaves.
    pub(super) fn advance(
        &mut self,
        store: &Store,
        batch: &mut Batch,
        records: &[Record],
    ) -> Result<(), ModelError> {
        let latest = records.iter().map(|record| millis(record.time) / HOUR_MS);
        let latest = latest.max().unwrap_or(0);
        if latest <= self.hour {
            return Ok(());
        }
        self.hour = latest;
        for fineness in Fineness::ALL {
            let old = before(fineness, fineness.oldest(latest));
            remove_range(store, STATS, &old)?;
            remove_range(store, FAILED_ATTEMPTS, &old)?;
        }
        // What was changed is in the store, since every batch writes all changes.
        self.cells.clear();
        self.failed.clear();
        batch.put(META, LATEST_HOUR, latest.to_be_bytes());
        Ok(())
    }

    /// A task came, changed or leaves.
    pub(super) fn change(
        &mut self,
        store: &Store,
        team: &TeamId,
        queue: &QueueName,
        before: Option<Times>,
        after: Option<Times>,
    ) -> Result<(), ModelError> {
        if before == after {
            return Ok(());
        }
        let [old, new] = [before, after].map(|times| times.map(|times| parts(&times)));
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        let is_same = [
            before.map(|t| t.created) == after.map(|t| t.created),
            before.map(|t| (t.due, t.started)) == after.map(|t| (t.due, t.started)),
            before.map(|t| (t.due, t.end)) == after.map(|t| (t.due, t.end)),
        ];
        for (index, is_same) in is_same.into_iter().enumerate() {
            if is_same {
                continue;
            }
            for (at, part, removed) in [(old[index], true), (new[index], false)]
                .into_iter()
                .filter_map(|(part, removed)| part.map(|(at, part)| (at, part, removed)))
            {
                self.count(store, team, queue, at, |cell| {
                    if removed {
                        return cell.remove(part);
                    }
                    cell.add(part);
                    Some(())
                })?;
            }
        }
        Ok(())
    }

    /// An attempt failed, as far as this event says so.
    pub(super) fn take_in(
        &mut self,
        store: &Store,
        subject: &str,
        event: &TaskEvent,
    ) -> Result<(), ModelError> {
        let at = match event {
            TaskEvent::AttemptFailed(e) => e.at,
            TaskEvent::Dead(e) => e.at,
            TaskEvent::Expired(e) if e.attempt.is_some() => e.at,
            _ => return Ok(()),
        };
        let counts = match self.failed_from {
            Since::Ever => true,
            Since::Unknown => false,
            Since::At(from) => millis(at) >= from,
        };
        if !counts {
            return Ok(());
        }
        // Not from the row, which a rebuilt model may not have.
        let Some(TaskSubject::Event { team, queue, .. }) = TaskSubject::parse(subject) else {
            return Ok(());
        };
        let (Ok(team), Ok(queue)) = (TeamId::parse(team), QueueName::parse(queue)) else {
            return Ok(());
        };
        for key in self.keys(&team, &queue, at) {
            let (count, changed) = match self.failed.entry(key) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    let stored = match store.get(FAILED_ATTEMPTS, unknown.key())? {
                        Some(row) => decode(FAILED_ATTEMPTS, &row)?,
                        None => 0,
                    };
                    unknown.insert((stored, false))
                }
            };
            *count += 1;
            *changed = true;
        }
        Ok(())
    }

    /// A task was created. The first one after retention has moved tells from when on failed attempts
    /// count.
    pub(super) fn created(&mut self, floor: StreamSeq, row: &TaskRow) {
        if self.failed_from == Since::Unknown && row.created_seq >= floor {
            self.failed_from = Since::At(certain_after(row.created_at));
        }
    }

    /// Adds the changed cells to the batch.
    pub(super) fn write(&mut self, batch: &mut Batch) {
        for (key, (cell, changed)) in &mut self.cells {
            if std::mem::take(changed) {
                if *cell == Cell::default() {
                    batch.delete(STATS, key.clone());
                } else {
                    batch.put(STATS, key.clone(), encode(cell));
                }
            }
        }
        for (key, (count, changed)) in &mut self.failed {
            if std::mem::take(changed) {
                batch.put(FAILED_ATTEMPTS, key.clone(), encode(count));
            }
        }
        if self.cells.len() + self.failed.len() > MAX_CACHED {
            self.cells.clear();
            self.failed.clear();
        }
    }

    /// Retention is about to move to `floor`: removes the failed attempts that a rebuilt model may not
    /// know. If nothing at or after the floor was `read` yet, nothing that was read is left.
    pub(super) fn follow_retention(
        &mut self,
        store: &Store,
        batch: &mut Batch,
        floor: StreamSeq,
        read: bool,
    ) -> Result<(), ModelError> {
        if !read {
            self.hour = 0;
            batch.delete(META, LATEST_HOUR);
        }
        self.failed_from = failed_from(&store.view()?, floor)?;
        for fineness in Fineness::ALL {
            let gone = match self.failed_from {
                Since::Ever => continue,
                Since::Unknown => of(fineness),
                Since::At(from) => before(fineness, from),
            };
            remove_range(store, FAILED_ATTEMPTS, &gone)?;
        }
        self.failed.clear();
        Ok(())
    }

    fn count(
        &mut self,
        store: &Store,
        team: &TeamId,
        queue: &QueueName,
        at: Timestamp,
        change: impl Fn(&mut Cell) -> Option<()>,
    ) -> Result<(), ModelError> {
        for key in self.keys(team, queue, at) {
            let (cell, changed) = match self.cells.entry(key) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    let stored = match store.get(STATS, unknown.key())? {
                        Some(row) => decode(STATS, &row)?,
                        None => Cell::default(),
                    };
                    unknown.insert((stored, false))
                }
            };
            change(cell).ok_or_else(|| row_error(STATS, "a figure would fall below zero"))?;
            *changed = true;
        }
        Ok(())
    }

    /// The keys of the cells that something at this time counts in: of its queue, and of all queues of
    /// its team.
    fn keys(&self, team: &TeamId, queue: &QueueName, at: Timestamp) -> Vec<Vec<u8>> {
        let at = millis(at);
        let kept = Fineness::ALL.into_iter().filter_map(|fineness| {
            let start = at - at % fineness.step();
            (start >= fineness.oldest(self.hour)).then_some((fineness, start))
        });
        kept.flat_map(|(fineness, start)| {
            [Some(queue), None].map(|queue| key(fineness, start, team, queue))
        })
        .collect()
    }
}

/// What of a task is counted, each with its time.
fn parts(times: &Times) -> [Option<(Timestamp, Part)>; 3] {
    [
        Some((times.created, Part::Accepted)),
        times.started.map(|at| {
            let wait = times.since_due(at);
            (at, Part::Started { wait })
        }),
        times.end.map(|end| {
            let total = times.since_due(end.at);
            (end.at, Part::Ended { end, total })
        }),
    ]
}

/// From which time on failed attempts count in a model with this floor.
fn failed_from(view: &View<'_>, floor: StreamSeq) -> Result<Since, ModelError> {
    if floor <= StreamSeq(1) {
        return Ok(Since::Ever);
    }
    let left = KeyRange::all().from(&keys::task(floor));
    let Some(row) = view.range(TASKS, &left)?.next() else {
        return Ok(Since::Unknown);
    };
    let row: TaskRow = decode(TASKS, &row?.1)?;
    Ok(Since::At(certain_after(row.created_at)))
}

/// The first full hour by which everything of before a time has happened, by any clock.
fn certain_after(at: Timestamp) -> u64 {
    (millis(at) + CLOCKS_APART_MS).next_multiple_of(HOUR_MS)
}

fn of(fineness: Fineness) -> KeyRange {
    KeyRange::prefix(&[fineness.byte()])
}

/// The cells of steps that begin before a time.
fn before(fineness: Fineness, start: u64) -> KeyRange {
    of(fineness).before(&keys::step(fineness.byte(), start))
}

fn key(fineness: Fineness, start: u64, team: &TeamId, queue: Option<&QueueName>) -> Vec<u8> {
    keys::stats(fineness.byte(), start, team, queue)
}

fn remove_range(store: &Store, tree: Tree, range: &KeyRange) -> Result<(), ModelError> {
    loop {
        let mut batch = Batch::new();
        {
            let view = store.view()?;
            for row in view.range(tree, range)?.take(ROWS_AT_ONCE) {
                batch.delete(tree, row?.0);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        store.apply(batch)?;
    }
}
