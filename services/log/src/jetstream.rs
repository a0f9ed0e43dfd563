//! The log on NATS JetStream.
//!
//! [`connect`] opens three connections (for appends, for reading stored messages, and for
//! everything else), creates or checks the streams according to `nats/streams.toml`, and returns a
//! [`JetStreamLog`]. In it, [`append`] is a group commit, `read` uses direct gets, `events` finds
//! records in the messages that are read, `tail` is an ordered pull consumer or waits for hints, and `leases` and
//! `snapshots` are a KV bucket and an object store.

mod api;
mod append;
pub mod archive;
mod captures;
mod checkpoints;
mod config;
mod connect;
mod counters;
mod events;
mod fence;
mod format;
pub mod inspect;
mod leases;
mod mail;
mod provision;
mod read;
mod sizes;
mod snapshots;
mod stored;
mod tail;
mod tallies;
mod trust;
mod vault_keys;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use waybill_domain::access::fence::FenceRecord;
use waybill_domain::audit::TreeId;
use waybill_domain::id::{TaskId, TeamId};
use waybill_domain::partition::PartitionCount;
use waybill_domain::trust::{Seen, Trust};

use crate::{
    Addition, Append, AppendError, AppendFailure, Appended, Bounds, Capture, Captures, Checkpoints,
    CounterAway, CounterName, Counters, FenceAway, Fences, KeyName, KeyStoreError, KeysOf, Lease,
    LeaseError, Leases, ListedKey, Log, MailQueue, QueuedLetter, ReadError, Record, Snapshots,
    StoredCheckpoint, StoredKey, Stream, StreamSeq, Tail, Tallies, Tally, TallyAway, VaultKeys,
    Wanted,
};
use api::Api;
use append::{Appender, Settings};
use captures::CaptureStore;
use checkpoints::CheckpointStore;
pub use config::{
    NatsConfig, Reads, Secret, ServerUrl, SignaturesConfig, StreamsConfig, TlsConfig,
};
pub use connect::{ConnectError, connect, connect_alone};
use counters::CounterStore;
use events::Events;
use fence::FenceStore;
use leases::LeaseStore;
use mail::MailStore;
use provision::Provisioned;
pub use provision::{Difference, ProvisionError};
use read::Reader;
pub use sizes::{Storage, StreamSize};
use snapshots::SnapshotStore;
use stored::ReadConnection;
use tail::JetStreamTail;
use tail::pump::Pumped;
use tallies::TallyStore;
use trust::Verifier;
use trust::tail::{ControlVerifier, VerifiedTail};
use vault_keys::VaultKeyStore;

/// How long a leader that is cut off from the others may go on answering from its old state. It
/// steps down when it has heard from no majority for 10 s, and checks that every 10 s.
const DEPOSED_FOR: Duration = Duration::from_secs(20);

/// The log on JetStream. Clones share its connections; when the last clone is dropped, appends that
/// are under way end without an answer.
#[derive(Clone)]
pub struct JetStreamLog {
    shared: Arc<Shared>,
}

struct Shared {
    verifier: Verifier,
    api: Api,
    control: Logged,
    tasks: Logged,
    leases: LeaseStore,
    counters: CounterStore,
    tallies: TallyStore,
    checkpoints: CheckpointStore,
    vault_keys: VaultKeyStore,
    mail: MailStore,
    captures: CaptureStore,
    fence: FenceStore,
    snapshots: SnapshotStore,
    partitions: PartitionCount,
    deposed_for: Duration,
    _reach: Option<AbortOnDropHandle<()>>,
}

/// One of the two streams.
struct Logged {
    appender: Appender,
    events: Events,
}

/// The connections that [`connect`] has opened, and what it has found out about the streams.
struct Parts {
    /// On a connection that carries no stored messages.
    api: Api,
    readers: ReadConnection,
    append_client: async_nats::Client,
    append_connected: watch::Receiver<u64>,
    /// Of CONTROL and TASKS.
    states: [Provisioned; 2],
    partitions: PartitionCount,
    identity: String,
    trust: Arc<Trust>,
    /// Moves connections away from servers that do not reach the leaders.
    reach: Option<AbortOnDropHandle<()>>,
}

