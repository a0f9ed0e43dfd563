//! A gateway that is told how far FENCE is by a leader that was deposed, and does not know it yet.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use waybill_domain::access::fence::FenceRecord;
use waybill_edge::fence::FenceError;
use waybill_log::{Bounds, FenceAway, Fences, JetStreamLog, ReadError, StreamSeq, Tail};
use waybill_testkit::{NatsServer, eventually};

use super::rig::{LEASE, Member};
use crate::world::SOON;

/// Whoever was deposed says how far the stream was then. Everything else is answered by the leader.
struct Deposed {
    log: JetStreamLog,
    then: Mutex<Then>,
    goes_on_for: Duration,
}

#[derive(Default)]
struct Then {
    bounds: Option<Bounds>,
    told: u32,
}

impl Deposed {
    fn then(&self) -> std::sync::MutexGuard<'_, Then> {
        self.then.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the answer stays what it is.
    async fn depose(&self) -> Result<()> {
        let bounds = self.log.fence_bounds().await?;
        self.then().bounds = Some(bounds);
        Ok(())
    }

    /// It has noticed, and answers no longer.
    fn step_down(&self) {
        self.then().bounds = None;
    }

    fn told(&self) -> u32 {
        self.then().told
    }
}

#[async_trait]
impl Fences for Deposed {
    async fn publish(&self, record: FenceRecord, within: Duration) -> Result<StreamSeq, FenceAway> {
        self.log.publish(record, within).await
    }

    fn records(&self, from: StreamSeq) -> Box<dyn Tail> {
        self.log.records(from)
    }

    async fn fence_bounds(&self) -> Result<Bounds, ReadError> {
        let then = {
            let mut then = self.then();
            then.told += u32::from(then.bounds.is_some());
            then.bounds
        };
        match then {
            Some(bounds) => Ok(bounds),
            None => self.log.fence_bounds().await,
        }
    }

    fn deposed_for(&self) -> Duration {
        self.goes_on_for
    }

    async fn reconnect(&self) {
        self.log.reconnect().await;
    }
}

async fn a_member(nats: &NatsServer, goes_on_for: Duration) -> Result<(Member, Arc<Deposed>)> {
    let mut deposed = None;
    let member = Member::start_seeing(nats, |log| {
        let then = Mutex::default();
        let one = Arc::new(Deposed {
            log,
            then,
            goes_on_for,
        });
        deposed = Some(Arc::clone(&one));
        one
    });
    let member = member.await?;
    member.serving().await?;
    let deposed = deposed.ok_or_else(|| anyhow::anyhow!("it was made"))?;
    Ok((member, deposed))
}

/// Enough looks for any number of renewals to have been answered so.
const MANY: u32 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_deposed_ends_no_service_for_good() -> Result<()> {
    let nats = NatsServer::start().await?;
    let (one, deposed) = a_member(&nats, SOON * 2).await?;
    deposed.depose().await?;
    eventually(SOON, async || deposed.told() >= MANY).await?;
    // Nothing is decided on the word of a log that may have lost its end.
    eventually(SOON, async || !one.fence.is_serving()).await?;
    deposed.step_down();
    one.serving().await?;
    one.fence.everywhere(one.append().await?).await?;
    one.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_stays_behind_for_longer_has_gone_backwards() -> Result<()> {
    let nats = NatsServer::start().await?;
    let (one, deposed) = a_member(&nats, LEASE).await?;
    deposed.depose().await?;
    eventually(SOON, async || {
        let Ok(seq) = one.append().await else {
            return false;
        };
        one.fence.everywhere(seq).await == Err(FenceError::Stopped)
    })
    .await?;
    deposed.step_down();
    assert!(!one.fence.is_serving());
    one.stop().await
}
