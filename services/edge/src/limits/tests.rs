//! A limiter on counters in memory, with a clock that stands still.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use tokio_util::task::TaskTracker;
use waybill_domain::access::limit::Standing;
use waybill_domain::access::plan::{Catalogue, Guard, Plan};
use waybill_domain::id::TeamId;
use waybill_domain::time::{Elapsed, Times, Timestamp};
use waybill_log::memory::MemoryCounters;

use super::*;

const TIERS: &str = include_str!("../../../../ops/plans/tiers.toml");
const START: i64 = 1_705_312_200_000;

struct Stage {
    limiter: Arc<Limiter>,
    counters: MemoryCounters,
    clock: Arc<AtomicI64>,
    catalogue: Arc<Catalogue>,
    team: TeamId,
}

impl Stage {
    fn new(catalogue: Arc<Catalogue>) -> Self {
        let (counters, clock) = (MemoryCounters::default(), Arc::new(AtomicI64::new(START)));
        let hand = Arc::clone(&clock);
        let limiter = Limiter::with_clock(
            Arc::clone(&catalogue),
            Arc::new(counters.clone()),
            Arc::new(AtomicU32::new(1)),
            TaskTracker::new(),
            Box::new(move || {
                let now = hand.load(Ordering::Relaxed);
                Times {
                    elapsed: Elapsed(now),
                    wall: Timestamp(now),
                }
            }),
        );
        let team = TeamId::new(Timestamp(START), 1);
        Self {
            limiter,
            counters,
            clock,
            catalogue,
            team,
        }
    }

    fn plan(&self, name: &str) -> Arc<Plan> {
        Arc::clone(self.catalogue.plan(name))
    }