impl JetStreamLog {
    async fn new(config: &NatsConfig, parts: Parts) -> Result<Self, async_nats::SubscribeError> {
        let is_replicated = config.streams.is_replicated();
        let [control, tasks] = parts.states;
        let logged = async |stream: Stream, state: Provisioned| {
            let reader = Reader::new(&parts.api, &parts.readers, stream.name());
            let settings = Settings {
                stream,
                client: parts.append_client.clone(),
                connected: parts.append_connected.clone(),
                reader: reader.clone(),
                positions: state.positions,
                is_replicated,
                last: StreamSeq(state.last_seq),
                identity: format!("{}.{}", parts.identity, stream.name()),
            };
            let trust = (stream == Stream::Control).then(|| Arc::clone(&parts.trust));
            let appender = Appender::start(settings, config.request_timeout(), trust).await?;
            let events = Events::new(reader, state.positions);
            Ok::<Logged, async_nats::SubscribeError>(Logged { appender, events })
        };
        let control = logged(Stream::Control, control).await?;
        let shared = Shared {
            verifier: Verifier::new(Arc::clone(&parts.trust), control.events.messages().clone()),
            control,
            tasks: logged(Stream::Tasks, tasks).await?,
            counters: CounterStore::new(&parts.api, &config.streams),
            tallies: TallyStore::new(&parts),
            checkpoints: CheckpointStore::new(&parts),
            vault_keys: VaultKeyStore::new(&parts),
            mail: MailStore::new(&parts),
            captures: CaptureStore::new(&parts),
            fence: FenceStore::new(&parts),
            leases: LeaseStore::new(&parts.api, &parts.readers, config.streams.lease_ttl()),
            snapshots: SnapshotStore::new(&parts.api, &parts.readers),
            deposed_for: if is_replicated {
                DEPOSED_FOR
            } else {
                Duration::ZERO
            },
            partitions: parts.partitions,
            _reach: parts.reach,
            api: parts.api,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The connection, for request and reply between roles. Nothing may be published to the streams through it.
    #[must_use]
    pub fn client(&self) -> async_nats::Client {
        self.shared.api.client().clone()
    }

    /// The number of partitions that TASKS was made with. It never changes.
    #[must_use]
    pub fn partitions(&self) -> PartitionCount {
        self.shared.partitions
    }

    /// Whose signatures count, and from which position of CONTROL on they are required.
    #[must_use]
    pub fn trust(&self) -> &Arc<Trust> {
        self.shared.fence.trust()
    }

    /// Removes parts of interrupted snapshots from the object store, if they were already unused
    /// `older_than` ago, and returns the number of snapshots that they belonged to. A process that
    /// writes snapshots does this by itself from time to time.
    pub async fn sweep_snapshots(&self, older_than: Duration) -> Result<usize, ReadError> {
        self.shared.snapshots.sweep(older_than).await
    }

    /// Whether the connection is up now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.api.client().connection_state() == async_nats::connection::State::Connected
    }

    /// Checks the signature of a record of CONTROL that was read by itself, and marks the record if
    /// it does not count.
    async fn judged(
        &self,
        stream: Stream,
        record: Option<Record>,
    ) -> Result<Option<Record>, ReadError> {
        let (Stream::Control, Some(mut record)) = (stream, record.clone()) else {
            return Ok(record);
        };
        let mut seen = Seen::since(record.seq, &[]);
        let records = std::slice::from_mut(&mut record);
        self.shared.verifier.judge(records, &mut seen).await?;
        Ok(Some(record))
    }

    fn logged(&self, stream: Stream) -> &Logged {
        match stream {
            Stream::Control => &self.shared.control,
            Stream::Tasks => &self.shared.tasks,
        }
    }
}

#[async_trait]
impl Log for JetStreamLog {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.logged(append.stream).appender.append(append).await
    }

