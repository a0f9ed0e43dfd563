//! Tasks with several keys, of which their partition gathers the shares one after the other.

use super::super::*;
use super::cluster::{Cluster, Tamper};
use crate::id::LimitKey;
use crate::limit::{KeyAsk, KeyGrant, LimitAsk, LimitGrant, LimitId};
use crate::partition::PartitionCount;
use crate::task::request::LimitRequest;

const TERM: StreamSeq = StreamSeq(3);

/// A partition that holds shares of two keys, each from a home of its own.
struct Holder {
    world: World,
    count: PartitionCount,
    /// The two keys, in the order of all keys.
    keys: [&'static str; 2],
}

fn id(key: &str) -> LimitId {
    LimitId::of(&World::team(), &LimitKey::parse(key).expect("a key"))
}

impl Holder {
    fn new() -> Self {
        let mut world = World::new();
        let count = PartitionCount::new(1).expect("a count");
        let me = Partition::new(0).expect("a partition");
        world
            .dispatcher
            .open_limit_office(me, TERM, count, BTreeMap::new());
        let mut keys = ["first", "second"];
        keys.sort_by_key(|key| id(key));
        Self { world, count, keys }
    }

    fn create(&mut self, keys: &[&str]) -> TaskId {
        let limits = keys.iter().map(|key| LimitRequest {
            key: Some((*key).into()),
            concurrency: Some(1),
            rate: None,
        });
        let limits = limits.collect();
        let task = self.world.create(|task| task.limits = Some(limits));
        self.world.serve(10);
        task
    }

    fn ask(&mut self) -> Option<LimitAsk> {
        let now = self.world.now;
        let asks = self.world.dispatcher.limit_asks(TERM, true, now);
        asks.into_iter().next().map(|(_, ask)| ask)
    }

    /// Answers an ask: `share` of the keys.
    fn grant(&mut self, ask: &LimitAsk, share: impl Fn(LimitId) -> u32) {
        let keys = ask.keys.iter().map(|key| KeyGrant {
            limit: key.limit,
            share: share(key.limit),
            starts: None,
            again_ms: 0,
            is_wanted: true,
            paused: None,
        });
        let grant = LimitGrant {
            newer: None,
            term: TERM,
            fence: TERM,
            number: ask.number,
            is_open: true,
            keys: keys.collect(),
        };
        let (now, home) = (self.world.now, id(self.keys[0]).home(self.count));
        self.world.dispatcher.limit_granted(home, &grant, now);
        self.world.serve(10);
    }

    /// It has the first key for a task that waits for the second one.
    fn gathering() -> Self {
        let mut holder = Self::new();
        let [first, second] = holder.keys;
        // The order in which a task names them does not matter.
        holder.create(&[second, first]);
        let ask = holder.ask().expect("an ask");
        holder.grant(&ask, |_| 0);
        let ask = holder.ask().expect("one that tells everything");
        let wanted: Vec<_> = ask.keys.iter().map(|key| (key.limit, key.wants)).collect();
        assert_eq!(wanted, [(id(first), 1)], "one after the other");
        holder.grant(&ask, |_| 1);
        holder
    }
}

fn about(ask: &LimitAsk, key: &str) -> KeyAsk {
    let about = ask.keys.iter().find(|about| about.limit == id(key));
    *about.expect("the key")
}

#[test]
fn a_share_is_kept_for_a_second_while_a_later_key_is_waited_for() {
    let mut holder = Holder::gathering();
    let [first, second] = holder.keys;
    let ask = holder.ask().expect("it asks for the later key");
    assert_eq!(about(&ask, second).wants, 1);
    holder.grant(&ask, |limit| u32::from(limit == id(first)));
    holder.world.pass(Duration::from_millis(900));
    let ask = holder.ask().expect("it asks now and then");
    let kept = about(&ask, first);
    assert_eq!((kept.held, kept.wants, kept.keeps), (1, 1, 1));
    holder.grant(&ask, |limit| u32::from(limit == id(first)));
    assert_eq!(holder.ask(), None);
    // Not at the next heartbeat, but when the second is over.
    holder.world.pass(Duration::from_millis(100));
    let ask = holder.ask().expect("it gives back");
    let given = about(&ask, first);
    assert_eq!((given.held, given.wants, given.keeps), (0, 0, 0));
    assert!(holder.world.calls.is_empty());
}

#[test]
fn a_task_starts_with_the_share_that_was_kept_for_it() {
    let mut holder = Holder::gathering();
    let ask = holder.ask().expect("it asks for the later key");
    holder.grant(&ask, |_| 1);
    assert_eq!(holder.world.calls.len(), 1);
    // Nothing is kept beside what it uses.
    holder.world.end_call(answered(200));
    let ask = holder.ask().expect("it gives back at once");
    for key in holder.keys {
        let given = about(&ask, key);
        assert_eq!((given.held, given.wants, given.keeps), (0, 0, 0), "{key}");
    }
}

#[test]
fn others_of_the_partition_use_what_is_kept() {
    let mut holder = Holder::gathering();
    let [first, _] = holder.keys;
    let other = holder.create(&[first]);
    assert_eq!(holder.world.calls.len(), 1);
    assert_eq!(holder.world.calls[0].task, other);
}

#[test]
fn nothing_is_kept_for_a_task_that_has_ended() {
    let mut holder = Holder::gathering();
    let [first, _] = holder.keys;
    let waiting = holder.world.log[0].id();
    holder.world.cancel(waiting);
    let ask = holder.ask().expect("it gives back");
    let given = about(&ask, first);
    assert_eq!((given.held, given.wants, given.keeps), (0, 0, 0));
}

/// Histories in which tasks in several partitions gathered the same keys in step, so that none ever had
/// all of its own.
const IN_STEP: [u64; 2] = [402, 458];
const STEPS: usize = 2_500;

#[test]
fn partitions_that_gather_the_same_keys_let_each_other_go_first() {
    for seed in IN_STEP {
        let mut cluster = Cluster::new(seed, Tamper::Nothing);
        let ended = cluster.run(STEPS).and_then(|()| cluster.calm_down());
        if let Err(why) = ended {
            panic!("history {seed}: {why}");
        }
    }
}
