//! The faults: how each is injected, how it is seen to bite, how it is healed, and how recovery is seen.
//!
//! Nothing here waits for a time in the hope that something has happened by then: a fault lasts until its effect is seen, and
//! a fault without an effect is a failed check, since it has tested nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http::Method;
use serde_json::json;
use tokio::time::sleep;
use waybill_domain::event::PartitionOwned;
use waybill_domain::partition::PartitionCount;
use waybill_log::subject::TaskSubject;
use waybill_log::{JetStreamLog, Log, Stream};

use crate::client::Client;
use crate::fleet::{Fleet, Linked, worker_name};
use crate::seeded::Seeded;
use crate::workload::{Counters, QUEUES, Target};

/// A fault must show its effect within this time.
const BITE_DEADLINE: Duration = Duration::from_secs(30);
/// After it is healed, new tasks must go through within this time.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(45);
/// Between two looks.
const POLL: Duration = Duration::from_millis(100);

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    KillGateway,
    KillProjector,
    KillWorker(usize),
    KillNats,
    CutGateway,
    CutProjector,
    CutWorker(usize),
    FreezeWorker(usize),
}

impl Fault {
    /// Each once.
    pub(crate) const ALL: [Self; 8] = [
        Self::KillGateway,
        Self::KillWorker(0),
        Self::KillNats,
        Self::CutWorker(1),
        Self::KillProjector,
        Self::FreezeWorker(0),
        Self::CutGateway,
        Self::CutProjector,
    ];

    /// Any of them, with any of the workers.
    pub(crate) fn draw(random: &mut Seeded) -> Self {
        let number = usize::from(random.percent(50));
        match random.pick(&Self::ALL).copied().unwrap_or(Self::KillNats) {
            Self::KillWorker(_) => Self::KillWorker(number),
            Self::CutWorker(_) => Self::CutWorker(number),
            Self::FreezeWorker(_) => Self::FreezeWorker(number),
            other => other,
        }
    }

    /// The check that it bit and was recovered from.
    pub(crate) fn check_name(self) -> &'static str {
        match self {
            Self::KillGateway => "recovers when the gateway is killed",
            Self::KillProjector => "recovers when the projector is killed",
            Self::KillWorker(_) => "another worker takes over when one is killed",
            Self::KillNats => "recovers when nats-server is killed",
            Self::CutGateway => "recovers when the gateway is cut off from NATS",
            Self::CutProjector => "recovers when the projector is cut off from NATS",
            Self::CutWorker(_) => "another worker takes over when one is cut off from NATS",
            Self::FreezeWorker(_) => "another worker takes over when one is frozen past its lease",
        }
    }

    fn worker(self) -> Option<usize> {
        match self {
            Self::KillWorker(number) | Self::CutWorker(number) | Self::FreezeWorker(number) => {
                Some(number)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillGateway => f.write_str("kill -9 gateway"),
            Self::KillProjector => f.write_str("kill -9 projector"),
            Self::KillWorker(number) => write!(f, "kill -9 {}", worker_name(*number)),
            Self::KillNats => f.write_str("kill -9 nats-server"),
            Self::CutGateway => f.write_str("cut gateway from NATS"),
            Self::CutProjector => f.write_str("cut projector from NATS"),
            Self::CutWorker(number) => write!(f, "cut {} from NATS", worker_name(*number)),
            Self::FreezeWorker(number) => write!(f, "freeze {}", worker_name(*number)),
        }
    }
}

/// What a fault did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Survived {
    /// From the injection to its first effect.
    pub(crate) bit: Duration,
    /// From the healing to new tasks that go through.
    pub(crate) recovered: Duration,
}

/// Injects faults, with eyes on their effects.
pub(crate) struct Injector<'a> {
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) log: &'a JetStreamLog,
    pub(crate) counters: Arc<Counters>,
    pub(crate) probe: &'a Probe,
}

