//! Hosts that fail: what is held back, when it is probed, and that nothing is held back for ever.

use proptest::prelude::*;

use super::*;
use crate::command::{Blocker, HostState};
use crate::dispatcher::{HostRecord, Reading};
use crate::health::{FailureShare, TargetHost};
use crate::id::QueueName;

const PAUSE: Duration = Duration::from_secs(10);

fn host(name: &str) -> Compartment {
    let host = TargetHost::parse(name).expect("a host");
    Compartment::of(&World::team(), &host)
}

fn after_failures(in_a_row: u32) -> HealthRule {
    HealthRule {
        in_a_row: Some(in_a_row),
        share: None,
        pause_ms: 10_000,
        max_pause_ms: 25_000,
        disable_after_ms: None,
    }
}

impl World {
    fn judge(&mut self, name: &str, rule: Option<HealthRule>) {
        self.decide(name, rule.map(HostRules::from).unwrap_or_default());
    }

    fn decide(&mut self, name: &str, rules: HostRules) {
        self.dispatcher.set_host_rules(host(name), rules);
        self.health.insert(host(name), rules);
        self.dispatcher.check();
    }

    /// Opens the host by hand, or ends that.
    fn hold(&mut self, name: &str, held: bool) {
        let rules = self.health.get(&host(name)).copied().unwrap_or_default();
        let held = held.then_some(Hold::Open);
        self.decide(name, HostRules { held, ..rules });
    }

    fn create_at(&mut self, name: &str, change: impl FnOnce(&mut TaskRequest)) -> TaskId {
        self.create(|task| {
            task.target_url = Some(format!("http://{name}/"));
            change(task);
        })
    }

    fn calls_now(&mut self, slots: usize) -> Vec<TaskId> {
        self.serve(slots);
        self.calls.iter().map(|call| call.task).collect()
    }

    /// A task without retries fails there.
    fn fails_at(&mut self, name: &str, outcome: Outcome) {
        let id = self.create_at(name, |task| task.max_retries = Some(0));
        assert_eq!(self.calls_now(1), [id]);
        self.end_call(outcome);
    }

    fn state(&self, name: &str) -> HostState {
        self.dispatcher.health(host(name), self.now).state
    }
}

#[test]
fn an_open_host_holds_its_tasks_and_no_attempt_is_burnt() {
    let mut world = World::new();
    world.judge("sink", Some(after_failures(2)));
    world.fails_at("sink", answered(503));
    world.fails_at("sink", failed(FailureKind::Connect));
    assert_eq!(world.state("sink"), HostState::Open);
    let first = world.create_at("sink", |_| {});
    let short = world.create_at("sink", |task| task.expires_in = Some(Length::Seconds(5.0)));
    let second = world.create_at("sink", |task| task.priority = Some(10));
    let elsewhere = world.create_at("well", |_| {});
    assert_eq!(world.calls_now(8), [elsewhere], "other hosts go on");
    let health = world.dispatcher.health(host("sink"), world.now);
    assert_eq!((health.held, health.in_a_row), (3, 2));
    assert_eq!(health.until, Some(world.now.wall.plus(PAUSE)));
    let explained = |world: &World, id| {
        let told = world
            .dispatcher
            .explain(id, &World::team(), world.now, |_| None);
        told.map(|told| (told.blocker, told.ahead))
    };
    let until = health.until;
    let open = Some(Blocker::TargetOpen { until });
    assert_eq!(explained(&world, first), Some((open, Some(0))));
    assert_eq!(explained(&world, second), Some((open, Some(2))));
    world.pass(Duration::from_secs(6));
    assert_eq!(world.kinds(short), ["created", "expired"], "time goes on");
    assert_eq!(
        world.dispatcher.wake_in(world.now),
        Some(Duration::from_secs(4))
    );
    world.calls.clear();
    world.pass(Duration::from_secs(4));
    // Not the one with the highest priority, and no more than one.
    assert_eq!(world.calls_now(8), [first]);
    assert_eq!(world.state("sink"), HostState::Probing);
    let open = Some(Blocker::TargetOpen { until: None });
    assert_eq!(explained(&world, second), Some((open, Some(0))));
    assert!(matches!(
        world.events(first)[1],
        TaskEvent::Started(TaskStarted { probe: true, .. })
    ));
    world.end_call(answered(200));
    assert_eq!(world.state("sink"), HostState::Closed);
    assert_eq!(world.calls_now(8), [second]);
    assert_eq!(world.kinds(second), ["created", "started"]);
}

use crate::event::TaskStarted;

