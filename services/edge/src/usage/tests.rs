use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use waybill_domain::id::{Environment, TeamId};
use waybill_domain::time::Timestamp;
use waybill_log::memory::MemoryTallies;
use waybill_log::{Tallies, Wanted};

use super::*;

const DAY: i64 = 86_400_000;

fn team() -> TeamId {
    TeamId::new(Timestamp(1), 1)
}

fn a_use<'a>(team: &'a TeamId, credential: &'a str, at: i64, host: u8) -> pending::Use<'a> {
    pending::Use {
        team,
        credential,
        is_kept: credential.starts_with("key_"),
        at: Timestamp(at),
        source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)),
    }
}

fn of(tallies: &MemoryTallies) -> (Arc<Usage>, Flusher) {
    let usage = Usage::new(Arc::new(tallies.clone()));
    let flusher = Flusher::new(Arc::clone(&usage), Duration::from_secs(60));
    (usage, flusher)
}

async fn key_use(usage: &Usage, team: &TeamId, key: &str) -> Option<(u64, i64, String)> {
    let key = waybill_domain::id::KeyId::parse(key).expect("an id");
    let uses = usage.of_keys(team, std::slice::from_ref(&key)).await;
    let found = uses.expect("an answer").remove(&key)?;
    let last = found.last.expect("a last use");
    Some((found.count, last.at.0, last.source))
}

#[tokio::test]
async fn gateways_sum_up_and_the_latest_use_stays() {
    let tallies = MemoryTallies::default();
    let ((first, mut a), (second, mut b)) = (of(&tallies), of(&tallies));
    let team = team();
    for at in [5, 9, 7] {
        first.pending.count(&a_use(&team, "key_aaaaaaaa", at, 1));
    }
    second.pending.count(&a_use(&team, "key_aaaaaaaa", 8, 2));
    second.pending.count(&a_use(&team, "user_1", 8, 2));
    a.flush().await;
    b.flush().await;
    assert_eq!(
        key_use(&first, &team, "key_aaaaaaaa").await,
        Some((4, 9, "192.0.2.1".into())),
        "who tells later does not say that it was used later"
    );
    let days = tallies.tallies(Wanted::Days(team.clone())).await;
    assert_eq!(days.expect("an answer")[0].count, 5, "people count too");
    let test = team.in_environment(Environment::Test);
    assert_eq!(key_use(&first, &test, "key_aaaaaaaa").await, None);
}

#[tokio::test]
async fn one_batch_tells_everything_and_nothing_is_told_when_nothing_happened() {
    let tallies = MemoryTallies::default();
    let (usage, mut flusher) = of(&tallies);
    let team = team();
    flusher.flush().await;
    assert_eq!(tallies.calls(), 0);
    for number in 0..300 {
        let key = format!("key_{number:08}");
        for at in 0..10 {
            usage.pending.count(&a_use(&team, &key, at, 1));
        }
    }
    flusher.flush().await;
    flusher.flush().await;
    assert_eq!(tallies.calls(), 1);
    assert_eq!(
        key_use(&usage, &team, "key_00000299")
            .await
            .map(|found| found.0),
        Some(10)
    );
}

#[tokio::test]
async fn what_was_not_told_is_told_later_and_once() {
    let tallies = MemoryTallies::default();
    let (usage, mut flusher) = of(&tallies);
    let team = team();
    usage.pending.count(&a_use(&team, "key_aaaaaaaa", 1, 1));
    tallies.set_away(true);
    flusher.flush().await;
    usage.pending.count(&a_use(&team, "key_aaaaaaaa", 2, 1));
    tallies.set_away(false);
    tallies.lose_answers(true);
    flusher.flush().await;
    flusher.flush().await;
    tallies.lose_answers(false);
    flusher.flush().await;
    flusher.flush().await;
    let used = key_use(&usage, &team, "key_aaaaaaaa").await;
    assert_eq!(used, Some((2, 2, "192.0.2.1".into())));
}

