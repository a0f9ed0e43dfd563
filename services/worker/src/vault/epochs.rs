//! A short-lived cache of what opens the headers of the tasks of an epoch, so that its key is not read
//! again for each of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use waybill_log::KeyName;
use waybill_vault::EpochOpener;

/// How long a key is cached, as for tokens.
const HELD_FOR: Duration = Duration::from_secs(30);
/// Limit of cached keys: some hundred bytes each.
const MAX_HELD: usize = 10_000;

/// Keys of epochs by name. First in, first out.
#[derive(Default)]
pub(super) struct EpochKeys(Mutex<Held>);

#[derive(Default)]
struct Held {
    by_name: HashMap<KeyName, Arc<EpochOpener>>,
    /// The oldest first; each name once.
    order: VecDeque<(KeyName, Instant)>,
}

impl EpochKeys {
    pub(super) fn get(&self, name: &KeyName) -> Option<Arc<EpochOpener>> {
        let mut held = self.0.lock();
        held.forget_old(Instant::now());
        held.by_name.get(name).cloned()
    }

    pub(super) fn put(&self, name: &KeyName, key: &Arc<EpochOpener>) {
        let (mut held, now) = (self.0.lock(), Instant::now());
        if held.by_name.insert(name.clone(), Arc::clone(key)).is_none() {
            held.order.push_back((name.clone(), now));
        }
        held.forget_old(now);
    }

    pub(super) fn forget_old(&self) {
        self.0.lock().forget_old(Instant::now());
    }
}

impl Held {
    fn forget_old(&mut self, now: Instant) {
        while let Some((name, since)) = self.order.front() {
            if now < *since + HELD_FOR && self.order.len() <= MAX_HELD {
                break;
            }
            self.by_name.remove(name);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use waybill_domain::id::{EpochId, TeamId};
    use waybill_domain::partition::Partition;
    use waybill_domain::time::Timestamp;
    use waybill_vault::DataKey;

    use super::*;

    fn name(number: u128) -> KeyName {
        KeyName::Epoch {
            partition: Partition::default(),
            team: TeamId::new(Timestamp(1), 1),
            epoch: EpochId::new(Timestamp(1), number),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_held_for_a_moment_also_when_it_was_read_twice() {
        let keys = EpochKeys::default();
        let key = Arc::new(EpochOpener::new(&DataKey::generate().expect("randomness")));
        keys.put(&name(1), &key);
        tokio::time::advance(HELD_FOR / 2).await;
        keys.put(&name(1), &key);
        assert!(keys.get(&name(1)).is_some() && keys.get(&name(2)).is_none());
        tokio::time::advance(HELD_FOR / 2).await;
        assert!(keys.get(&name(1)).is_none());
        assert_eq!(Arc::strong_count(&key), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_make_room() {
        let keys = EpochKeys::default();
        let key = Arc::new(EpochOpener::new(&DataKey::generate().expect("randomness")));
        for number in 0..=MAX_HELD as u128 {
            keys.put(&name(number), &key);
        }
        assert!(keys.get(&name(0)).is_none() && keys.get(&name(1)).is_some());
    }
}