#[test]
fn a_probe_that_fails_lengthens_the_pause_up_to_its_bound() {
    let mut world = World::new();
    world.judge("sink", Some(after_failures(1)));
    world.fails_at("sink", answered(500));
    for _ in 0..4 {
        world.create_at("sink", |task| task.max_retries = Some(0));
    }
    for pause in [10, 20, 25, 25] {
        world.pass(Duration::from_secs(pause - 1));
        assert_eq!(world.calls_now(8), [], "{pause}");
        world.pass(Duration::from_secs(1));
        assert_eq!(world.calls_now(8).len(), 1, "{pause}");
        world.end_call(failed(FailureKind::Timeout));
    }
    world.create_at("sink", |_| {});
    world.pass(Duration::from_secs(25));
    world.serve(8);
    world.end_call(answered(404));
    assert_eq!(world.state("sink"), HostState::Closed, "it answers");
    world.fails_at("sink", answered(429));
    world.create_at("sink", |_| {});
    world.pass(PAUSE);
    assert_eq!(world.calls_now(8).len(), 1, "the pause is short again");
}

#[test]
fn who_opens_a_host_by_hand_holds_its_tasks_until_it_is_closed_or_the_date() {
    let mut world = World::new();
    let held = |hold| HostRules {
        held: Some(hold),
        ..HostRules::default()
    };
    world.decide("sink", held(Hold::Open));
    let first = world.create_at("sink", |_| {});
    let elsewhere = world.create_at("well", |_| {});
    assert_eq!(world.calls_now(8), [elsewhere]);
    world.end_call(answered(200));
    world.crash(None);
    world.pass(Duration::from_secs(1_000));
    world.calls.clear();
    assert_eq!(world.calls_now(8), [], "nothing probes it");
    let health = world.dispatcher.health(host("sink"), world.now);
    assert_eq!(
        (health.state, health.until, health.held),
        (HostState::Open, None, 1)
    );
    let blocker = |world: &World| {
        let told = world
            .dispatcher
            .explain(first, &World::team(), world.now, |_| None);
        told.and_then(|told| told.blocker)
    };
    assert_eq!(blocker(&world), Some(Blocker::TargetOpen { until: None }));
    let until = world.now.wall.plus(PAUSE);
    world.decide("sink", held(Hold::Until(until)));
    world.serve(8);
    let until = Some(until);
    assert_eq!(blocker(&world), Some(Blocker::TargetOpen { until }));
    assert_eq!(world.dispatcher.wake_in(world.now), Some(PAUSE));
    world.pass(PAUSE);
    assert_eq!(world.calls_now(8), [first]);
    // A start that waits for the log when the host is opened delays the answer to that.
    world.end_call(answered(200));
    world.create_at("sink", |_| {});
    let mut actions = Vec::new();
    world.dispatcher.fill(8, world.now, &mut actions);
    world.carry_out(actions);
    assert!(!world.dispatcher.starts_paused());
    world.decide("sink", held(Hold::Open));
    assert!(world.dispatcher.starts_paused());
    world.append();
    assert!(!world.dispatcher.starts_paused());
}

#[test]
fn closing_by_hand_lets_everything_go_and_what_failed_counts_no_more() {
    for crash in [false, true] {
        let mut world = World::new();
        world.judge("sink", Some(after_failures(2)));
        world.fails_at("sink", answered(503));
        world.fails_at("sink", answered(503));
        let held = world.create_at("sink", |task| task.max_retries = Some(0));
        assert_eq!(world.calls_now(8), []);
        let closed = HostRules {
            cleared: Some(world.now.wall),
            ..after_failures(2).into()
        };
        world.decide("sink", closed);
        assert_eq!(world.calls_now(8), [held]);
        world.pass(Duration::from_secs(1));
        world.end_call(answered(503));
        if crash {
            let snapshot = world.dispatcher.snapshot();
            world.crash(snapshot);
        }
        assert_eq!(
            world.state("sink"),
            HostState::Closed,
            "the first one since"
        );
        world.fails_at("sink", answered(503));
        assert_eq!(world.state("sink"), HostState::Open);
    }
}

#[test]
fn a_host_that_fails_for_too_long_is_disabled_and_told_so_once() {
    let mut world = World::new();
    let rule = HealthRule {
        disable_after_ms: Some(30_000),
        ..after_failures(1)
    };
    world.judge("sink", Some(rule));
    world.fails_at("sink", answered(503));
    let tasks: Vec<_> = (0..4)
        .map(|_| world.create_at("sink", |task| task.max_retries = Some(0)))
        .collect();
    let disabled = |world: &World| world.dispatcher.health(host("sink"), world.now).disabled;
    for pause in [10, 20] {
        assert!(!disabled(&world));
        world.pass(Duration::from_secs(pause));
        assert_eq!(world.calls_now(8).len(), 1, "{pause}");
        world.end_call(answered(503));
    }
    assert!(disabled(&world));
    assert_eq!(
        world.kinds(tasks[1]),
        ["created", "started", "target_disabled", "dead"]
    );
    world.crash(None);
    world.pass(Duration::from_secs(100_000));
    assert_eq!(world.calls_now(8), [], "it is not probed any more");
    assert!(disabled(&world), "the next owner knows it from the log");
    let told = world
        .log
        .iter()
        .filter(|event| event.kind() == "target_disabled");
    assert_eq!(told.count(), 1);
    let closed = HostRules {
        cleared: Some(world.now.wall),
        ..rule.into()
    };
    world.decide("sink", closed);
    assert_eq!(world.calls_now(8), tasks[2..]);
}

