//! Requests that wait for the next frame of their partition and writer.
//!
//! A lane with nothing in flight sends at once, and requests that arrive meanwhile go into its next
//! frame together. Lanes do not wait for each other, so a partition whose fence is refused, or
//! whose frame is not answered, delays no other.

use std::collections::{BTreeMap, HashSet, VecDeque};

use super::plan::Planned;
use super::queue::Request;
use crate::Expectation;
use crate::frame::{Lane, fits};

/// A lane of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneKey {
    pub(super) lane: Lane,
    /// Whether the requests are an owner's, with a fence; those of gateways have none.
    is_fenced: bool,
}

impl LaneKey {
    /// The lane of a request; `None` if it does not go into a shared frame.
    pub(super) fn of(request: &Request) -> Option<Self> {
        Some(Self {
            lane: request.content.lane()?,
            is_fenced: request.expect != Expectation::None,
        })
    }
}

#[derive(Default)]
struct Waiting {
    /// Bounded, since each request holds a permit for its room in the queue.
    requests: VecDeque<Request>,
    /// A frame is in flight.
    is_busy: bool,
}

/// The lanes of one appender: at most four for each partition.
#[derive(Default)]
pub(super) struct Lanes(BTreeMap<LaneKey, Waiting>);

impl Lanes {
    /// Adds a request, or returns it if it does not go into a shared frame.
    pub(super) fn queue_up(&mut self, request: Request) -> Option<Request> {
        let Some(key) = LaneKey::of(&request) else {
            return Some(request);
        };
        self.0.entry(key).or_default().requests.push_back(request);
        None
    }

    /// The same at the front, for a request that was taken out before.
    pub(super) fn put_back(&mut self, request: Request) -> Option<Request> {
        let Some(key) = LaneKey::of(&request) else {
            return Some(request);
        };
        self.0.entry(key).or_default().requests.push_front(request);
        None
    }

    /// Lanes with a request that may be sent now.
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

    /// Takes the requests for the next frame of a lane.
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
                let alone = first.goes_alone() || next.goes_alone();
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

    /// Drops requests whose callers no longer wait.
    pub(super) fn forget_forsaken(&mut self) {
        for waiting in self.0.values_mut() {
            waiting.requests.retain(Request::is_awaited);
        }
    }
}
