//! Rate limits over several gateways: limiters with connections of their own, and one real counter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use tokio_util::task::TaskTracker;
use waybill_domain::access::plan::{Catalogue, Guard, Plan};
use waybill_domain::id::TeamId;
use waybill_domain::time::{Elapsed, Times, Timestamp};
use waybill_edge::limits::{Guarded, LimitRefusal, LimitSlot, Limiter};
use waybill_log::NatsConfig;
use waybill_testkit::{NatsServer, eventually};

/// For something to become true on a busy machine.
const SOON: Duration = Duration::from_secs(20);
const GATEWAYS: usize = 3;
/// Requests in a window of one second.
const QUOTA: u64 = 120;

/// A plan of `q` requests in `w` seconds.
fn a_catalogue(q: u64, w: u64) -> Arc<Catalogue> {
    let text = include_str!("../../../../ops/plans/plans.toml").replacen(
        "q = 60, w = 60",
        &format!("q = {q}, w = {w}"),
        1,
    );
    Arc::new(Catalogue::parse(&text).expect("valid"))
}

fn now() -> Timestamp {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp(0).plus(since)
}

/// Limiters that share a counter, as gateways do.
struct Fleet {
    server: NatsServer,
    catalogue: Arc<Catalogue>,
    plan: Arc<Plan>,
    team: TeamId,
    live: Arc<AtomicU32>,
}

impl Fleet {
    async fn new(q: u64, w: u64) -> Result<Self> {
        let catalogue = a_catalogue(q, w);
        Ok(Self {
            server: NatsServer::start().await?,
            plan: Arc::clone(catalogue.plan("free")),
            catalogue,
            team: TeamId::new(now(), 7),
            live: Arc::new(AtomicU32::new(3)),
        })
    }

    /// A gateway whose clock is fast by so many milliseconds.
    async fn gateway(&self, fast_ms: i64) -> Result<Arc<Limiter>> {
        let log = waybill_log::connect(&NatsConfig::at(self.server.url())).await?;
        Ok(Limiter::with_clock(
            Arc::clone(&self.catalogue),
            Arc::new(log),
            Arc::clone(&self.live),
            TaskTracker::new(),
            Box::new(move || {
                let wall = Timestamp(now().0 + fast_ms);
                Times {
                    elapsed: Elapsed(wall.0),
                    wall,
                }
            }),
        ))
    }

    /// One request; the window that it was admitted in.
    async fn take(&self, gateway: &Arc<Limiter>) -> Result<Option<u64>> {
        take(gateway, &self.team, &self.plan).await
    }
}

