//! Tallies: summed over writers, counted once however often a batch is repeated, read by name and by day.

use std::sync::Arc;

use waybill_domain::id::{Environment, TeamId};
use waybill_domain::time::Timestamp;
use waybill_log::memory::MemoryTallies;
use waybill_log::{Addition, Counted, Seen, Tallies, TallyName, Wanted};

use crate::fixture::a_jetstream_log;

fn team() -> TeamId {
    TeamId::new(Timestamp(1), 1)
}

fn key(number: usize) -> TallyName {
    TallyName::new(team(), Counted::Credential(format!("key_{number:08}"))).unwrap()
}

fn day(team: TeamId, day: &str) -> TallyName {
    TallyName::new(team, Counted::Day(day.into())).unwrap()
}

fn add(name: TallyName, count: u64) -> Addition {
    Addition {
        name,
        count,
        seen: None,
    }
}

fn used(number: usize, count: u64, at: i64) -> Addition {
    Addition {
        seen: Some(Seen {
            at: Timestamp(at),
            source: "2001:db8::1".into(),
        }),
        ..add(key(number), count)
    }
}

async fn counts(tallies: &dyn Tallies) {
    let test = team().in_environment(Environment::Test);
    let first = [
        used(1, 5, 12),
        used(2, 7, 13),
        add(day(team(), "2026-11-20"), 12),
    ];
    tallies.tally("a", &first).await.unwrap();
    tallies.tally("b", &[used(1, 2, 20)]).await.unwrap();
    tallies
        .tally(
            "c",
            &[
                add(day(team(), "2026-11-21"), 2),
                add(day(test.clone(), "2026-11-21"), 9),
            ],
        )
        .await
        .unwrap();
    tallies.tally("a", &first).await.unwrap();
    tallies.tally("b", &[used(1, 2, 20)]).await.unwrap();
    tallies.tally("d", &[]).await.unwrap();

    let wanted = Wanted::Named(vec![key(1), key(2), key(3)]);
    let mut found = tallies.tallies(wanted).await.unwrap();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let seen = |index: usize| {
        found[index]
            .seen
            .as_ref()
            .map(|seen| (seen.at.0, &*seen.source))
    };
    assert_eq!(found.len(), 2, "what was never counted is left out");
    assert_eq!((found[0].count, seen(0)), (7, Some((20, "2001:db8::1"))));
    assert_eq!((found[1].count, seen(1)), (7, Some((13, "2001:db8::1"))));
    let mut days = tallies.tallies(Wanted::Days(team())).await.unwrap();
    days.sort_by(|a, b| a.name.cmp(&b.name));
    let days: Vec<_> = days
        .iter()
        .map(|day| (day.name.counted(), day.count))
        .collect();
    assert_eq!(
        days,
        [
            (&Counted::Day("2026-11-20".into()), 12),
            (&Counted::Day("2026-11-21".into()), 2)
        ]
    );
    let of_test = tallies.tallies(Wanted::Days(test.clone())).await.unwrap();
    assert_eq!(of_test.iter().map(|day| day.count).sum::<u64>(), 9);
    let none = tallies.tallies(Wanted::Months(test)).await.unwrap();
    assert_eq!(none, []);
}

#[tokio::test]
async fn both_kinds_of_tallies_count_alike() {
    counts(&MemoryTallies::default()).await;
    let (_server, log) = a_jetstream_log().await;
    counts(&log).await;
}

#[tokio::test]
async fn writers_at_once_sum_up_and_many_are_read_at_once() {
    let (_server, log) = a_jetstream_log().await;
    let log = Arc::new(log);
    let mut adding = tokio::task::JoinSet::new();
    for writer in 0..3 {
        let log = Arc::clone(&log);
        adding.spawn(async move {
            for round in 0..4 {
                let batch: Vec<_> = (0..1000).map(|number| used(number, 1, round)).collect();
                log.tally(&format!("w{writer}.{round}"), &batch)
                    .await
                    .unwrap();
            }
        });
    }
    adding.join_all().await;
    log.tally("more", &[used(1_500, 1, 1)]).await.unwrap();
    let names = (0..2_000).map(key).collect();
    let found = log.tallies(Wanted::Named(names)).await.unwrap();
    assert_eq!(found.len(), 1_001);
    assert_eq!(found.iter().map(|tally| tally.count).sum::<u64>(), 12_001);
}

#[tokio::test]
async fn tallies_whose_server_is_gone_are_away() {
    let (mut server, log) = a_jetstream_log().await;
    server.kill9();
    assert!(log.tally("a", &[used(1, 1, 1)]).await.is_err());
    server.restart().await.unwrap();
    waybill_testkit::eventually(crate::fixture::SOON, async || {
        log.tally("a", &[used(1, 1, 1)]).await.is_ok()
    })
    .await
    .unwrap();
    let found = log.tallies(Wanted::Named(vec![key(1)])).await.unwrap();
    assert_eq!(found[0].count, 1, "counted once");
}
