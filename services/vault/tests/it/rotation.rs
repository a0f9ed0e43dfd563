//! Moving all stored keys to another KEK, while others write and erase, with a second rotation, and
//! after being killed at any point.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use waybill_domain::id::{Environment, EpochId, TaskId, TeamId, TokenId};
use waybill_domain::partition::Partition;
use waybill_domain::time::Timestamp;
use waybill_log::memory::MemoryVaultKeys;
use waybill_log::{JetStreamLog, KeyName, KeysOf, NatsConfig, StreamSeq, VaultKeys, connect};
use waybill_testkit::{NatsServer, eventually};
use waybill_vault::{
    Envelope, KekId, KekSecret, OpenRing, Place, Rewrapped, Rotation, RotationError, SealRing,
    SecretBytes, SenderSecret, WrappedKey, census, fresh_rings, open, rewrap_all, seal,
};

mod cluster;
mod killed;

const NONE: StreamSeq = StreamSeq(0);
/// Nothing that succeeds takes longer, even on two busy cores.
const SOON: Duration = Duration::from_secs(20);

/// A record, as an event and the key store have it together.
struct Record {
    name: KeyName,
    envelope: Envelope,
    value: Vec<u8>,
    /// The wrapped key that was stored first.
    first: WrappedKey,
}

/// Both rings of a deployment, as the process that rotates has them.
#[derive(Clone)]
struct Rings {
    sealing: SealRing,
    opening: OpenRing,
}

impl Rings {
    fn fresh() -> Self {
        let (sealing, opening) = fresh_rings().expect("random");
        Self { sealing, opening }
    }

    fn newest(&self) -> KekId {
        self.sealing.keks()[0]
    }

    /// The rings with another KEK.
    fn with_successor(&self) -> Self {
        let kek = KekSecret::generate().expect("random");
        Self {
            sealing: self.sealing.with_kek(kek.public().clone()).expect("room"),
            opening: self.opening.with_kek(kek).expect("room"),
        }
    }

    /// The rings with only the newest KEK, as after the older ones are destroyed.
    fn newest_alone(&self) -> Self {
        let old = self.sealing.keks().into_iter().skip(1);
        let both = (self.sealing.clone(), self.opening.clone());
        let (sealing, opening) = old.fold(both, |(sealing, opening), kek| {
            let sealing = sealing.without_kek(kek).expect("not the last");
            (sealing, opening.without_kek(kek).expect("not the last"))
        });
        Self { sealing, opening }
    }

    fn rotation<'a>(&'a self, keys: &'a dyn VaultKeys) -> Rotation<'a> {
        Rotation {
            keys,
            unwrapper: &self.opening,
            wrapper: &self.sealing,
            to: self.newest(),
            task_ttl: Some(Duration::from_secs(3600)),
        }
    }

    async fn rotate(&self, keys: &dyn VaultKeys) -> Result<Rewrapped, RotationError> {
        rewrap_all(&self.rotation(keys), &mut |_| {}).await
    }

    /// Seals a value and stores the key, as a gateway does.
    async fn store(&self, keys: &dyn VaultKeys, name: KeyName, kek: KekId) -> Record {
        let value = format!("Bearer sk-of-{name}").into_bytes();
        let secret = SecretBytes::new(value.clone());
        let place = Place::of(&name);
        let sealed = seal(&self.sealing, Some(kek), &place.context(), &secret).await;
        let (envelope, first) = sealed.expect("sealed");
        let bytes = Bytes::copy_from_slice(&first.to_bytes());
        keys.put(&name, bytes, NONE, None).await.expect("stored");
        Record {
            name,
            envelope,
            value,
            first,
        }
    }

    /// Opens a record with the key that is stored now.
    async fn open(&self, keys: &dyn VaultKeys, record: &Record) -> Option<Vec<u8>> {
        let stored = keys.get(&record.name).await.expect("readable")?;
        let wrapped = WrappedKey::parse(&stored.value).expect("a wrapped key");
        let place = Place::of(&record.name);
        let value = open(&self.opening, &place.context(), &record.envelope, &wrapped).await;
        Some(value.expect("authentic").expose().to_vec())
    }
}

