//! The log, the leases and the snapshots as a process sees them through an unreliable network.
//!
//! An append travels independently of its sender: it may arrive after the sender has crashed, been
//! stopped, or given up waiting.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use waybill_domain::dispatcher::Dispatcher;
use waybill_domain::event::{FailureKind, TaskEvent};
use waybill_domain::task::OnFailure;
use waybill_log::{
    Append, AppendError, Appended, Bounds, Lease, LeaseError, Leases, Log, ReadError, Record,
    Snapshots, Stream, StreamSeq, Tail,
};
use waybill_worker::takeover::seal;

use super::world::{LEASE_TTL, Process, Sabotage, World, lock, unknown};

/// How long the sender of an append waits for the answer.
const APPEND_DEADLINE: Duration = Duration::from_secs(5);

/// The network of one process.
#[derive(Clone)]
pub(crate) struct Network(pub(crate) Arc<Process>);

impl Network {
    fn world(&self) -> &Arc<World> {
        &self.0.world
    }

    async fn travel(&self) {
        self.0.gate().await;
        let latency = self.world().latency();
        if !latency.is_zero() {
            sleep(latency).await;
        }
    }

    async fn back(&self) {
        self.0.gate().await;
    }

    /// Simulates a request that may fail, and is harmless to repeat.
    async fn ask(&self, per_mille: u64) -> Result<(), String> {
        self.travel().await;
        if self.world().is_away() {
            sleep(Duration::from_millis(100)).await;
            self.back().await;
            return Err("the server is away".into());
        }
        if self.world().random.chance(per_mille) {
            self.back().await;
            return Err("a fault".into());
        }
        Ok(())
    }

    async fn reading(&self) -> Result<(), ReadError> {
        self.ask(self.world().faults().reads)
            .await
            .map_err(|reason| ReadError::Unavailable { reason })
    }

    async fn leasing(&self) -> Result<(), LeaseError> {
        self.ask(self.world().faults().leases)
            .await
            .map_err(|reason| LeaseError::Unavailable { reason })
    }

    fn remember(&self, lease: &Result<Lease, LeaseError>) {
        if let Ok(lease) = lease {
            lock(&self.world().leases).insert(lease.name.clone(), lease.clone());
        }
    }

    async fn leased<T>(&self, result: Result<T, LeaseError>) -> Result<T, LeaseError> {
        let world = self.world();
        let lost = world.random.chance(world.faults().leases);
        self.travel().await;
        if lost {
            return Err(LeaseError::Unavailable {
                reason: "the answer was lost".into(),
            });
        }
        result
    }
}

