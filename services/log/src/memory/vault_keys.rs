//! The stream VKEYS in memory, for tests: it can be made unavailable, and tests set its clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use waybill_domain::time::Timestamp;

use crate::subject::matches;
use crate::vault_keys::{
    KeyName, KeyStoreError, KeysOf, ListedKey, MAX_LISTED, MAX_VALUE, StoredKey, VaultKeys,
    whole_seconds,
};
use crate::{ReadError, StreamSeq};

/// Keys in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryVaultKeys {
    /// Locked for one operation at a time, never across an await.
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    messages: BTreeMap<StreamSeq, Message>,
    last: StreamSeq,
    now: Timestamp,
    is_away: bool,
    loses_answers: bool,
}

#[derive(Debug)]
struct Message {
    name: KeyName,
    key: StoredKey,
    ends: Option<Timestamp>,
}

impl MemoryVaultKeys {
    /// Makes them unavailable, or available again.
    pub fn set_away(&self, is_away: bool) {
        self.with(|state| state.is_away = is_away);
    }

    /// If set, keys are stored and erased but the answers are lost.
    pub fn lose_answers(&self, loses_answers: bool) {
        self.with(|state| state.loses_answers = loses_answers);
    }

    /// Sets the clock that dates messages and by which they expire.
    pub fn set_time(&self, now: Timestamp) {
        self.with(|state| {
            state.now = now;
            state
                .messages
                .retain(|_, message| message.ends.is_none_or(|ends| ends > now));
        });
    }

    /// All stored messages, for tests that inspect them.
    #[must_use]
    pub fn all(&self) -> Vec<ListedKey> {
        self.with(|state| state.messages.values().map(Message::listed).collect())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock())
    }

    fn read<T>(&self, act: impl FnOnce(&mut State) -> T) -> Result<T, ReadError> {
        self.with(|state| match state.is_away {
            true => Err(ReadError::Unavailable {
                reason: "away".to_owned(),
            }),
            false => Ok(act(state)),
        })
    }

    fn change<T>(
        &self,
        act: impl FnOnce(&mut State) -> Result<T, KeyStoreError>,
    ) -> Result<T, KeyStoreError> {
        self.with(|state| {
            if state.is_away {
                let reason = "away".to_owned();
                return Err(KeyStoreError::Unavailable { reason });
            }
            let done = act(state)?;
            if state.loses_answers {
                let reason = "the answer was lost".to_owned();
                return Err(KeyStoreError::Unknown { reason });
            }
            Ok(done)
        })
    }
}

impl Message {
    fn listed(&self) -> ListedKey {
        ListedKey {
            name: self.name.clone(),
            key: self.key.clone(),
        }
    }
}

impl State {
    fn newest(&self, name: &KeyName) -> Option<&StoredKey> {
        let mut messages = self.messages.values().rev();
        let found = messages.find(|message| message.name == *name);
        found.map(|message| &message.key)
    }

    fn put(
        &mut self,
        name: &KeyName,
        value: Bytes,
        expected: StreamSeq,
        ttl: Option<Duration>,
    ) -> Result<StreamSeq, KeyStoreError> {
        if value.len() > MAX_VALUE {
            let reason = format!("a key may take {MAX_VALUE} bytes, not {}", value.len());
            return Err(KeyStoreError::Rejected { reason });
        }
        match self.newest(name) {
            Some(newest) if newest.seq > expected && newest.value == value => return Ok(newest.seq),
            newest if newest.map_or(StreamSeq(0), |newest| newest.seq) != expected => {
                return Err(KeyStoreError::Conflict { expected });
            }
            _ => {}
        }
        self.last = self.last.next();
        let ends = ttl.map(|ttl| self.now.plus(Duration::from_secs(whole_seconds(ttl))));
        let (seq, at) = (self.last, self.now);
        let message = Message {
            name: name.clone(),
            key: StoredKey { seq, at, value },
            ends,
        };
        self.messages.insert(seq, message);
        Ok(seq)
    }

    fn erase_before(&mut self, name: &KeyName, keep: StreamSeq) -> u64 {
        let before = self.messages.len();
        self.messages
            .retain(|seq, message| message.name != *name || *seq >= keep);
        (before - self.messages.len()) as u64
    }
}

#[async_trait]
impl VaultKeys for MemoryVaultKeys {
    async fn put(
        &self,
        name: &KeyName,
        value: Bytes,
        expected: StreamSeq,
        ttl: Option<Duration>,
    ) -> Result<StreamSeq, KeyStoreError> {
        self.change(|state| state.put(name, value, expected, ttl))
    }

    async fn get(&self, name: &KeyName) -> Result<Option<StoredKey>, ReadError> {
        self.read(|state| state.newest(name).cloned())
    }

    async fn erase(&self, name: &KeyName) -> Result<u64, KeyStoreError> {
        self.change(|state| Ok(state.erase_before(name, StreamSeq(u64::MAX))))
    }

    async fn erase_before(&self, name: &KeyName, keep: StreamSeq) -> Result<u64, KeyStoreError> {
        self.change(|state| Ok(state.erase_before(name, keep)))
    }

    async fn list(
        &self,
        of: &KeysOf,
        after: StreamSeq,
        limit: usize,
    ) -> Result<Vec<ListedKey>, ReadError> {
        let filters = of.filters();
        self.read(|state| {
            let wanted = state.messages.range(after.next()..).filter(|(_, message)| {
                let subject = message.name.to_string();
                filters.iter().any(|filter| matches(filter, &subject))
            });
            let page = wanted.take(limit.min(MAX_LISTED));
            page.map(|(_, message)| message.listed()).collect()
        })
    }
}
