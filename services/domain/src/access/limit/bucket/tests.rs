//! Gateways in any interleaving against one counter: how much they admit together, and how much
//! goes unused.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::access::plan::PolicyScope;

const START: Timestamp = Timestamp(1_705_312_200_000);

fn a_policy(q: u32, w: u32, smooth: bool) -> Policy {
    Policy {
        name: "team".into(),
        scope: PolicyScope::Team,
        quota: NonZeroU32::new(q).expect("not 0"),
        window_s: NonZeroU32::new(w).expect("not 0"),
        smooth,
    }
}

fn at(ms: i64) -> Times {
    Times {
        elapsed: Elapsed(ms),
        wall: Timestamp(START.0 + ms),
    }
}

/// One request at a gateway whose counter always answers; `true` if it is admitted.
fn take(bucket: &mut Bucket, counter: &mut i64, policy: &Policy, now: Times) -> bool {
    loop {
        match bucket.check(policy, now, 1, false) {
            Check::Ready => {
                bucket.spend();
                return true;
            }
            Check::Refused => return false,
            Check::Ask => {
                let ask = bucket.ask(policy, now, 1, 1);
                *counter += ask.add();
                if let Some(back) = bucket.granted(policy, &ask, *counter, now) {
                    *counter += back.add();
                }
            }
        }
    }
}

#[test]
fn with_one_gateway_the_remaining_falls_by_one_each_and_the_whole_quota_is_admitted() {
    for (q, apart_ms) in [(60, 0), (60, 10), (600, 1), (7, 100), (1, 1)] {
        let policy = a_policy(q, 60, false);
        let (mut bucket, mut counter) = (Bucket::default(), 0);
        for n in 0..i64::from(q) {
            let now = at(n * apart_ms);
            assert!(take(&mut bucket, &mut counter, &policy, now), "{n} of {q}");
            let left = u64::try_from(i64::from(q) - n - 1).expect("not negative");
            assert_eq!(bucket.remaining(&policy, now.wall, 1, false), left);
        }
        assert!(!take(&mut bucket, &mut counter, &policy, at(59_999)));
        assert!(take(&mut bucket, &mut 0, &policy, at(60_000)));
    }
}

#[test]
fn a_busy_gateway_asks_seldom() {
    let policy = a_policy(6_000, 60, false);
    let (mut bucket, mut counter) = (Bucket::default(), 0);
    let mut asked = 0;
    for n in 0..6_000 {
        let before = counter;
        assert!(take(&mut bucket, &mut counter, &policy, at(n * 2)));
        asked += u32::from(counter != before);
    }
    assert!(asked < 40, "asked {asked} times");
}

#[test]
fn what_lies_unused_for_a_lease_goes_back() {
    let policy = a_policy(60, 60, false);
    let mut bucket = Bucket::default();
    let ask = bucket.ask(&policy, at(0), 1, 20);
    assert_eq!(bucket.granted(&policy, &ask, 20, at(0)), None);
    bucket.spend();
    assert_eq!(bucket.lapse(&policy, at(4_999)), None);
    let back = bucket.lapse(&policy, at(5_000)).expect("it lapses");
    assert_eq!((back.credits, back.add()), (19, -19));
    assert_eq!(bucket.credits(), 0);
    assert_eq!(bucket.remaining(&policy, at(5_000).wall, 1, false), 59);
}

#[test]
fn a_clock_that_is_set_back_within_a_window_neither_holds_credits_nor_refuses_for_longer() {
    let policy = a_policy(2, 86_400, false);
    let back_by = |ms: i64, back: i64| Times {
        elapsed: Elapsed(ms),
        wall: Timestamp(START.0 + ms - back),
    };
    let hour = 3_600_000;
    let mut bucket = Bucket::default();
    let ask = bucket.ask(&policy, at(0), 1, 1);
    assert_eq!(bucket.granted(&policy, &ask, 1, at(0)), None);
    assert!(bucket.lapse(&policy, back_by(5_000, hour)).is_some());
    let ask = bucket.ask(&policy, at(5_000), 1, 1);
    bucket.granted(&policy, &ask, 3, at(5_000));
    assert_eq!(bucket.check(&policy, at(5_001), 1, false), Check::Refused);
    let later = back_by(5_000 + 5_000, hour);
    assert_eq!(bucket.check(&policy, later, 1, false), Check::Ask);
}

