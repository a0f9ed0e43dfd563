//! The setup for tests of the whole worker: a real nats-server, a sink to call, and workers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use waybill_domain::access::fence::FenceTiming;
use waybill_domain::access::plan::Catalogue;
use waybill_domain::actor::Actor;
use waybill_domain::command::{OwnerReply, OwnerRequest, subject};
use waybill_domain::egress::Egress;
use waybill_domain::event::{TaskCreated, TaskEvent};
use waybill_domain::id::{QueueName, TaskId, TeamId};
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_domain::signature::MasterSecret;
use waybill_domain::task::{Limits, TaskRequest, TaskSpec};
use waybill_domain::time::Timestamp;
use waybill_log::subject::{CREATED, TaskSubject};
use waybill_log::{
    Append, Atomicity, Expectation, JetStreamLog, Log, NatsConfig, NewRecord, Record, Stream,
    StreamSeq, connect,
};
use waybill_sink::{Sink, SinkOptions};
use waybill_testkit::{NatsOptions, NatsServer, eventually};
use waybill_worker::attempt::Signer;
use waybill_worker::bulkhead::Caps;
use waybill_worker::callout::{CalloutConfig, Callouts};
use waybill_worker::calls::CallExecutor;
use waybill_worker::captured::Capturing;
use waybill_worker::command::{NatsCommands, NearOwners};
use waybill_worker::partition::SnapshotPace;
use waybill_worker::payloads::Payloads;
use waybill_worker::queues::{Queues, QueuesParts, QueuesService};
use waybill_worker::vault::{Vault, VaultService};
use waybill_worker::{Clock, RetentionConfig, SystemClock, Worker, WorkerConfig, WorkerParts};

/// Time limit for anything that must happen, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const PARTITIONS: u16 = 4;
pub(crate) const MASTER: [u8; 32] = [42; 32];
/// A short lease, so that tests of crashes do not wait long.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(2);

pub(crate) struct Rig {
    pub(crate) nats: NatsServer,
    pub(crate) log: JetStreamLog,
    pub(crate) sink: Sink,
    lease_ttl_s: u64,
    /// The retention of workers started from now on.
    pub(crate) retention: RetentionConfig,
    /// How long stopping workers let calls go on.
    pub(crate) drain: Duration,
    /// How many calls a worker makes at once.
    pub(crate) slots: usize,
    /// Whether workers log in as the user `worker`, with only that user's permissions.
    is_guarded: bool,
    /// When workers that are started from now on write snapshots.
    pub(crate) pace: SnapshotPace,
    /// Whether workers that are started from now on follow what is decided about queues.
    pub(crate) has_queues: bool,
}

/// A worker of a test, with its own connections.
pub(crate) struct Hand {
    pub(crate) worker: Worker,
    stop: CancellationToken,
}

