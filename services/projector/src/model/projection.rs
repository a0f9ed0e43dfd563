//! Applies records: the only writer of a read model.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use waybill_domain::actor::Actor;
use waybill_domain::event::{ControlEvent, TaskEvent, TaskProgressed, TaskRestated};
use waybill_domain::id::{Environment, TaskId};
use waybill_domain::task::{Status, TaskRow};
use waybill_log::subject::{ControlScope, ControlSubject, TaskSubject};
use waybill_log::{
    Bounds, Fingerprint, Mark, Reason, Record, Stream, StreamSeq, TaskRecord, Unreadable,
    control_event, stands_in, task_record,
};
use waybill_store::{Batch, Checkpoint, Store};

use super::about::About;
use super::activity::Entry as ActivityEntry;
use super::audit::Growth;
use super::counts::CountsCache;
use super::flows;
use super::jobs;
use super::keys::{self, ListOf, Place, TeamKey};
use super::placed::{delayed_until, put_place, remove_status, remove_task, stored_row};
use super::roster::Roster;
use super::runs;
use super::stats::{Stats, Times};
use super::touched::Touched;
use super::{
    BY_STATUS, COUNTS, DELAYED, JOB_COUNTS, ModelError, PENDING, PULLED_COUNTS, RESTATED, TASKS,
    about, encode, quarantine, sweep,
};
use crate::query::Position;

/// Limit of events in one batch. Each changes at most twelve rows and, in the figures of steps of
/// time, eighteen; the store accepts 32,768. The more events a batch has, the more of them are about the
/// same tasks and figures, whose rows are written once.
pub const BATCH_EVENTS: usize = 1_000;
/// The same for CONTROL. Each event can complete a subtree on each of about twenty levels of its
/// team's audit tree.
const CONTROL_BATCH_EVENTS: usize = 250;
/// A batch of CONTROL with this many rows is written early: a person's actions are shown in each of
/// their teams, which can be hundreds.
const MAX_TOLD_ROWS: usize = 2_000;
/// Limit of open tasks whose rows are cached between batches.
const MAX_CACHED_ROWS: usize = 8_192;
/// Rows with longer URLs are read again instead, so that the cache stays within some megabytes.
const MAX_CACHED_URL: usize = 512;

/// Which streams a model was built from. A recreated stream is another log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incarnations {
    control: i64,
    tasks: i64,
}

impl Incarnations {
    /// From the bounds of both streams.
    #[must_use]
    pub fn new(control: &Bounds, tasks: &Bounds) -> Self {
        Self {
            control: control.incarnation,
            tasks: tasks.incarnation,
        }
    }

    /// The incarnation of one of them.
    #[must_use]
    pub fn of(&self, stream: Stream) -> i64 {
        match stream {
            Stream::Control => self.control,
            Stream::Tasks => self.tasks,
        }
    }
}

/// A read model that is being written.
pub struct Projection {
    pub(super) store: Store,
    incarnations: Incarnations,
    applied: Position,
    /// The records at those positions, to determine whether the log still has them.
    marks: [Option<Mark>; 2],
    pub(super) floor: StreamSeq,
    pub(super) open_rows: HashMap<TaskId, Box<TaskRow>>,
    pub(super) counts: CountsCache,
    pub(super) job_counts: CountsCache,
    pub(super) pulled_counts: CountsCache,
    pub(super) stats: Stats,
    pub(super) quarantined: u64,
    audit: Growth,
    roster: Roster,
}

