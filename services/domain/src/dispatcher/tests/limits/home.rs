//! What a home may give to others, and when holders give back.

use super::super::*;
use crate::id::LimitKey;
use crate::limit::{KeyAsk, KeyGrant, LimitAsk, LimitBounds, LimitGrant, LimitId, LimitNudge};
use crate::partition::PartitionCount;
use crate::task::request::LimitRequest;

const TERM: StreamSeq = StreamSeq(3);

fn partition(number: u16) -> Partition {
    Partition::new(number).expect("a partition")
}

fn limit() -> LimitId {
    LimitId::of(&World::team(), &LimitKey::parse("one").expect("a key"))
}

/// A home of a key of which one may run, and the holders that it has heard.
struct Office {
    home: Home,
    numbers: BTreeMap<Partition, u64>,
    now: Elapsed,
    nudges: Vec<(Partition, LimitNudge)>,
    /// What the next asks say is kept.
    keeps: u32,
}

impl Office {
    fn new() -> Self {
        let all = [(partition(0), TERM), (partition(1), StreamSeq(2))];
        Self {
            home: Home::new(partition(0), TERM, &BTreeMap::from(all), Elapsed(0)),
            numbers: BTreeMap::new(),
            now: Elapsed(0),
            nudges: Vec::new(),
            keeps: 0,
        }
    }

    /// What the holder may have running from now on.
    fn ask(&mut self, holder: u16, held: u32, running: u32, wants: u32) -> Option<u32> {
        let holder = partition(holder);
        let number = self.numbers.entry(holder).or_default();
        *number += 1;
        let bounds = LimitBounds {
            concurrency: Some(1),
            rate: None,
        };
        let term = if holder == partition(0) {
            TERM
        } else {
            StreamSeq(2)
        };
        let ask = LimitAsk {
            holder,
            term,
            fence: term,
            number: *number,
            home_term: TERM,
            is_full: *number == 1,
            keys: vec![KeyAsk {
                limit: limit(),
                held,
                running,
                wants,
                starts: 0,
                says: Some((StreamSeq(4), bounds)),
                keeps: self.keeps,
                paused: None,
            }],
            home_fence: TERM,
        };
        self.nudges.clear();
        self.now = self.now.plus(Duration::from_secs(1));
        let answer = self
            .home
            .ask(&ask, TERM, &|_| None, self.now, &mut self.nudges);
        let grant = answer.expect("an answer");
        grant.keys.first().map(|key| key.share)
    }
}

#[test]
fn a_share_is_not_given_to_another_before_its_holder_says_that_it_is_not_held() {
    let mut office = Office::new();
    assert_eq!(office.ask(1, 0, 0, 2), None, "not everybody was heard");
    assert_eq!(office.ask(0, 0, 0, 2), Some(1));
    assert_eq!(office.ask(1, 0, 0, 2), Some(0));
    // The turn is that of the other, but until this answer has arrived, the holder may start one.
    assert_eq!(office.ask(0, 1, 0, 2), Some(0));
    assert_eq!(
        office.ask(1, 0, 0, 2),
        Some(0),
        "the other may have started"
    );
    assert_eq!(office.ask(0, 0, 0, 2), Some(0));
    let told: Vec<_> = office.nudges.iter().map(|(to, _)| *to).collect();
    assert_eq!(told, [partition(1)], "now it is free");
    assert_eq!(office.ask(1, 0, 0, 2), Some(1));
}

#[test]
fn an_owner_that_is_overtaken_is_told_so() {
    let mut office = Office::new();
    let mut asked = |term, number| {
        let term = StreamSeq(term);
        let ask = LimitAsk {
            holder: partition(1),
            term,
            fence: term,
            number,
            home_term: TERM,
            is_full: true,
            keys: Vec::new(),
            home_fence: TERM,
        };
        office.now = office.now.plus(Duration::from_secs(1));
        let answer = office
            .home
            .ask(&ask, TERM, &|_| None, office.now, &mut office.nudges);
        answer.map(|grant| grant.newer)
    };
    assert_eq!(asked(2, 1), Some(None));
    assert_eq!(asked(9, 1), Some(None));
    assert_eq!(
        asked(2, 2),
        Some(Some(StreamSeq(9))),
        "it has lost its partition"
    );
    assert_eq!(asked(9, 1), None, "it only comes late");
}

#[test]
fn what_a_holder_keeps_is_left_to_it_whoever_s_turn_it_is() {
    let mut office = Office::new();
    office.ask(1, 0, 0, 1);
    assert_eq!(office.ask(0, 0, 0, 1), Some(1));
    assert_eq!(office.ask(1, 0, 0, 1), Some(0));
    office.keeps = 1;
    assert_eq!(office.ask(0, 1, 0, 1), Some(1));
    assert_eq!(office.ask(1, 0, 0, 1), Some(0), "it holds none to keep");
    office.keeps = 0;
    assert_eq!(
        office.ask(0, 1, 0, 1),
        Some(0),
        "the turn is that of the other"
    );
}

/// A partition that is not the home of the key.
struct Holder {
    world: World,
    home: Partition,
}

