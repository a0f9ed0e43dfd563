//! Which events of an append travel in which frame.

use super::{Kind, Lane, MAX_EVENTS, size};
use crate::NewRecord;

/// One frame, or one message that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Split {
    /// `None`: a message of its own, which is no frame.
    pub(crate) lane: Option<Lane>,
    /// Places of its events in the append, in order.
    pub(crate) events: Vec<usize>,
    pub(crate) bytes: usize,
}

/// Splits an append into as few messages as it takes. The order of one lane's events is kept; so is, among the messages, the order of
/// their first events.
pub(crate) fn split(records: &[NewRecord]) -> Vec<Split> {
    let mut splits: Vec<Split> = Vec::new();
    for (place, record) in records.iter().enumerate() {
        let (lane, bytes) = (Lane::of(record), size(record));
        // Only the last frame of a lane is added to.
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

/// Whether several events that take so many bytes go into one frame.
pub(crate) fn fits(kind: Kind, events: usize, bytes: usize) -> bool {
    events <= MAX_EVENTS && bytes <= kind.max_bytes()
}