impl Projection {
    /// Continues from the store's checkpoints. Before anything is written, the caller must compare
    /// [`Projection::marks`] with the log: they may belong to another stream, or to another history
    /// of the same one.
    pub fn resume(store: Store, incarnations: Incarnations) -> Result<Self, ModelError> {
        let checkpoints = store.checkpoints()?;
        let (floor, quarantined, stats) = {
            let view = store.view()?;
            let floor = sweep::floor(&view)?;
            (floor, quarantine::count(&view)?, Stats::resume(&view)?)
        };
        let seq = |stream: Stream| {
            let at = checkpoints.get(stream.name());
            StreamSeq(at.map_or(0, |at| at.seq))
        };
        Ok(Self {
            applied: Position {
                control: seq(Stream::Control),
                tasks: seq(Stream::Tasks),
            },
            marks: [Stream::Control, Stream::Tasks].map(|stream| {
                let at = checkpoints.get(stream.name())?;
                Some(Mark {
                    // An incarnation that is not a number belongs to no existing log.
                    incarnation: at.incarnation.parse().unwrap_or_default(),
                    seq: StreamSeq(at.seq),
                    fingerprint: at.fingerprint.map(Fingerprint::from_bytes),
                })
            }),
            floor,
            store,
            audit: Growth::new(incarnations.control),
            roster: Roster::default(),
            incarnations,
            open_rows: HashMap::new(),
            counts: CountsCache::of(COUNTS),
            job_counts: CountsCache::of(JOB_COUNTS),
            pulled_counts: CountsCache::of(PULLED_COUNTS),
            stats,
            quarantined,
        })
    }

    /// How far the model has read.
    #[must_use]
    pub fn applied(&self) -> Position {
        self.applied
    }

    /// The position in each log, CONTROL first; `None` if nothing of that log was read.
    #[must_use]
    pub fn marks(&self) -> [(Stream, Option<Mark>); 2] {
        [
            (Stream::Control, self.marks[0]),
            (Stream::Tasks, self.marks[1]),
        ]
    }

    /// The first sequence of TASKS that the model still has.
    #[must_use]
    pub fn floor(&self) -> StreamSeq {
        self.floor
    }

