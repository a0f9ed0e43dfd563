//! Taking in records: the only writer of a read model.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use waybill_domain::actor::Actor;
use waybill_domain::event::{ControlEvent, TaskEvent, TaskRestated};
use waybill_domain::id::{Environment, TaskId};
use waybill_domain::task::{Status, TaskRow};
use waybill_log::subject::{ControlScope, ControlSubject, TaskSubject};
use waybill_log::{
    Bounds, Reason, Record, Stream, StreamSeq, TaskRecord, Unreadable, control_event, stands_in,
    task_record,
};
use waybill_store::{Batch, Checkpoint, Store};

use super::about::About;
use super::activity::Entry as ActivityEntry;
use super::audit::Growth;
use super::counts::CountsCache;
use super::keys::{self, Place, TeamKey};
use super::roster::Roster;
use super::{
    BY_ID, BY_QUEUE, BY_STATUS, BY_TEAM, DELAYED, IDEMPOTENCY, ModelError, RESTATED, TASKS, about,
    decode, encode, quarantine, sweep,
};
use crate::query::Position;

/// Events of one batch. Each changes at most nine rows, and the store takes ten thousand.
pub const BATCH_EVENTS: usize = 1_000;
/// The same of CONTROL. Each can complete a subtree of its team's audit tree on every level, of which there are some twenty.
const CONTROL_BATCH_EVENTS: usize = 250;
/// A batch of CONTROL with so many rows is written early: what a person does is told in each of their teams, which can be hundreds.
const MAX_TOLD_ROWS: usize = 2_000;
/// Rows of open tasks kept decoded between batches.
const MAX_CACHED_ROWS: usize = 8_192;
/// Rows with longer URLs are read again instead, so that the cache stays within some megabytes.
const MAX_CACHED_URL: usize = 512;

/// Which streams a model is of. A stream that was made again is another log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incarnations {
    control: String,
    tasks: String,
    /// That of CONTROL as a number, as leaves of audit trees hold it.
    control_ns: i64,
}

impl Incarnations {
    /// From what the log says of its streams.
    #[must_use]
    pub fn new(control: &Bounds, tasks: &Bounds) -> Self {
        Self {
            control: control.incarnation.to_string(),
            tasks: tasks.incarnation.to_string(),
            control_ns: control.incarnation,
        }
    }

    /// Of one of them.
    #[must_use]
    pub fn of(&self, stream: Stream) -> &str {
        match stream {
            Stream::Control => &self.control,
            Stream::Tasks => &self.tasks,
        }
    }
}

/// A read model being written.
pub struct Projection {
    pub(super) store: Store,
    incarnations: Incarnations,
    applied: Position,
    pub(super) floor: StreamSeq,
    pub(super) open_rows: HashMap<TaskId, TaskRow>,
    pub(super) counts: CountsCache,
    pub(super) quarantined: u64,
    audit: Growth,
    roster: Roster,
}

/// A task that the batch changes.
pub(super) struct Touched {
    /// Its status in the store, when it is there.
    before: Option<Status>,
    pub(super) row: TaskRow,
}