#[test]
fn what_is_not_the_hosts_fault_opens_nothing() {
    let mut world = World::new();
    world.judge("sink", Some(after_failures(1)));
    for outcome in [
        answered(404),
        failed(FailureKind::BlockedAddress),
        failed(FailureKind::InvalidRequest),
        failed(FailureKind::Vault),
        failed(FailureKind::VaultIntegrity),
    ] {
        world.fails_at("sink", outcome);
        assert_eq!(world.state("sink"), HostState::Closed);
    }
}

#[test]
fn without_a_rule_nothing_is_held_and_one_that_comes_later_judges_what_was() {
    let mut world = World::new();
    for _ in 0..5 {
        world.fails_at("sink", failed(FailureKind::Connect));
    }
    let share = FailureShare {
        percent: 100,
        of: 5,
    };
    let rule = HealthRule {
        in_a_row: None,
        share: Some(share),
        ..after_failures(1)
    };
    world.judge("sink", Some(rule));
    let held = world.create_at("sink", |_| {});
    assert_eq!(world.calls_now(8), []);
    world.crash(None);
    assert_eq!(
        world.calls_now(8),
        [],
        "the next owner knows it from the log"
    );
    let snapshot = world.dispatcher.snapshot();
    assert!(snapshot.is_some());
    world.crash(snapshot);
    assert_eq!(world.calls_now(8), [], "or from a snapshot");
    world.judge("sink", None);
    assert_eq!(world.calls_now(8), [held]);
}

#[test]
fn a_paused_queue_does_not_keep_others_from_probing() {
    let mut world = World::new();
    world.judge("sink", Some(after_failures(1)));
    world.fails_at("sink", answered(500));
    let place = |queue: &str| (World::team(), QueueName::parse(queue).expect("a name"));
    let pause = QueueRules {
        paused: Some(Hold::Open),
        ..QueueRules::default()
    };
    let older = world.create_at("sink", |task| task.queue = Some("a".into()));
    let newer = world.create_at("sink", |task| task.queue = Some("b".into()));
    // It is chosen, and its queue is paused before it has a slot.
    world.pass(PAUSE);
    world.serve(0);
    world.dispatcher.set_rules(&place("a"), pause, world.now);
    assert_eq!(world.calls_now(8), [newer]);
    world.end_call(answered(200));
    assert_eq!(world.calls_now(8), []);
    world
        .dispatcher
        .set_rules(&place("a"), QueueRules::default(), world.now);
    assert_eq!(world.calls_now(8), [older]);
}

#[test]
fn what_is_held_uses_up_no_limit_of_its_queue() {
    let mut world = World::new();
    world.judge("sink", Some(after_failures(1)));
    world.fails_at("sink", answered(500));
    let one = QueueRules {
        concurrency: Some(1),
        ..QueueRules::default()
    };
    let place = (World::team(), QueueName::default());
    world.dispatcher.set_rules(&place, one, world.now);
    world.create_at("sink", |_| {});
    let other = world.create_at("well", |_| {});
    assert_eq!(world.calls_now(8), [other]);
}

/// One random step of a history.
#[derive(Debug, Clone)]
enum Step {
    Create(usize),
    Rule(usize, Option<u32>),
    Hold(usize, bool),
    Serve(usize),
    Fill(usize),
    Store,
    End(usize, u8),
    Pass(u64),
    Cancel(usize),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..2_usize).prop_map(Step::Create),
        1 => (0..2_usize, proptest::option::weighted(0.8, 1..4_u32)).prop_map(|(of, rule)| Step::Rule(of, rule)),
        1 => (0..2_usize, any::<bool>()).prop_map(|(of, held)| Step::Hold(of, held)),
        4 => (0..5_usize).prop_map(Step::Serve),
        2 => (0..5_usize).prop_map(Step::Fill),
        2 => Just(Step::Store),
        6 => (any::<usize>(), any::<u8>()).prop_map(|(which, outcome)| Step::End(which, outcome)),
        3 => (0..12_000_u64).prop_map(Step::Pass),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => Just(Step::Crash),
    ]
}

const HOSTS: [&str; 2] = ["sink", "other"];