impl Hand {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.worker.stopped().await;
    }

    /// Stops it like a crash: no lease is given back.
    pub(crate) fn dies(self) {
        drop(self.worker);
    }
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with_leases_of(LEASE_TTL).await
    }

    pub(crate) async fn with_leases_of(ttl: Duration) -> Self {
        let nats = NatsServer::start().await.expect("nats-server starts");
        let config = config(&nats.url(), ttl.as_secs());
        Self::over(nats, config, false).await
    }

    /// A rig whose server has the users of `nats/permissions.conf`.
    pub(crate) async fn guarded() -> Self {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../nats/permissions.conf");
        let mut extra = std::fs::read_to_string(file).expect("the users");
        for user in ["admin", "gateway", "worker", "projector"] {
            let variable = format!("$NATS_{}_PASSWORD", user.to_uppercase());
            extra = extra.replace(&variable, &format!("\"{user}-secret\""));
        }
        let options = NatsOptions {
            extra,
            ..NatsOptions::default()
        };
        let nats = NatsServer::start_with(options)
            .await
            .expect("nats-server starts");
        let config = as_user(config(&nats.url(), LEASE_TTL.as_secs()), "admin");
        Self::over(nats, config, true).await
    }

    async fn over(nats: NatsServer, config: NatsConfig, is_guarded: bool) -> Self {
        let log = connect(&config).await.expect("the log is there");
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let sink = Sink::start(addr, SinkOptions::default())
            .await
            .expect("the sink starts");
        Self {
            nats,
            log,
            sink,
            lease_ttl_s: config.streams.lease_ttl_s,
            retention: RetentionConfig::default(),
            drain: Duration::from_secs(5),
            slots: 256,
            is_guarded,
            pace: SnapshotPace::default(),
            has_queues: false,
        }
    }

    pub(crate) async fn worker(&self, name: &str) -> Hand {
        self.worker_at(name, &self.nats.url()).await
    }

    /// Starts a worker that connects to NATS at the given address, such as a proxy's.
    pub(crate) async fn worker_at(&self, name: &str, url: &str) -> Hand {
        self.worker_with(name, url, |_| None).await
    }

    /// The same, with a vault that uses the worker's connections.
    pub(crate) async fn worker_with(
        &self,
        name: &str,
        url: &str,
        vault: impl FnOnce(&JetStreamLog) -> Option<(Arc<Vault>, VaultService)>,
    ) -> Hand {
        let mut config = config(url, self.lease_ttl_s);
        if self.is_guarded {
            config = as_user(config, "worker");
        }
        let log = connect(&config).await.expect("the log is there");
        let (vault, service) = vault(&log).unzip();
        let callouts = Callouts::new(CalloutConfig {
            egress: Egress::loopback(),
            ..CalloutConfig::default()
        })
        .expect("a valid configuration");
        let executor = CallExecutor {
            log: Arc::new(log.clone()),
            target: Arc::new(callouts),
            signer: Signer::new(master()),
            payloads: Payloads::new(1_000_000),
            clock: Arc::new(SystemClock),
            vault,
            captures: Some(Capturing::new(Arc::new(log.clone()))),
        };
        let parts = WorkerParts {
            executor: Arc::new(executor),
            leases: Arc::new(log.clone()),
            snapshots: Arc::new(log.clone()),
            commands: Arc::new(NatsCommands::new(log.client(), NearOwners::default())),
            vault: service,
            queues: self.has_queues.then(|| queues(&log)),
            pressure: None,
        };
        let config = WorkerConfig {
            name: name.into(),
            partitions: partitions(),
            retention: self.retention,
            slots: self.slots,
            caps: Caps::default(),
            drain: self.drain,
        };
        let stop = CancellationToken::new();
        Hand {
            worker: Worker::start_with(config, parts, self.pace, stop.clone()),
            stop,
        }
    }

    /// Creates a task, as a gateway would.
    pub(crate) async fn create(&self, path: &str, change: impl FnOnce(&mut TaskRequest)) -> TaskId {
        let created = self.a_task(path, change);
        let id = created.id;
        self.append(vec![created]).await;
        id
    }

    pub(crate) fn a_task(&self, path: &str, change: impl FnOnce(&mut TaskRequest)) -> TaskCreated {
        let mut request = TaskRequest {
            target_url: Some(self.sink.url(path)),
            body: Some("{\"hello\":1}".into()),
            ..TaskRequest::default()
        };
        change(&mut request);
        let limits = Limits {
            max_wait: Duration::from_secs(3_600),
            max_delay: Duration::from_secs(3_600),
        };
        let now = SystemClock.now();
        let spec = TaskSpec::check(request, &limits, now).expect("a valid request");
        let partition = Partition::of(&team(), &spec.queue, partitions());
        let entropy = u128::from(getrandom::u64().expect("entropy"));
        spec.accept(TaskId::new(now, entropy, partition), team(), None, now)
    }

    pub(crate) async fn append(&self, tasks: Vec<TaskCreated>) {
        let records = tasks.into_iter().map(|task| {
            let subject = TaskSubject::event(task.id.partition(), &task.team, &task.queue, CREATED);
            let subject = subject.to_string();
            let event = TaskEvent::Created(Box::new(task));
            NewRecord {
                subject,
                event: event.name(),
                actor: Actor::System("test".into()).to_string(),
                traceparent: None,
                origin: None,
                payload: event.encode().into(),
            }
        });
        let append = Append {
            stream: Stream::Tasks,
            records: records.collect(),
            expect: Expectation::None,
            atomicity: Atomicity::Ordered,
            msg_id: None,
        };
        self.log.append(append).await.expect("appended");
    }

    /// Asks the owner of a task to cancel it.
    pub(crate) async fn cancel(&self, task: TaskId) -> OwnerReply {
        let request = OwnerRequest::Cancel {
            task,
            team: team(),
            actor: Actor::Operator("test".into()),
            traceparent: None,
        };
        let bytes = request.encode();
        let reply = self
            .log
            .client()
            .request(subject(task.partition()), bytes.into())
            .await
            .expect("a reply");
        OwnerReply::decode(&reply.payload).expect("an owner's reply")
    }

    /// All events in TASKS.
    pub(crate) async fn records(&self) -> Vec<Record> {
        self.log
            .range(
                Stream::Tasks,
                &[],
                StreamSeq(0),
                StreamSeq(u64::MAX),
                1_000_000,
            )
            .await
            .expect("the log can be read")
    }

    /// The events of one task.
    pub(crate) async fn events(&self, task: TaskId) -> Vec<TaskEvent> {
        let mut events = by_task(&self.records().await);
        events.remove(&task).unwrap_or_default()
    }

    pub(crate) async fn kinds(&self, task: TaskId) -> Vec<&'static str> {
        self.events(task)
            .await
            .iter()
            .map(TaskEvent::kind)
            .collect()
    }

    /// Waits until the last event of a task is of a kind.
    pub(crate) async fn until(&self, task: TaskId, kind: &str) -> Vec<TaskEvent> {
        eventually(PATIENCE, async || {
            self.kinds(task).await.last() == Some(&kind)
        })
        .await
        .unwrap_or_else(|error| panic!("{task} does not come to {kind}: {error}"));
        self.events(task).await
    }

    /// Waits until each worker owns the given number of partitions.
    pub(crate) async fn until_shares(&self, workers: &[&Hand], shares: &[usize]) {
        let owned = || -> Vec<usize> { workers.iter().map(|hand| hand.worker.owned()).collect() };
        eventually(PATIENCE, async || owned() == shares)
            .await
            .unwrap_or_else(|error| panic!("shared as {:?}: {error}", owned()));
    }

    /// The current fence of a partition.
    pub(crate) async fn fence(&self, partition: Partition) -> StreamSeq {
        let subject = TaskSubject::owner(partition).to_string();
        let last = self.log.last(Stream::Tasks, &subject).await;
        last.expect("the log can be read")
            .map_or(StreamSeq(0), |record| record.seq)
    }

    /// Checks that every task has exactly one end, and attempts without gaps.
    pub(crate) async fn assert_orderly(&self) {
        for (task, events) in by_task(&self.records().await) {
            let mut attempts = 0;
            let mut ends = 0;
            for event in &events {
                match event {
                    TaskEvent::Started(e) => {
                        assert_eq!(ends, 0, "{task} starts after its end: {events:?}");
                        assert_eq!(e.attempt, attempts + 1, "{task}: {events:?}");
                        attempts = e.attempt;
                    }
                    TaskEvent::Succeeded(_)
                    | TaskEvent::Dead(_)
                    | TaskEvent::Cancelled(_)
                    | TaskEvent::Expired(_) => ends += 1,
                    _ => {}
                }
            }
            assert_eq!(ends, 1, "{task} has one end: {events:?}");
        }
    }
}

