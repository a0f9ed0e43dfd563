//! What an owner tells of workers.

use super::*;
use crate::worker::{
    MAX_REMEMBERED, REMEMBERED, Registration, WorkerName, WorkerStanding, WorkersTold,
};

fn name(text: &str) -> WorkerName {
    WorkerName::parse(text).expect("a name")
}

fn registration(version: &str) -> Registration {
    Registration {
        queues: Vec::new(),
        host: None,
        version: Some(version.into()),
        concurrency: Some(4),
        beat_ms: 30_000,
        by: "key:key_4fG7aB2x".into(),
        kind: None,
        metadata: None,
        status: None,
        left: false,
    }
}

impl World {
    fn workers_told(&self, only: Option<&str>) -> WorkersTold {
        let only = only.map(name);
        let team = Self::team();
        self.dispatcher.tell_workers(&team, only.as_ref(), self.now)
    }

    fn worker(&self, of: &str) -> Option<WorkerStanding> {
        let told = self.workers_told(Some(of));
        told.workers.into_iter().next()
    }

    fn beat(&mut self, of: &str, version: &str) {
        let (team, now) = (Self::team(), self.now);
        self.dispatcher
            .worker_beats(&team, &name(of), registration(version), now);
    }
}

#[test]
fn what_a_worker_holds_follows_from_its_leases_also_after_a_takeover() {
    let mut world = World::new();
    for _ in 0..3 {
        world.create_pulled(|_| {});
    }
    let leases = world.claim(2);
    let held = world.worker("w").expect("known");
    assert_eq!((held.held, held.waiting, held.claims.len()), (2, 0, 2));
    assert_eq!(held.claims[0].attempt, 1);
    assert_eq!(held.seen, Some(world.now.wall));
    let until = held.claims[0].until.since(world.now.wall);
    assert_eq!(until, Duration::from_millis(LEASE.into()));
    // A list has no claims, only how many they are.
    let listed = world.workers_told(None).workers;
    assert_eq!((listed.len(), listed[0].held), (1, 2));
    assert!(listed[0].claims.is_empty());
    world.crash(None);
    let held = world.worker("w").expect("still held");
    assert_eq!((held.held, held.seen), (2, None));
    for lease in leases {
        world.report(lease, completes());
    }
    let known = world.worker("w").expect("it has reported");
    assert_eq!((known.held, known.seen), (0, Some(world.now.wall)));
}

#[test]
fn a_worker_that_waits_is_told_and_one_that_is_silent_is_forgotten() {
    let mut world = World::new();
    world.waits("a", 1);
    assert_eq!(world.worker("a").map(|known| known.waiting), Some(1));
    assert_eq!(world.worker("b"), None);
    world.beat("b", "1");
    world.pass(Duration::from_secs(30));
    world.beat("b", "2");
    let known = world.worker("b").and_then(|known| known.registered);
    let known = known.expect("registered");
    assert_eq!(known.registration.version.as_deref(), Some("2"));
    // Since its first beat.
    assert_eq!(world.now.wall.since(known.since), Duration::from_secs(30));
    world.pass(REMEMBERED);
    world.dispatcher.serve_claims(world.now, &mut Vec::new());
    assert_eq!(world.workers_told(None).workers, []);
}

#[test]
fn who_deregisters_is_gone_but_for_what_it_holds() {
    let mut world = World::new();
    world.create_pulled(|_| {});
    world.beat("w", "1");
    world.claim_one();
    let team = World::team();
    world.dispatcher.forget_worker(&team, &name("w"));
    let known = world.worker("w").expect("it holds a task");
    assert_eq!((known.held, known.registered), (1, None));
    world.pass(Duration::from_millis(u64::from(LEASE) + 1));
    world.append();
    assert_eq!(world.worker("w"), None);
}

#[test]
fn only_so_many_workers_of_a_team_are_remembered() {
    let mut world = World::new();
    for number in 0..=MAX_REMEMBERED {
        world.beat(&format!("w{number}"), "1");
        world.pass(Duration::from_millis(1));
    }
    assert_eq!(world.workers_told(None).workers.len(), MAX_REMEMBERED);
    assert_eq!(world.worker("w0"), None);
    assert!(world.worker("w1").is_some());
}

#[test]
fn a_reply_is_bounded_by_its_bytes() {
    let mut world = World::new();
    let long = QueueName::parse(&"q".repeat(100)).expect("a name");
    for number in 0..100 {
        let (team, now) = (World::team(), world.now);
        let mut registration = registration("1");
        registration.queues = vec![long.clone(); 100];
        let worker = name(&format!("w{number}"));
        world
            .dispatcher
            .worker_beats(&team, &worker, registration, now);
    }
    let told = world.workers_told(None);
    assert!(
        told.truncated && told.workers.len() > 10,
        "{}",
        told.workers.len()
    );
    let bytes = rmp_serde::to_vec_named(&told).expect("encoded").len();
    assert!(bytes < 1_000_000, "{bytes}");
}