/// What the log says about a host, found by reading all of it.
#[derive(Default)]
struct Told {
    record: Option<HostRecord>,
    /// Probes that are running, or whose start is not stored.
    probes: usize,
    /// Starts so far that are no probes.
    starts: usize,
}

impl World {
    fn told(&self, name: &str) -> Told {
        let url = format!("http://{name}/");
        let mut told = Told::default();
        let mut probing: HashMap<TaskId, bool> = HashMap::new();
        let pending = self.dispatcher.in_flight.iter();
        let pending = pending.chain(&self.dispatcher.decided);
        let unstored = pending.map(|decision| &decision.event);
        let unstored = unstored.filter(|event| matches!(event, TaskEvent::Started(_)));
        let mine: HashSet<_> = self
            .log
            .iter()
            .filter_map(|event| match event {
                TaskEvent::Created(created) => (created.url == url).then_some(created.id),
                _ => None,
            })
            .collect();
        for event in self.log.iter().chain(unstored) {
            let id = event.id();
            if !mine.contains(&id) {
                continue;
            }
            if let TaskEvent::Started(started) = event {
                probing.insert(id, started.probe);
                told.starts += usize::from(!started.probe);
                continue;
            }
            let ends = attempt::call_of(event).is_some();
            if let Some(probe) = ends.then(|| probing.remove(&id)).flatten()
                && let Some(reading) = Reading::of(event)
            {
                told.record = HostRecord::after(told.record, reading, probe, event.at());
            }
        }
        told.probes = probing.values().filter(|probe| **probe).count();
        told
    }

    /// Fills slots, and compares what starts with what may.
    fn fill_checked(&mut self, slots: usize) {
        self.dispatcher.tick(self.now);
        let before = HOSTS.map(|name| self.told(name));
        let mut actions = Vec::new();
        self.dispatcher.fill(slots, self.now, &mut actions);
        for (name, before) in HOSTS.iter().zip(before) {
            let after = self.told(name);
            assert!(
                after.probes <= 1 || after.probes == before.probes,
                "one at a time"
            );
            let rules = self.health.get(&host(name)).copied().unwrap_or_default();
            if rules.held.is_some() {
                let starts = (before.starts, before.probes);
                assert_eq!((after.starts, after.probes), starts, "held by hand");
                continue;
            }
            let ill = rules.rule.zip(before.record);
            let ill = ill.filter(|(rule, of)| of.is_ill(rule));
            let Some((rule, record)) = ill else {
                assert_eq!(after.probes, before.probes, "nothing to find out");
                continue;
            };
            assert_eq!(after.starts, before.starts, "held back");
            if self.now.wall < record.last.plus(rule.pause(record.probes)) {
                assert_eq!(after.probes, before.probes, "not before the pause is over");
            }
        }
        self.carry_out(actions);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_starts_at_an_ill_host_but_one_probe_and_everything_ends(
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Create(of) => {
                    world.create_at(HOSTS[of], |task| task.max_retries = Some(2));
                }
                Step::Rule(of, rule) => world.judge(HOSTS[of], rule.map(after_failures)),
                Step::Hold(of, held) => world.hold(HOSTS[of], held),
                Step::Serve(slots) => {
                    world.fill_checked(slots);
                    world.append();
                }
                Step::Fill(slots) => world.fill_checked(slots),
                Step::Store => world.append(),
                Step::End(which, outcome) => {
                    if !world.calls.is_empty() {
                        let call = world.calls.remove(which % world.calls.len());
                        let outcome = match outcome % 6 {
                            0 | 1 => answered(200),
                            2 => answered(404),
                            3 => answered(503),
                            4 => failed(FailureKind::VaultAway),
                            _ => failed(FailureKind::Connect),
                        };
                        world.dispatcher.attempt_ended(call.task, call.attempt, outcome, world.now);
                    }
                }
                Step::Pass(millis) => {
                    world.go_on(Duration::from_millis(millis));
                    world.dispatcher.tick(world.now);
                }
                Step::Cancel(which) => {
                    if !world.log.is_empty() {
                        let id = world.log[which % world.log.len()].id();
                        world.cancel(id);
                    }
                }
                Step::Crash => world.crash(None),
            }
            world.dispatcher.check();
        }
        for name in HOSTS {
            world.hold(name, false);
        }
        // Nothing fails any more, so every task must come to its end.
        for _ in 0..400 {
            if world.dispatcher.open() == 0 {
                break;
            }
            world.fill_checked(8);
            world.append();
            while !world.calls.is_empty() {
                world.end_call(answered(200));
            }
            world.append();
            world.pass(Duration::from_secs(3));
        }
        prop_assert_eq!(world.dispatcher.open(), 0, "nothing is held back for ever");
        assert_orderly(&world.log);
    }
}

use super::properties::assert_orderly;
