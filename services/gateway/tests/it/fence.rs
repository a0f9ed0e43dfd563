//! Leases and the barrier between gateways on a real nats-server: below HTTP here, and as clients see it in [`http`].

mod deposed;
mod full;
mod http;
mod rig;
mod signed;

use std::time::{Duration, Instant};

use anyhow::Result;
use waybill_domain::access::fence::{FenceRecord, GatewayId, LeaseKind, LeaseRecord, MarkRecord};
use waybill_edge::fence::FenceError;
use waybill_log::{Fences, NatsConfig, StreamSeq};
use waybill_testkit::{NatsServer, eventually};

use crate::world::SOON;
use rig::{LEASE, Member};

/// A rounding of timers, on a busy machine.
const LATE: Duration = Duration::from_secs(2);

async fn members<const N: usize>(nats: &NatsServer) -> Result<[Member; N]> {
    let mut members = Vec::new();
    for _ in 0..N {
        members.push(Member::start(nats).await?);
    }
    for member in &members {
        member.serving().await?;
    }
    members
        .try_into()
        .map_err(|_| anyhow::anyhow!("as many as asked for"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_gateway_knows_at_once_that_everybody_knows() -> Result<()> {
    let nats = NatsServer::start().await?;
    let [one] = members(&nats).await?;
    let mut took = Vec::new();
    for _ in 0..50 {
        let seq = one.append().await?;
        let start = Instant::now();
        one.fence.everywhere(seq).await?;
        took.push(start.elapsed());
        assert!(one.applied() >= seq);
    }
    took.sort();
    eprintln!(
        "alone: p50 {:?}, p99 {:?}",
        took[took.len() / 2],
        took[took.len() - 1]
    );
    assert!(took[took.len() / 2] < LEASE / 4, "{took:?}");
    one.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_has_applied_what_is_everywhere() -> Result<()> {
    let nats = NatsServer::start().await?;
    let all: [Member; 3] = members(&nats).await?;
    let mut took = Vec::new();
    for round in 0..100 {
        let seq = all[round % 3].append().await?;
        let start = Instant::now();
        all[round % 3].fence.everywhere(seq).await?;
        took.push(start.elapsed());
        for member in &all {
            assert!(member.applied() >= seq && member.fence.is_serving());
        }
    }
    took.sort();
    eprintln!(
        "three: p50 {:?}, p99 {:?}",
        took[took.len() / 2],
        took[took.len() - 1]
    );
    assert!(took[took.len() / 2] < LEASE / 4, "{took:?}");
    for member in all {
        member.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_cut_off_is_outlasted_and_serves_no_more() -> Result<()> {
    let nats = NatsServer::start().await?;
    let [one, two] = members(&nats).await?;
    two.proxy.stall();
    let seq = one.append().await?;
    let start = Instant::now();
    one.fence.everywhere(seq).await?;
    assert!(
        !two.fence.is_serving(),
        "it would accept what was taken away"
    );
    assert!(two.fence.may_decide_soon().await.is_err());
    assert!(start.elapsed() < LEASE + LATE, "{:?}", start.elapsed());
    // Nobody waits for it a second time.
    let start = Instant::now();
    one.fence.everywhere(one.append().await?).await?;
    assert!(start.elapsed() < LEASE / 2, "{:?}", start.elapsed());
    two.proxy.heal();
    two.serving().await?;
    assert!(two.applied() >= seq);
    one.stop().await?;
    two.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_waited_for_like_a_gateway_and_raises_no_marks() -> Result<()> {
    let nats = NatsServer::start().await?;
    let [one] = members(&nats).await?;
    let worker = Member::start_worker(&nats).await?;
    worker.serving().await?;
    for _ in 0..20 {
        let seq = one.append().await?;
        one.fence.everywhere(seq).await?;
        assert!(worker.applied() >= seq && worker.fence.is_serving());
    }
    let live = one.fence.live().load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(live, 1, "limits are shared by gateways");
    let refused = worker.fence.everywhere(one.append().await?).await;
    assert_eq!(refused, Err(FenceError::NotAGateway));
    worker.freeze_control();
    let seq = one.append().await?;
    let start = Instant::now();
    one.fence.everywhere(seq).await?;
    assert!(worker.applied() < seq && !worker.fence.is_serving());
    assert!(start.elapsed() < LEASE + LATE, "{:?}", start.elapsed());
    one.stop().await?;
    worker.stop().await
}

/// A worker that has gone mad costs a wait, and takes no gateway out of service.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_for_workers_takes_no_lease_from_a_gateway() -> Result<()> {
    let nats = NatsServer::start().await?;
    let [one] = members(&nats).await?;
    let starts = one.starts().await?;
    for _ in 0..20 {
        one.write_garbage().await?;
        assert!(one.fence.is_serving());
    }
    let start = Instant::now();
    one.fence.everywhere(one.append().await?).await?;
    assert!(start.elapsed() < LEASE + LATE, "{:?}", start.elapsed());
    assert!(one.fence.is_serving());
    assert_eq!(one.starts().await?, starts, "it did not have to begin anew");
    one.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_reading_hangs_is_outlasted_and_serves_no_more() -> Result<()> {
    let nats = NatsServer::start().await?;
    let [one, two] = members(&nats).await?;
    two.freeze_control();
    let seq = one.append().await?;
    let start = Instant::now();
    one.fence.everywhere(seq).await?;
    assert!(two.applied() < seq && !two.fence.is_serving());
    assert!(start.elapsed() < LEASE + LATE, "{:?}", start.elapsed());
    two.thaw_control();
    two.serving().await?;
    assert!(two.applied() >= seq);
    one.stop().await?;
    two.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_its_start_applied_does_not_serve_and_nobody_waits_for_it() -> Result<()>
{
    let nats = NatsServer::start().await?;
    let [one] = members(&nats).await?;
    let two = Member::start_frozen(&nats).await?;
    for _ in 0..10 {
        let seq = one.append().await?;
        let start = Instant::now();
        one.fence.everywhere(seq).await?;
        assert!(!two.fence.is_serving());
        assert!(start.elapsed() < LEASE / 2, "{:?}", start.elapsed());
    }
    two.thaw_control();
    two.serving().await?;
    one.stop().await?;
    two.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_gives_its_lease_back() -> Result<()> {
    let nats = NatsServer::start().await?;
    let [one, two] = members(&nats).await?;
    two.stop().await?;
    let seq = one.append().await?;
    let start = Instant::now();
    one.fence.everywhere(seq).await?;
    assert!(start.elapsed() < LEASE / 2, "{:?}", start.elapsed());
    one.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_nobody_marked_is_behind_the_next_renewal() -> Result<()> {
    let nats = NatsServer::start().await?;
    let [one, two] = members(&nats).await?;
    two.freeze_control();
    // The revoker dies here: there is an event and no mark.
    let seq = one.append().await?;
    eventually(LEASE * 3, async || !two.fence.is_serving()).await?;
    assert!(two.applied() < seq && one.fence.is_serving());
    two.thaw_control();
    two.serving().await?;
    assert!(two.applied() >= seq);
    one.stop().await?;
    two.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_few_marks() -> Result<()> {
    let nats = NatsServer::start().await?;
    let [one, two] = members(&nats).await?;
    let before = one.fence_last().await?;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let seq = one.append().await?;
        let fence = one.fence.clone();
        callers.spawn(async move { fence.everywhere(seq).await });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    let (seq, start) = (one.append().await?, Instant::now());
    let fences = (0..2_000).map(|_| one.fence.everywhere(seq));
    for done in futures::future::join_all(fences).await {
        done?;
    }
    eprintln!("2000 callers at once: {:?}", start.elapsed());
    assert!(one.fence.is_serving() && two.fence.is_serving());
    assert!(one.fence_last().await?.0 - before.0 < 600);
    one.stop().await?;
    two.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_log_nothing_is_decided_and_nothing_is_confirmed() -> Result<()> {
    let mut nats = NatsServer::start().await?;
    let [one] = members(&nats).await?;
    let seq = one.append().await?;
    nats.pause()?;
    eventually(LEASE * 3, async || !one.fence.is_serving()).await?;
    let waiting = tokio::time::timeout(LEASE, one.fence.everywhere(seq)).await;
    assert!(waiting.is_err(), "{waiting:?}");
    nats.resume()?;
    one.serving().await?;
    one.fence.everywhere(seq).await?;
    // The same over a crash of the server.
    nats.kill9();
    eventually(LEASE * 3, async || !one.fence.is_serving()).await?;
    nats.restart().await?;
    one.serving().await?;
    one.fence.everywhere(one.append().await?).await?;
    one.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_went_backwards_ends_the_service_until_the_copy_was_compared() -> Result<()> {
    let nats = NatsServer::start().await?;
    let [one] = members(&nats).await?;
    let before = one.fence.holder();
    one.fence.everywhere(one.append().await?).await?;
    one.make_fence_anew().await?;
    // What it wants compared: nobody has answered yet.
    let wanted = tokio::time::timeout(SOON, one.copy.wanted()).await?;
    assert!(!one.fence.is_serving());
    let seq = one.append().await?;
    assert_eq!(one.fence.everywhere(seq).await, Err(FenceError::Stopped));
    tokio::time::sleep(LEASE).await;
    assert!(!one.fence.is_serving());

    one.copy.answer(wanted);
    one.serving().await?;
    assert_ne!(one.fence.holder(), before, "it is another life");
    one.fence.everywhere(one.append().await?).await?;
    one.stop().await
}

/// A log that was restored ends before what records of FENCE ask for, which processes wrote that had read the former one.
#[tokio::test(flavor = "multi_thread")]
async fn what_records_of_a_lost_history_ask_for_keeps_nobody_from_serving() -> Result<()> {
    let nats = NatsServer::start().await?;
    let former = waybill_log::connect(&NatsConfig::at(nats.url())).await?;
    let mark = MarkRecord {
        gateway: GatewayId::new(7),
        control: StreamSeq(1_000_000),
    };
    former.publish(FenceRecord::Mark(mark), LATE).await?;
    let [one] = members(&nats).await?;
    one.fence.everywhere(one.append().await?).await?;
    one.stop().await
}

/// The same, of processes that go on writing for a moment after the log was restored.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_history_asks_for_later_keeps_nobody_from_serving_either() -> Result<()> {
    let nats = NatsServer::start().await?;
    let [one] = members(&nats).await?;
    let former = waybill_log::connect(&NatsConfig::at(nats.url())).await?;
    let (gateway, lost) = (GatewayId::new(7), StreamSeq(1_000_000));
    let released = FenceRecord::Lease(LeaseRecord {
        gateway: gateway.clone(),
        kind: LeaseKind::Gateway,
        applied: StreamSeq(0),
        control: lost,
        released: true,
    });
    let mark = FenceRecord::Mark(MarkRecord {
        gateway,
        control: lost,
    });
    for record in [released, mark] {
        former.publish(record, LATE).await?;
        // Every lease from before the record runs out within this time.
        let written = Instant::now();
        eventually(SOON, async || {
            written.elapsed() > LEASE && one.fence.is_serving()
        })
        .await?;
        let seq = one.append().await?;
        one.fence.everywhere(seq).await?;
        assert!(one.applied() >= seq && one.fence.is_serving());
    }
    one.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_late_to_a_gateway_makes_it_serve_later_not_longer() -> Result<()> {
    let nats = NatsServer::start().await?;
    let [one, two] = members(&nats).await?;
    // What it sends is stored, and nothing comes back: neither acknowledgements nor marks.
    two.proxy.deafen();
    let seq = one.append().await?;
    one.fence.everywhere(seq).await?;
    assert!(!two.fence.is_serving());
    two.proxy.heal();
    eventually(SOON, async || two.fence.is_serving()).await?;
    assert!(two.applied() >= seq);
    one.stop().await?;
    two.stop().await
}