#[async_trait]
impl Log for Network {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.0.gate().await;
        let world = Arc::clone(self.world());
        let starts = append
            .records
            .iter()
            .any(|of| of.event == "task.started.v1");
        if starts && world.hangs.swap(false, Ordering::Relaxed) {
            return std::future::pending().await;
        }
        let (random, faults) = (&world.random, world.faults());
        if world.is_away() || random.chance(faults.refused) {
            sleep(world.latency()).await;
            self.back().await;
            return Err(AppendError::Unavailable {
                reason: "nothing was sent".into(),
            });
        }
        let late = if random.chance(faults.late) {
            random.millis(500, 15_000)
        } else {
            Duration::ZERO
        };
        let (there, home) = (world.latency() + late, world.latency());
        let request_lost = random.chance(faults.lost_request);
        let answer_lost = random.chance(faults.lost_answer);
        let patience = random.millis(0, 5_000);
        let (tx, answer) = oneshot::channel();
        let (sender, net) = (self.0.name.clone(), Arc::clone(&world));
        // Spawned on the network's behalf, not the sender's: it ends within the longest delay.
        tokio::spawn(async move {
            sleep(there).await;
            if !request_lost {
                let result = net.store(append, &sender);
                sleep(home).await;
                if !answer_lost {
                    // Sending fails if the sender no longer waits.
                    let _ = tx.send(result);
                    return;
                }
            }
            // The sender notices the broken connection sooner or later.
            sleep(patience).await;
            drop(tx);
        });
        let result = match timeout(APPEND_DEADLINE, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(unknown("the connection broke")),
            Err(_) => Err(unknown("no answer in time")),
        };
        if let Ok(appended) = &result {
            self.world()
                .ledger()
                .acknowledged(&appended.seqs, self.world().now());
        }
        self.back().await;
        result
    }

    fn tail(&self, stream: Stream, filters: Vec<String>, from: StreamSeq) -> Box<dyn Tail> {
        Box::new(LaggingTail {
            network: self.clone(),
            inner: self.world().log.tail(stream, filters, from),
            came: None,
            fails: false,
        })
    }

    async fn read(&self, stream: Stream, seq: StreamSeq) -> Result<Option<Record>, ReadError> {
        self.reading().await?;
        let record = self.world().log.read(stream, seq).await;
        self.back().await;
        record
    }

    async fn read_message(&self, stream: Stream, seq: StreamSeq) -> Result<Vec<Record>, ReadError> {
        self.reading().await?;
        let records = self.world().log.read_message(stream, seq).await;
        self.back().await;
        records
    }

    async fn range(
        &self,
        stream: Stream,
        filters: &[String],
        from: StreamSeq,
        to: StreamSeq,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        self.reading().await?;
        let records = self
            .world()
            .log
            .range(stream, filters, from, to, limit)
            .await;
        self.back().await;
        records
    }

    async fn last(&self, stream: Stream, filter: &str) -> Result<Option<Record>, ReadError> {
        self.reading().await?;
        let record = self.world().log.last(stream, filter).await;
        self.back().await;
        record
    }

    async fn bounds(&self, stream: Stream) -> Result<Bounds, ReadError> {
        self.reading().await?;
        let bounds = self.world().log.bounds(stream).await;
        self.back().await;
        bounds
    }

    async fn purge_tasks(&self, first: StreamSeq) -> Result<u64, ReadError> {
        self.reading().await?;
        let greed = match self.world().sabotage {
            Some(Sabotage::GreedyPurges) => self.world().random.below(8),
            _ => 0,
        };
        let positions = self.world().log.core().bounds(Stream::Tasks).positions;
        let wanted = positions.messages_on(first, greed);
        let purged = self.world().log.purge_tasks(wanted).await;
        self.world()
            .note(|| format!("{} purges up to {first}: {purged:?}", self.0.name));
        self.back().await;
        purged
    }
}

/// A tail that is delayed and fails now and then, but gets through in the end.
struct LaggingTail {
    network: Network,
    inner: Box<dyn Tail>,
    /// Records that are read but not delivered yet, and when they will be. Kept here, so that a
    /// dropped call loses nothing.
    came: Option<(Instant, Vec<Record>)>,
    fails: bool,
}

/// Removes from an event what a sabotaged reader does not see.
fn hide(sabotage: Option<Sabotage>, record: &mut Record) {
    let event = TaskEvent::decode(&record.event, &record.payload);
    if let (Some(Sabotage::NoHostFailures), Ok(TaskEvent::AttemptFailed(failed))) =
        (sabotage, &event)
    {
        let mut failed = failed.clone();
        failed.failure.kind = FailureKind::InvalidRequest;
        record.payload = TaskEvent::AttemptFailed(failed).encode().into();
        return;
    }
    if let (Some(Sabotage::NoPriorities), Ok(TaskEvent::PriorityChanged(changed))) =
        (sabotage, &event)
    {
        let mut changed = changed.clone();
        changed.attempts = u32::MAX;
        record.payload = TaskEvent::PriorityChanged(changed).encode().into();
        return;
    }
    if let (Some(Sabotage::NoLeases), Ok(TaskEvent::Started(started))) = (sabotage, &event) {
        let mut started = started.clone();
        started.claim = None;
        record.payload = TaskEvent::Started(started).encode().into();
        return;
    }
    if let (Some(Sabotage::NoBlocks), Ok(TaskEvent::Restated(restated))) = (sabotage, &event) {
        let mut restated = restated.clone();
        restated.blocks = None;
        record.payload = TaskEvent::Restated(restated).encode().into();
        return;
    }
    if let (Some(Sabotage::NoWaits), Ok(TaskEvent::Restated(restated))) = (sabotage, &event) {
        let mut restated = restated.clone();
        restated.member = None;
        record.payload = TaskEvent::Restated(restated).encode().into();
        return;
    }
    let Ok(TaskEvent::Created(mut created)) = event else {
        return;
    };
    if sabotage == Some(Sabotage::NoMembers) {
        created.member = None;
        record.payload = TaskEvent::Created(created).encode().into();
        return;
    }
    match (sabotage, &mut created.ordering) {
        (Some(Sabotage::NoOrder), ordering) => *ordering = None,
        (Some(Sabotage::NoOnFailure), Some(ordering)) => ordering.on_failure = OnFailure::Skip,
        (Some(Sabotage::NoFairness), _) => created.fairness_key = None,
        (Some(Sabotage::NoWeights), _) => created.fairness_weight = None,
        (Some(Sabotage::NoKeys), _) => created.once = None,
        (Some(Sabotage::NoLimits), _) => created.limits.clear(),
        (Some(Sabotage::NoSlowdowns), _) => created.on_rate_limited = None,
        _ => return,
    }
    record.payload = TaskEvent::Created(created).encode().into();
}

