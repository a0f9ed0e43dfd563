//! Splits the events of an append into frames.

use super::{Kind, Lane, MAX_EVENTS, size};
use crate::NewRecord;

/// The content of one message: a frame, or a single record that is not part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Split {
    /// `None`: a single record in a message of its own.
    pub(crate) lane: Option<Lane>,
    /// Indexes of its events in the append, in order.
    pub(crate) events: Vec<usize>,
    pub(crate) bytes: usize,
}

/// Splits an append into as few messages as possible. The events of each lane keep their order, and
/// the messages have the order of their first events.
pub(crate) fn split(records: &[NewRecord]) -> Vec<Split> {
    let mut splits: Vec<Split> = Vec::new();
    for (place, record) in records.iter().enumerate() {
        let (lane, bytes) = (Lane::of(record), size(record));
        // Only the last frame of a lane can grow, which keeps the order within the lane.
        let open = splits.iter_mut().rev().find(|split| split.lane == lane);
        match open.filter(|split| split.has_room(bytes)) {
            Some(split) => {
                split.events.push(place);
                split.bytes += bytes;
            }
            None => splits.push(Split {
                lane,
                events: vec![place],
                bytes,
            }),
        }
    }
    splits
}

impl Split {
    fn has_room(&self, bytes: usize) -> bool {
        let Some(Lane { kind, .. }) = self.lane else {
            return false;
        };
        fits(kind, self.events.len() + 1, self.bytes + bytes)
    }
}

/// Whether that many events, with that many bytes in all, fit into one frame.
pub(crate) fn fits(kind: Kind, events: usize, bytes: usize) -> bool {
    events <= MAX_EVENTS && bytes <= kind.max_bytes()
}