    fn tail(&self, stream: Stream, filters: Vec<String>, from: StreamSeq) -> Box<dyn Tail> {
        let api = self.shared.api.clone();
        let events = &self.logged(stream).events;
        let name = stream.name();
        let seen = Seen::since(StreamSeq(from.0.max(1)), &filters);
        let tail = JetStreamTail::new(api, events, name, filters, from);
        let positions = events.positions();
        match stream {
            Stream::Tasks => Box::new(Pumped::new(tail, positions)),
            Stream::Control => {
                let verifier = ControlVerifier::new(self.shared.verifier.clone(), seen);
                let tail = VerifiedTail::new(name, tail, verifier);
                Box::new(Pumped::new(tail, positions))
            }
        }
    }

    async fn read(&self, stream: Stream, seq: StreamSeq) -> Result<Option<Record>, ReadError> {
        let read = self.logged(stream).events.read(seq).await?;
        self.judged(stream, read).await
    }

    async fn read_message(&self, stream: Stream, seq: StreamSeq) -> Result<Vec<Record>, ReadError> {
        match stream {
            Stream::Control => Ok(self.read(stream, seq).await?.into_iter().collect()),
            Stream::Tasks => self.shared.tasks.events.read_message(seq).await,
        }
    }

    async fn range(
        &self,
        stream: Stream,
        filters: &[String],
        from: StreamSeq,
        to: StreamSeq,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let events = &self.logged(stream).events;
        let mut records = events.range(filters, from, to, limit).await?;
        if stream == Stream::Control {
            let mut seen = Seen::since(from, filters);
            self.shared.verifier.judge(&mut records, &mut seen).await?;
        }
        Ok(records)
    }

    async fn last(&self, stream: Stream, filter: &str) -> Result<Option<Record>, ReadError> {
        let last = self.logged(stream).events.last(filter).await?;
        self.judged(stream, last).await
    }

    async fn bounds(&self, stream: Stream) -> Result<Bounds, ReadError> {
        self.logged(stream).events.bounds().await
    }

    fn deposed_for(&self) -> Duration {
        self.shared.deposed_for
    }

    fn last_append_failed(&self, stream: Stream) -> Option<AppendFailure> {
        self.logged(stream).appender.last_failed()
    }

    async fn purge_tasks(&self, first: StreamSeq) -> Result<u64, ReadError> {
        self.shared.tasks.events.purge(first).await
    }
}

#[async_trait]
impl Counters for JetStreamLog {
    async fn add(&self, counter: CounterName<'_>, by: i64) -> Result<i64, CounterAway> {
        self.shared.counters.add(counter, by).await
    }
}

#[async_trait]
impl Tallies for JetStreamLog {
    async fn tally(&self, id: &str, additions: &[Addition]) -> Result<(), TallyAway> {
        self.shared.tallies.add(id, additions).await
    }

    async fn tallies(&self, wanted: Wanted) -> Result<Vec<Tally>, ReadError> {
        self.shared.tallies.read(&wanted).await
    }
}

#[async_trait]
impl Captures for JetStreamLog {
    async fn capture(&self, capture: Capture) {
        self.shared.captures.put(&capture).await;
    }

    async fn captures(&self, team: &TeamId, task: TaskId) -> Result<Vec<Capture>, ReadError> {
        self.shared.captures.of_task(team, task).await
    }
}

#[async_trait]
impl Fences for JetStreamLog {
    fn trust(&self) -> Arc<Trust> {
        Arc::clone(self.shared.fence.trust())
    }

    async fn publish(&self, record: FenceRecord, within: Duration) -> Result<StreamSeq, FenceAway> {
        self.shared.fence.publish(record, within).await
    }

    fn records(&self, from: StreamSeq) -> Box<dyn Tail> {
        self.shared.fence.records(from)
    }

