//! How each fault is injected, how its effect is detected, how it is healed, and how recovery is
//! detected.
//!
//! Nothing here sleeps for a fixed time and hopes for the best: a fault lasts until its effect is
//! seen, and a fault without an effect is a failed check, since it has tested nothing.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::time::sleep;
use waybill_domain::event::{PartitionOwned, TaskEvent};
use waybill_log::subject::TaskSubject;
use waybill_log::{JetStreamLog, Log, Stream, StreamSeq};

use crate::checker::Window;
use crate::faults::Fault;
use crate::fleet::{Fleet, Linked, WORKERS, worker_name};
use crate::leader::LeaderWatch;
use crate::poison;
use crate::probe::Probe;
use crate::recorder::Recorder;
use crate::role::Role;
use crate::schedules;
use crate::servers::ON_SMALL_DISK;
use crate::workload::Counters;

/// A fault must show its effect within this time.
const BITE_DEADLINE: Duration = Duration::from_secs(30);
/// After it is healed, new tasks must go through within this time.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(45);
/// A role that is asked to end must have ended within this time, which is longer than its drain.
const END_DEADLINE: Duration = Duration::from_secs(60);
/// Pause between two polls.
const POLL: Duration = Duration::from_millis(100);
/// How long what has ended is kept while the log keeps seconds only. Clients who wait for an end look for it more often.
pub(crate) const KEPT: Duration = Duration::from_secs(3);
/// Fewer descriptors than any worker has open. A limit at what is open has no effect while those are closed that are not needed any more: the
/// limit is about the number of a new one, and the lowest free one is taken.
const FEW: u64 = 16;
/// Calls that need connections of their own, over all queues and so for both workers.
const NEW_CONNECTIONS: usize = 32;
/// Descriptor limit that is enough for any worker.
const ENOUGH: u64 = 1_024;
/// A recorded time that is off by more than this proves that the clock was wrong.
const WRONG_BY_MS: i64 = 30 * 60 * 1000;
/// Number of calls that hang: more than both workers can make at once.
const HANGING: usize = 1_200;
/// Bytes that clients can still store before the log is full for them.
const ROOM: u64 = 256 << 10;
/// A limit of the log, in bytes, that no run reaches.
const ROOMY: u64 = 8 << 30;
/// A copy that lags for this long does so because of the fault, not because of load.
const LAGS_FOR: Duration = Duration::from_secs(2);
/// Two nodes that cannot reach each other are kept so for this long, which is often enough for them
/// to depose each other's leaders.
const PARTED_FOR: Duration = Duration::from_secs(8);
/// Appends wait 10 s for a leader; the harness may notice two seconds late that the stream has lost its own.
const MUST_WAIT: Duration = Duration::from_secs(8);
/// A gateway accepts requests under a lease of 12 s. When it can no longer renew it, up to 3 s of that are gone, since it is renewed that often, and
/// it takes up to 3 s more to leave a server that does not reach the leaders, where another one does. So it stays open while leaders are missing for
/// less than this.
const OUTLASTS: Duration = Duration::from_secs(6);
/// Streams whose copies must be complete again before the next fault.
const STREAMS: [&str; 4] = ["TASKS", "CONTROL", "FENCE", "KV_owners"];

/// Measurements of a fault that Waybill recovered from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Survived {
    /// From the injection to its first effect.
    pub(crate) bit: Duration,
    /// From the healing to new tasks that go through.
    pub(crate) recovered: Duration,
    /// The slowest creation that was accepted.
    pub(crate) slowest: Duration,
    /// The part of TASKS written during a planned restart, in which no attempt may be lost.
    pub(crate) planned: Option<Window>,
}

/// Injects faults, and detects their effects.
pub(crate) struct Injector<'a> {
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) log: &'a JetStreamLog,
    pub(crate) counters: Arc<Counters>,
    pub(crate) probe: &'a Probe,
    /// Positions in TASKS of planted records, which every reader must ignore.
    pub(crate) planted: &'a mut Vec<u64>,
    pub(crate) recorder: &'a Recorder,
}

/// State before a fault, with which the effect is compared.
struct Before {
    /// Requests of clients that failed.
    failed: u64,
    /// Creations that were refused.
    refused: u64,
    /// Creations that were refused for want of a lease.
    closed: u64,
    /// Partitions owned by the worker that the fault hits.
    owned: BTreeSet<u16>,
    /// Index of the node that led TASKS; 0 with one server.
    leader: usize,
    /// The end of TASKS.
    last: StreamSeq,
    /// Bytes of the output in which the effect will appear.
    logged: u64,
}

