//! Frames: many events of TASKS in one message.
//!
//! A message costs the server about the same whatever it holds, and it is stored whole or not at all. So what one writer has to append
//! to one partition at a time goes into one message: a frame. Its subject is `tasks.<partition>.<team>.<queue>.<created|steps>`, with
//! `_` in the place of a team or a queue that its events do not share. Gateways may write only to subjects that end in `created`, so
//! creations travel in frames of their own, and what is no creation does not count there.
//!
//! The header `Wb-Frame` names the version of the payload, which is MessagePack: every text that the events need, each once, and the
//! events, each as bytes with their length, which name texts by number. An event that cannot be read takes no other with it.

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
/// In the place of `Wb-Event`, of a frame that is read.
pub(crate) const NAME: &str = "frame.batch.v1";
/// Bytes of events in one frame; a larger event is a frame of its own.
pub const MAX_BYTES: usize = 256 * 1024;
/// The same of creations: whoever calls a target reads a whole frame for its request.
pub const MAX_CREATION_BYTES: usize = 64 * 1024;
/// What an event takes in a frame beside its texts and its payload, at the most.
const EVENT_BYTES: usize = 48;

/// Stands for a team or a queue that the events of a frame do not share.
const SEVERAL: &str = "_";
/// Last token of the subject of what is no creation.
const STEPS: &str = "steps";

/// What can share a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Lane {
    pub(crate) partition: u16,
    pub(crate) kind: Kind,
}

/// The two kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// What gateways write.
    Creations,
    /// What owners write.
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
    /// Where an event travels. `None`: it is no event of a task, so it is a message of its own.
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

/// Bytes that an event takes in a frame, at the most.
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

/// Writes a frame. The events are of that lane, at least one and at most [`MAX_EVENTS`].
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