    fn wait(&self, ms: i64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    async fn take(&self, credential: &str, plan: &str) -> Result<LimitSlot, LimitRefusal> {
        let slot = LimitSlot::default();
        let plan = self.plan(plan);
        let taken = self.limiter.take(&slot, &self.team, credential, &plan);
        taken.await.map(|()| slot)
    }

    async fn guard(&self, guard: Guard, source: &str) -> Result<(), LimitRefusal> {
        let who = Guarded {
            source: Some(source.parse().expect("an address")),
            account: Some("0af3"),
            team: Some(&self.team),
        };
        let slot = LimitSlot::default();
        self.limiter.guard(&slot, guard, &who).await
    }
}

fn builtin() -> Arc<Catalogue> {
    Arc::clone(Catalogue::builtin())
}

fn tiers() -> Arc<Catalogue> {
    Arc::new(Catalogue::parse(TIERS).expect("valid"))
}

fn remaining(slot: &LimitSlot, policy: &str) -> u64 {
    let standing = slot.standing().expect("noted");
    let meter = standing.meters().iter().find(|m| &*m.policy.name == policy);
    meter.expect("it applies").remaining
}

fn violated(refusal: LimitRefusal) -> Vec<String> {
    match refusal {
        LimitRefusal::Limited { limited, .. } => {
            let names = limited.violated().map(|m| m.policy.name.to_string());
            names.collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn remaining_falls_by_one_each_until_nothing_is_admitted() {
    let stage = Stage::new(builtin());
    for left in (0..60).rev() {
        let slot = stage.take("key_1", "free").await.expect("admitted");
        assert_eq!(remaining(&slot, "team"), left);
    }
    let refused = stage.take("key_2", "free").await.expect_err("over");
    assert_eq!(
        refused.to_string(),
        "Rate limit exceeded: team admits 60 requests in 60 s"
    );
    stage.wait(60_000);
    let slot = stage.take("key_2", "free").await.expect("a new window");
    assert_eq!(remaining(&slot, "team"), 59);
}

#[tokio::test]
async fn what_one_policy_refuses_is_charged_to_none() {
    let stage = Stage::new(tiers());
    // 20 in the first second are the burst; the key's 60 are used up within three.
    for _ in 0..3 {
        for _ in 0..20 {
            stage.take("key_1", "free").await.expect("admitted");
        }
        stage.wait(1_000);
    }
    for _ in 0..10 {
        let refused = stage.take("key_1", "free").await.expect_err("over");
        assert_eq!(violated(refused), ["key"]);
    }
    let slot = stage
        .take("key_2", "free")
        .await
        .expect("the team has 40 left");
    assert_eq!(remaining(&slot, "sustained"), 39);
    assert_eq!(remaining(&slot, "burst"), 19);
    assert_eq!(remaining(&slot, "key"), 59);
}

#[tokio::test]
async fn a_plan_that_changes_inside_a_window_holds_at_once() {
    let stage = Stage::new(builtin());
    while stage.take("key_1", "free").await.is_ok() {}
    for left in (0..540).rev() {
        let slot = stage.take("key_1", "pro").await.expect("admitted");
        assert_eq!(remaining(&slot, "team"), left);
    }
    assert_eq!(
        violated(stage.take("key_1", "pro").await.expect_err("over")),
        ["team"]
    );
    // Down again: less than nothing is nothing.
    assert_eq!(
        violated(stage.take("key_1", "free").await.expect_err("over")),
        ["team"]
    );
}

#[tokio::test]
async fn an_unlimited_plan_asks_nobody() {
    let stage = Stage::new(builtin());
    for _ in 0..1000 {
        let slot = stage.take("key_1", "enterprise").await.expect("admitted");
        assert_eq!(slot.standing(), Some(Standing::Unlimited));
    }
    assert_eq!((stage.counters.calls(), stage.limiter.holders()), (0, 0));
}

#[tokio::test]
async fn a_crowd_at_one_bucket_shares_its_requests_to_the_counter() {
    let stage = Arc::new(Stage::new(builtin()));
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..2_000 {
        let stage = Arc::clone(&stage);
        crowd.spawn(async move { stage.take("key_1", "pro").await.is_ok() });
    }
    let admitted = crowd.join_all().await.into_iter().filter(|ok| *ok).count();
    assert_eq!(admitted, 600);
    assert!(stage.counters.calls() < 40, "{}", stage.counters.calls());
}

#[tokio::test]
async fn without_the_counter_there_is_a_share_and_nothing_that_is_guarded() {
    let stage = Stage::new(builtin());
    stage.take("key_1", "free").await.expect("admitted");
    stage
        .guard(Guard::LogIn, "192.0.2.1")
        .await
        .expect("admitted");
    stage.counters.set_away(true);
    let mut admitted = 1;
    while let Ok(slot) = stage.take("key_1", "free").await {
        admitted += 1;
        assert_eq!(remaining(&slot, "team"), 60 - admitted);
    }
    // One live gateway has the whole share.
    assert_eq!(admitted, 60);
    for guard in Guard::ALL {
        let refused = stage.guard(guard, "192.0.2.1").await;
        assert_eq!(refused, Err(LimitRefusal::CounterUnavailable), "{guard:?}");
    }
    stage.counters.set_away(false);
    stage.limiter.sweep().await;
    stage.guard(Guard::LogIn, "192.0.2.1").await.expect("back");
    // The counter learns what was admitted without it.
    assert_eq!(
        violated(stage.take("key_1", "free").await.expect_err("over")),
        ["team"]
    );
}

#[tokio::test]
async fn a_guard_counts_by_account_from_one_network_and_from_anywhere() {
    let stage = Stage::new(builtin());
    for network in 0..10 {
        let source = format!("192.0.2.{network}");
        for _ in 0..10 {
            stage.guard(Guard::LogIn, &source).await.expect("admitted");
        }
        let refused = stage.guard(Guard::LogIn, &source).await;
        let violated = violated(refused.expect_err("over"));
        assert!(
            violated.contains(&"log-in-account".to_owned()),
            "{violated:?}"
        );
    }
    let refused = stage.guard(Guard::LogIn, "198.51.100.1").await;
    assert_eq!(violated(refused.expect_err("over")), ["log-in-anywhere"]);
}

#[tokio::test]
async fn what_is_forgiven_counts_for_nothing() {
    let stage = Stage::new(builtin());
    let source = "192.0.2.1";
    for _ in 0..50 {
        stage.guard(Guard::LogIn, source).await.expect("admitted");
        let who = Guarded {
            source: Some(source.parse().expect("an address")),
            account: Some("0af3"),
            team: Some(&stage.team),
        };
        stage.limiter.forgive(Guard::LogIn, &who);
    }
    for _ in 0..10 {
        stage.guard(Guard::LogIn, source).await.expect("admitted");
    }
    assert!(stage.guard(Guard::LogIn, source).await.is_err());
}

#[tokio::test]
async fn failures_of_a_whole_ipv6_64_count_together_and_touch_no_team() {
    let stage = Stage::new(builtin());
    let address = |n: u128| IpAddr::from((0x2001_0db8_u128 << 96 | n).to_be_bytes());
    let slot = LimitSlot::default();
    for n in 0..100_000 {
        stage.limiter.source_failed(address(n));
    }
    assert_eq!(stage.limiter.holders(), 1);
    let refused = stage.limiter.admit_source(&slot, address(7 << 40));
    assert_eq!(violated(refused.expect_err("over")), ["failures"]);
    let other = stage.limiter.admit_source(&slot, address(1 << 64));
    assert_eq!(other, Ok(()));
    assert_eq!(stage.counters.calls(), 0);
    stage.wait(60_000);
    assert_eq!(stage.limiter.admit_source(&slot, address(1)), Ok(()));
}

#[tokio::test]
async fn a_million_networks_and_accounts_take_bounded_room() {
    let stage = Stage::new(builtin());
    for n in 0..1_000_000_u32 {
        stage.limiter.source_failed(IpAddr::from(n.to_be_bytes()));
    }
    assert!(stage.limiter.holders() <= 100_000);
    for _ in 0..7 {
        stage.wait(10_000);
        stage.limiter.sweep().await;
    }
    assert_eq!(stage.limiter.holders(), 0);
}

#[tokio::test]
async fn a_million_teams_take_bounded_room_and_lose_nothing_but_unspent_credits() {
    let stage = Stage::new(builtin());
    let plan = stage.plan("free");
    let first = TeamId::new(Timestamp(START), 0);
    let take = async |team: &TeamId| {
        let slot = LimitSlot::default();
        let taken = stage.limiter.take(&slot, team, "key_1", &plan);
        taken.await.map(|()| remaining(&slot, "team"))
    };
    for _ in 0..60 {
        take(&first).await.expect("admitted");
    }
    for n in 1..=300_000 {
        let team = TeamId::new(Timestamp(START), n);
        assert_eq!(take(&team).await, Ok(59));
    }
    assert!(stage.limiter.holders() <= 200_000);
    assert_eq!(
        violated(take(&first).await.expect_err("the counter knows")),
        ["team"]
    );
    // Swept all the time, as it is in service.
    for _ in 0..13 {
        stage.wait(10_000);
        stage.limiter.sweep().await;
    }
    assert_eq!(stage.limiter.holders(), 0);
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_keep_the_counter_from_being_asked() {
    let stage = Stage::new(builtin());
    {
        let mut given_up = Box::pin(stage.take("key_1", "free"));
        let polled = futures::poll!(given_up.as_mut());
        assert!(polled.is_pending(), "it waits for the counter");
    }
    let slot = stage.take("key_1", "free").await.expect("admitted");
    assert!(remaining(&slot, "team") >= 58);
}