impl Holder {
    fn new() -> Self {
        let mut world = World::new();
        let count = PartitionCount::new(2).expect("a count");
        let home = limit().home(count);
        let me = partition(1 - home.get());
        world
            .dispatcher
            .open_limit_office(me, StreamSeq(1), count, BTreeMap::new());
        Self { world, home }
    }

    fn create(&mut self) -> TaskId {
        let limits = vec![LimitRequest {
            key: Some("one".into()),
            concurrency: Some(1),
            rate: None,
        }];
        self.world.create(|task| task.limits = Some(limits))
    }

    fn asks(&mut self) -> Option<LimitAsk> {
        let now = self.world.now;
        let asks = self.world.dispatcher.limit_asks(StreamSeq(1), true, now);
        asks.into_iter().next().map(|(_, ask)| ask)
    }

    fn granted(&mut self, ask: &LimitAsk, share: u32, is_wanted: bool) {
        let keys = ask.keys.iter().map(|key| KeyGrant {
            limit: key.limit,
            share,
            starts: None,
            again_ms: 0,
            is_wanted,
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
        let now = self.world.now;
        self.world.dispatcher.limit_granted(self.home, &grant, now);
    }

    /// It has a share of one.
    fn settled() -> Self {
        let mut holder = Self::new();
        holder.create();
        holder.world.serve(10);
        let ask = holder.asks().expect("an ask");
        holder.granted(&ask, 0, false);
        let ask = holder
            .asks()
            .expect("one that tells the new home everything");
        assert!(ask.is_full);
        holder.granted(&ask, 1, true);
        holder
    }

    fn key(ask: &LimitAsk) -> (u32, u32, u32) {
        let key = ask.keys.first().expect("a key");
        (key.held, key.running, key.wants)
    }
}

#[test]
fn who_is_granted_less_than_it_held_says_at_once_what_it_still_holds() {
    let mut holder = Holder::settled();
    holder.world.pass(Duration::from_secs(1));
    let ask = holder.asks().expect("it asks now and then");
    assert_eq!(Holder::key(&ask), (1, 0, 1), "it may start");
    holder.granted(&ask, 0, true);
    let ask = holder.asks().expect("it gives back");
    assert_eq!(Holder::key(&ask), (0, 0, 1));
    holder.granted(&ask, 0, true);
    assert_eq!(holder.asks(), None, "there is nothing more to say");

    let mut holder = Holder::settled();
    holder.world.pass(Duration::from_secs(1));
    let ask = holder.asks().expect("it asks now and then");
    holder.world.serve(10);
    assert_eq!(holder.world.calls.len(), 1, "it starts before the answer");
    holder.granted(&ask, 0, true);
    assert_eq!(holder.asks(), None, "it runs as many as it said it held");
    holder.world.end_call(answered(200));
    holder.world.append();
    let ask = holder.asks().expect("it gives back");
    assert_eq!(Holder::key(&ask), (0, 0, 0));
}

#[test]
fn a_former_home_is_told_of_a_later_one_by_whoever_knows_of_it() {
    let ask = |home_term, home_fence| LimitAsk {
        holder: partition(1),
        term: StreamSeq(2),
        fence: StreamSeq(2),
        number: 1,
        home_term,
        is_full: false,
        keys: Vec::new(),
        home_fence,
    };
    let later = |home_term, home_fence| {
        ask(StreamSeq(home_term), StreamSeq(home_fence)).later_home(StreamSeq(5), StreamSeq(8))
    };
    assert_eq!(later(0, 0), None, "the holder knows of no owner");
    assert_eq!(later(5, 8), None, "it knows this one");
    assert_eq!(later(3, 4), None, "or one before it");
    assert_eq!(later(9, 0), Some(StreamSeq(9)), "it has answered another");
    assert_eq!(
        later(5, 9),
        Some(StreamSeq(9)),
        "it has read another's fence"
    );
}

#[test]
fn what_is_asked_says_up_to_where_the_home_is_known() {
    let mut world = World::new();
    let count = PartitionCount::new(2).expect("a count");
    let home = limit().home(count);
    let last = BTreeMap::from([(home, StreamSeq(7))]);
    let me = partition(1 - home.get());
    world
        .dispatcher
        .open_limit_office(me, StreamSeq(9), count, last);
    let mut holder = Holder { world, home };
    holder.create();
    holder.world.serve(10);
    let ask = holder.asks().expect("an ask");
    assert_eq!(
        (ask.home_term, ask.home_fence),
        (StreamSeq(0), StreamSeq(7))
    );
    assert_eq!(
        ask.later_home(StreamSeq(4), StreamSeq(6)),
        Some(StreamSeq(7)),
        "the former owner took over at 4, and renewed its fence at 6"
    );
    assert_eq!(ask.later_home(StreamSeq(5), StreamSeq(7)), None);
}

#[test]
fn a_key_is_forgotten_when_nothing_of_it_is_left() {
    let mut holder = Holder::settled();
    holder.world.serve(10);
    holder.world.end_call(answered(200));
    holder.world.append();
    let ask = holder
        .asks()
        .expect("others wait, so it gives back at once");
    assert_eq!(Holder::key(&ask), (0, 0, 0));
    holder.granted(&ask, 0, false);
    let now = holder.world.now;
    let standing = holder.world.dispatcher.limit_standing(&World::team(), now);
    assert_eq!(standing, []);
}
