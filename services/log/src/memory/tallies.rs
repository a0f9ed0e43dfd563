//! Tallies in memory, for tests: they can be made unavailable, and they count their calls.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::ReadError;
use crate::tally::{Addition, Tallies, Tally, TallyAway, Wanted};

/// Tallies in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryTallies(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    tallies: BTreeMap<String, Tally>,
    ids: HashSet<String>,
    calls: u64,
    is_away: bool,
    loses_answers: bool,
}

impl MemoryTallies {
    /// Makes them unavailable, or available again.
    pub fn set_away(&self, is_away: bool) {
        self.with(|state| state.is_away = is_away);
    }

    /// If set, additions are counted but their answers are lost.
    pub fn lose_answers(&self, loses_answers: bool) {
        self.with(|state| state.loses_answers = loses_answers);
    }

    /// Number of calls of `tally` so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.with(|state| state.calls)
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock())
    }
}

impl State {
    fn add(&mut self, addition: &Addition) {
        let name = addition.name.clone();
        let tally = self.tallies.entry(name.to_string()).or_insert(Tally {
            name,
            count: 0,
            seen: None,
        });
        tally.count += addition.count;
        tally.seen.clone_from(&addition.seen);
    }
}

#[async_trait]
impl Tallies for MemoryTallies {
    async fn tally(&self, id: &str, additions: &[Addition]) -> Result<(), TallyAway> {
        let lost = || TallyAway {
            reason: "away".to_owned(),
        };
        self.with(|state| {
            state.calls += 1;
            if state.is_away {
                return Err(lost());
            }
            if state.ids.insert(id.to_owned()) {
                for addition in additions {
                    state.add(addition);
                }
            }
            if state.loses_answers {
                return Err(lost());
            }
            Ok(())
        })
    }

    async fn tallies(&self, wanted: Wanted) -> Result<Vec<Tally>, ReadError> {
        let filters = wanted.filters();
        let matches = |subject: &str| {
            filters.iter().any(|filter| match filter.strip_suffix('*') {
                Some(start) => subject.starts_with(start),
                None => subject == filter,
            })
        };
        self.with(|state| {
            if state.is_away {
                return Err(ReadError::Unavailable {
                    reason: "away".to_owned(),
                });
            }
            let found = state.tallies.iter().filter(|(subject, _)| matches(subject));
            Ok(found.map(|(_, tally)| tally.clone()).collect())
        })
    }
}