#[test]
fn an_answer_that_comes_after_the_window_grants_nothing() {
    let policy = a_policy(60, 60, false);
    let mut bucket = Bucket::default();
    let ask = bucket.ask(&policy, at(59_900), 1, 1);
    assert_eq!(bucket.granted(&policy, &ask, 1, at(60_010)), None);
    assert_eq!(bucket.check(&policy, at(60_010), 1, false), Check::Ask);
}

#[test]
fn without_the_counter_a_gateway_admits_its_share_and_tells_the_counter_later() {
    let policy = a_policy(60, 60, false);
    let mut bucket = Bucket::default();
    let mut admitted = 0;
    while bucket.check(&policy, at(0), 3, true) == Check::Ready {
        bucket.spend();
        admitted += 1;
    }
    assert_eq!(admitted, 20);
    assert_eq!(bucket.remaining(&policy, at(0).wall, 3, true), 0);
    assert!(!bucket.is_forgettable(&policy, at(0).wall));
    // The counter is back, and other gateways have taken 30.
    let ask = bucket.ask(&policy, at(1_000), 3, 1);
    assert_eq!((ask.owed, ask.add()), (20, 21));
    bucket.granted(&policy, &ask, 51, at(1_000));
    assert_eq!(bucket.credits(), 1);
    assert_eq!(bucket.remaining(&policy, at(1_000).wall, 3, false), 10);
    assert!(bucket.is_forgettable(&policy, at(1_000).wall));
}

#[test]
fn what_was_granted_before_counts_against_the_share() {
    let policy = a_policy(60, 60, false);
    let (mut bucket, mut counter) = (Bucket::default(), 0);
    for _ in 0..15 {
        assert!(take(&mut bucket, &mut counter, &policy, at(0)));
    }
    let granted = 15 + bucket.credits();
    let mut admitted = 15;
    while bucket.check(&policy, at(0), 2, true) == Check::Ready {
        bucket.spend();
        admitted += 1;
    }
    assert!(granted <= 30, "{granted}");
    assert_eq!(admitted, 30);
}

#[test]
fn what_is_admitted_by_share_while_the_counter_is_asked_stays_owed() {
    let policy = a_policy(60, 60, false);
    let mut bucket = Bucket::default();
    let ask = bucket.ask(&policy, at(0), 3, 1);
    assert_eq!(bucket.check(&policy, at(1), 3, true), Check::Ready);
    bucket.spend();
    assert_eq!(bucket.granted(&policy, &ask, 1, at(2)), None);
    bucket.spend();
    assert_eq!(bucket.ask(&policy, at(3), 3, 1).owed, 1);
}

#[test]
fn a_counter_that_lost_its_memory_learns_it_again() {
    let policy = a_policy(60, 60, false);
    let (mut bucket, mut counter) = (Bucket::default(), 0);
    for _ in 0..50 {
        assert!(take(&mut bucket, &mut counter, &policy, at(0)));
    }
    let unspent = bucket.credits();
    counter = 0;
    let mut more = 0;
    while take(&mut bucket, &mut counter, &policy, at(10)) {
        more += 1;
    }
    assert_eq!(more, 10, "{unspent} were unspent");
}

#[test]
fn another_quota_holds_for_the_next_grants() {
    let (free, pro) = (a_policy(60, 60, false), a_policy(600, 60, false));
    let (mut bucket, mut counter) = (Bucket::default(), 0);
    while take(&mut bucket, &mut counter, &free, at(0)) {}
    assert_eq!(counter, 60);
    assert!(take(&mut bucket, &mut counter, &pro, at(1)));
    assert_eq!(bucket.remaining(&pro, at(1).wall, 1, false), 539);
    assert_eq!(bucket.remaining(&free, at(1).wall, 1, false), 0);
    for _ in 0..100 {
        assert!(take(&mut bucket, &mut counter, &pro, at(1)));
    }
    // The quota is lowered again: granted credits may be spent, but no more are granted.
    let left = bucket.credits();
    let mut admitted = 0;
    while take(&mut bucket, &mut counter, &free, at(2)) {
        admitted += 1;
    }
    assert_eq!(admitted, left);
}

