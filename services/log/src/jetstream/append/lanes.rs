//! What waits for the next frame of its partition and writer.
//!
//! A lane with nothing in flight sends at once; what comes meanwhile leaves together with the next frame. No lane waits for another, so
//! that one partition whose fence is refused, or whose frame is not answered, holds nobody up.

use std::collections::{BTreeMap, HashSet, VecDeque};

use super::plan::Planned;
use super::queue::Request;
use crate::Expectation;
use crate::frame::{Lane, fits};

/// A lane of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneKey {
    pub(super) lane: Lane,
    /// An owner's: what gateways append has no fence.
    is_fenced: bool,
}

impl LaneKey {
    /// `None`: it travels in no frame with others.
    pub(super) fn of(request: &Request) -> Option<Self> {
        Some(Self {
            lane: request.content.lane()?,
            is_fenced: request.expect != Expectation::None,
        })
    }
}

#[derive(Default)]
struct Waiting {
    /// Bounded by the room in the queue, which each request holds a part of.
    requests: VecDeque<Request>,
    /// A frame was sent and its outcome is not known.
    is_busy: bool,
}

/// The lanes of one appender: at most four for each partition.
#[derive(Default)]
pub(super) struct Lanes(BTreeMap<LaneKey, Waiting>);

impl Lanes {
    /// Takes a request in, or gives back one that travels in no frame.
    pub(super) fn queue_up(&mut self, request: Request) -> Option<Request> {
        let Some(key) = LaneKey::of(&request) else {
            return Some(request);
        };
        self.0.entry(key).or_default().requests.push_back(request);
        None
    }

    /// The same at the front: it was taken out before.
    pub(super) fn put_back(&mut self, request: Request) -> Option<Request> {
        let Some(key) = LaneKey::of(&request) else {
            return Some(request);
        };
        self.0.entry(key).or_default().requests.push_front(request);
        None
    }

    /// Lanes on which something waits and may be sent.
    pub(super) fn ready(&self, busy_fences: &HashSet<String>) -> Vec<LaneKey> {
        let may_go = |waiting: &Waiting| {
            let first = waiting.requests.front();
            let is_held = |request: &Request| {
                let fence = request.fence();
                fence.is_some_and(|fence| busy_fences.contains(fence))
            };
            !waiting.is_busy && first.is_some_and(|first| !is_held(first))
        };
        let ready = self.0.iter().filter(|(_, waiting)| may_go(waiting));
        ready.map(|(key, _)| *key).collect()
    }

    /// Takes what the next frame of a lane holds.
    pub(super) fn fill(&mut self, key: LaneKey) -> Vec<Request> {
        let mut frame: Vec<Request> = Vec::new();
        let Some(waiting) = self.0.get_mut(&key) else {
            return frame;
        };
        let (mut events, mut bytes) = (0, 0);
        while let Some(next) = waiting.requests.front() {
            let (with, with_bytes) = (events + next.content.events(), bytes + next.bytes());
            if let Some(first) = frame.first() {
                let is_alike = first.expect == next.expect;
                let alone = first.goes_alone || next.goes_alone;
                if !is_alike || alone || !fits(key.lane.kind, with, with_bytes) {
                    break;
                }
            }
            let Some(request) = waiting.requests.pop_front() else {
                break;
            };
            if request.is_awaited() && request.progress.send() {
                (events, bytes) = (with, with_bytes);
                frame.push(request);
            }
        }
        frame
    }

    pub(super) fn sent(&mut self, key: LaneKey) {
        self.0.entry(key).or_default().is_busy = true;
    }

    pub(super) fn landed(&mut self, key: LaneKey) {
        if let Some(waiting) = self.0.get_mut(&key) {
            waiting.is_busy = false;
        }
    }

    pub(super) fn are_empty(&self) -> bool {
        self.0.values().all(|waiting| waiting.requests.is_empty())
    }

    /// Drops what nobody waits for any more.
    pub(super) fn forget_forsaken(&mut self) {
        for waiting in self.0.values_mut() {
            waiting.requests.retain(Request::is_awaited);
        }
    }
}