    async fn fence_bounds(&self) -> Result<Bounds, ReadError> {
        self.shared.fence.bounds().await
    }

    fn deposed_for(&self) -> Duration {
        self.shared.deposed_for
    }

    async fn reconnect(&self) {
        self.shared.fence.reconnect().await;
    }
}

#[async_trait]
impl Checkpoints for JetStreamLog {
    async fn append_checkpoint(
        &self,
        tree: &TreeId,
        after: StreamSeq,
        value: Bytes,
    ) -> Result<StreamSeq, AppendError> {
        self.shared.checkpoints.append(tree, after, value).await
    }

    async fn last_checkpoint(&self, tree: &TreeId) -> Result<Option<StoredCheckpoint>, ReadError> {
        self.shared.checkpoints.last(tree).await
    }

    async fn checkpoints(
        &self,
        tree: &TreeId,
        from: StreamSeq,
        limit: usize,
    ) -> Result<Vec<StoredCheckpoint>, ReadError> {
        self.shared.checkpoints.list(tree, from, limit).await
    }
}

#[async_trait]
impl VaultKeys for JetStreamLog {
    async fn put(
        &self,
        name: &KeyName,
        value: Bytes,
        expected: StreamSeq,
        ttl: Option<Duration>,
    ) -> Result<StreamSeq, KeyStoreError> {
        let keys = &self.shared.vault_keys;
        keys.put(name, value, expected, ttl).await
    }

    async fn get(&self, name: &KeyName) -> Result<Option<StoredKey>, ReadError> {
        self.shared.vault_keys.get(name).await
    }

    async fn erase(&self, name: &KeyName) -> Result<u64, KeyStoreError> {
        let keys = &self.shared.vault_keys;
        keys.erase_before(name, StreamSeq(u64::MAX)).await
    }

    async fn erase_before(&self, name: &KeyName, keep: StreamSeq) -> Result<u64, KeyStoreError> {
        self.shared.vault_keys.erase_before(name, keep).await
    }

    async fn list(
        &self,
        of: &KeysOf,
        after: StreamSeq,
        limit: usize,
    ) -> Result<Vec<ListedKey>, ReadError> {
        self.shared.vault_keys.list(of, after, limit).await
    }
}

#[async_trait]
impl MailQueue for JetStreamLog {
    async fn post(&self, letter: Bytes) -> Result<(), AppendError> {
        self.shared.mail.post(letter).await
    }

    async fn take(&self, within: Duration) -> Result<Option<QueuedLetter>, ReadError> {
        self.shared.mail.take(within).await
    }

    async fn finish(&self, letter: &QueuedLetter) -> Result<(), ReadError> {
        self.shared.mail.finish(letter).await
    }

    async fn postpone(&self, letter: &QueuedLetter, pause: Duration) -> Result<(), ReadError> {
        self.shared.mail.postpone(letter, pause).await
    }

    async fn extend(&self, letter: &QueuedLetter) -> Result<(), ReadError> {
        self.shared.mail.extend(letter).await
    }

    async fn waiting(&self) -> Result<u64, ReadError> {
        self.shared.mail.waiting().await
    }
}

#[async_trait]
impl Leases for JetStreamLog {
    fn ttl(&self) -> Duration {
        self.shared.leases.ttl()
    }

    async fn acquire(&self, name: &str, holder: &str) -> Result<Lease, LeaseError> {
        self.shared.leases.acquire(name, holder).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.shared.leases.renew(lease).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.shared.leases.release(lease).await
    }

    async fn holders(&self) -> Result<Vec<(String, String)>, LeaseError> {
        self.shared.leases.holders().await
    }
}

#[async_trait]
impl Snapshots for JetStreamLog {
    async fn put(&self, name: &str, value: Bytes) -> Result<(), ReadError> {
        self.shared.snapshots.put(name, value).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, ReadError> {
        self.shared.snapshots.get(name).await
    }
}