impl Injector<'_> {
    /// Injects a fault, waits for its effect, heals it and waits until all works again.
    pub(crate) async fn inject(&mut self, fault: Fault) -> Result<Survived> {
        let owned = match fault.worker() {
            Some(number) => self.owned_by(number).await?,
            None => BTreeSet::new(),
        };
        let begin = Instant::now();
        let failed = self.failed();
        self.break_it(fault)?;
        let bitten = match fault {
            Fault::KillGateway
            | Fault::KillProjector
            | Fault::KillNats
            | Fault::CutGateway
            | Fault::CutProjector => self.until_more_than(failed).await,
            Fault::KillWorker(number) | Fault::CutWorker(number) | Fault::FreezeWorker(number) => {
                self.until_taken_over(number, &owned).await
            }
        };
        let bit = begin.elapsed();
        // Healed in any case, so that what follows tests itself and not this.
        self.heal(fault).await?;
        bitten.with_context(|| format!("{fault}: no effect was seen"))?;
        let recovered = self
            .probe
            .until_through(RECOVERY_DEADLINE)
            .await
            .with_context(|| format!("{fault}: no recovery"))?;
        Ok(Survived { bit, recovered })
    }

    fn break_it(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::KillGateway => self.fleet.gateway.role.kill9(),
            Fault::KillProjector => self.fleet.projector.role.kill9(),
            Fault::KillWorker(number) => self.worker(number)?.role.kill9(),
            Fault::KillNats => self.fleet.nats.kill9(),
            Fault::CutGateway => self.fleet.gateway.link.cut(),
            Fault::CutProjector => self.fleet.projector.link.cut(),
            Fault::CutWorker(number) => self.worker(number)?.link.cut(),
            Fault::FreezeWorker(number) => self.worker(number)?.role.freeze()?,
        }
        Ok(())
    }

    async fn heal(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::KillGateway => self.fleet.gateway.role.launch()?,
            Fault::KillProjector => self.fleet.projector.role.launch()?,
            Fault::KillWorker(number) => self.worker(number)?.role.launch()?,
            Fault::KillNats => self.fleet.nats.restart().await?,
            Fault::CutGateway => self.fleet.gateway.link.heal(),
            Fault::CutProjector => self.fleet.projector.link.heal(),
            Fault::CutWorker(number) => self.worker(number)?.link.heal(),
            Fault::FreezeWorker(number) => self.worker(number)?.role.thaw()?,
        }
        Ok(())
    }

    fn worker(&mut self, number: usize) -> Result<&mut Linked> {
        self.fleet
            .workers
            .get_mut(number)
            .context("there is such a worker")
    }

    /// Requests of clients that failed so far.
    fn failed(&self) -> u64 {
        self.counters.failed.load(Ordering::Relaxed)
    }

    async fn until_more_than(&self, failed: u64) -> Result<()> {
        let give_up = Instant::now() + BITE_DEADLINE;
        while self.failed() <= failed {
            if Instant::now() > give_up {
                bail!("no client saw a failure within {BITE_DEADLINE:?}");
            }
            sleep(POLL).await;
        }
        Ok(())
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
        let give_up = Instant::now() + BITE_DEADLINE;
        loop {
            let left: Vec<u16> = self
                .owners()
                .await?
                .into_iter()
                .filter(|(partition, worker)| {
                    owned.contains(partition) && *worker == worker_name(from)
                })
                .map(|(partition, _)| partition)
                .collect();
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > give_up {
                bail!(
                    "nobody has taken over partitions {left:?} from {} within {BITE_DEADLINE:?}",
                    worker_name(from)
                );
            }
            sleep(POLL).await;
        }
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

/// Sends tasks of its own through every queue, to see whether all works.
pub(crate) struct Probe {
    pub(crate) client: Client,
    pub(crate) url: String,
}

impl Probe {
    pub(crate) fn new(client: &Client, target: &Target) -> Self {
        Self {
            client: client.clone(),
            url: target.url("/"),
        }
    }

    /// Waits until a new task of each queue is completed; how long that took.
    pub(crate) async fn until_through(&self, deadline: Duration) -> Result<Duration> {
        let begin = Instant::now();
        let mut open = Vec::new();
        for queue in 0..QUEUES {
            let task = json!({ "targetUrl": self.url, "queue": format!("fault-{queue}") });
            open.push(
                self.until(begin, deadline, "created", async || {
                    let reply = self
                        .client
                        .send(Method::POST, "/v1/tasks", None, Some(&task))
                        .await?;
                    Ok((reply.status() == Some(201))
                        .then(|| reply.task("id"))
                        .flatten())
                })
                .await?,
            );
        }
        for id in open {
            let path = format!("/v1/tasks/{id}");
            self.until(begin, deadline, "completed", async || {
                let reply = self.client.send(Method::GET, &path, None, None).await?;
                Ok(reply.task("status").filter(|status| status == "completed"))
            })
            .await?;
        }
        Ok(begin.elapsed())
    }

    async fn until(
        &self,
        begin: Instant,
        deadline: Duration,
        what: &str,
        look: impl AsyncFn() -> Result<Option<String>>,
    ) -> Result<String> {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if begin.elapsed() > deadline {
                bail!("a new task is not {what} within {deadline:?}");
            }
            sleep(POLL).await;
        }
    }
}
