//! Units, which are sent and answered as a whole: a frame, a single message, or an atomic batch.

use std::time::Instant;

use async_nats::header::HeaderMap;
use bytes::Bytes;

use super::super::wire;
use super::content::Content;
use super::lanes::LaneKey;
use super::plan::Planned;
use super::queue::Request;
use crate::frame;
use crate::{AppendError, Appended, Expectation, MsgId, Positions, StreamSeq};

/// The state of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It was sent and is not answered.
    InFlight {
        /// When it was last sent.
        since: Instant,
    },
    /// It waits to be sent again.
    Resting {
        /// Earliest time of the next attempt.
        until: Instant,
    },
    /// An earlier attempt may have stored it, and it is being searched for in the log.
    Locating,
}

/// A message to publish.
pub(super) struct Outbound {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
    /// The server answers only this message of a unit.
    pub(super) is_last: bool,
}

/// Appends that are sent together.
pub(super) struct Unit {
    /// At least one.
    pub(super) requests: Vec<Request>,
    /// Message id of the first message; the same for every attempt, so that the server recognises a
    /// repetition.
    pub(super) id: String,
    /// How often it was sent.
    pub(super) tries: u32,
    /// An earlier attempt was not answered, so the unit may already be stored.
    pub(super) is_ambiguous: bool,
    /// Sequence up to which nothing of it can be stored.
    pub(super) floor: StreamSeq,
    pub(super) state: State,
    /// The gathering it left with; `None` for a frame.
    pub(super) group: Option<u64>,
    /// The lane of a frame; `None` for other units.
    pub(super) lane: Option<LaneKey>,
    /// The filters of its expectations, without duplicates.
    pub(super) fences: Vec<String>,
}

impl Unit {
    pub(super) fn new(
        requests: Vec<Request>,
        id: String,
        floor: StreamSeq,
        group: Option<u64>,
    ) -> Self {
        debug_assert!(!requests.is_empty(), "a unit carries something");
        let mut fences: Vec<String> = requests
            .iter()
            .filter_map(|request| request.fence().map(str::to_owned))
            .collect();
        fences.sort_unstable();
        fences.dedup();
        let own_id = requests.first().and_then(|request| request.msg_id.clone());
        let lane = requests.first().and_then(LaneKey::of);
        Self {
            lane,
            requests,
            id: own_id.map_or(id, |MsgId(own)| own),
            tries: 0,
            is_ambiguous: false,
            floor,
            state: State::Resting {
                until: Instant::now(),
            },
            group,
            fences,
        }
    }

    /// Number of messages.
    pub(super) fn count(&self) -> usize {
        match self.lane {
            Some(_) => 1,
            None => self.requests.iter().map(Planned::len).sum(),
        }
    }

    /// Number of records.
    pub(super) fn events(&self) -> usize {
        let contents = self.requests.iter().map(|request| &request.content);
        contents.map(Content::events).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.requests.iter().map(Request::bytes).sum()
    }

    /// Whether any caller still waits for its answer.
    pub(super) fn is_awaited(&self) -> bool {
        self.requests.iter().any(Request::is_awaited)
    }

    /// The frame with the events of all requests, if it has a lane.
    pub(super) fn frame(&self) -> Option<wire::Outgoing> {
        let LaneKey { lane, .. } = self.lane?;
        let contents = self.requests.iter().map(|request| &request.content);
        let records = contents.flat_map(Content::records);
        Some(wire::frame(frame::write(lane, records), self.events()))
    }

    /// The messages of one attempt.
    pub(super) fn messages(&self, batch_id: &str) -> Vec<Outbound> {
        if let Some(mut frame) = self.frame() {
            wire::set_msg_id(&mut frame.headers, &self.id);
            if let Some(first) = self.requests.first() {
                wire::set_expectation(&mut frame.headers, &first.expect);
            }
            return vec![Outbound {
                subject: frame.subject,
                headers: frame.headers,
                payload: frame.payload,
                is_last: true,
            }];
        }
        let count = self.count();
        let mut messages = Vec::with_capacity(count);
        for request in &self.requests {
            let watches_itself = request.fence().is_some_and(|fence| {
                let mut subjects = request.subjects();
                subjects.any(|subject| crate::subject::matches(fence, subject))
            });
            for (index, record) in request.content.messages().iter().enumerate() {
                let mut headers = record.headers.clone();
                if messages.is_empty() {
                    wire::set_msg_id(&mut headers, &self.id);
                }
                // If the records move the fence that they expect, it is checked only once, before
                // the first of them.
                if index == 0 || !watches_itself {
                    wire::set_expectation(&mut headers, &request.expect);
                }
                let is_last = messages.len() + 1 == count;
                if count > 1 {
                    wire::set_batch(&mut headers, batch_id, messages.len() + 1, is_last);
                }
                messages.push(Outbound {
                    subject: record.subject.clone(),
                    headers,
                    payload: record.payload.clone(),
                    is_last,
                });
            }
        }
        messages
    }

    /// Reports success to every caller, with its positions. `last` is the sequence of the last
    /// message.
    pub(super) fn stored(self, last: StreamSeq, duplicate: bool, positions: Positions) {
        // Of an earlier append of several records it is not known how many it had.
        if duplicate && self.has_own_id() && self.events() > 1 {
            return self.stored_before();
        }
        let (count, events) = (self.count() as u64, self.events());
        let mut next = (last.0 + 1).saturating_sub(count);
        let mut before = 0;
        for request in self.requests {
            let seqs = match self.lane {
                Some(_) => {
                    let own = before..before + request.content.events();
                    before = own.end;
                    own.map(|event| positions.of(last.0, event, events))
                        .collect()
                }
                None => request.content.seqs(next, positions),
            };
            next += request.len() as u64;
            let appended = Appended {
                seqs,
                // Only a client's id can be a duplicate for its caller; the log's own ids only make
                // its retries harmless.
                duplicate: duplicate && request.msg_id.is_some(),
            };
            request.answer(Ok(appended));
        }
    }

    /// Whether its id is one that a client chose.
    pub(super) fn has_own_id(&self) -> bool {
        self.requests.iter().any(|request| request.msg_id.is_some())
    }

    /// Reports that an append with the same id is in the log, wherever.
    pub(super) fn stored_before(self) {
        for request in self.requests {
            request.answer(Ok(Appended {
                seqs: Vec::new(),
                duplicate: true,
            }));
        }
    }

    /// Reports the same error to every caller.
    pub(super) fn failed(self, error: &AppendError) {
        for request in self.requests {
            request.answer(Err(error.clone()));
        }
    }

    /// Reports to every caller that its fence has moved.
    pub(super) fn conflicted(self, positions: Positions) {
        for request in self.requests {
            let error = match &request.expect {
                Expectation::LastOn { filter, seq } => AppendError::Conflict {
                    filter: filter.clone(),
                    expected: positions.last_in(seq.0),
                },
                Expectation::None => AppendError::Rejected {
                    reason: "the log saw an expectation where there was none".to_owned(),
                },
            };
            request.answer(Err(error));
        }
    }

    /// Groups the requests by expectation, so that a refused fence affects no others.
    pub(super) fn by_expectation(self) -> Vec<Vec<Request>> {
        let mut groups: Vec<Vec<Request>> = Vec::new();
        for request in self.requests {
            let same = groups.iter_mut().find(|group| {
                group
                    .first()
                    .is_some_and(|first| first.expect == request.expect)
            });
            match same {
                Some(group) => group.push(request),
                None => groups.push(vec![request]),
            }
        }
        groups
    }
}