/// Whose output to search.
#[derive(Debug, Clone, Copy)]
enum Output {
    Worker(usize),
    /// The node whose disk can be filled.
    SmallDisk,
}

impl Injector<'_> {
    /// Injects a fault, waits for its effect, heals it and waits for recovery.
    pub(crate) async fn inject(&mut self, fault: Fault) -> Result<Survived> {
        let before = self.before(fault).await?;
        self.counters.take_slowest();
        let begin = Instant::now();
        let leaders = LeaderWatch::start(self.fleet.servers.ports());
        self.break_it(fault, &before).await?;
        let bitten = self.until_bitten(fault, &before).await;
        let bit = begin.elapsed();
        // Heal even if there was no effect, so that the next fault starts from a healthy
        // deployment.
        self.heal(fault, &before).await?;
        bitten.with_context(|| format!("{fault}: no effect was seen"))?;
        let recovered = self
            .probe
            .until_through(RECOVERY_DEADLINE)
            .await
            .with_context(|| format!("{fault}: no recovery"))?;
        self.check_refusals(fault, &before, &leaders)?;
        let planned = match fault {
            Fault::RestartRoles => Some(Window {
                after: before.last.0,
                until: self.log.bounds(Stream::Tasks).await?.last.0,
            }),
            _ => None,
        };
        Ok(Survived {
            bit,
            recovered,
            slowest: self.counters.take_slowest(),
            planned,
        })
    }

    async fn before(&mut self, fault: Fault) -> Result<Before> {
        let owned = match fault.loses_worker() {
            Some(number) => self.owned_by(number).await?,
            None => BTreeSet::new(),
        };
        let leader = match self.fleet.servers.cluster() {
            Ok(cluster) => cluster.leader_of(Stream::Tasks.name()).await?,
            Err(_) => 0,
        };
        let logged = match fault {
            Fault::FillDisk => self.said(Output::SmallDisk, 0)?.len() as u64,
            Fault::FewDescriptors(number) => self.worker(number)?.role.printed(),
            _ => 0,
        };
        Ok(Before {
            failed: self.failed(),
            refused: self.counters.refused.load(Ordering::Relaxed),
            closed: self.counters.closed.load(Ordering::Relaxed),
            owned,
            leader,
            last: self.log.bounds(Stream::Tasks).await?.last,
            logged,
        })
    }

    async fn break_it(&mut self, fault: Fault, before: &Before) -> Result<()> {
        let follower = (before.leader + 1) % usize::from(self.fleet.servers.copies());
        match fault {
            Fault::KillGateway => {
                // It is the owner of the schedules, which are all due at that moment.
                schedules::when_they_fire().await;
                self.fleet.gateway.role.kill9();
            }
            Fault::KillProjector => self.fleet.projector.role.kill9(),
            Fault::KillWorker(number) => self.worker(number)?.role.kill9(),
            Fault::KillNats | Fault::KillLeader => self.fleet.servers.node(before.leader)?.kill9(),
            Fault::CutGateway => self.fleet.gateway.cut(),
            Fault::CutProjector => self.fleet.projector.cut(),
            Fault::CutWorker(number) => self.worker(number)?.cut(),
            Fault::FreezeWorker(number) => self.worker(number)?.role.freeze()?,
            Fault::RestartRoles => self.restart_roles().await?,
            Fault::JumpClock(number, seconds) => self.worker(number)?.set_clock(seconds)?,
            Fault::JumpGatewayClock(seconds) => self.fleet.gateway.set_clock(seconds)?,
            Fault::PlantPoison => self.plant().await?,
            Fault::BriefHistory => self.keep_for(Some(KEPT)).await?,
            Fault::FillLog => {
                let used = self.log.bounds(Stream::Tasks).await?.bytes;
                // Creations leave a tenth of the limit to all other appends.
                let limit = used + used / 9 + ROOM;
                self.log.lower_tasks(limit).await?;
            }
            Fault::HangTarget => self.probe.hang(HANGING).await?,
            Fault::FewDescriptors(number) => {
                let role = &self.worker(number)?.role;
                role.limit_descriptors(FEW)?;
                // Calls to the usual target may do with the connections that are open.
                self.probe.hang(NEW_CONNECTIONS).await?;
            }
            Fault::RestartLeader => self.fleet.servers.node(before.leader)?.lame_duck().await?,
            Fault::FreezeFollower => self.fleet.servers.node(follower)?.pause()?,
            Fault::PartLeader => self.fleet.servers.cluster()?.part(before.leader, follower),
            Fault::FillDisk => self.fleet.servers.small_disk()?.fill()?,
        }
        Ok(())
    }

    async fn until_bitten(&mut self, fault: Fault, before: &Before) -> Result<()> {
        match fault {
            Fault::KillGateway
            | Fault::KillProjector
            | Fault::KillNats
            | Fault::CutGateway
            | Fault::CutProjector => self.until_more_than(before.failed).await,
            Fault::KillWorker(number) | Fault::CutWorker(number) | Fault::FreezeWorker(number) => {
                self.until_taken_over(number, &before.owned).await
            }
            // Every role has ended and been started again.
            Fault::RestartRoles => Ok(()),
            Fault::JumpClock(..) | Fault::JumpGatewayClock(_) => {
                self.until_clock_is_wrong(before.last).await?;
                // Work must go on during the fault, not only after it.
                self.probe.until_through(RECOVERY_DEADLINE).await.map(drop)
            }
            // Planting has already waited for the effect; now every role has to read past the
            // records.
            Fault::PlantPoison => self.probe.until_through(RECOVERY_DEADLINE).await.map(drop),
            Fault::BriefHistory => self.outlive_history().await,
            Fault::FillLog => {
                until("no creation was refused", async || {
                    Ok(self.counters.refused.load(Ordering::Relaxed) > before.refused)
                })
                .await
            }
            Fault::HangTarget => {
                self.probe.until_hanging(BITE_DEADLINE).await?;
                self.probe.until_through(RECOVERY_DEADLINE).await.map(drop)
            }
            Fault::FewDescriptors(number) => {
                let words = ["kind=WorkerFault"];
                self.until_said(Output::Worker(number), before.logged, &words)
                    .await
            }
            Fault::KillLeader | Fault::RestartLeader => self.until_another_leads(before).await,
            Fault::FreezeFollower => self.until_a_copy_lags(before, LAGS_FOR).await,
            Fault::PartLeader => self.until_a_copy_lags(before, PARTED_FOR).await,
            Fault::FillDisk => {
                let words = ["no space left", "out of resources", "out of space"];
                self.until_said(Output::SmallDisk, before.logged, &words)
                    .await?;
                self.probe.until_through(RECOVERY_DEADLINE).await.map(drop)
            }
        }
    }

    async fn heal(&mut self, fault: Fault, before: &Before) -> Result<()> {
        let follower = (before.leader + 1) % usize::from(self.fleet.servers.copies());
        match fault {
            Fault::KillGateway => self.fleet.gateway.role.launch()?,
            Fault::KillProjector => self.fleet.projector.role.launch()?,
            Fault::KillWorker(number) => self.worker(number)?.role.launch()?,
            Fault::KillNats | Fault::KillLeader | Fault::RestartLeader => {
                self.fleet.servers.node(before.leader)?.restart().await?;
            }
            Fault::CutGateway => self.fleet.gateway.heal(),
            Fault::CutProjector => self.fleet.projector.heal(),
            Fault::CutWorker(number) => self.worker(number)?.heal(),
            Fault::FreezeWorker(number) => self.worker(number)?.role.thaw()?,
            Fault::RestartRoles => {}
            Fault::JumpClock(number, _) => self.worker(number)?.set_clock(0)?,
            Fault::JumpGatewayClock(_) => self.fleet.gateway.set_clock(0)?,
            Fault::PlantPoison => {}
            Fault::BriefHistory => self.keep_for(None).await?,
            Fault::FillLog => self.log.raise(Stream::Tasks.name(), ROOMY).await?,
            // The calls end by their timeout.
            Fault::HangTarget => {}
            Fault::FewDescriptors(number) => {
                let role = &self.worker(number)?.role;
                role.limit_descriptors(ENOUGH)?;
            }
            Fault::FreezeFollower => self.fleet.servers.node(follower)?.resume()?,
            Fault::PartLeader => self
                .fleet
                .servers
                .cluster()?
                .rejoin(before.leader, follower),
            Fault::FillDisk => {
                self.fleet.servers.small_disk()?.empty()?;
                // A node that has disabled its JetStream needs a restart, as ops/README.md says.
                self.fleet.servers.node(ON_SMALL_DISK)?.restart().await?;
            }
        }
        if let Ok(cluster) = self.fleet.servers.cluster() {
            for stream in STREAMS {
                cluster.wait_for_copies(stream).await?;
            }
        }
        Ok(())
    }

    /// Checks the promise that while the log changes its leader, nothing is refused that can be
    /// queued, which is for 10 s. Two nodes that lose each other while the third reaches both
    /// depose each other's leaders, possibly for longer.
    fn check_refusals(&self, fault: Fault, before: &Before, leaders: &LeaderWatch) -> Result<()> {
        let refused = self.counters.refused.load(Ordering::Relaxed) - before.refused;
        match fault {
            Fault::RestartLeader => {
                let failed = self.failed() - before.failed;
                let leaderless = leaders.any_without();
                ensure!(
                    failed == 0 || leaderless >= OUTLASTS,
                    "{fault}: {failed} requests failed, and leaders were missing for {leaderless:?} only"
                );
            }
            Fault::KillLeader | Fault::FreezeFollower | Fault::PartLeader | Fault::FillDisk => {
                let closed = self.counters.closed.load(Ordering::Relaxed) - before.closed;
                let (tasks, any) = (leaders.tasks_without(), leaders.any_without());
                ensure!(
                    refused == closed || tasks >= MUST_WAIT,
                    "{fault}: {} creations were refused, and TASKS was without a leader for {tasks:?} only",
                    refused - closed
                );
                ensure!(
                    closed == 0 || any >= OUTLASTS,
                    "{fault}: {closed} creations found no gateway with a lease, and leaders were missing for {any:?} only"
                );
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn worker(&mut self, number: usize) -> Result<&mut Linked> {
        self.fleet
            .workers
            .get_mut(number)
            .context("there is such a worker")
    }

    /// Stores records that must be ignored, and waits until the projector lists them as skipped.
    async fn plant(&mut self) -> Result<()> {
        let planted = poison::plant(self.log).await?;
        let in_tasks = planted
            .iter()
            .filter(|(stream, _)| *stream == Stream::Tasks);
        self.planted.extend(in_tasks.map(|(_, seq)| seq.0));
        until("what was planted is not listed", async || {
            let listed = self.fleet.skipped().await?;
            let is_listed = |(stream, seq): &(Stream, StreamSeq)| {
                listed.lines().any(|line| {
                    let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
                    line["stream"] == stream.name() && line["seq"] == seq.0
                })
            };
            Ok(planted.iter().all(is_listed))
        })
        .await
    }

    /// Restarts one role after the other, as in a rolling upgrade.
    async fn restart_roles(&mut self) -> Result<()> {
        for role in 0..2 + WORKERS {
            match role {
                0 => restart(&mut self.fleet.projector.role).await?,
                1 => restart(&mut self.fleet.gateway.role).await?,
                worker => self.restart_worker(worker - 2).await?,
            }
            self.probe.until_through(RECOVERY_DEADLINE).await?;
        }
        Ok(())
    }

    /// Restarts a worker in order, and waits until it owns something again.
    pub(crate) async fn restart_worker(&mut self, number: usize) -> Result<()> {
        restart(&mut self.worker(number)?.role).await?;
        self.owned_by(number).await.map(drop)
    }

    /// Requests of clients that failed so far.
    fn failed(&self) -> u64 {
        self.counters.failed.load(Ordering::Relaxed)
    }

    async fn until_more_than(&self, failed: u64) -> Result<()> {
        until("no client saw a failure", async || {
            Ok(self.failed() > failed)
        })
        .await
    }

    async fn until_another_leads(&self, before: &Before) -> Result<()> {
        let cluster = self.fleet.servers.cluster()?;
        until("no other node leads TASKS", async || {
            Ok(cluster.leader_of(Stream::Tasks.name()).await? != before.leader)
        })
        .await
    }

    /// Waits until a copy lags, or another node or none leads, which are the other possible results
    /// when two nodes cannot reach each other. A short lag is ignored, since under load any copy lags for a
    /// moment.
    async fn until_a_copy_lags(&self, before: &Before, lags_for: Duration) -> Result<()> {
        let cluster = self.fleet.servers.cluster()?;
        let stream = Stream::Tasks.name();
        let whole = Cell::new(Instant::now());
        until("no copy of TASKS lags, and nobody else leads", async || {
            if cluster.has_whole_copies(stream).await? {
                whole.set(Instant::now());
            }
            let leader = cluster.leader_now(stream).await?;
            Ok(whole.get().elapsed() >= lags_for
                || leader.is_some_and(|leader| leader != before.leader))
        })
        .await
    }

    async fn until_said(&mut self, output: Output, after: u64, words: &[&str]) -> Result<()> {
        let give_up = Instant::now() + BITE_DEADLINE;
        loop {
            let said = self.said(output, after)?;
            if words.iter().any(|word| said.contains(word)) {
                return Ok(());
            }
            ensure!(
                Instant::now() < give_up,
                "nobody said any of {words:?} within {BITE_DEADLINE:?}"
            );
            sleep(POLL).await;
        }
    }

    /// What was printed after so many bytes.
    fn said(&mut self, output: Output, after: u64) -> Result<String> {
        Ok(match output {
            Output::Worker(number) => self.worker(number)?.role.output_after(after),
            Output::SmallDisk => {
                let log = self.fleet.servers.node(ON_SMALL_DISK)?.log();
                let after = usize::try_from(after)?;
                log.get(after..).unwrap_or_default().to_owned()
            }
        })
    }

    /// Waits for an attempt whose recorded time is not that of the log.
    async fn until_clock_is_wrong(&self, after: StreamSeq) -> Result<()> {
        until("no event has a wrong time", async || {
            let last = self.log.bounds(Stream::Tasks).await?.last;
            let from = StreamSeq((after.0 + 1).max(last.0.saturating_sub(500)));
            let records = self
                .log
                .range(Stream::Tasks, &[], from, last, 1_000)
                .await?;
            Ok(records.iter().any(|record| {
                match TaskEvent::decode(&record.event, &record.payload) {
                    Ok(TaskEvent::Started(started)) => {
                        (started.at.0 - record.time.0).abs() > WRONG_BY_MS
                    }
                    Ok(TaskEvent::Created(created)) => {
                        (created.at.0 - record.time.0).abs() > WRONG_BY_MS
                    }
                    _ => false,
                }
            }))
        })
        .await
    }

    /// The partitions that a worker owns according to the log. Waits until it has some.
    pub(crate) async fn owned_by(&self, number: usize) -> Result<BTreeSet<u16>> {
        let give_up = Instant::now() + BITE_DEADLINE;
        loop {
            let owned: BTreeSet<u16> = self
                .owners()
                .await?
                .into_iter()
                .filter(|(_, worker)| *worker == worker_name(number))
                .map(|(p, _)| p)
                .collect();
            if !owned.is_empty() {
                return Ok(owned);
            }
            if Instant::now() > give_up {
                bail!(
                    "{} has owned nothing for {BITE_DEADLINE:?}",
                    worker_name(number)
                );
            }
            sleep(POLL).await;
        }
    }

    pub(crate) async fn until_taken_over(&self, from: usize, owned: &BTreeSet<u16>) -> Result<()> {
        until("nobody has taken all of its partitions over", async || {
            let owners = self.owners().await?;
            Ok(!owners.iter().any(|(partition, worker)| {
                owned.contains(partition) && *worker == worker_name(from)
            }))
        })
        .await
    }

    /// The latest owner of each partition according to the log.
    async fn owners(&self) -> Result<Vec<(u16, String)>> {
        let mut owners = Vec::new();
        for partition in self.log.partitions().all() {
            let subject = TaskSubject::owner(partition).to_string();
            if let Some(record) = self.log.last(Stream::Tasks, &subject).await? {
                let owned: PartitionOwned = rmp_serde::from_slice(&record.payload)?;
                owners.push((partition.get(), owned.worker));
            }
        }
        Ok(owners)
    }
}

/// Asks a role to end, and starts it again.
pub(crate) async fn restart(role: &mut Role) -> Result<()> {
    role.ask_to_end()?;
    let give_up = Instant::now() + END_DEADLINE;
    while !role.has_ended()? {
        if Instant::now() > give_up {
            // Kill it, so that the run can go on.
            role.kill9();
            role.launch()?;
            bail!("{} has not ended after {END_DEADLINE:?}", role.name);
        }
        sleep(POLL).await;
    }
    role.launch()
}

/// Waits until a condition holds.
pub(crate) async fn until(otherwise: &str, holds: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let give_up = Instant::now() + BITE_DEADLINE;
    while !holds().await? {
        if Instant::now() > give_up {
            bail!("{otherwise} within {BITE_DEADLINE:?}");
        }
        sleep(POLL).await;
    }
    Ok(())
}