impl Projection {
    /// Goes on where the store's checkpoints are. They must be of these streams, or absent.
    pub fn resume(store: Store, incarnations: Incarnations) -> Result<Self, ModelError> {
        let checkpoints = store.checkpoints()?;
        let (floor, quarantined) = {
            let view = store.view()?;
            (sweep::floor(&view)?, quarantine::count(&view)?)
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
            floor,
            store,
            audit: Growth::new(incarnations.control_ns),
            roster: Roster::default(),
            incarnations,
            open_rows: HashMap::new(),
            counts: CountsCache::default(),
            quarantined,
        })
    }

    /// How far it has read.
    #[must_use]
    pub fn applied(&self) -> Position {
        self.applied
    }

    /// The first sequence of TASKS that is still in the model.
    #[must_use]
    pub fn floor(&self) -> StreamSeq {
        self.floor
    }

    /// Records of both logs that do not count here: damaged, misplaced, or a newer version's.
    #[must_use]
    pub fn quarantined(&self) -> u64 {
        self.quarantined
    }

    /// The store it writes.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Which streams it is of.
    #[must_use]
    pub fn incarnations(&self) -> &Incarnations {
        &self.incarnations
    }

    /// Takes in records of one stream, in order. Those that were taken in before are passed over.
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

    /// Passes over what the log no longer holds.
    pub fn skip_to(&mut self, stream: Stream, seq: StreamSeq) -> Result<(), ModelError> {
        if seq > self.applied.of(stream) {
            self.commit(Batch::new(), stream, seq)?;
        }
        Ok(())
    }

    /// Writes a batch together with the checkpoint.
    fn commit(
        &mut self,
        mut batch: Batch,
        stream: Stream,
        seq: StreamSeq,
    ) -> Result<(), ModelError> {
        let incarnation = self.incarnations.of(stream).to_owned();
        batch.checkpoint(
            stream.name(),
            Checkpoint {
                seq: seq.0,
                incarnation,
            },
        );
        self.store.apply(batch)?;
        match stream {
            Stream::Control => self.applied.control = seq,
            Stream::Tasks => self.applied.tasks = seq,
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
                self.commit(full, Stream::Control, record.seq)?;
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
                // What a newer version wrote did happen. Anything else would tell a team what did not.
                if why.reason() != Reason::Newer {
                    return Ok(());
                }
                None
            }
        };
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

    /// The activity that an event of CONTROL is told in: that of its team, or of every team of its person, and once more in the test
    /// environment when that is what it is about.
    fn told_in(
        &mut self,
        event: Option<&ControlEvent>,
        entry: &ActivityEntry,
        record: &Record,
    ) -> Result<Vec<TeamKey>, ModelError> {
        // Not all that concerns a team lies below it: a refused attempt lies below the gateway that refused it.
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
                    // What a newer version wrote did happen. Anything else would tell a team what did not.
                    if why.reason() != Reason::Newer {
                        continue;
                    }
                    None
                }
            };
            let mut entry = ActivityEntry::of(record);
            entry.task = task;
            let mut team = keys::no_team();
            // A task that was restated did nothing, and nobody did anything to it.
            let is_activity = record.event != TaskRestated::NAME;
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
        self.commit(batch, Stream::Tasks, last.seq)
    }

    /// One event of a task. The row is written once for all events of the batch, so steps that a task passes quickly cost nothing.
    /// The inner error: the event stands where those of another team or queue do.
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
            let place = stands_in(record, row.team.as_str(), row.queue.as_str());
            return Ok(place
                .map(|()| row.evolve_in_place(record.seq, event))
                .map_err(Unreadable::from));
        }
        // No row and no creation: retention has taken the task, and this is the rest of it.
        if let (Some(row), TaskEvent::Created(created)) =
            (TaskRow::evolve(None, record.seq, event), event)
        {
            self.list(batch, touched, row, created.fingerprint.as_ref());
        }
        Ok(Ok(()))
    }

    /// The row of a task, as it is after what the batch holds so far; `None` when there is none.
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
            None => stored_row(&self.store, id)?,
        };
        Ok(stored.map(|row| {
            let before = Some(row.status);
            vacant.insert(Touched { before, row })
        }))
    }

    /// Puts a task that was not there before into what is ordered by more than its status.
    pub(super) fn list(
        &mut self,
        batch: &mut Batch,
        touched: &mut HashMap<TaskId, Touched>,
        row: TaskRow,
        fingerprint: Option<&String>,
    ) {
        put_place(batch, &row, fingerprint);
        touched.insert(row.id, Touched { before: None, row });
    }

    /// A task stated again. Its row becomes what the restatement says, whether there was one or not; whoever begins to read behind its
    /// creation has the same row in the same place.
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
                    None => stored_row(&self.store, id)?,
                };
                row.map(|row| Touched {
                    before: Some(row.status),
                    row,
                })
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
                // It was created twice, which never should be, and retention took the first creation: this one counts.
                if let Some(Touched { before, row }) = known {
                    remove_task(batch, &row, before);
                    if before.is_some() {
                        let (team, queue) = (&row.team, &row.queue);
                        self.counts.change(&self.store, team, queue, before, None)?;
                    }
                }
                let Some(row) = TaskRow::evolve(None, seq, &event) else {
                    return Ok(());
                };
                put_place(batch, &row, fingerprint);
                Touched { before: None, row }
            }
        };
        batch.put(RESTATED, keys::task(seq), keys::task(restated.position));
        touched.insert(id, touch);
        Ok(())
    }

    fn write_task(&mut self, batch: &mut Batch, task: Touched) -> Result<(), ModelError> {
        let Touched { before, row } = task;
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
            let until = until.map_or_else(Vec::new, |at| keys::millis(at).to_be_bytes().into());
            batch.put(
                BY_STATUS,
                keys::by_status(&row.team, row.status, place),
                until,
            );
        }
        self.counts
            .change(&self.store, &row.team, &row.queue, before, Some(row.status))?;
        batch.put(TASKS, keys::task(row.created_seq), encode(&row));
        if !row.status.is_terminal() && row.url.len() <= MAX_CACHED_URL {
            if self.open_rows.len() >= MAX_CACHED_ROWS {
                self.open_rows.clear();
            }
            self.open_rows.insert(row.id, row);
        }
        Ok(())
    }
}