    /// Number of records in both logs that do not count: damaged, misplaced, or from a newer
    /// version.
    #[must_use]
    pub fn quarantined(&self) -> u64 {
        self.quarantined
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    #[must_use]
    pub fn incarnations(&self) -> &Incarnations {
        &self.incarnations
    }

    /// Applies records of one stream, in order. Records that were applied before are skipped.
    ///
    /// After an error the projection must not be used again.
    pub fn apply(&mut self, stream: Stream, records: &[Record]) -> Result<(), ModelError> {
        let applied = self.applied.of(stream);
        let fresh = records.partition_point(|record| record.seq <= applied);
        let fresh = &records[fresh..];
        match stream {
            Stream::Control => fresh
                .chunks(CONTROL_BATCH_EVENTS)
                .try_for_each(|chunk| self.apply_control(chunk)),
            Stream::Tasks => fresh
                .chunks(BATCH_EVENTS)
                .try_for_each(|chunk| self.apply_tasks(chunk)),
        }
    }

    /// Skips what the log no longer has.
    pub fn skip_to(&mut self, stream: Stream, seq: StreamSeq) -> Result<(), ModelError> {
        if seq > self.applied.of(stream) {
            let mark = Mark {
                incarnation: self.incarnations.of(stream),
                seq,
                fingerprint: None,
            };
            self.commit(Batch::new(), stream, mark)?;
        }
        Ok(())
    }

    /// Writes a batch together with the checkpoint.
    fn commit(&mut self, mut batch: Batch, stream: Stream, mark: Mark) -> Result<(), ModelError> {
        let seq = mark.seq;
        batch.checkpoint(
            stream.name(),
            Checkpoint {
                seq: seq.0,
                incarnation: mark.incarnation.to_string(),
                fingerprint: mark.fingerprint.map(Fingerprint::to_bytes),
            },
        );
        self.store.apply(batch)?;
        match stream {
            Stream::Control => (self.applied.control, self.marks[0]) = (seq, Some(mark)),
            Stream::Tasks => (self.applied.tasks, self.marks[1]) = (seq, Some(mark)),
        }
        Ok(())
    }

    fn apply_control(&mut self, records: &[Record]) -> Result<(), ModelError> {
        self.roster.trim();
        let mut batch = Batch::new();
        let mut written = 0;
        for (at, record) in records.iter().enumerate() {
            self.take_in_control(&mut batch, record)?;
            if batch.rows() >= MAX_TOLD_ROWS || at + 1 == records.len() {
                let mut full = std::mem::take(&mut batch);
                self.audit
                    .append(&self.store, &mut full, &records[written..=at])?;
                self.commit(
                    full,
                    Stream::Control,
                    Mark::of(record, self.incarnations.control),
                )?;
                written = at + 1;
            }
        }
        Ok(())
    }

    fn take_in_control(&mut self, batch: &mut Batch, record: &Record) -> Result<(), ModelError> {
        let event = match control_event(record) {
            Ok(event) => Some(event),
            Err(why) => {
                self.set_aside(batch, Stream::Control, record, &why);
                // An event of a newer version did happen. Showing any other record would tell a
                // team about something that did not.
                if why.reason() != Reason::Newer {
                    return Ok(());
                }
                None
            }
        };
        match &event {
            // Nobody did that: it is told by the operation itself, and at its end. A renewal is no act
            // either: who opened the listener, and that it was released, is told.
            Some(
                ControlEvent::OperationProgressed(_)
                | ControlEvent::SchedulesReached(_)
                | ControlEvent::ListenerRenewed(_),
            ) => return Ok(()),
            Some(ControlEvent::ScheduleSettled(settled)) => {
                runs::put_settled(batch, record.seq, settled);
            }
            _ => {}
        }
        let mut entry = ActivityEntry::of(record);
        entry.actor = about::actor(event.as_ref(), &record.actor);
        if let Some(event) = &event {
            self.roster.evolve(&self.store, batch, event, record.time)?;
            let actor = Actor::parse(&entry.actor);
            let about = About::of(event, &actor, &self.store, &mut self.roster)?;
            entry.about = Some(Box::new(about));
        }
        for team in self.told_in(event.as_ref(), &entry, record)? {
            entry.put(batch, &team, Stream::Control, record.seq);
        }
        Ok(())
    }

    /// The activities that an event of CONTROL is shown in: that of its team, or of every team of
    /// its person, and also in the test environment if it is about that.
    fn told_in(
        &mut self,
        event: Option<&ControlEvent>,
        entry: &ActivityEntry,
        record: &Record,
    ) -> Result<Vec<TeamKey>, ModelError> {
        // Not everything that concerns a team is below its subject: a refused attempt is below that
        // of the gateway that refused it.
        if let Some(team) = event.and_then(ControlEvent::team) {
            let base = team.base();
            let mut told = vec![keys::team(&base)];
            if entry.environment() == Some(Environment::Test) {
                told.push(keys::team(&base.in_environment(Environment::Test)));
            }
            return Ok(told);
        }
        if let Some(person) = event.and_then(about::person) {
            let teams = self.roster.teams(&self.store, person)?;
            if !teams.is_empty() {
                return Ok(teams.iter().map(keys::team).collect());
            }
        }
        let scope = ControlSubject::parse(&record.subject).map(|subject| subject.scope);
        Ok(vec![match scope {
            Some(ControlScope::Team(team)) => keys::team_token(team),
            Some(ControlScope::Global) | None => keys::no_team(),
        }])
    }

    fn apply_tasks(&mut self, records: &[Record]) -> Result<(), ModelError> {
        let Some(last) = records.last() else {
            return Ok(());
        };
        let mut batch = Batch::new();
        self.stats.advance(&self.store, &mut batch, records)?;
        let mut touched: HashMap<TaskId, Touched> = HashMap::new();
        for record in records {
            let counts = match task_record(record) {
                Ok(TaskRecord::Owned(..)) => Ok(None),
                Ok(TaskRecord::Event(event)) => self
                    .take_in(&mut batch, &mut touched, record, &event)?
                    .map(|()| Some(event.id())),
                Err(why) => Err(why),
            };
            let task = match counts {
                Ok(task) => task,
                Err(why) => {
                    self.set_aside(&mut batch, Stream::Tasks, record, &why);
                    self.damage(&mut batch, &mut touched, record, &why)?;
                    // An event of a newer version did happen. Showing any other record would tell a
                    // team about something that did not.
                    if why.reason() != Reason::Newer {
                        continue;
                    }
                    None
                }
            };
            let mut entry = ActivityEntry::of(record);
            entry.task = task;
            let mut team = keys::no_team();
            // Restating a task is not an action, of the task or on it, nor is a heartbeat.
            let is_activity =
                record.event != TaskRestated::NAME && record.event != TaskProgressed::NAME;
            if let Some(TaskSubject::Event { team: t, queue, .. }) =
                TaskSubject::parse(&record.subject)
            {
                team = keys::team_token(t);
                entry.queue = Some(queue.to_owned());
            }
            if is_activity {
                entry.put(&mut batch, &team, Stream::Tasks, record.seq);
            }
        }
        for (_, task) in touched {
            self.write_task(&mut batch, task)?;
        }
        self.counts.write(&mut batch);
        self.job_counts.write(&mut batch);
        self.pulled_counts.write(&mut batch);
        self.stats.write(&mut batch);
        self.commit(
            batch,
            Stream::Tasks,
            Mark::of(last, self.incarnations.tasks),
        )
    }

    /// Applies one event of a task. The row is written once for all events of the batch, so
    /// intermediate steps cost nothing. The inner error means that the event is on the subject of
    /// another team or queue.
    fn take_in(
        &mut self,
        batch: &mut Batch,
        touched: &mut HashMap<TaskId, Touched>,
        record: &Record,
        event: &TaskEvent,
    ) -> Result<Result<(), Unreadable>, ModelError> {
        if let TaskEvent::Restated(restated) = event {
            self.restate(batch, touched, record.seq, restated)?;
            return Ok(Ok(()));
        }
        if let Some(task) = self.touched(touched, event.id())? {
            let row = &mut task.row;
            if let Err(why) = stands_in(record, row.team.as_str(), row.queue.as_str()) {
                return Ok(Err(why.into()));
            }
            row.evolve_in_place(record.seq, event);
            self.stats.take_in(&self.store, &record.subject, event)?;
            return Ok(Ok(()));
        }
        self.stats.take_in(&self.store, &record.subject, event)?;
        // No row and no creation: retention has purged the task, and this is a remainder.
        if let (Some(mut row), TaskEvent::Created(created)) =
            (TaskRow::evolve(None, record.seq, event), event)
        {
            // Earlier creations do not repeat it.
            row.created_by
                .get_or_insert_with(|| Actor::parse(&record.actor));
            self.list(batch, touched, row, created.fingerprint.as_ref());
        }
        Ok(Ok(()))
    }

    /// The row of a task, including the changes in the batch; `None` if there is none.
    pub(super) fn touched<'t>(
        &mut self,
        touched: &'t mut HashMap<TaskId, Touched>,
        id: TaskId,
    ) -> Result<Option<&'t mut Touched>, ModelError> {
        let vacant = match touched.entry(id) {
            Entry::Occupied(known) => return Ok(Some(known.into_mut())),
            Entry::Vacant(vacant) => vacant,
        };
        let stored = match self.open_rows.remove(&id) {
            Some(row) => Some(row),
            None => stored_row(&self.store, id)?.map(Box::new),
        };
        Ok(stored.map(|row| vacant.insert(Touched::stored(row))))
    }

    /// Adds a new task to the indexes that do not depend on its status.
    pub(super) fn list(
        &mut self,
        batch: &mut Batch,
        touched: &mut HashMap<TaskId, Touched>,
        row: TaskRow,
        fingerprint: Option<&String>,
    ) {
        put_place(batch, &row, fingerprint);
        self.stats.created(self.floor, &row);
        touched.insert(row.id, Touched::new(Box::new(row)));
    }

    /// Applies a restatement. The row is replaced by what the restatement says, whether or not
    /// there was one, so that a reader that begins after the creation has the same row in the same
    /// place.
    fn restate(
        &mut self,
        batch: &mut Batch,
        touched: &mut HashMap<TaskId, Touched>,
        seq: StreamSeq,
        restated: &TaskRestated,
    ) -> Result<(), ModelError> {
        let id = restated.created.id;
        let known = match touched.remove(&id) {
            Some(known) => Some(known),
            None => {
                let row = match self.open_rows.remove(&id) {
                    Some(row) => Some(row),
                    None => stored_row(&self.store, id)?.map(Box::new),
                };
                row.map(Touched::stored)
            }
        };
        let event = TaskEvent::Restated(Box::new(restated.clone()));
        let fingerprint = restated.created.fingerprint.as_ref();
        let touch = match known {
            Some(mut known) if known.row.created_seq == restated.position => {
                if known.row.stored_seq != known.row.created_seq {
                    batch.delete(RESTATED, keys::task(known.row.stored_seq));
                }
                known.row.evolve_in_place(seq, &event);
                known
            }
            known => {
                // The task was created twice, which should never happen, and retention has purged
                // the first creation: this one counts now.
                if let Some(known) = known {
                    let (before, times, row) = (known.before, known.times, known.row);
                    remove_task(batch, &row, before);
                    let (team, queue) = (&row.team, &row.queue);
                    if let Some(before) = before {
                        let slot = Some(before as usize);
                        self.counts.change(&self.store, team, queue, slot, None)?;
                        if row.is_pulled() {
                            self.pulled_counts
                                .change(&self.store, team, queue, slot, None)?;
                        }
                    }
                    self.job_counts
                        .change(&self.store, team, queue, known.job, None)?;
                    self.stats.change(&self.store, team, queue, times, None)?;
                }
                let Some(row) = TaskRow::evolve(None, seq, &event) else {
                    return Ok(());
                };
                put_place(batch, &row, fingerprint);
                Touched::new(Box::new(row))
            }
        };
        batch.put(RESTATED, keys::task(seq), keys::task(restated.position));
        touched.insert(id, touch);
        Ok(())
    }

    fn write_task(&mut self, batch: &mut Batch, task: Touched) -> Result<(), ModelError> {
        let Touched {
            before,
            times,
            job,
            row,
        } = task;
        if before != Some(row.status) {
            let place = Place::of(&row);
            if let Some(before) = before {
                remove_status(batch, &row, before);
            }
            let until = delayed_until(&row, row.status);
            if let Some(until) = until {
                let key = keys::delayed(&row.team, &row.queue, until, row.created_seq);
                batch.put(DELAYED, key, []);
            }
            if row.status == Status::Pending {
                batch.put(PENDING, keys::by_queue(&row.team, &row.queue, place), []);
            }
            let until = until.map_or_else(Vec::new, |at| keys::millis(at).to_be_bytes().into());
            let key = keys::listed(&row, ListOf::Status(row.status));
            batch.put(BY_STATUS, key, until);
        }
        let slots = (
            before.map(|before| before as usize),
            Some(row.status as usize),
        );
        self.counts
            .change(&self.store, &row.team, &row.queue, slots.0, slots.1)?;
        if row.is_pulled() {
            self.pulled_counts
                .change(&self.store, &row.team, &row.queue, slots.0, slots.1)?;
        }
        self.job_counts
            .change(&self.store, &row.team, &row.queue, job, jobs::slot(&row))?;
        let now = Some(Times::of(&row));
        self.stats
            .change(&self.store, &row.team, &row.queue, times, now)?;
        batch.put(TASKS, keys::task(row.created_seq), encode(&row));
        flows::put_task(batch, &row);
        if !row.status.is_terminal() && row.url.len() <= MAX_CACHED_URL {
            if self.open_rows.len() >= MAX_CACHED_ROWS {
                self.open_rows.clear();
            }
            self.open_rows.insert(row.id, row);
        }
        Ok(())
    }
}
