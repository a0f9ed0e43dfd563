//! Quarantined records: those in the log that do not count. They are listed for operators, and
//! marked at the task that they are about.

use std::collections::HashMap;

use waybill_domain::event::{Remains, TaskEvent};
use waybill_domain::id::{QueueName, TaskId, TeamId};
use waybill_domain::task::{Damage, TaskRow};
use waybill_log::subject::{CREATED, TaskSubject};
use waybill_log::{Reason, Record, Skipped, Stream, StreamSeq, Unreadable, set_aside};
use waybill_store::{Batch, KeyRange, View};

use super::reader::ReaderError;
use super::touched::Touched;
use super::{ModelError, Projection, QUARANTINE, decode, encode, keys};
use crate::query::{ListSkipped, MAX_LIMIT, SkippedPage};

impl Projection {
    /// Quarantines a record.
    pub(super) fn set_aside(
        &mut self,
        batch: &mut Batch,
        stream: Stream,
        record: &Record,
        why: &Unreadable,
    ) {
        set_aside("projector", stream, record, why);
        self.quarantined += 1;
        let key = keys::quarantine_at(stream, record.seq);
        batch.put(QUARANTINE, key, encode(&Skipped::new(stream, record, why)));
    }

    /// Marks the task that a record is about, if that can still be determined, and returns its id.
    ///
    /// For an unreadable creation, a row is made from what is left, with the task failed: whoever
    /// was promised the task finds it, and reads what became of it.
    pub(super) fn damage(
        &mut self,
        batch: &mut Batch,
        touched: &mut HashMap<TaskId, Touched>,
        record: &Record,
        why: &Unreadable,
    ) -> Result<Option<TaskId>, ModelError> {
        // A record of a newer version is intact: the first version that knows it will read it.
        if matches!(why.reason(), Reason::Newer | Reason::Foreign) {
            return Ok(None);
        }
        let remains = Remains::of(&record.payload);
        let Some(id) = remains.id else {
            return Ok(None);
        };
        let damage = Damage {
            seq: record.seq,
            event: record.event.clone(),
            reason: why.reason().as_str().to_owned(),
        };
        if let Some(task) = self.touched(touched, id)? {
            task.row.damaged(damage);
        } else if why.reason() == Reason::Malformed
            && let Some((team, queue)) = place_of_creation(record, id)
        {
            let row = TaskRow::of_damaged_creation(id, team, queue, remains, record.time, damage);
            self.list(batch, touched, row, None);
        }
        Ok(Some(id))
    }
}

/// Team and queue of a creation, from its subject; `None` if that is not a subject for the creation
/// of this task.
fn place_of_creation(record: &Record, id: TaskId) -> Option<(TeamId, QueueName)> {
    match TaskSubject::parse(&record.subject)? {
        TaskSubject::Event {
            partition,
            team,
            queue,
            event: CREATED,
        } if TaskEvent::is_creation(&record.event) && partition == id.partition() => {
            Some((TeamId::parse(team).ok()?, QueueName::parse(queue).ok()?))
        }
        _ => None,
    }
}

/// A page of quarantined records, in the order of the logs.
pub(super) fn list(view: &View<'_>, query: &ListSkipped) -> Result<SkippedPage, ReaderError> {
    let limit = usize::from(query.limit.clamp(1, MAX_LIMIT));
    let range = match query.after {
        Some((stream, seq)) => KeyRange::all().after(&keys::quarantine_at(stream, seq)),
        None => KeyRange::all(),
    };
    let mut skipped = Vec::new();
    let mut rows = view.range(QUARANTINE, &range)?;
    for row in rows.by_ref().take(limit) {
        skipped.push(decode::<Skipped>(QUARANTINE, &row?.1)?);
    }
    let has_more = rows.next().is_some();
    Ok(SkippedPage { skipped, has_more })
}

/// Number of quarantined records that the logs still have.
pub(super) fn count(view: &View<'_>) -> Result<u64, ModelError> {
    let mut count = 0;
    for row in view.range(QUARANTINE, &KeyRange::all())? {
        row?;
        count += 1;
    }
    Ok(count)
}

/// The quarantined records of TASKS before a sequence.
pub(super) fn of_tasks_before(first: StreamSeq) -> KeyRange {
    KeyRange::prefix(&keys::quarantine(Stream::Tasks))
        .before(&keys::quarantine_at(Stream::Tasks, first))
}
