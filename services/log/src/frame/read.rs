//! Reading frames: each becomes one record for each of its events.

use std::collections::{BTreeSet, VecDeque};

use waybill_domain::actor::Origin;
use waybill_domain::seq::StreamSeq;

use super::{Kind, NAME, SEVERAL, STEPS, payload};
use crate::Record;
use crate::position::Positions;
use crate::record::{DAMAGED_EVENT, DAMAGED_FRAME};
use crate::subject::{CREATED, TaskSubject, matches};

/// Calls `found` with each wanted record of a message, in order. `message.seq` is the sequence of the
/// message.
///
/// `is_wanted` is asked by position and subject, before the rest of a record is made: a reader of
/// one task would otherwise pay for every event of the frames that hold one of its task.
pub(crate) fn expand(
    mut message: Record,
    positions: Positions,
    is_wanted: impl Fn(StreamSeq, &str) -> bool,
    mut found: impl FnMut(Record),
) {
    let seq = message.seq.0;
    message.seq = positions.last_in(seq);
    message.follows = positions.last_in(seq.saturating_sub(1));
    let mut found_whole = |message: Record| {
        if is_wanted(message.seq, &message.subject) {
            found(message);
        }
    };
    if message.event != NAME || !positions.may_be_frame(seq) {
        // Not a frame, or one of another version. Its position is the last one of the message, so a
        // reader that stops at it has read nothing of the message.
        return found_whole(message);
    }
    let Some(place) = Place::parse(&message.subject) else {
        message.event = DAMAGED_FRAME.to_owned();
        return found_whole(message);
    };
    let read = payload::read(&message.payload, |index, count, event| {
        let position = positions.of(seq, index, count);
        let own_subject = event
            .as_ref()
            .ok()
            .and_then(|event| place.subject_of(event));
        let subject = own_subject.unwrap_or_else(|| message.subject.clone());
        if !is_wanted(position, &subject) {
            return;
        }
        let mut record = Record {
            seq: position,
            follows: match index {
                0 => message.follows,
                _ => StreamSeq(position.0 - 1),
            },
            time: message.time,
            subject,
            event: DAMAGED_EVENT.to_owned(),
            actor: String::new(),
            traceparent: None,
            origin: None,
            msg_id: None,
            exact: None,
            payload: bytes::Bytes::new(),
        };
        match event {
            Ok(event) => {
                record.event = event.name.to_owned();
                record.actor = event.actor.to_owned();
                record.traceparent = event.traceparent.map(str::to_owned);
                record.origin = event.origin.map(|(request_id, source, agent)| Origin {
                    request_id: request_id.into(),
                    source: source.into(),
                    agent: agent.map(Into::into),
                });
                record.payload = event.payload;
            }
            Err(bytes) => record.payload = bytes,
        }
        found(record);
    });
    if read.is_none() {
        message.event = DAMAGED_FRAME.to_owned();
        if is_wanted(message.seq, &message.subject) {
            found(message);
        }
    }
}

/// What the subject of a frame allows its events to be.
struct Place<'a> {
    partition: u16,
    team: &'a str,
    queue: &'a str,
    kind: Kind,
}

impl<'a> Place<'a> {
    fn parse(subject: &'a str) -> Option<Self> {
        let TaskSubject::Event {
            partition,
            team,
            queue,
            event,
        } = TaskSubject::parse(subject)?
        else {
            return None;
        };
        let kind = match event {
            CREATED => Kind::Creations,
            STEPS => Kind::Steps,
            _ => return None,
        };
        Some(Self {
            partition: partition.get(),
            team,
            queue,
            kind,
        })
    }

    /// The subject that an event would have in a message of its own. `None` if the frame's subject
    /// does not allow the event. The event then keeps the subject of the frame, which is no valid
    /// subject for it, so that it counts as misplaced.
    fn subject_of(&self, event: &payload::Found<'_>) -> Option<String> {
        let is_own = (self.team == SEVERAL || self.team == event.team)
            && (self.queue == SEVERAL || self.queue == event.queue)
            && self.kind == Kind::of(event.token);
        let (partition, team, queue, token) =
            (self.partition, event.team, event.queue, event.token);
        let subject = format!("tasks.{partition}.{team}.{queue}.{token}");
        let is_subject = matches!(
            TaskSubject::parse(&subject),
            Some(TaskSubject::Event { .. })
        );
        (is_own && is_subject).then_some(subject)
    }
}

/// Filters of messages that match every frame that may hold an event matched by `filters`, as well
/// as all messages that match by themselves.
pub(crate) fn filters_of_frames(filters: &[String]) -> Vec<String> {
    let mut all = BTreeSet::new();
    for filter in filters {
        all.insert(filter.clone());
        let tokens: Vec<&str> = filter.split('.').collect();
        let &["tasks", partition, team, ref rest @ ..] = &tokens[..] else {
            continue;
        };
        if matches!(team, "*" | ">") && rest.iter().all(|token| matches!(*token, "*" | ">")) {
            continue;
        }
        match rest {
            [] => {}
            [">"] => {
                all.insert(format!("tasks.{partition}.{SEVERAL}.>"));
            }
            [queue, last] => {
                let last = match *last {
                    ">" => ">",
                    "*" => "*",
                    event => Kind::of(event).token(),
                };
                all.insert(format!("tasks.{partition}.{team}.{queue}.{last}"));
                if *queue != "*" {
                    all.insert(format!("tasks.{partition}.{team}.{SEVERAL}.{last}"));
                }
                if team != "*" {
                    all.insert(format!("tasks.{partition}.{SEVERAL}.{SEVERAL}.{last}"));
                }
            }
            _ => {}
        }
    }
    all.into_iter().collect()
}

/// Whether a record with that subject matches one of the filters; it does if there are none.
pub(crate) fn is_wanted(filters: &[String], subject: &str) -> bool {
    filters.is_empty() || filters.iter().any(|filter| matches(filter, subject))
}

/// Takes up to `max` records, and the rest of the frame that the last of them belongs to, since
/// frames are applied as a whole.
pub(crate) fn take_whole(
    ready: &mut VecDeque<Record>,
    max: usize,
    positions: Positions,
) -> Vec<Record> {
    let mut count = ready.len().min(max.max(1));
    let message = |record: &Record| positions.message(record.seq);
    let last = count
        .checked_sub(1)
        .and_then(|at| ready.get(at))
        .map(message);
    while count < ready.len() && ready.get(count).map(message) == last {
        count += 1;
    }
    ready.drain(..count).collect()
}