/// Every third name is that of a task's or an epoch's key; both environments occur.
fn name(number: u16) -> KeyName {
    let environment = [Environment::Live, Environment::Test][usize::from(number % 2)];
    let team = TeamId::new(Timestamp(1), u128::from(number % 5)).in_environment(environment);
    if number.is_multiple_of(3) {
        let partition = Partition::new(number % 8).expect("in range");
        if number.is_multiple_of(2) {
            let epoch = EpochId::new(Timestamp(2), u128::from(number));
            return KeyName::Epoch {
                partition,
                team,
                epoch,
            };
        }
        let task = TaskId::new(Timestamp(2), u128::from(number), partition);
        return KeyName::Task { team, task };
    }
    KeyName::Token {
        team,
        token: TokenId::new(Timestamp(2), u128::from(number)),
        version: u32::from(number % 4) + 1,
    }
}

async fn a_log() -> (NatsServer, JetStreamLog) {
    let server = NatsServer::start().await.expect("a server");
    let config = NatsConfig::at(server.url());
    let log = connect(&config).await.expect("connected");
    (server, log)
}

async fn listed(keys: &dyn VaultKeys) -> Vec<KeyName> {
    let page = keys.list(&KeysOf::All, NONE, 1000).await.expect("readable");
    page.into_iter().map(|listed| listed.name).collect()
}

/// Whether any file below the folder contains these bytes.
fn lies_in(folder: &Path, bytes: &[u8]) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return lies_in(&path, bytes);
        }
        let content = fs::read(&path).unwrap_or_default();
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