#[test]
fn a_smooth_policy_lets_go_what_has_left_the_last_w_seconds() {
    let policy = a_policy(60, 60, true);
    let (mut bucket, mut counter) = (Bucket::default(), 0);
    let learn = |bucket: &mut Bucket, counter: &mut i64, now| -> u64 {
        let mut admitted = 0;
        loop {
            match bucket.check(&policy, now, 1, false) {
                Check::Ready => bucket.spend(),
                Check::Refused => return admitted,
                Check::Ask => {
                    let ask = bucket.ask(&policy, now, 1, 1);
                    if ask.needs_previous {
                        bucket.learn_previous(&ask, &policy, 60);
                    }
                    *counter += ask.add();
                    if let Some(back) = bucket.granted(&policy, &ask, *counter, now) {
                        *counter += back.add();
                    }
                    continue;
                }
            }
            admitted += 1;
        }
    };
    assert_eq!(learn(&mut bucket, &mut counter, at(0)), 0);
    assert_eq!(learn(&mut bucket, &mut counter, at(999)), 0);
    assert_eq!(learn(&mut bucket, &mut counter, at(1_000)), 1);
    assert_eq!(learn(&mut bucket, &mut counter, at(30_000)), 29);
    assert_eq!(learn(&mut bucket, &mut counter, at(59_000)), 29);
}

#[derive(Debug, Clone)]
enum Step {
    /// A request at a gateway: it spends a credit, is refused, or makes the gateway ask the
    /// counter.
    Request(usize),
    /// The gateway's oldest message reaches the counter, and its answer the gateway.
    Deliver(usize),
    /// The message reaches the counter, but the answer is lost.
    LoseAnswer(usize),
    /// The message is lost on its way to the counter.
    LoseMessage(usize),
    /// The gateway is killed and restarted.
    Crash(usize),
    /// Time passes, in milliseconds.
    Wait(i64),
}

const GATEWAYS: usize = 3;

fn a_step() -> impl Strategy<Value = Step> {
    let gateway = 0..GATEWAYS;
    prop_oneof![
        12 => gateway.clone().prop_map(Step::Request),
        8 => gateway.clone().prop_map(Step::Deliver),
        1 => gateway.clone().prop_map(Step::LoseAnswer),
        1 => gateway.clone().prop_map(Step::LoseMessage),
        1 => gateway.prop_map(Step::Crash),
        2 => (1_i64..3_000).prop_map(Step::Wait),
    ]
}

#[derive(Debug, Clone, Copy)]
enum OnWire {
    Ask(Ask),
    Back(HandBack),
}

#[derive(Default)]
struct Gateway {
    bucket: Bucket,
    wire: Vec<OnWire>,
}

/// Three gateways, and a counter for each window.
struct World {
    policy: Policy,
    gateways: [Gateway; GATEWAYS],
    counters: std::collections::BTreeMap<u64, i64>,
    admitted: std::collections::BTreeMap<u64, u64>,
    now: Times,
}

impl World {
    fn new(policy: Policy) -> Self {
        Self {
            policy,
            gateways: Default::default(),
            counters: std::collections::BTreeMap::new(),
            admitted: std::collections::BTreeMap::new(),
            now: at(0),
        }
    }

