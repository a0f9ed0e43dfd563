//! Weights of queues: how many tasks of a queue start in a turn. They hold nothing back, so a queue
//! that has only a weight has no gate.

use std::collections::HashMap;

use super::Place;

/// The weights that are not 1.
#[derive(Debug, Default)]
pub(super) struct Weights(HashMap<Place, u8>);

impl Weights {
    pub(super) fn set(&mut self, place: &Place, weight: Option<u8>) {
        match weight.filter(|weight| *weight > 1) {
            Some(weight) => self.0.insert(place.clone(), weight),
            None => self.0.remove(place),
        };
    }

    /// `place` is asked for only if any queue has a weight.
    pub(super) fn of<'a>(&self, place: impl FnOnce() -> &'a Place) -> u32 {
        if self.0.is_empty() {
            return 1;
        }
        self.0.get(place()).copied().map_or(1, u32::from)
    }
}