/// The end of a delay, of a task that is listed as delayed.
fn delayed_until(row: &TaskRow, status: Status) -> Option<waybill_domain::time::Timestamp> {
    row.not_before.filter(|_| status == Status::Delayed)
}

/// Gives a task its place in the lists, and its idempotency key a first creation.
fn put_place(batch: &mut Batch, row: &TaskRow, fingerprint: Option<&String>) {
    let place = Place::of(row);
    batch
        .put(BY_ID, keys::id(row.id), keys::task(row.created_seq))
        .put(BY_TEAM, keys::by_team(&row.team, place), [])
        .put(BY_QUEUE, keys::by_queue(&row.team, &row.queue, place), []);
    if let Some(key) = &row.idempotency_key {
        let made = (row.id, fingerprint);
        let key = keys::idempotency_at(&row.team, key, row.created_seq);
        batch.put(IDEMPOTENCY, key, encode(&made));
    }
}

/// Takes everything of a task out of the model but what it counts for. `stored`: its status in the store, when it is there.
pub(super) fn remove_task(batch: &mut Batch, row: &TaskRow, stored: Option<Status>) {
    let place = Place::of(row);
    batch
        .delete(TASKS, keys::task(row.created_seq))
        .delete(BY_ID, keys::id(row.id))
        .delete(BY_TEAM, keys::by_team(&row.team, place))
        .delete(BY_QUEUE, keys::by_queue(&row.team, &row.queue, place));
    if row.stored_seq != row.created_seq {
        batch.delete(RESTATED, keys::task(row.stored_seq));
    }
    if let Some(status) = stored {
        remove_status(batch, row, status);
    }
    if let Some(key) = &row.idempotency_key {
        let key = keys::idempotency_at(&row.team, key, row.created_seq);
        batch.delete(IDEMPOTENCY, key);
    }
}

/// Takes a task out of what is ordered by status.
fn remove_status(batch: &mut Batch, row: &TaskRow, status: Status) {
    batch.delete(
        BY_STATUS,
        keys::by_status(&row.team, status, Place::of(row)),
    );
    if let Some(until) = delayed_until(row, status) {
        let key = keys::delayed(&row.team, &row.queue, until, row.created_seq);
        batch.delete(DELAYED, key);
    }
}

fn stored_row(store: &Store, id: TaskId) -> Result<Option<TaskRow>, ModelError> {
    let Some(created) = store.get(BY_ID, &keys::id(id))? else {
        return Ok(None);
    };
    match store.get(TASKS, &created)? {
        Some(row) => decode(TASKS, &row).map(Some),
        None => Err(super::row_error(BY_ID, "a task without a row")),
    }
}