async fn take(gateway: &Arc<Limiter>, team: &TeamId, plan: &Plan) -> Result<Option<u64>> {
    let slot = LimitSlot::default();
    match gateway.take(&slot, team, "key_00000001", plan).await {
        Ok(()) => {
            let standing = slot.standing().expect("a limited plan");
            Ok(standing.meters().first().map(|meter| meter.window.id()))
        }
        Err(LimitRefusal::Limited { .. }) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

/// Admitted requests by window.
type Admitted = BTreeMap<u64, u64>;

/// Ten times the quota, for so long, at a gateway that `restarts` may replace after every so many requests.
async fn overload(
    fleet: Arc<Fleet>,
    share: u32,
    fast_ms: i64,
    time: Duration,
    restarts: Option<u32>,
) -> Result<Admitted> {
    let mut gateway = fleet.gateway(fast_ms).await?;
    let mut pace =
        tokio::time::interval(Duration::from_secs(1) / (10 * u32::try_from(QUOTA)? / share));
    let (mut admitted, end, mut requests) = (Admitted::new(), Instant::now() + time, 0);
    while Instant::now() < end {
        pace.tick().await;
        requests += 1;
        if restarts.is_some_and(|every| requests % every == 0) {
            // What the old one still held dies with it.
            gateway = fleet.gateway(fast_ms).await?;
        }
        if let Some(window) = fleet.take(&gateway).await? {
            *admitted.entry(window).or_default() += 1;
        }
    }
    Ok(admitted)
}

async fn overload_all(
    fleet: &Arc<Fleet>,
    fast_ms: [i64; GATEWAYS],
    restarts: Option<u32>,
) -> Result<Admitted> {
    let time = Duration::from_secs(6);
    let gateways = fast_ms
        .map(|fast_ms| tokio::spawn(overload(Arc::clone(fleet), 3, fast_ms, time, restarts)));
    let mut total = Admitted::new();
    for gateway in gateways {
        for (window, count) in gateway.await?? {
            *total.entry(window).or_default() += count;
        }
    }
    for (window, count) in &total {
        assert!(*count <= QUOTA, "{count} admitted in window {window}");
    }
    Ok(total)
}

/// The windows that were offered more than the quota from their beginning to their end.
fn whole(admitted: &Admitted) -> Vec<u64> {
    let inner = admitted.len().saturating_sub(2);
    admitted.values().copied().skip(1).take(inner).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l1_three_overloaded_gateways_admit_the_quota_of_each_window() -> Result<()> {
    let fleet = Arc::new(Fleet::new(QUOTA, 1).await?);
    let windows = whole(&overload_all(&fleet, [0; GATEWAYS], None).await?);
    assert!(windows.len() >= 4, "{windows:?}");
    assert_eq!(windows, vec![QUOTA; windows.len()]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l2_killed_and_restarted_gateways_admit_no_more_than_the_quota() -> Result<()> {
    let fleet = Arc::new(Fleet::new(QUOTA, 1).await?);
    let windows = whole(&overload_all(&fleet, [0; GATEWAYS], Some(97)).await?);
    assert!(windows.iter().sum::<u64>() > 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l13_clocks_that_are_two_seconds_apart_admit_no_more_per_window() -> Result<()> {
    let fleet = Arc::new(Fleet::new(QUOTA, 1).await?);
    let windows = whole(&overload_all(&fleet, [0, 2_000, -1_300], None).await?);
    assert!(windows.iter().sum::<u64>() > 0);
    Ok(())
}

#[tokio::test]
async fn all_load_at_one_of_three_gateways_gets_the_whole_quota() -> Result<()> {
    let fleet = Fleet::new(500, 600).await?;
    let gateway = fleet.gateway(0).await?;
    let mut admitted = 0;
    while fleet.take(&gateway).await?.is_some() {
        admitted += 1;
    }
    assert_eq!(admitted, 500);
    Ok(())
}

/// The bound that the domain states, on three gateways: at most `q / 2 - N` lie unused when the first one refuses.
#[tokio::test]
async fn what_idle_gateways_hold_is_at_most_half_and_comes_back() -> Result<()> {
    let (q, n) = (600_u64, GATEWAYS as u64);
    let fleet = Fleet::new(q, 12).await?;
    let fleet = Arc::new(fleet);
    let mut gateways = Vec::new();
    for _ in 0..GATEWAYS {
        gateways.push(fleet.gateway(0).await?);
    }
    // A fresh window, so that all of this fits into it.
    let window = now().0 / 12_000;
    eventually(SOON, async || now().0 / 12_000 > window).await?;
    let mut admitted = 0;
    // The first two are busy for a moment, and hold credits when they fall silent.
    for gateway in &gateways[1..] {
        for _ in 0..60 {
            admitted += u64::from(fleet.take(gateway).await?.is_some());
        }
    }
    while fleet.take(&gateways[0]).await?.is_some() {
        admitted += 1;
    }
    assert!(admitted <= q);
    assert!(q - admitted <= q / 2 - n, "{} unused", q - admitted);
    // Leases lapse after a second, what is left goes back, and who was refused gets it.
    eventually(SOON, async || {
        for gateway in &gateways {
            gateway.sweep().await;
        }
        while let Ok(Some(_)) = fleet.take(&gateways[0]).await {
            admitted += 1;
        }
        admitted >= q
    })
    .await?;
    assert_eq!(admitted, q);
    Ok(())
}

#[tokio::test]
async fn l10_without_the_counter_gateways_admit_their_shares_and_guard_everything() -> Result<()> {
    let mut fleet = Fleet::new(60, 600).await?;
    let mut gateways = Vec::new();
    for _ in 0..GATEWAYS {
        gateways.push(fleet.gateway(0).await?);
    }
    fleet.server.pause()?;
    let mut admitted = [0; GATEWAYS];
    for (gateway, admitted) in gateways.iter().zip(&mut admitted) {
        while fleet.take(gateway).await?.is_some() {
            *admitted += 1;
        }
        let who = Guarded {
            source: Some([127, 0, 0, 1].into()),
            account: Some("0af3"),
            team: Some(&fleet.team),
        };
        for guard in Guard::ALL {
            let refused = gateway.guard(&LimitSlot::default(), guard, &who).await;
            assert_eq!(refused, Err(LimitRefusal::CounterUnavailable), "{guard:?}");
        }
    }
    assert_eq!(admitted, [20; GATEWAYS]);
    fleet.server.resume()?;
    // The counter is told what was admitted without it: nothing is left.
    for gateway in &gateways {
        eventually(SOON, async || {
            gateway.sweep().await;
            let who = Guarded {
                source: Some([127, 0, 0, 1].into()),
                account: None,
                team: None,
            };
            let slot = LimitSlot::default();
            gateway.guard(&slot, Guard::LogIn, &who).await.is_ok()
        })
        .await?;
    }
    let mut more = 0;
    for gateway in &gateways {
        while fleet.take(gateway).await?.is_some() {
            more += 1;
        }
    }
    assert!(more <= 60, "{more}");
    Ok(())
}

#[tokio::test]
async fn a_counter_that_was_restarted_learns_from_the_gateway_what_it_forgot() -> Result<()> {
    let mut fleet = Fleet::new(60, 600).await?;
    fleet.live.store(1, Ordering::Relaxed);
    let gateway = fleet.gateway(0).await?;
    for _ in 0..50 {
        assert!(fleet.take(&gateway).await?.is_some());
    }
    fleet.server.restart().await?;
    let mut admitted = 50;
    eventually(SOON, async || {
        gateway.sweep().await;
        while let Ok(Some(_)) = fleet.take(&gateway).await {
            admitted += 1;
        }
        admitted >= 60
    })
    .await?;
    assert_eq!(admitted, 60);
    Ok(())
}