#[async_trait]
impl Tail for LaggingTail {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        let world = Arc::clone(self.network.world());
        loop {
            if self.came.is_none() {
                let max = 1 + world.random.below(max.min(20) as u64);
                let mut records = self
                    .inner
                    .next_batch(usize::try_from(max).unwrap_or(1))
                    .await?;
                if world.sabotage == Some(Sabotage::HolesInTails) {
                    records.retain(|_| !world.random.chance(50));
                }
                for record in &mut records {
                    hide(world.sabotage, record);
                }
                self.fails = world.random.chance(world.faults().reads);
                self.came = Some((Instant::now() + world.latency(), records));
            }
            let until = self.came.as_ref().map_or_else(Instant::now, |came| came.0);
            sleep_until(until).await;
            while world.is_away() {
                sleep(Duration::from_millis(200)).await;
            }
            self.network.0.gate().await;
            if std::mem::take(&mut self.fails) {
                return Err(ReadError::Unavailable {
                    reason: "a fault".into(),
                });
            }
            match self.came.take() {
                Some((_, records)) if !records.is_empty() => return Ok(records),
                _ => {}
            }
        }
    }
}

#[async_trait]
impl Leases for Network {
    fn ttl(&self) -> Duration {
        LEASE_TTL
    }

    async fn acquire(&self, name: &str, holder: &str) -> Result<Lease, LeaseError> {
        self.leasing().await?;
        let lease = self.world().log.acquire(name, holder).await;
        self.world()
            .note(|| format!("{holder} acquires {name}: {}", lease.is_ok()));
        self.remember(&lease);
        self.leased(lease).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.leasing().await?;
        let renewed = self.world().log.renew(lease).await;
        self.remember(&renewed);
        self.leased(renewed).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.leasing().await?;
        let released = self.world().log.release(lease).await;
        self.world()
            .note(|| format!("{} releases {}", lease.holder, lease.name));
        self.leased(released).await
    }

    async fn holders(&self) -> Result<Vec<(String, String)>, LeaseError> {
        self.leasing().await?;
        let holders = self.world().log.holders().await;
        self.back().await;
        holders
    }
}

#[async_trait]
impl Snapshots for Network {
    async fn put(&self, name: &str, value: Bytes) -> Result<(), ReadError> {
        self.reading().await?;
        let world = self.world();
        if world.random.chance(world.faults().snapshots / 2) {
            return Ok(());
        }
        world.note(|| format!("{} writes snapshot {name}", self.0.name));
        lock(&world.snapshots)
            .entry(name.to_owned())
            .or_default()
            .push(value);
        self.back().await;
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, ReadError> {
        self.reading().await?;
        let world = self.world();
        let random = &world.random;
        if world.sabotage == Some(Sabotage::EmptySnapshots) {
            let bounds = world.log.bounds(Stream::Tasks).await?;
            let mut empty = Dispatcher::new();
            empty.replayed_to(bounds.last);
            let Some(state) = empty.snapshot() else {
                return Ok(None);
            };
            let sealed = seal(&world.log, bounds.incarnation, bounds.last, &state);
            return Ok(Some(sealed.await?));
        }
        let written = lock(&world.snapshots)
            .get(name)
            .cloned()
            .unwrap_or_default();
        self.back().await;
        if written.is_empty() {
            return Ok(None);
        }
        if !random.chance(world.faults().snapshots) {
            return Ok(written.last().cloned());
        }
        Ok(match random.below(4) {
            0 => None,
            1 => Some(random.pick(&written).clone()),
            2 => {
                let whole = random.pick(&written);
                let kept = random.below(whole.len() as u64);
                Some(whole.slice(..usize::try_from(kept).unwrap_or(0)))
            }
            _ => Some(Bytes::copy_from_slice(&random.next().to_be_bytes())),
        })
    }
}
