//! How each fault is injected, how it is seen to bite, how it is healed, and how recovery is seen.
//!
//! Nothing here waits for a time in the hope that something has happened by then: a fault lasts until its effect is seen, and
//! a fault without an effect is a failed check, since it has tested nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::time::sleep;
use waybill_domain::event::{PartitionOwned, TaskEvent};
use waybill_domain::partition::PartitionCount;
use waybill_log::subject::TaskSubject;
use waybill_log::{JetStreamLog, Log, Stream, StreamSeq};

use crate::checker::Window;
use crate::faults::Fault;
use crate::fleet::{Fleet, Linked, WORKERS, worker_name};
use crate::probe::Probe;
use crate::servers::ON_SMALL_DISK;
use crate::workload::Counters;

/// A fault must show its effect within this time.
const BITE_DEADLINE: Duration = Duration::from_secs(30);
/// After it is healed, new tasks must go through within this time.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(45);
/// A role that is asked to end ends within its drain, which is shorter than this.
const END_DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks.
const POLL: Duration = Duration::from_millis(100);
/// Descriptors that a worker has left when it has few.
const FEW: u64 = 2;
/// Descriptors that any worker does with.
const ENOUGH: u64 = 1_024;
/// A clock is wrong when it is off by more.
const WRONG_BY_MS: i64 = 30 * 60 * 1000;
/// Calls that hang, more than both workers make at once.
const HANGING: usize = 1_200;
/// Streams whose copies must be complete again before the next fault.
const STREAMS: [&str; 4] = ["TASKS", "CONTROL", "FENCE", "KV_owners"];

/// What a fault did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Survived {
    /// From the injection to its first effect.
    pub(crate) bit: Duration,
    /// From the healing to new tasks that go through.
    pub(crate) recovered: Duration,
    /// The longest that a creation took which was accepted.
    pub(crate) slowest: Duration,
    /// Where in TASKS something was planned that must lose no attempt.
    pub(crate) planned: Option<Window>,
}

/// Injects faults, with eyes on their effects.
pub(crate) struct Injector<'a> {
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) log: &'a JetStreamLog,
    pub(crate) counters: Arc<Counters>,
    pub(crate) probe: &'a Probe,
}

/// What was so before a fault.
struct Before {
    /// Requests of clients that failed.
    failed: u64,
    /// Creations that were refused.
    refused: u64,
    /// Partitions of the worker that is lost.
    owned: BTreeSet<u16>,
    /// The node that led TASKS; with one server, that one.
    leader: usize,
    /// The end of TASKS.
    last: StreamSeq,
    /// How much was printed where the effect will be seen.
    logged: usize,
}

/// What somebody printed.
#[derive(Debug, Clone, Copy)]
enum Output {
    Worker(usize),
    /// The node whose disk can be filled.
    SmallDisk,
}