/// The part of a wrapped key that is unique to it.
fn trace(wrapped: &WrappedKey) -> [u8; 48] {
    let bytes = wrapped.to_bytes();
    std::array::from_fn(|i| bytes[41 + i])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_moves_while_others_are_made_and_erased() {
    let (server, log) = a_log().await;
    let before = Rings::fresh();
    let old = before.newest();
    let mut records = Vec::new();
    for number in 0..60 {
        records.push(before.store(&log, name(number), old).await);
    }
    let traces: Vec<_> = records.iter().map(|record| trace(&record.first)).collect();
    assert!(
        traces.iter().all(|trace| lies_in(&server.store(), trace)),
        "the control: what is stored is found in the files"
    );

    let rings = before.with_successor();
    let log = Arc::new(log);
    let rotating = tokio::spawn({
        let (log, rings) = (Arc::clone(&log), rings.clone());
        async move { rings.rotate(&*log).await }
    });
    let second = rings.rotate(&*log);
    let making = async {
        let mut made = Vec::new();
        for number in 100..130 {
            // A gateway that does not know the new KEK yet, and all the others.
            let kek = if number < 110 { old } else { rings.newest() };
            made.push(rings.store(&*log, name(number), kek).await);
        }
        made
    };
    let erasing = async {
        for record in records.iter().rev().step_by(2) {
            log.erase(&record.name).await.expect("erased");
        }
    };
    let (rotating, second, made, ()) = tokio::join!(rotating, second, making, erasing);
    rotating.expect("no panic").expect("rotated");
    second.expect("rotated as well");
    // What the late gateway sealed after both walks had passed.
    rings.rotate(&*log).await.expect("rotated");

    let left = rings.newest_alone();
    let is_erased = |index: usize| (records.len() - 1 - index).is_multiple_of(2);
    for (index, record) in records.iter().enumerate() {
        let expected = (!is_erased(index)).then(|| record.value.clone());
        assert_eq!(left.open(&*log, record).await, expected, "{}", record.name);
    }
    for record in &made {
        assert_eq!(left.open(&*log, record).await.as_ref(), Some(&record.value));
    }
    let counted = census(&*log).await.expect("readable");
    assert_eq!(counted.under(rings.newest()), 60, "30 left and 30 made");
    assert_eq!(counted.total(), 60, "one message each, none under {old}");
    let made = made.iter().map(|record| trace(&record.first)).take(10);
    for trace in traces.into_iter().chain(made) {
        eventually(SOON, async || !lies_in(&server.store(), &trace))
            .await
            .expect("no older wrapped key is left in the stream's files");
    }
}

#[tokio::test]
async fn a_rotation_says_what_it_did() {
    let keys = MemoryVaultKeys::default();
    let rings = Rings::fresh();
    for number in 0..7 {
        rings.store(&keys, name(number), rings.newest()).await;
    }
    let after = rings.with_successor();
    let mut told = Vec::new();
    let done = rewrap_all(&after.rotation(&keys), &mut |done| {
        told.push(done.rewrapped);
    })
    .await;
    let expected = Rewrapped {
        walks: 2,
        rewrapped: 7,
        already: 7,
        ..Rewrapped::default()
    };
    assert_eq!(done.expect("rotated"), expected);
    assert_eq!(told[..7], [1, 2, 3, 4, 5, 6, 7]);
    let again = after.rotate(&keys).await.expect("rotated");
    assert_eq!((again.walks, again.rewrapped, again.already), (1, 0, 7));
}

#[tokio::test]
async fn a_key_that_does_not_open_stays_and_is_named() {
    let keys = MemoryVaultKeys::default();
    let (rings, stranger) = (Rings::fresh(), Rings::fresh());
    let good = rings.store(&keys, name(1), rings.newest()).await;
    let foreign = stranger.store(&keys, name(2), stranger.newest()).await;
    let forger = Rings {
        sealing: rings
            .sealing
            .with_sender(SenderSecret::generate().expect("random")),
        opening: rings.opening.clone(),
    };
    forger.store(&keys, name(4), rings.newest()).await;
    let noise = Bytes::from_static(b"no wrapped key");
    keys.put(&name(5), noise, NONE, None).await.expect("stored");

    let after = rings.with_successor();
    let done = after.rotate(&keys).await.expect("rotated");
    assert_eq!((done.rewrapped, done.refused), (1, 3));
    let refused: HashSet<_> = done
        .refusals
        .into_iter()
        .map(|refused| refused.name)
        .collect();
    assert_eq!(refused, [name(2), name(4), name(5)].into());
    assert_eq!(after.open(&keys, &good).await, Some(good.value));
    assert_eq!(
        stranger.open(&keys, &foreign).await,
        Some(foreign.value.clone())
    );
    let counted = census(&keys).await.expect("readable");
    assert_eq!((counted.malformed, counted.total()), (1, 4));
}

#[tokio::test]
async fn a_newer_key_that_nobody_can_read_does_not_cost_the_older() {
    let keys = MemoryVaultKeys::default();
    let rings = Rings::fresh();
    let record = rings.store(&keys, name(1), rings.newest()).await;
    let noise = Bytes::from_static(b"no wrapped key");
    let last = keys.get(&name(1)).await.expect("readable").expect("there");
    keys.put(&name(1), noise, last.seq, None)
        .await
        .expect("stored");
    let done = rings.with_successor().rotate(&keys).await.expect("rotated");
    assert_eq!((done.rewrapped, done.finished, done.refused), (0, 0, 2));
    let first = keys.all().swap_remove(0);
    assert_eq!(first.key.value, record.first.to_bytes().as_slice());
}

#[tokio::test]
async fn rings_that_do_not_fit_each_other_change_nothing() {
    let keys = MemoryVaultKeys::default();
    let rings = Rings::fresh();
    rings.store(&keys, name(1), rings.newest()).await;
    let before = keys.all();

    let mut unheard = rings.with_successor();
    unheard.opening = rings.opening.clone();
    let refused = unheard.rotate(&keys).await.expect_err("workers lack it");
    assert!(matches!(refused, RotationError::NotHeld(kek) if kek == unheard.newest()));

    let mut untrusted = rings.with_successor();
    untrusted.sealing = untrusted
        .sealing
        .with_sender(SenderSecret::generate().expect("random"));
    let refused = untrusted
        .rotate(&keys)
        .await
        .expect_err("workers refuse it");
    assert!(matches!(refused, RotationError::Misfit(_)), "{refused}");
    assert_eq!(keys.all(), before);
}

#[tokio::test]
async fn lost_answers_are_asked_for_again() {
    let keys = MemoryVaultKeys::default();
    let rings = Rings::fresh();
    let record = rings.store(&keys, name(1), rings.newest()).await;
    let after = rings.with_successor();
    keys.lose_answers(true);
    let healing = async {
        eventually(SOON, async || keys.all().len() == 2)
            .await
            .expect("the put, whose answer is lost");
        keys.lose_answers(false);
    };
    let (done, ()) = tokio::join!(after.rotate(&keys), healing);
    assert_eq!(done.expect("rotated").rewrapped, 1);
    assert_eq!(keys.all().len(), 1);
    let left = after.newest_alone();
    assert_eq!(left.open(&keys, &record).await, Some(record.value));
}

#[tokio::test]
async fn the_key_of_a_task_goes_on_to_run_out_and_that_of_a_token_does_not() {
    let keys = MemoryVaultKeys::default();
    let rings = Rings::fresh();
    for number in [1, 3] {
        rings.store(&keys, name(number), rings.newest()).await;
    }
    rings.with_successor().rotate(&keys).await.expect("rotated");
    keys.set_time(Timestamp(3_599_999));
    assert_eq!(listed(&keys).await.len(), 2);
    keys.set_time(Timestamp(3_600_000));
    assert_eq!(listed(&keys).await, [name(1)]);
}
