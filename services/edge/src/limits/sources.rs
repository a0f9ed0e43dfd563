//! Failed attempts to authenticate, by source network, in this process alone.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use waybill_domain::access::limit::{Meter, Network, PartitionKey, Window};
use waybill_domain::access::plan::Policy;
use waybill_domain::time::Timestamp;

/// Failures that can be counted at once.
const SHARDS: usize = 16;
/// Networks that are remembered. Beyond, those are forgotten that failed longest ago: an attacker with so many networks is not stopped
/// here, but keys have too many bits for that to matter.
const MAX_NETWORKS: usize = 100_000;

/// Failures of one network in one window.
#[derive(Debug, Clone, Copy)]
struct Failures {
    window: u64,
    count: u64,
}

/// Two generations: when the young one is full it takes the place of the old one, which is forgotten.
#[derive(Default)]
struct Shard {
    young: HashMap<Network, Failures>,
    old: HashMap<Network, Failures>,
}

/// Failures by network.
pub(super) struct Sources {
    policy: Arc<Policy>,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

impl Sources {
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        Self {
            policy,
            hasher: RandomState::new(),
            shards: Default::default(),
        }
    }

    pub(super) fn failed(&self, network: Network, now: Timestamp) {
        let window = Window::at(now, &self.policy).id();
        let mut shard = self.shard(network);
        let Shard { young, old } = &mut *shard;
        if !young.contains_key(&network) {
            if young.len() >= MAX_NETWORKS / SHARDS / 2 {
                *old = std::mem::take(young);
            }
            let known = old.remove(&network);
            young.insert(network, known.unwrap_or(Failures { window, count: 0 }));
        }
        let Some(failures) = young.get_mut(&network) else {
            return;
        };
        if failures.window != window {
            *failures = Failures { window, count: 0 };
        }
        failures.count = (failures.count + 1).min(self.policy.q());
    }

    /// Where a network stands.
    pub(super) fn meter(&self, network: Network, now: Timestamp) -> Meter {
        let window = Window::at(now, &self.policy);
        let shard = self.shard(network);
        let known = shard.young.get(&network);
        let count = match known.or_else(|| shard.old.get(&network)) {
            Some(failures) if failures.window == window.id() => failures.count,
            _ => 0,
        };
        drop(shard);
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
            let mut shard = shard.lock();
            let Shard { young, old } = &mut *shard;
            for generation in [young, old] {
                generation.retain(|_, failures| failures.window == window);
                if generation.is_empty() {
                    *generation = HashMap::new();
                }
            }
        }
    }

    /// Networks that are remembered.
    pub(super) fn len(&self) -> usize {
        let len = |shard: &Mutex<Shard>| {
            let shard = shard.lock();
            shard.young.len() + shard.old.len()
        };
        self.shards.iter().map(len).sum()
    }

    fn shard(&self, network: Network) -> MutexGuard<'_, Shard> {
        #[expect(clippy::cast_possible_truncation, reason = "a hash")]
        let index = self.hasher.hash_one(network) as usize % SHARDS;
        self.shards[index].lock()
    }
}