    fn live() -> u32 {
        u32::try_from(GATEWAYS).expect("few")
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Request(g) => self.request(g),
            Step::Deliver(g) => self.deliver(g, true),
            Step::LoseAnswer(g) => self.deliver(g, false),
            Step::LoseMessage(g) => {
                if !self.gateways[g].wire.is_empty() {
                    self.gateways[g].wire.remove(0);
                }
            }
            Step::Crash(g) => self.gateways[g].bucket = Bucket::default(),
            Step::Wait(ms) => {
                self.now = Times {
                    elapsed: Elapsed(self.now.elapsed.0 + ms),
                    wall: Timestamp(self.now.wall.0 + ms),
                };
                for gateway in &mut self.gateways {
                    let back = gateway.bucket.lapse(&self.policy, self.now);
                    gateway.wire.extend(back.map(OnWire::Back));
                }
            }
        }
    }

    fn request(&mut self, g: usize) {
        let Gateway { bucket, wire } = &mut self.gateways[g];
        match bucket.check(&self.policy, self.now, Self::live(), false) {
            Check::Ready => {
                bucket.spend();
                let window = Window::at(self.now.wall, &self.policy).id();
                *self.admitted.entry(window).or_default() += 1;
            }
            Check::Refused => (),
            Check::Ask => {
                if !wire.iter().any(|message| matches!(message, OnWire::Ask(_))) {
                    let ask = bucket.ask(&self.policy, self.now, Self::live(), 1);
                    wire.push(OnWire::Ask(ask));
                }
            }
        }
    }

    fn deliver(&mut self, g: usize, answers: bool) {
        let Gateway { bucket, wire } = &mut self.gateways[g];
        if wire.is_empty() {
            return;
        }
        match wire.remove(0) {
            OnWire::Back(back) => *self.counters.entry(back.window).or_default() += back.add(),
            OnWire::Ask(ask) => {
                let before = ask.window - 1;
                let previous = self.counters.get(&before).copied().unwrap_or(0);
                let total = self.counters.entry(ask.window).or_default();
                *total += ask.add();
                if answers {
                    if ask.needs_previous {
                        bucket.learn_previous(&ask, &self.policy, previous);
                    }
                    let back = bucket.granted(&self.policy, &ask, *total, self.now);
                    wire.extend(back.map(OnWire::Back));
                }
            }
        }
    }

    fn unused(&self) -> u64 {
        self.gateways.iter().map(|g| g.bucket.credits()).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// The invariant of the module: with any interleaving, crashes and lost messages, no window
    /// admits more than its quota.
    #[test]
    fn no_window_ever_admits_more_than_its_quota(
        q in 1_u32..80,
        w in 1_u32..13,
        smooth: bool,
        steps in proptest::collection::vec(a_step(), 1..400),
    ) {
        let mut world = World::new(a_policy(q, w, smooth));
        for step in &steps {
            world.step(step);
            for (window, admitted) in &world.admitted {
                prop_assert!(*admitted <= u64::from(q), "{admitted} in window {window}");
            }
        }
    }

    /// The bound on unused credits: `q / 2 - N`, and zero for a quota below `4N`.
    #[test]
    fn at_most_half_the_quota_lies_unused(
        q in 1_u32..200,
        steps in proptest::collection::vec(a_step(), 1..400),
    ) {
        let mut world = World::new(a_policy(q, 60, false));
        let n = GATEWAYS as u64;
        let bound = n * (u64::from(q) / (2 * n)).saturating_sub(1);
        for step in &steps {
            let asked = matches!(step, Step::Deliver(_));
            world.step(step);
            // A gateway asks for a request, so one credit of each answer is spent at once.
            if asked {
                for g in 0..GATEWAYS {
                    if world.gateways[g].bucket.credits() > bound / n {
                        world.request(g);
                    }
                }
            }
            prop_assert!(world.unused() <= bound, "{} unused, bound {bound}", world.unused());
        }
    }

    /// Whatever happened earlier in the window, as long as nothing was lost: once leases have
    /// ended, one gateway gets all that is left.
    #[test]
    fn when_nothing_is_lost_a_persistent_client_gets_the_whole_quota(
        q in 1_u32..200,
        requests in proptest::collection::vec((0..GATEWAYS, 0_i64..100), 0..300),
    ) {
        let policy = a_policy(q, 60, false);
        let mut world = World::new(policy);
        for (g, ms) in requests {
            world.step(&Step::Wait(ms));
            world.request(g);
            while !world.gateways[g].wire.is_empty() {
                world.deliver(g, true);
            }
        }
        // Everything above takes less than 30 s; leases are 5 s.
        for ms in [5_000, 5_000, 5_000] {
            world.step(&Step::Wait(ms));
            for g in 0..GATEWAYS {
                while !world.gateways[g].wire.is_empty() {
                    world.deliver(g, true);
                }
            }
            for _ in 0..2 * q {
                world.request(0);
                while !world.gateways[0].wire.is_empty() {
                    world.deliver(0, true);
                }
            }
        }
        let admitted: u64 = world.admitted.values().sum();
        prop_assert_eq!(world.admitted.len(), 1);
        prop_assert_eq!(admitted, u64::from(q));
    }

    /// Without a counter each gateway admits its share on top of what it held: `q` over all
    /// gateways, so at most twice `q` with what was granted before.
    #[test]
    fn without_the_counter_at_most_another_quota_is_admitted(
        q in 1_u32..200,
        before in proptest::collection::vec(0..GATEWAYS, 0..200),
        after in proptest::collection::vec(0..GATEWAYS, 0..400),
    ) {
        let mut world = World::new(a_policy(q, 60, false));
        for g in before {
            world.request(g);
            world.deliver(g, true);
        }
        let mut extra = 0;
        for g in after {
            let bucket = &mut world.gateways[g].bucket;
            let granted = bucket.credits() > 0;
            if bucket.check(&world.policy, at(0), World::live(), true) == Check::Ready {
                bucket.spend();
                extra += u64::from(!granted);
            }
        }
        prop_assert!(extra <= u64::from(q));
    }
}