impl Injector<'_> {
    /// Injects a fault, waits for its effect, heals it and waits until all works again.
    pub(crate) async fn inject(&mut self, fault: Fault) -> Result<Survived> {
        let before = self.before(fault).await?;
        self.counters.take_slowest();
        let begin = Instant::now();
        self.break_it(fault, &before).await?;
        let bitten = self.until_bitten(fault, &before).await;
        let bit = begin.elapsed();
        // Healed in any case, so that what follows tests itself and not this.
        self.heal(fault, &before).await?;
        bitten.with_context(|| format!("{fault}: no effect was seen"))?;
        let recovered = self
            .probe
            .until_through(RECOVERY_DEADLINE)
            .await
            .with_context(|| format!("{fault}: no recovery"))?;
        self.check_refusals(fault, &before)?;
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
            Fault::FillDisk => self.said(Output::SmallDisk)?.len(),
            Fault::FewDescriptors(number) => self.said(Output::Worker(number))?.len(),
            _ => 0,
        };
        Ok(Before {
            failed: self.failed(),
            refused: self.counters.refused.load(Ordering::Relaxed),
            owned,
            leader,
            last: self.log.bounds(Stream::Tasks).await?.last,
            logged,
        })
    }

    async fn break_it(&mut self, fault: Fault, before: &Before) -> Result<()> {
        let follower = (before.leader + 1) % usize::from(self.fleet.servers.copies());
        match fault {
            Fault::KillGateway => self.fleet.gateway.role.kill9(),
            Fault::KillProjector => self.fleet.projector.role.kill9(),
            Fault::KillWorker(number) => self.worker(number)?.role.kill9(),
            Fault::KillNats | Fault::KillLeader => self.fleet.servers.node(before.leader)?.kill9(),
            Fault::CutGateway => self.fleet.gateway.cut(),
            Fault::CutProjector => self.fleet.projector.cut(),
            Fault::CutWorker(number) => self.worker(number)?.cut(),
            Fault::FreezeWorker(number) => self.worker(number)?.role.freeze()?,
            Fault::RestartRoles => self.restart_roles().await?,
            Fault::JumpClock(number, seconds) => self.set_clock(number, seconds)?,
            Fault::HangTarget => self.probe.hang(HANGING).await?,
            Fault::FewDescriptors(number) => {
                let role = &self.worker(number)?.role;
                role.limit_descriptors(role.descriptors()? + FEW)?;
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
            Fault::JumpClock(..) => {
                self.until_clock_is_wrong(before.last).await?;
                // Not only after it, also meanwhile everything goes on.
                self.probe.until_through(RECOVERY_DEADLINE).await.map(drop)
            }
            Fault::HangTarget => {
                self.probe.until_hanging(BITE_DEADLINE).await?;
                self.probe.until_through(RECOVERY_DEADLINE).await.map(drop)
            }
            Fault::FewDescriptors(number) => {
                let words = ["os error 24", "Too many open files"];
                self.until_said(Output::Worker(number), before.logged, &words)
                    .await
            }
            Fault::KillLeader | Fault::RestartLeader => self.until_another_leads(before).await,
            Fault::FreezeFollower | Fault::PartLeader => self.until_a_copy_lags(before).await,
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
            Fault::JumpClock(number, _) => self.set_clock(number, 0)?,
            // Their time limit ends them.
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

    /// What is promised while the log changes its leader: nothing that can be queued is refused.
    fn check_refusals(&self, fault: Fault, before: &Before) -> Result<()> {
        let refused = self.counters.refused.load(Ordering::Relaxed) - before.refused;
        match fault {
            Fault::RestartLeader => {
                let failed = self.failed() - before.failed;
                ensure!(failed == 0, "{fault}: {failed} requests failed");
            }
            Fault::KillLeader | Fault::FreezeFollower | Fault::PartLeader | Fault::FillDisk => {
                ensure!(refused == 0, "{fault}: {refused} creations were refused");
            }
            _ => {}
        }
        Ok(())
    }

    fn worker(&mut self, number: usize) -> Result<&mut Linked> {
        self.fleet
            .workers
            .get_mut(number)
            .context("there is such a worker")
    }

    fn set_clock(&mut self, number: usize, seconds: i64) -> Result<()> {
        let clock = self.worker(number)?.clock.as_ref();
        clock.context("its clock can be set")?.set(seconds)
    }

    /// One role after the other, as an operator would roll a new version out.
    async fn restart_roles(&mut self) -> Result<()> {
        for role in 0..2 + WORKERS {
            let linked = match role {
                0 => &mut self.fleet.projector,
                1 => &mut self.fleet.gateway,
                worker => self.worker(worker - 2)?,
            };
            linked.role.ask_to_end()?;
            let give_up = Instant::now() + END_DEADLINE;
            while !linked.role.has_ended()? {
                if Instant::now() > give_up {
                    // Killed, so that the run goes on.
                    linked.role.kill9();
                    linked.role.launch()?;
                    bail!("{} has not ended after {END_DEADLINE:?}", linked.role.name);
                }
                sleep(POLL).await;
            }
            linked.role.launch()?;
            if role >= 2 {
                self.owned_by(role - 2).await?;
            }
            self.probe.until_through(RECOVERY_DEADLINE).await?;
        }
        Ok(())
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

    /// Or another node leads, which is how two nodes that lose each other may sort it out.
    async fn until_a_copy_lags(&self, before: &Before) -> Result<()> {
        let cluster = self.fleet.servers.cluster()?;
        let stream = Stream::Tasks.name();
        until("no copy of TASKS lags, and nobody else leads", async || {
            Ok(cluster.has_lagging_copy(stream).await?
                || cluster.leader_of(stream).await? != before.leader)
        })
        .await
    }

    async fn until_said(&mut self, output: Output, after: usize, words: &[&str]) -> Result<()> {
        let give_up = Instant::now() + BITE_DEADLINE;
        loop {
            let said = self.said(output)?;
            let new = said.get(after..).unwrap_or_default();
            if words.iter().any(|word| new.contains(word)) {
                return Ok(());
            }
            ensure!(
                Instant::now() < give_up,
                "nobody said any of {words:?} within {BITE_DEADLINE:?}"
            );
            sleep(POLL).await;
        }
    }

    fn said(&mut self, output: Output) -> Result<String> {
        Ok(match output {
            Output::Worker(number) => self.worker(number)?.role.output(),
            Output::SmallDisk => self.fleet.servers.node(ON_SMALL_DISK)?.log(),
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
                    _ => false,
                }
            }))
        })
        .await
    }

    /// The partitions that a worker owns by the log; waits until it has some.
    async fn owned_by(&self, number: usize) -> Result<BTreeSet<u16>> {
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

    async fn until_taken_over(&self, from: usize, owned: &BTreeSet<u16>) -> Result<()> {
        until("nobody has taken all of its partitions over", async || {
            let owners = self.owners().await?;
            Ok(!owners.iter().any(|(partition, worker)| {
                owned.contains(partition) && *worker == worker_name(from)
            }))
        })
        .await
    }

    /// The last owner of each partition, by the log.
    async fn owners(&self) -> Result<Vec<(u16, String)>> {
        let mut owners = Vec::new();
        for partition in PartitionCount::default().all() {
            let subject = TaskSubject::owner(partition).to_string();
            if let Some(record) = self.log.last(Stream::Tasks, &subject).await? {
                let owned: PartitionOwned = rmp_serde::from_slice(&record.payload)?;
                owners.push((partition.get(), owned.worker));
            }
        }
        Ok(owners)
    }
}

/// Waits until a condition holds.
async fn until(otherwise: &str, holds: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let give_up = Instant::now() + BITE_DEADLINE;
    while !holds().await? {
        if Instant::now() > give_up {
            bail!("{otherwise} within {BITE_DEADLINE:?}");
        }
        sleep(POLL).await;
    }
    Ok(())
}
