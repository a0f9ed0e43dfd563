//! Counters: exact under concurrency, signed, and away when the server is.

use std::sync::Arc;

use waybill_log::memory::MemoryCounters;
use waybill_log::{CounterName, Counters};
use waybill_testkit::eventually;

use crate::fixture::{SOON, a_jetstream_log};

fn a_counter(window: u64) -> CounterName<'static> {
    CounterName::new("team", "team_01", window).unwrap()
}

async fn counts(counters: &dyn Counters) {
    assert_eq!(counters.add(a_counter(1), 3).await, Ok(3));
    assert_eq!(counters.add(a_counter(1), 0).await, Ok(3));
    assert_eq!(counters.add(a_counter(1), -2).await, Ok(1));
    assert_eq!(counters.add(a_counter(2), 5).await, Ok(5));
    assert_eq!(counters.add(a_counter(3), 0).await, Ok(0));
    assert_eq!(counters.add(a_counter(4), -4).await, Ok(-4));
    assert_eq!(counters.add(a_counter(1), 1).await, Ok(2));
}

#[tokio::test]
async fn both_kinds_of_counters_count_alike() {
    counts(&MemoryCounters::default()).await;
    let (_server, log) = a_jetstream_log().await;
    counts(&log).await;
}

#[tokio::test]
async fn concurrent_additions_get_disjoint_totals() {
    let (_server, log) = a_jetstream_log().await;
    let log = Arc::new(log);
    let mut adding = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let log = Arc::clone(&log);
        adding.spawn(async move {
            let mut totals = Vec::new();
            for _ in 0..25 {
                totals.push(log.add(a_counter(9), 1).await.unwrap());
            }
            totals
        });
    }
    let mut totals: Vec<i64> = adding.join_all().await.into_iter().flatten().collect();
    totals.sort_unstable();
    assert_eq!(totals, (1..=800).collect::<Vec<i64>>());
}

#[tokio::test]
async fn a_counter_whose_server_is_gone_or_frozen_is_away_and_comes_back() {
    let (mut server, log) = a_jetstream_log().await;
    assert_eq!(log.add(a_counter(1), 1).await, Ok(1));
    server.pause().unwrap();
    let asked = std::time::Instant::now();
    assert!(log.add(a_counter(1), 1).await.is_err());
    assert!(asked.elapsed() < std::time::Duration::from_secs(2));
    server.resume().unwrap();
    eventually(SOON, async || log.add(a_counter(2), 1).await.is_ok())
        .await
        .unwrap();
    server.kill9();
    assert!(log.add(a_counter(3), 1).await.is_err());
    server.restart().await.unwrap();
    eventually(SOON, async || log.add(a_counter(3), 0).await.is_ok())
        .await
        .unwrap();
    // What was asked of a lost connection was never counted.
    assert_eq!(log.add(a_counter(3), 1).await, Ok(1));
}
