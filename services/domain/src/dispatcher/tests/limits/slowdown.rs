//! Limits that targets pause by answering 429.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::*;
use crate::command::Blocker;
use crate::id::LimitKey;
use crate::limit::{LimitBounds, LimitId, LimitNudge};
use crate::partition::PartitionCount;
use crate::task::request::LimitRequest;

/// The fence of the only owner.
const TERM: StreamSeq = StreamSeq(1);

fn home(at: Elapsed) -> Home {
    let me = Partition::new(0).expect("a partition");
    Home::new(me, TERM, &BTreeMap::new(), at)
}

fn open_office(world: &mut World) {
    let me = Partition::new(0).expect("a partition");
    let count = PartitionCount::new(1).expect("a count");
    world
        .dispatcher
        .open_limit_office(me, TERM, count, BTreeMap::new());
}

fn named(key: &str) -> LimitRequest {
    LimitRequest {
        key: Some(key.into()),
        concurrency: Some(5),
        ..LimitRequest::default()
    }
}

fn limited(world: &mut World, keys: &[&str], pauses: bool) -> TaskId {
    let limits: Vec<_> = keys.iter().map(|key| named(key)).collect();
    world.create(|r| {
        r.limits = Some(limits);
        r.on_rate_limited = pauses.then(|| "pauseKey".into());
    })
}

/// Asks and starts until nothing more happens.
fn serve(world: &mut World, home: &mut Home) {
    let no_pins = |_: LimitId| None::<LimitBounds>;
    for _ in 0..4 {
        world.serve(10);
        for (to, ask) in world.dispatcher.limit_asks(TERM, true, world.now) {
            let now = world.now.elapsed;
            let grant = home.ask(&ask, TERM, &no_pins, now, &mut Vec::new());
            let grant = grant.expect("an answer");
            world.dispatcher.limit_granted(to, &grant, world.now);
        }
    }
    world.serve(10);
}

fn too_often(after: &str) -> Outcome {
    answered_with(429, &[("Retry-After", after)])
}

fn blocker(world: &World, id: TaskId) -> Option<Blocker> {
    let explained = world
        .dispatcher
        .explain(id, &World::team(), world.now, |_| None);
    explained.expect("open").blocker
}

fn called(world: &World) -> Vec<TaskId> {
    world.calls.iter().map(|call| call.task).collect()
}

#[test]
fn nothing_with_the_key_starts_until_the_target_said_so_also_by_the_next_owner() {
    for (crash, with_snapshot) in [(false, false), (true, false), (true, true)] {
        let mut world = World::new();
        let mut at_home = home(world.now.elapsed);
        open_office(&mut world);
        let first = limited(&mut world, &["a", "b"], true);
        serve(&mut world, &mut at_home);
        assert_eq!(called(&world), [first]);
        world.end_call(too_often("60"));
        assert_eq!(
            world.kinds(first),
            ["created", "started", "limit_paused", "attempt_failed"]
        );
        let held = limited(&mut world, &["c", "a"], false);
        let free = limited(&mut world, &["b"], false);
        if crash {
            let snapshot = world.dispatcher.snapshot().filter(|_| with_snapshot);
            world.crash(snapshot);
            at_home = home(world.now.elapsed);
            open_office(&mut world);
        }
        world.pass(Duration::from_secs(50));
        serve(&mut world, &mut at_home);
        assert_eq!(
            called(&world),
            [free],
            "only the first of its keys is paused"
        );
        assert!(matches!(
            blocker(&world, held),
            Some(Blocker::LimitPaused { until: Some(_) })
        ));
        world.end_call(answered(200));
        world.pass(Duration::from_secs(10));
        serve(&mut world, &mut at_home);
        assert!(called(&world).contains(&held), "it ends by itself");
    }
}

#[test]
fn what_pauses_is_said_by_the_task_and_bounded_by_its_longest_pause() {
    let mut world = World::new();
    let mut home = home(world.now.elapsed);
    open_office(&mut world);
    let silent = limited(&mut world, &["a"], false);
    serve(&mut world, &mut home);
    world.end_call(too_often("60"));
    assert!(!world.kinds(silent).contains(&"limit_paused"));
    world.cancel(silent);
    for (after, status, expected) in [
        (Some("7200"), 429, Some(30)),
        (Some("7"), 429, Some(7)),
        (Some("7"), 503, None),
        (Some("0"), 429, None),
        (None, 429, None),
    ] {
        let id = world.create(|r| {
            r.limits = Some(vec![named("other")]);
            r.on_rate_limited = Some("pauseKey".into());
            r.max_delay = Some(Length::Seconds(30.0));
            r.max_retries = Some(0);
        });
        serve(&mut world, &mut home);
        let headers: Vec<_> = after.iter().map(|after| ("Retry-After", *after)).collect();
        assert_eq!(world.end_call(answered_with(status, &headers)), id);
        let paused = world.events(id).into_iter().find_map(|event| match event {
            TaskEvent::LimitPaused(paused) => Some(paused.until.since(paused.at).as_secs()),
            _ => None,
        });
        assert_eq!(paused, expected, "{after:?} {status}");
        world.pass(Duration::from_secs(31));
    }
}

