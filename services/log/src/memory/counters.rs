//! Counters in memory, for tests: they can be made unavailable, and they can forget.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::counter::{CounterAway, CounterName, Counters};

/// Counters in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryCounters(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    totals: HashMap<String, i64>,
    calls: u64,
    is_away: bool,
}

impl MemoryCounters {
    /// Makes them unavailable, or available again.
    pub fn set_away(&self, is_away: bool) {
        self.with(|state| state.is_away = is_away);
    }

    /// Drops all totals, as a restarted server does.
    pub fn forget(&self) {
        self.with(|state| state.totals.clear());
    }

    /// Number of calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.with(|state| state.calls)
    }

    /// The total of each counter, by subject.
    #[must_use]
    pub fn totals(&self) -> HashMap<String, i64> {
        self.with(|state| state.totals.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock())
    }
}

#[async_trait]
impl Counters for MemoryCounters {
    async fn add(&self, counter: CounterName<'_>, by: i64) -> Result<i64, CounterAway> {
        // As with a network, other tasks may run before the answer arrives.
        tokio::task::yield_now().await;
        self.with(|state| {
            state.calls += 1;
            if state.is_away {
                return Err(CounterAway {
                    reason: "away".to_owned(),
                });
            }
            let total = state.totals.entry(counter.to_string()).or_default();
            *total += by;
            Ok(*total)
        })
    }
}
