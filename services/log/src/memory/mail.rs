//! The stream MAIL in memory, for tests: it can be made unavailable, and it can be full.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use waybill_domain::time::Timestamp;

use super::shared::system_time;
use crate::mail::{HOLD, MailQueue, QueuedLetter, check_length};
use crate::{AppendError, ReadError, StreamSeq};

/// Letters in memory. Clones share them. Holds and pauses pass by tokio's clock, which tests may pause.
#[derive(Clone, Default)]
pub struct MemoryMail(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Held for one step at a time, never across an await.
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    letters: BTreeMap<StreamSeq, StoredLetter>,
    last: StreamSeq,
    /// Letters that fit; `None`: any number.
    room: Option<usize>,
    is_away: bool,
}

struct StoredLetter {
    value: Bytes,
    at: Timestamp,
    attempts: u32,
    /// Nobody is given it before.
    due: Instant,
}

impl MemoryMail {
    /// From now on it does not answer, or answers again.
    pub fn set_away(&self, is_away: bool) {
        self.with(|state| state.is_away = is_away);
    }

    /// From now on only so many letters fit.
    pub fn set_room(&self, letters: usize) {
        self.with(|state| state.room = Some(letters));
    }

    /// What is stored, for a test that wants to look.
    #[must_use]
    pub fn stored(&self) -> Vec<Bytes> {
        let values = |state: &mut State| {
            let letters = state.letters.values();
            letters.map(|letter| letter.value.clone()).collect()
        };
        self.with(values)
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let state = &self.0.state;
        let done = act(&mut state.lock());
        self.0.changed.notify_waiters();
        done
    }

    fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> Result<T, ReadError> {
        self.with(|state| match state.is_away {
            true => Err(ReadError::Unavailable {
                reason: "away".to_owned(),
            }),
            false => Ok(act(state)),
        })
    }
}

impl State {
    fn post(&mut self, value: Bytes) -> Result<(), AppendError> {
        if self.is_away {
            let reason = "away".to_owned();
            return Err(AppendError::Unavailable { reason });
        }
        check_length(&value)?;
        if self.room.is_some_and(|room| self.letters.len() >= room) {
            let reason = "maximum messages exceeded".to_owned();
            return Err(AppendError::Full { reason });
        }
        self.last = self.last.next();
        let letter = StoredLetter {
            value,
            at: system_time(),
            attempts: 0,
            due: Instant::now(),
        };
        self.letters.insert(self.last, letter);
        Ok(())
    }

    fn take(&mut self) -> Option<QueuedLetter> {
        let now = Instant::now();
        let mut letters = self.letters.iter_mut();
        let (&seq, letter) = letters.find(|(_, letter)| letter.due <= now)?;
        letter.attempts += 1;
        letter.due = now + HOLD;
        Some(QueuedLetter {
            seq,
            attempt: letter.attempts,
            at: letter.at,
            value: letter.value.clone(),
            hold: String::new(),
        })
    }

    fn next_due(&self) -> Option<Instant> {
        self.letters.values().map(|letter| letter.due).min()
    }

    fn set_due(&mut self, seq: StreamSeq, pause: Duration) {
        if let Some(letter) = self.letters.get_mut(&seq) {
            letter.due = Instant::now() + pause;
        }
    }
}

#[async_trait]
impl MailQueue for MemoryMail {
    async fn post(&self, letter: Bytes) -> Result<(), AppendError> {
        // As over a network, others may run before the answer is there.
        tokio::task::yield_now().await;
        self.with(|state| state.post(letter))
    }

    async fn take(&self, within: Duration) -> Result<Option<QueuedLetter>, ReadError> {
        let until = Instant::now() + within;
        loop {
            // Registered before looking, so that a change between the look and the wait is not missed.
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            let (taken, next_due) = {
                let mut state = self.0.state.lock();
                if state.is_away {
                    let reason = "away".to_owned();
                    return Err(ReadError::Unavailable { reason });
                }
                changed.as_mut().enable();
                (state.take(), state.next_due())
            };
            if taken.is_some() || Instant::now() >= until {
                return Ok(taken);
            }
            let wake = next_due.map_or(until, |due| due.min(until));
            // Both are cancellation safe: nothing is taken before the next look.
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    async fn finish(&self, letter: &QueuedLetter) -> Result<(), ReadError> {
        self.change(|state| drop(state.letters.remove(&letter.seq)))
    }

    async fn postpone(&self, letter: &QueuedLetter, pause: Duration) -> Result<(), ReadError> {
        self.change(|state| state.set_due(letter.seq, pause))
    }

    async fn extend(&self, letter: &QueuedLetter) -> Result<(), ReadError> {
        self.change(|state| state.set_due(letter.seq, HOLD))
    }

    async fn waiting(&self) -> Result<u64, ReadError> {
        self.change(|state| state.letters.len() as u64)
    }
}