#[test]
fn the_home_tells_the_other_partitions_and_the_log_keeps_the_pause() {
    let mut world = World::new();
    let mut home = home(world.now.elapsed);
    open_office(&mut world);
    limited(&mut world, &["a"], true);
    serve(&mut world, &mut home);
    let key = LimitKey::parse("a").expect("a key");
    let limit = LimitId::of(&World::team(), &key);
    // Another partition holds a share of the key.
    let other = Partition::new(1).expect("a partition");
    let mut number = 0;
    let mut ask = |home: &mut Home, now: Elapsed, nudges: &mut Vec<(Partition, LimitNudge)>| {
        number += 1;
        let ask = crate::limit::LimitAsk {
            holder: other,
            term: StreamSeq(2),
            fence: StreamSeq(2),
            number,
            home_term: TERM,
            is_full: number == 1,
            keys: vec![crate::limit::KeyAsk {
                limit,
                held: 1,
                running: 0,
                wants: 1,
                starts: 0,
                says: None,
                keeps: 0,
                paused: None,
            }],
            home_fence: StreamSeq(0),
        };
        let grant = home.ask(&ask, TERM, &|_| None, now, nudges);
        grant.expect("an answer").keys[0].paused
    };
    assert_eq!(ask(&mut home, world.now.elapsed, &mut Vec::new()), None);
    world.end_call(too_often("60"));
    world.pass(Duration::from_secs(1));
    let mut nudges = Vec::new();
    for (to, told) in world.dispatcher.limit_asks(TERM, true, world.now) {
        let grant = home.ask(&told, TERM, &|_| None, world.now.elapsed, &mut nudges);
        world
            .dispatcher
            .limit_granted(to, &grant.expect("an answer"), world.now);
    }
    assert!(
        nudges
            .iter()
            .any(|(to, nudge)| *to == other && nudge.keys.contains(&limit))
    );
    let told = ask(&mut home, world.now.elapsed, &mut Vec::new()).expect("a pause");
    assert!((58_000..=60_000).contains(&told.left_ms), "{told:?}");
    // Whoever holds a share there starts nothing from that answer on.
    let mut elsewhere = World::new();
    open_office(&mut elsewhere);
    let waits = limited(&mut elsewhere, &["a"], false);
    let now = elsewhere.now;
    for (to, asked) in elsewhere.dispatcher.limit_asks(TERM, true, now) {
        let mut grant = home_of(&asked);
        grant.keys[0].paused = Some(told);
        elsewhere.dispatcher.limit_granted(to, &grant, now);
    }
    elsewhere.serve(10);
    assert_eq!(called(&elsewhere), []);
    assert!(matches!(
        blocker(&elsewhere, waits),
        Some(Blocker::LimitPaused { until: Some(_) })
    ));
    // The failed task is restated, and the pause still needs its event, until it is over.
    let before = world.dispatcher.oldest_needed();
    world.restate(9);
    world.append();
    assert!(world.dispatcher.oldest_needed() > before);
    let paused = world
        .log
        .iter()
        .position(|event| event.kind() == "limit_paused");
    let paused = paused.expect("a pause") as u64 + 1;
    assert_eq!(world.dispatcher.oldest_needed(), Some(StreamSeq(paused)));
    world.pass(Duration::from_secs(60));
    assert!(world.dispatcher.oldest_needed() > Some(StreamSeq(paused)));
}

/// An answer that grants one slot.
fn home_of(ask: &crate::limit::LimitAsk) -> crate::limit::LimitGrant {
    let keys = ask.keys.iter().map(|key| crate::limit::KeyGrant {
        limit: key.limit,
        share: 1,
        starts: None,
        again_ms: 0,
        is_wanted: false,
        paused: None,
    });
    crate::limit::LimitGrant {
        term: StreamSeq(0),
        fence: TERM,
        number: ask.number,
        is_open: true,
        keys: keys.collect(),
        newer: None,
    }
}