#[tokio::test]
async fn uses_belong_to_the_day_on_which_they_were() {
    let tallies = MemoryTallies::default();
    let (usage, mut flusher) = of(&tallies);
    let team = team();
    for at in [DAY * 30 + DAY - 1, DAY * 31, DAY * 31 + 1] {
        usage.pending.count(&a_use(&team, "key_aaaaaaaa", at, 1));
    }
    flusher.flush().await;
    let days = tallies.tallies(Wanted::Days(team.clone())).await;
    let days: Vec<_> = days.expect("days").iter().map(|day| day.count).collect();
    assert_eq!(days, [1, 2], "31 January and 1 February");
    let months = tallies.tallies(Wanted::Months(team)).await;
    assert_eq!(months.expect("months").len(), 2);
}

#[tokio::test]
async fn a_stop_tells_what_is_left() {
    let tallies = MemoryTallies::default();
    let (usage, flusher) = of(&tallies);
    let team = team();
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(flusher.run(stop.clone()));
    usage.pending.count(&a_use(&team, "key_aaaaaaaa", 1, 1));
    stop.cancel();
    running.await.expect("no panic");
    assert!(key_use(&usage, &team, "key_aaaaaaaa").await.is_some());
}

#[tokio::test]
async fn scopes_and_routes_of_a_key_are_counted_apart_with_their_last_use() {
    let tallies = MemoryTallies::default();
    let ((first, mut a), (second, mut b)) = (of(&tallies), of(&tallies));
    let team = team();
    let key = KeyId::parse("key_aaaaaaaa").expect("an id");
    let answered = |usage: &Usage, scope, route, status| {
        usage.answered(&Answered {
            team: &team,
            key: &key,
            scope,
            method: &Method::GET,
            route,
            status,
            source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        });
    };
    let (reads, found) = (Some(Scope::TasksRead), StatusCode::OK);
    answered(&first, reads, "/v1/tasks/{id}", found);
    answered(&first, reads, "/v1/tasks", found);
    answered(&second, reads, "/v1/tasks", found);
    answered(&second, None, "/v1/tasks", StatusCode::FORBIDDEN);
    a.flush().await;
    b.flush().await;
    let parts = first.parts_of_key(&team, &key).await.expect("an answer");
    let scopes: Vec<_> = parts
        .scopes
        .iter()
        .map(|used| (used.scope, used.count))
        .collect();
    assert_eq!(scopes, [(Scope::TasksRead, 3)]);
    assert!(parts.scopes[0].last.is_some());
    let routes = parts.routes.iter();
    let routes: Vec<_> = routes
        .map(|used| (&*used.route, &*used.status, used.count))
        .collect();
    assert_eq!(
        routes,
        [
            ("/v1/tasks", "2xx", 2),
            ("/v1/tasks", "4xx", 1),
            ("/v1/tasks/{id}", "2xx", 1)
        ]
    );
    // Parts alone are no further use of the key, nor of the day.
    assert_eq!(parts.days, []);
    let keys = first.of_keys(&team, std::slice::from_ref(&key)).await;
    assert_eq!(keys.expect("an answer").len(), 0);
    let other = KeyId::parse("key_bbbbbbbb").expect("an id");
    let none = first.parts_of_key(&team, &other).await.expect("an answer");
    assert_eq!(none, KeyParts::default());
}

#[tokio::test]
async fn uses_of_a_key_are_counted_by_day() {
    let tallies = MemoryTallies::default();
    let ((first, mut a), (second, mut b)) = (of(&tallies), of(&tallies));
    let team = team();
    let key = KeyId::parse("key_aaaaaaaa").expect("an id");
    for (usage, at) in [(&first, 5), (&first, DAY + 5), (&second, DAY + 9)] {
        usage.pending.count(&a_use(&team, "key_aaaaaaaa", at, 1));
    }
    // Of a person's session only the team's day is counted.
    first.pending.count(&a_use(&team, "user_1", 5, 1));
    a.flush().await;
    b.flush().await;
    let parts = first.parts_of_key(&team, &key).await.expect("an answer");
    let days = [("1970-01-01".to_owned(), 1), ("1970-01-02".to_owned(), 2)];
    assert_eq!(parts.days, days);
    let persons = Wanted::Parts(team.clone(), "user_1".into());
    assert_eq!(tallies.tallies(persons).await, Ok(Vec::new()));
}
