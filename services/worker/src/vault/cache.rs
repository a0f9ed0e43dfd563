//! A short-lived cache of opened data keys and their envelopes, since most tasks of a team use the
//! same few tokens.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use waybill_domain::id::TokenId;

use super::open::Opened;

/// How long a key is cached.
const HELD_FOR: Duration = Duration::from_secs(30);
/// Limit of cached envelopes and keys, in bytes.
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// Memory of an entry besides its envelope, in bytes.
const ENTRY_BYTES: usize = 256;

/// Keys by token, with their version. First in, first out: the first entry is also the oldest.
#[derive(Debug, Default)]
pub(super) struct KeyCache {
    by_token: HashMap<TokenId, Entry>,
    order: VecDeque<(TokenId, Instant)>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    version: u32,
    since: Instant,
    opened: Arc<Opened>,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.opened.envelope_bytes() + ENTRY_BYTES
    }
}

impl KeyCache {
    pub(super) fn get(&self, token: &TokenId, version: u32, now: Instant) -> Option<Arc<Opened>> {
        let entry = self.by_token.get(token)?;
        let is_good = entry.version == version && now < entry.since + HELD_FOR;
        is_good.then(|| Arc::clone(&entry.opened))
    }

    pub(super) fn put(&mut self, token: &TokenId, version: u32, opened: Arc<Opened>, now: Instant) {
        self.forget(token);
        let entry = Entry {
            version,
            since: now,
            opened,
        };
        self.bytes += entry.bytes();
        self.by_token.insert(token.clone(), entry);
        self.order.push_back((token.clone(), now));
        self.expire(now);
    }

    pub(super) fn forget(&mut self, token: &TokenId) {
        if let Some(entry) = self.by_token.remove(token) {
            self.bytes -= entry.bytes();
        }
    }

    /// Drops entries that are too old or too many.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((token, since)) = self.order.front() {
            let held = self.by_token.get(token);
            let is_stale = held.is_none_or(|entry| entry.since != *since);
            if !is_stale && now < *since + HELD_FOR && self.bytes <= MAX_BYTES {
                break;
            }
            let Some((token, _)) = self.order.pop_front() else {
                break;
            };
            if !is_stale {
                self.forget(&token);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_token.len()
    }
}

#[cfg(test)]
mod tests {
    use waybill_domain::time::Timestamp;

    use super::*;

    fn token(number: u128) -> TokenId {
        TokenId::new(Timestamp(1), number)
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_held_for_a_moment_and_of_one_version() {
        let mut cache = KeyCache::default();
        let opened = Arc::new(Opened::for_tests(10));
        cache.put(&token(1), 2, Arc::clone(&opened), Instant::now());
        assert!(cache.get(&token(1), 2, Instant::now()).is_some());
        assert!(cache.get(&token(1), 1, Instant::now()).is_none());
        tokio::time::advance(HELD_FOR).await;
        assert!(cache.get(&token(1), 2, Instant::now()).is_none());
        cache.expire(Instant::now());
        assert_eq!((cache.len(), cache.bytes, cache.order.len()), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_came_again_is_not_dropped_with_its_former_self() {
        let mut cache = KeyCache::default();
        let opened = Arc::new(Opened::for_tests(10));
        cache.put(&token(1), 1, Arc::clone(&opened), Instant::now());
        tokio::time::advance(HELD_FOR / 2).await;
        cache.put(&token(1), 2, Arc::clone(&opened), Instant::now());
        tokio::time::advance(HELD_FOR / 2).await;
        cache.expire(Instant::now());
        assert!(cache.get(&token(1), 2, Instant::now()).is_some());
        cache.forget(&token(1));
        assert_eq!(cache.bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_make_room() {
        let mut cache = KeyCache::default();
        let large = Arc::new(Opened::for_tests(60_000));
        for number in 0..1_000 {
            cache.put(&token(number), 1, Arc::clone(&large), Instant::now());
        }
        assert!(cache.bytes <= MAX_BYTES);
        assert!(cache.get(&token(0), 1, Instant::now()).is_none());
        assert!(cache.get(&token(999), 1, Instant::now()).is_some());
    }
}
