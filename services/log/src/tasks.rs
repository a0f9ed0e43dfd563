//! Reads records of TASKS, each by itself, without knowledge of its task.

use waybill_domain::event::{PartitionOwned, TaskEvent};
use waybill_domain::partition::Partition;

use crate::Record;
use crate::quarantine::{Poison, Reason, Unreadable};
use crate::subject::TaskSubject;

/// The content of a record of TASKS.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all records are events, so a box would only cost an allocation for each"
)]
pub enum TaskRecord {
    /// An owner of the partition announces itself.
    Owned(Partition, PartitionOwned),
    /// Something happened to a task.
    Event(TaskEvent),
}

/// Reads a record of TASKS and checks that its event belongs on its subject.
///
/// Whether a later event stands on the subjects of its task's team and queue can only be judged
/// with the task's creation; readers that know the task check it by [`stands_in`].
///
/// # Errors
/// If the record does not count.
pub fn task_record(record: &Record) -> Result<TaskRecord, Unreadable> {
    if record.event == PartitionOwned::NAME {
        return owned(record);
    }
    let event = TaskEvent::decode(&record.event, &record.payload).map_err(Unreadable::undecoded)?;
    let is_own = match TaskSubject::parse(&record.subject) {
        Some(TaskSubject::Event {
            partition,
            team,
            queue,
            event: token,
        }) => {
            let of_creation = match &event {
                TaskEvent::Created(e) => e.team.as_str() == team && e.queue.as_str() == queue,
                _ => true,
            };
            partition == event.id().partition() && token == event.kind() && of_creation
        }
        Some(TaskSubject::Owner { .. }) | None => false,
    };
    if is_own {
        return Ok(TaskRecord::Event(event));
    }
    let (partition, kind) = (event.id().partition(), event.kind());
    let own = match &event {
        TaskEvent::Created(e) => format!("tasks.{partition}.{}.{}.{kind}", e.team, e.queue),
        _ => format!("tasks.{partition}.*.*.{kind}"),
    };
    Err(Poison::misplaced(record, &own).into())
}

fn owned(record: &Record) -> Result<TaskRecord, Unreadable> {
    let owned = PartitionOwned::decode(&record.payload).map_err(Unreadable::undecoded)?;
    match TaskSubject::parse(&record.subject) {
        Some(TaskSubject::Owner { partition }) => Ok(TaskRecord::Owned(partition, owned)),
        _ => Err(Poison::misplaced(record, "tasks.<partition>.owner").into()),
    }
}

/// Checks that a record is stored on a subject of that team and queue.
///
/// # Errors
/// If it is stored elsewhere.
pub fn stands_in(record: &Record, team: &str, queue: &str) -> Result<(), Poison> {
    match TaskSubject::parse(&record.subject) {
        Some(TaskSubject::Event {
            team: of, queue: q, ..
        }) if of == team && q == queue => Ok(()),
        _ => Err(Poison::new(
            Reason::Misplaced,
            format!(
                "{} stands on {}, but its task is one of {team} in the queue {queue}",
                record.event, record.subject
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use waybill_domain::event::samples;
    use waybill_domain::id::{QueueName, TeamId};
    use waybill_domain::time::Timestamp;

    use super::*;
    use crate::StreamSeq;

    fn record(subject: &str, event: &TaskEvent) -> Record {
        Record {
            seq: StreamSeq(1),
            follows: StreamSeq(0),
            time: Timestamp(1),
            subject: subject.to_owned(),
            event: event.name().to_owned(),
            actor: "system:worker".to_owned(),
            traceparent: None,
            origin: None,
            msg_id: None,
            exact: None,
            payload: event.encode().into(),
        }
    }

    /// Team and queue in the subject of a sample. Only a creation names them itself.
    fn place(event: &TaskEvent) -> (TeamId, QueueName) {
        match event {
            TaskEvent::Created(e) => (e.team.clone(), e.queue.clone()),
            _ => (TeamId::new(Timestamp(1), 1), QueueName::default()),
        }
    }

    fn reason(record: &Record) -> Option<Reason> {
        task_record(record).err().map(|error| error.reason())
    }

    #[test]
    fn an_event_counts_on_its_own_subject_and_nowhere_else() {
        for event in samples::task_events() {
            let (team, queue) = place(&event);
            let (partition, kind) = (event.id().partition(), event.kind());
            let at = |partition, team: &TeamId, queue: &QueueName, kind| {
                let subject = TaskSubject::event(partition, team, queue, kind).to_string();
                reason(&record(&subject, &event))
            };
            assert_eq!(at(partition, &team, &queue, kind), None, "{kind}");
            let elsewhere = Partition::new(partition.get() ^ 1).expect("in range");
            assert_eq!(at(elsewhere, &team, &queue, kind), Some(Reason::Misplaced));
            let other = if kind == "dead" { "created" } else { "dead" };
            assert_eq!(at(partition, &team, &queue, other), Some(Reason::Misplaced));
            if kind == "created" {
                let strangers = TeamId::new(Timestamp(2), 2);
                assert_eq!(
                    at(partition, &strangers, &queue, kind),
                    Some(Reason::Misplaced)
                );
            }
            for subject in ["tasks.1.owner", "tasks.1", "control.a.b.c"] {
                assert_eq!(reason(&record(subject, &event)), Some(Reason::Misplaced));
            }
        }
    }

    #[test]
    fn what_is_no_event_is_told_from_a_newer_one_and_from_a_broken_one() {
        for event in samples::task_events() {
            let (team, queue) = place(&event);
            let at = TaskSubject::event(event.id().partition(), &team, &queue, event.kind());
            let named = |name: &str| {
                let mut record = record(&at.to_string(), &event);
                record.event = name.to_owned();
                reason(&record)
            };
            assert_eq!(named(""), Some(Reason::Foreign));
            assert_eq!(named("hello"), Some(Reason::Foreign));
            assert_eq!(named("task.sung.v1"), Some(Reason::Newer));
            let mut broken = record(&at.to_string(), &event);
            broken.payload = broken.payload.slice(..broken.payload.len() / 2);
            assert_eq!(reason(&broken), Some(Reason::Malformed));
        }
    }
}
