//! The appender's reactions to answers.

use std::time::{Duration, Instant};

use super::answer::{self, Answer};
use super::appender::Sender;
use super::locate::{Located, Wanted, locate};
use super::queue::unknown;
use super::unit::State;
use crate::{AppendError, ReadError};

/// Shortest and longest pause before a unit is sent again.
const REST: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(250));

/// Why an append is searched for in the log.
#[derive(Debug, Clone, Copy)]
pub(super) enum Why {
    /// The server said that its id is already stored.
    StoredBefore,
    /// Its fence has moved since an earlier attempt that was not answered, perhaps by that attempt
    /// itself.
    Conflict,
}

impl Sender {
    pub(super) async fn on_answer(&mut self, message: &async_nats::Message) {
        let token = message.subject.rsplit('.').next().unwrap_or_default();
        let Some((number, tried)) = token
            .split_once('-')
            .and_then(|(unit, tried)| Some((unit.parse().ok()?, tried.parse::<u32>().ok()?)))
        else {
            return;
        };
        let (Some(unit), Some(answer)) = (self.units.get(&number), answer::read(message)) else {
            return;
        };
        // "Stored" is final for any attempt. Other answers count only for the latest attempt.
        let is_latest = tried == unit.tries;
        if let State::InFlight { since } = unit.state {
            self.heard.answer_to(since, Instant::now());
            let is_new = matches!(
                answer,
                Answer::Stored {
                    duplicate: false,
                    ..
                }
            );
            if is_latest && is_new {
                self.heard.stored(since);
            }
        }
        let (is_ambiguous, has_own_id) = (unit.is_ambiguous, unit.has_own_id());
        if answer == Answer::Leaderless {
            self.is_leaderless = true;
        } else if std::mem::take(&mut self.is_leaderless) {
            self.wake();
        }
        match answer {
            Answer::Stored { last, duplicate } => {
                self.last = self.last.max(last);
                if let Some(unit) = self.take(number) {
                    unit.stored(last, duplicate, self.settings.positions);
                }
            }
            // Its id is a client's, so it may be in the log since before this process began.
            Answer::StoredBefore if is_latest && has_own_id => {
                if let Some(unit) = self.take(number) {
                    unit.stored_before();
                }
            }
            Answer::StoredBefore if is_latest => self.look_for(number, Why::StoredBefore),
            Answer::Busy(reason) if is_latest => self.rest(number, &reason),
            Answer::Leaderless if is_latest => self.rest(number, "the stream has no leader"),
            // A stream with one replica checks the fence before the id. So a repetition is refused
            // if its first attempt was stored and moved the fence, or if the fence has moved since.
            Answer::Conflict if is_latest && is_ambiguous => {
                self.look_for(number, Why::Conflict);
            }
            Answer::Conflict if is_latest => self.on_conflict(number).await,
            Answer::Full(reason) if is_latest => {
                self.on_refused(number, &AppendError::Full { reason });
            }
            Answer::Refused(reason) if is_latest => {
                self.on_refused(number, &AppendError::Rejected { reason });
            }
            _ => {}
        }
    }

    /// Handles a moved fence; nothing of the unit is stored.
    async fn on_conflict(&mut self, number: u64) {
        let Some(unit) = self.take(number) else {
            return;
        };
        let alike = unit
            .requests
            .windows(2)
            .all(|pair| pair[0].expect == pair[1].expect);
        if alike {
            unit.conflicted(self.settings.positions);
            return;
        }
        let group = self.next_unit;
        for requests in unit.by_expectation() {
            self.send_new(requests, Some(group)).await;
        }
    }

    fn on_refused(&mut self, number: u64, refused: &AppendError) {
        let Some(unit) = self.take(number) else {
            return;
        };
        if unit.is_ambiguous {
            unit.failed(&unknown(&refused.to_string()));
        } else if unit.requests.len() == 1 {
            unit.failed(refused);
        } else {
            // Send each request alone, so that only the refused one fails.
            for mut request in unit.requests.into_iter().rev() {
                request.progress.not_stored();
                request.goes_alone = true;
                self.put_back(request);
            }
        }
    }

    /// Pauses a unit before it is sent again.
    fn rest(&mut self, number: u64, reason: &str) {
        let Some(unit) = self.units.get(&number) else {
            return;
        };
        tracing::debug!(
            reason,
            tries = unit.tries,
            "an append was not acknowledged; sending it again"
        );
        if !unit.is_ambiguous {
            for request in &unit.requests {
                request.progress.not_stored();
            }
        }
        let until = Instant::now() + pause(unit.tries);
        self.set_aside(number, State::Resting { until });
    }

    fn look_for(&mut self, number: u64, why: Why) {
        let Some(wanted) = self.units.get(&number).and_then(Wanted::of) else {
            return;
        };
        self.set_aside(number, State::Locating);
        let reader = self.settings.reader.clone();
        self.locating
            .spawn(async move { (number, why, locate(&reader, &wanted).await) });
    }

    pub(super) async fn on_located(
        &mut self,
        number: u64,
        why: Why,
        located: Result<Located, ReadError>,
    ) {
        match (located, why) {
            (Ok(Located::Whole { last }), _) => {
                self.last = self.last.max(last);
                if let Some(unit) = self.take(number) {
                    unit.stored(last, true, self.settings.positions);
                }
            }
            (Ok(Located::Partial { first }), _) => {
                tracing::error!(%first, "the log holds only a part of an atomic batch; its outcome is reported as unknown");
                if let Some(unit) = self.take(number) {
                    unit.failed(&unknown("the log holds only a part of the batch"));
                }
            }
            (Ok(Located::Nowhere), Why::Conflict) => self.on_conflict(number).await,
            (Ok(Located::Nowhere), Why::StoredBefore) => {
                self.rest_in_doubt(number, "a stored batch was not found yet");
            }
            (Err(error), _) => self.rest_in_doubt(number, &error.to_string()),
        }
    }

    /// The same for a unit that may already be stored.
    fn rest_in_doubt(&mut self, number: u64, reason: &str) {
        if let Some(unit) = self.units.get_mut(&number) {
            unit.is_ambiguous = true;
        }
        self.rest(number, reason);
    }
}

/// The pause before the next attempt: it doubles, with jitter so that competing writers do not
/// collide again.
fn pause(tries: u32) -> Duration {
    let (shortest, longest) = REST;
    let doubled = shortest.saturating_mul(1 << tries.min(8)).min(longest);
    let jitter = getrandom::u32().unwrap_or(0) % 1000;
    doubled / 2 + doubled * jitter / 2000
}
