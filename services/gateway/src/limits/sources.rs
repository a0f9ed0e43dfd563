//! Failed attempts to authenticate, by source network, in this process alone.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use waybill_domain::access::limit::{Meter, Network, PartitionKey, Window};
use waybill_domain::access::plan::Policy;
use waybill_domain::time::Timestamp;

/// Failures that can be counted at once.
const SHARDS: usize = 16;
/// Networks that are remembered. Beyond, one is forgotten for each that comes: an attacker with so many networks is not stopped here,
/// but keys have too many bits for that to matter.
const MAX_NETWORKS: usize = 100_000;
/// How many entries are looked at to find the one to forget.
const EVICTION_SAMPLE: usize = 16;

/// Failures of one network in one window.
#[derive(Debug, Clone, Copy)]
struct Failures {
    window: u64,
    count: u64,
}

/// Failures by network.
pub(super) struct Sources {
    policy: Arc<Policy>,
    hasher: RandomState,
    shards: [Mutex<HashMap<Network, Failures>>; SHARDS],
}

impl Sources {
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        Self {
            policy,
            hasher: RandomState::new(),
            shards: Default::default(),
        }
    }

    /// Counts one.
    pub(super) fn failed(&self, network: Network, now: Timestamp) {
        let window = Window::at(now, &self.policy).id();
        let mut shard = self.shard(network);
        if !shard.contains_key(&network) && shard.len() >= MAX_NETWORKS / SHARDS {
            let sample = shard.iter().take(EVICTION_SAMPLE);
            let least = sample.min_by_key(|(_, failures)| (failures.window, failures.count));
            if let Some(least) = least.map(|(network, _)| *network) {
                shard.remove(&least);
            }
        }
        let failures = shard
            .entry(network)
            .or_insert(Failures { window, count: 0 });
        if failures.window != window {
            *failures = Failures { window, count: 0 };
        }
        failures.count = (failures.count + 1).min(self.policy.q());
    }

    /// Where a network stands.
    pub(super) fn meter(&self, network: Network, now: Timestamp) -> Meter {
        let window = Window::at(now, &self.policy);
        let count = match self.shard(network).get(&network) {
            Some(failures) if failures.window == window.id() => failures.count,
            _ => 0,
        };
        let remaining = self.policy.q().saturating_sub(count);
        Meter {
            policy: Arc::clone(&self.policy),
            partition: PartitionKey::of(&network.to_string()),
            remaining,
            window,
            violated: remaining == 0,
        }
    }

    /// Forgets windows that are over.
    pub(super) fn sweep(&self, now: Timestamp) {
        let window = Window::at(now, &self.policy).id();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, failures| failures.window == window);
            if shard.capacity() > 64 && shard.len() < shard.capacity() / 4 {
                let len = shard.len();
                shard.shrink_to(2 * len);
            }
        }
    }

    /// Networks that are remembered.
    pub(super) fn len(&self) -> usize {
        let len = |shard: &Mutex<HashMap<_, _>>| {
            shard.lock().unwrap_or_else(PoisonError::into_inner).len()
        };
        self.shards.iter().map(len).sum()
    }

    fn shard(&self, network: Network) -> MutexGuard<'_, HashMap<Network, Failures>> {
        #[expect(clippy::cast_possible_truncation, reason = "a hash")]
        let index = self.hasher.hash_one(network) as usize % SHARDS;
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
