//! What limit keys do to the tasks of one partition, which is the home of all of them.

use super::super::*;
use crate::command::{Blocker, Explained};
use crate::id::LimitKey;
use crate::limit::{LimitBounds, LimitId};
use crate::partition::PartitionCount;
use crate::task::request::LimitRequest;

/// The fence of the only owner.
const TERM: StreamSeq = StreamSeq(1);

/// A world whose owner is its own home.
pub(in crate::dispatcher::tests) struct Alone {
    pub(in crate::dispatcher::tests) world: World,
    home: Home,
    pins: BTreeMap<LimitId, LimitBounds>,
}

fn key(name: &str) -> LimitKey {
    LimitKey::parse(name).expect("a key")
}

fn id(name: &str) -> LimitId {
    LimitId::of(&World::team(), &key(name))
}

impl Alone {
    pub(in crate::dispatcher::tests) fn new() -> Self {
        let mut world = World::new();
        let me = Partition::new(0).expect("a partition");
        let term = TERM;
        let home = Home::new(me, term, &BTreeMap::new(), world.now.elapsed);
        let count = PartitionCount::new(1).expect("a count");
        world
            .dispatcher
            .open_limit_office(me, term, count, BTreeMap::new());
        Self {
            world,
            home,
            pins: BTreeMap::new(),
        }
    }

    fn create(&mut self, limits: &[(&str, Option<i64>)]) -> TaskId {
        let limits = limits.iter().map(|(key, concurrency)| LimitRequest {
            key: Some((*key).into()),
            concurrency: *concurrency,
            rate: None,
        });
        let limits = limits.collect();
        self.world.create(|task| task.limits = Some(limits))
    }

    /// Asks and starts until nothing more happens.
    pub(in crate::dispatcher::tests) fn serve(&mut self) {
        for _ in 0..4 {
            self.world.serve(10);
            let asks = self.world.dispatcher.limit_asks(TERM, true, self.world.now);
            for (to, ask) in asks {
                let pins = &self.pins;
                let grant = self.home.ask(
                    &ask,
                    TERM,
                    &|limit| pins.get(&limit).copied(),
                    self.world.now.elapsed,
                    &mut Vec::new(),
                );
                self.world
                    .dispatcher
                    .limit_granted(to, &grant.expect("an answer"), self.world.now);
            }
        }
        self.world.serve(10);
    }

    fn explain(&self, id: TaskId) -> Explained {
        let now = self.world.now;
        let told = self
            .world
            .dispatcher
            .explain(id, &World::team(), now, |_| None);
        told.expect("open")
    }

    fn set(&mut self, name: &str, rules: LimitRules) {
        match rules.pin {
            Some(pin) => self.pins.insert(id(name), pin),
            None => self.pins.remove(&id(name)),
        };
        self.world
            .dispatcher
            .set_limit_rules(id(name), rules, self.world.now);
    }

    fn running(&self) -> Vec<TaskId> {
        self.world.calls.iter().map(|call| call.task).collect()
    }
}

#[test]
fn all_keys_are_taken_or_none() {
    let mut alone = Alone::new();
    let first = alone.create(&[("a", Some(1))]);
    let both = alone.create(&[("a", Some(1)), ("b", Some(1))]);
    let other = alone.create(&[("b", Some(1))]);
    alone.serve();
    assert_eq!(
        alone.running(),
        [first, other],
        "the one in between holds nothing of b"
    );
    let told = alone.explain(both);
    assert_eq!(told.blocker, Some(Blocker::LimitConcurrency));
    assert_eq!(told.limit, Some(key("a")));
    assert_eq!(
        alone.world.kinds(both),
        ["created"],
        "no attempt is used up"
    );
    alone.world.end_call(answered(200));
    alone.world.append();
    alone.serve();
    assert_eq!(alone.running(), [other], "now it waits for b");
    assert_eq!(alone.explain(both).limit, Some(key("b")));
    alone.world.end_call(answered(200));
    alone.world.append();
    alone.serve();
    assert_eq!(alone.running(), [both]);
}

#[test]
fn the_newest_task_says_what_its_key_allows_and_a_pin_beats_it() {
    let mut alone = Alone::new();
    for _ in 0..4 {
        alone.create(&[("a", Some(1))]);
    }
    alone.serve();
    assert_eq!(alone.running().len(), 1);
    alone.create(&[("a", Some(2))]);
    alone.serve();
    assert_eq!(alone.running().len(), 2);
    alone.create(&[("a", None)]);
    alone.serve();
    assert_eq!(alone.running().len(), 2, "it says nothing");
    let pin = LimitBounds {
        concurrency: Some(4),
        rate: None,
    };
    alone.set(
        "a",
        LimitRules {
            pin: Some(pin),
            paused: None,
        },
    );
    alone.serve();
    assert_eq!(alone.running().len(), 4);
    let pin = LimitBounds {
        concurrency: Some(3),
        rate: None,
    };
    alone.set(
        "a",
        LimitRules {
            pin: Some(pin),
            paused: None,
        },
    );
    alone.serve();
    alone.world.end_call(answered(200));
    alone.world.append();
    alone.serve();
    assert_eq!(
        alone.running().len(),
        3,
        "nothing starts above a lowered limit"
    );
    alone.world.end_call(answered(200));
    alone.world.append();
    alone.serve();
    assert_eq!(alone.running().len(), 3, "and the last one starts below it");
}

#[test]
fn a_paused_key_starts_nothing_until_it_is_resumed() {
    let mut alone = Alone::new();
    let until = alone.world.now.wall.plus(Duration::from_secs(5));
    let paused = LimitRules {
        paused: Some(Hold::Until(until)),
        pin: None,
    };
    alone.set("a", paused);
    let held = alone.create(&[("a", Some(1))]);
    alone.serve();
    assert_eq!(alone.running(), []);
    let told = alone.explain(held);
    assert_eq!(
        told.blocker,
        Some(Blocker::LimitPaused { until: Some(until) })
    );
    assert_eq!(told.limit, Some(key("a")));
    alone.world.pass(Duration::from_secs(5));
    alone.serve();
    assert_eq!(alone.running(), [held]);
}

#[test]
fn an_owner_that_takes_over_holds_what_runs_and_gives_it_back() {
    let mut alone = Alone::new();
    for _ in 0..3 {
        alone.create(&[("a", Some(2)), ("b", Some(5))]);
    }
    alone.serve();
    assert_eq!(alone.world.dispatcher.limit_holders(id("a")).len(), 2);
    let snapshot = alone.world.dispatcher.snapshot();
    alone.world.crash(snapshot);
    assert_eq!(alone.world.dispatcher.limit_mismatches(), 0);
    // Both attempts are lost, which is stored by now, so both slots are free.
    assert_eq!(alone.world.dispatcher.limit_holders(id("a")).len(), 0);
}
