//! A rotation that is killed at each of its steps, and the one that follows it.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::Notify;
use waybill_log::{KeyStoreError, ListedKey, ReadError, StoredKey};

use super::*;

/// Whether the fatal call still reaches the store.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reaches {
    Store,
    Nobody,
}

/// A key store whose caller is killed at the n-th call: from then on, no call returns.
struct Fatal {
    keys: Arc<dyn VaultKeys>,
    calls: AtomicUsize,
    nth: usize,
    reaches: Reaches,
    killed: Notify,
}

impl Fatal {
    /// Passes a call on, unless it is the fatal one or comes after it.
    async fn pass<T>(&self, call: impl Future<Output = T>) -> T {
        let nth = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if nth < self.nth {
            return call.await;
        }
        if nth == self.nth && self.reaches == Reaches::Store {
            call.await;
        }
        if nth == self.nth {
            self.killed.notify_one();
        }
        pending().await
    }
}

#[async_trait]
impl VaultKeys for Fatal {
    async fn put(
        &self,
        name: &KeyName,
        value: Bytes,
        expected: StreamSeq,
        ttl: Option<Duration>,
    ) -> Result<StreamSeq, KeyStoreError> {
        self.pass(self.keys.put(name, value, expected, ttl)).await
    }

    async fn get(&self, name: &KeyName) -> Result<Option<StoredKey>, ReadError> {
        self.pass(self.keys.get(name)).await
    }

    async fn erase(&self, name: &KeyName) -> Result<u64, KeyStoreError> {
        self.pass(self.keys.erase(name)).await
    }

    async fn erase_before(&self, name: &KeyName, keep: StreamSeq) -> Result<u64, KeyStoreError> {
        self.pass(self.keys.erase_before(name, keep)).await
    }

    async fn list(
        &self,
        of: &KeysOf,
        after: StreamSeq,
        limit: usize,
    ) -> Result<Vec<ListedKey>, ReadError> {
        self.pass(self.keys.list(of, after, limit)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_killed_anywhere_is_resumed() {
    const RECORDS: u16 = 4;
    let (server, log) = a_log().await;
    let keys: Arc<dyn VaultKeys> = Arc::new(log);
    let mut rings = Rings::fresh();
    let mut records = Vec::new();
    for number in 0..RECORDS {
        records.push(rings.store(&*keys, name(number), rings.newest()).await);
    }
    let (mut nth, mut left_two) = (0, 0);
    let mut is_killed = true;
    while is_killed {
        nth += 1;
        for reaches in [Reaches::Nobody, Reaches::Store] {
            let next = rings.with_successor();
            let fatal = Fatal {
                keys: Arc::clone(&keys),
                calls: AtomicUsize::new(0),
                nth,
                reaches,
                killed: Notify::new(),
            };
            is_killed = tokio::select! {
                done = next.rotate(&fatal) => { done.expect("rotated"); false }
                () = fatal.killed.notified() => true,
            };
            // The process is dead. Whatever it left, workers with both KEKs open everything.
            for record in &records {
                let value = next.open(&*keys, record).await;
                assert_eq!(value.as_ref(), Some(&record.value), "{nth} {reaches:?}");
            }
            left_two += usize::from(listed(&*keys).await.len() > records.len());

            next.rotate(&*keys).await.expect("resumed");
            let counted = census(&*keys).await.expect("readable");
            assert_eq!(counted.under(next.newest()), u64::from(RECORDS));
            assert_eq!(counted.total(), u64::from(RECORDS), "one message each");
            rings = next.newest_alone();
            for record in &records {
                let value = rings.open(&*keys, record).await;
                assert_eq!(value.as_ref(), Some(&record.value), "{nth} {reaches:?}");
            }
        }
    }
    assert!(nth > usize::from(RECORDS) * 2, "each put and each erasure");
    assert!(left_two > 0, "some were killed between the two");
    for record in &records {
        let trace = trace(&record.first);
        eventually(SOON, async || !lies_in(&server.store(), &trace))
            .await
            .expect("the first wrapped keys are gone from the stream's files");
    }
}

#[tokio::test]
async fn what_is_erased_between_the_look_and_the_put_stays_erased() {
    let (_server, log) = a_log().await;
    let rings = Rings::fresh();
    let record = rings.store(&log, name(1), rings.newest()).await;
    let after = rings.with_successor();
    // Killed when it is about to put: it has read the key and rewrapped it.
    let keys: Arc<dyn VaultKeys> = Arc::new(log);
    let seen = keys
        .get(&record.name)
        .await
        .expect("readable")
        .expect("there");
    let place = Place::of(&record.name);
    let context = place.context();
    let old = WrappedKey::parse(&seen.value).expect("a wrapped key");
    let to = Some(after.newest());
    let new = waybill_vault::rewrap(&after.opening, &after.sealing, to, &context, &old)
        .await
        .expect("rewrapped");
    assert_eq!(keys.erase(&record.name).await, Ok(1));
    let bytes = Bytes::copy_from_slice(&new.to_bytes());
    let put = keys.put(&record.name, bytes, seen.seq, None).await;
    assert!(
        matches!(put, Err(KeyStoreError::Conflict { .. })),
        "{put:?}"
    );
    let done = after.rotate(&*keys).await.expect("rotated");
    assert_eq!((done.rewrapped, done.finished), (0, 0));
    assert_eq!(after.open(&*keys, &record).await, None);
}