pub(crate) fn by_task(records: &[Record]) -> BTreeMap<TaskId, Vec<TaskEvent>> {
    let mut lives: BTreeMap<TaskId, Vec<TaskEvent>> = BTreeMap::new();
    for record in records {
        if let Ok(event) = TaskEvent::decode(&record.event, &record.payload) {
            lives.entry(event.id()).or_default().push(event);
        }
    }
    lives
}

pub(crate) fn config(url: &str, lease_ttl_s: u64) -> NatsConfig {
    let mut config = NatsConfig::at(url);
    config.streams.partitions = Some(PARTITIONS);
    config.streams.lease_ttl_s = lease_ttl_s;
    config.request_timeout_ms = 3_000;
    config
}

fn as_user(config: NatsConfig, user: &str) -> NatsConfig {
    NatsConfig {
        user: Some(user.to_owned()),
        password: Some(format!("{user}-secret").into()),
        ..config
    }
}

fn queues(log: &JetStreamLog) -> QueuesService {
    let (_, service) = Queues::new(QueuesParts {
        log: Arc::new(log.clone()),
        fences: Arc::new(log.clone()),
        nats: log.client(),
        timing: FenceTiming::lasting(LEASE_TTL),
        partitions: partitions(),
        plans: Arc::clone(Catalogue::builtin()),
    });
    service
}

pub(crate) fn partitions() -> PartitionCount {
    PartitionCount::new(PARTITIONS).expect("a valid count")
}

pub(crate) fn team() -> TeamId {
    TeamId::new(Timestamp(1_700_000_000_000), 1)
}

pub(crate) fn master() -> MasterSecret {
    MasterSecret::new(MASTER.to_vec()).expect("long enough")
}

/// Names of queues, one in each partition.
pub(crate) fn queue_in_each_partition() -> Vec<String> {
    let mut found = BTreeMap::new();
    for number in 0..1_000 {
        let name = format!("queue-{number}");
        let queue = QueueName::parse(&name).expect("a valid name");
        found
            .entry(Partition::of(&team(), &queue, partitions()))
            .or_insert(name);
    }
    found.into_values().collect()
}
