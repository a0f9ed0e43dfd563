//! Frames: many events of TASKS in one message.
//!
//! A message costs the server about the same whatever its size, and it is stored whole or not at
//! all. So everything that one writer has to append to one partition at a time goes into one
//! message: a frame. Its subject is `tasks.<partition>.<team>.<queue>.<created|steps>`, with `_`
//! for a team or a queue that its events do not share. Gateways may only write to subjects that end
//! in `created`, so creations have frames of their own, and other events do not count there.
//!
//! The header `Wb-Frame` names the version of the payload, which is MessagePack: a table with every
//! string that the events need, and the events, each as length-prefixed bytes that refer to strings
//! by number. An event that cannot be read leaves the others readable.
//!
//! The design and its reasons: docs/design/frames.md.

mod payload;
mod read;
mod split;

use crate::NewRecord;
use crate::subject::{CREATED, TaskSubject};

pub use crate::position::MAX_EVENTS;
pub(crate) use read::{expand, filters_of_frames, is_wanted, take_whole};
pub(crate) use split::{Split, fits, split};

/// The version that is written, as the header `Wb-Frame` names it.
pub(crate) const VERSION: &str = "1";
/// Stands for `Wb-Event` in a frame that was read.
pub(crate) const NAME: &str = "frame.batch.v1";
/// Bytes of events in one frame; a larger event is a frame of its own.
pub const MAX_BYTES: usize = 256 * 1024;
/// The same for creations. It is smaller because a worker reads a whole frame to get one request.
pub const MAX_CREATION_BYTES: usize = 64 * 1024;
/// Upper bound of the bytes of an event in a frame besides its strings and its payload.
const EVENT_BYTES: usize = 48;

/// Stands for a team or a queue in the subject, where the events of a frame do not share it.
const SEVERAL: &str = "_";
/// Last token of the subject of a frame whose events are not creations.
const STEPS: &str = "steps";

/// Events of the same lane can share a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Lane {
    pub(crate) partition: u16,
    pub(crate) kind: Kind,
}

/// The two kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Creations, which gateways write.
    Creations,
    /// All other events of tasks, which owners write.
    Steps,
}

impl Kind {
    fn of(event: &str) -> Self {
        if event == CREATED {
            Self::Creations
        } else {
            Self::Steps
        }
    }

    fn token(self) -> &'static str {
        match self {
            Self::Creations => CREATED,
            Self::Steps => STEPS,
        }
    }

    pub(crate) fn max_bytes(self) -> usize {
        match self {
            Self::Creations => MAX_CREATION_BYTES,
            Self::Steps => MAX_BYTES,
        }
    }
}

impl Lane {
    /// The lane of a record. `None` for a record that is not an event of a task, and is stored in a
    /// message of its own.
    pub(crate) fn of(record: &NewRecord) -> Option<Self> {
        match TaskSubject::parse(&record.subject)? {
            TaskSubject::Event {
                partition, event, ..
            } => Some(Self {
                partition: partition.get(),
                kind: Kind::of(event),
            }),
            TaskSubject::Owner { .. } => None,
        }
    }
}

/// Upper bound of the bytes that an event takes in a frame.
pub(crate) fn size(record: &NewRecord) -> usize {
    let origin = record.origin.as_ref();
    let texts = [
        Some(record.event),
        Some(&*record.actor),
        record.traceparent.as_deref(),
        origin.map(|origin| &*origin.request_id),
        origin.map(|origin| &*origin.source),
        origin.and_then(|origin| origin.agent.as_deref()),
    ];
    let texts: usize = texts.into_iter().flatten().map(|text| text.len() + 3).sum();
    EVENT_BYTES + record.subject.len() + texts + record.payload.len()
}

/// A frame as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) subject: String,
    pub(crate) payload: bytes::Bytes,
}

/// Encodes a frame. The events must be of that lane, at least one and at most [`MAX_EVENTS`].
pub(crate) fn write<'a>(lane: Lane, records: impl Iterator<Item = &'a NewRecord> + Clone) -> Frame {
    Frame {
        subject: subject(lane, records.clone()),
        payload: payload::write(records).into(),
    }
}

/// The subject of a frame that holds these events.
fn subject<'a>(lane: Lane, records: impl Iterator<Item = &'a NewRecord>) -> String {
    let mut shared: Option<(&str, &str)> = None;
    for record in records {
        debug_assert_eq!(Lane::of(record), Some(lane), "{}", record.subject);
        let Some(TaskSubject::Event { team, queue, .. }) = TaskSubject::parse(&record.subject)
        else {
            continue;
        };
        shared = Some(match shared {
            None => (team, queue),
            Some((of_team, _)) if of_team != team => (SEVERAL, SEVERAL),
            Some((_, of_queue)) if of_queue != queue => (team, SEVERAL),
            Some(same) => same,
        });
    }
    let (team, queue) = shared.unwrap_or((SEVERAL, SEVERAL));
    let Lane { partition, kind } = lane;
    format!("tasks.{partition}.{team}.{queue}.{}", kind.token())
}

#[cfg(test)]
mod tests;
