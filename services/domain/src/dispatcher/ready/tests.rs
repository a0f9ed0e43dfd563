use proptest::prelude::*;

use super::*;
use crate::partition::Partition;
use crate::time::Timestamp;

/// What distinguishes the entries of a level of turns.
type Level<'a, T> = &'a dyn Fn(&Entry) -> T;

fn id(number: u64) -> TaskId {
    let partition = Partition::new(0).expect("a partition");
    TaskId::new(Timestamp(1), u128::from(number), partition)
}

fn priority(value: u8) -> Priority {
    Priority::new(value).expect("1 to 10")
}

/// An entry of the usual kind.
fn entry(seq: u64) -> Entry {
    Entry {
        id: id(seq),
        compartment: Compartment { team: 1, host: 1 },
        lane: Lane::of(0),
        fairness: 0,
        weight: 1,
        priority: Priority::default(),
        due: Timestamp(0),
        seq: StreamSeq(seq),
    }
}

fn of_team(team: u64, seq: u64) -> Entry {
    Entry {
        compartment: Compartment { team, host: 1 },
        ..entry(seq)
    }
}

fn of_key(fairness: u64, seq: u64) -> Entry {
    Entry {
        fairness,
        ..entry(seq)
    }
}

fn ready(entries: impl IntoIterator<Item = Entry>) -> Ready {
    let mut ready = Ready::default();
    for entry in entries {
        ready.push(entry);
    }
    ready.check();
    ready
}

/// Serves as many as there are slots, and returns their numbers.
fn serve(ready: &mut Ready, slots: usize) -> Vec<TaskId> {
    serve_by(ready, slots, |_| 1)
}

/// The same with weights of queues.
fn serve_by(ready: &mut Ready, slots: usize, weight: impl Fn(Lane) -> u32) -> Vec<TaskId> {
    let mut left = slots;
    let served = ready.serve(
        weight,
        |_| 1,
        |_, _| {
            if left == 0 {
                return Admission::Full;
            }
            left -= 1;
            Admission::Yes
        },
    );
    ready.check();
    served
}

/// The order of service as one would write it down: lists that are searched from their beginning.
#[derive(Default)]
struct Model {
    entries: Vec<Entry>,
    teams: Vec<u64>,
    lanes: Vec<(u64, Lane)>,
    keys: Vec<(u64, Lane, u64)>,
}

fn to_the_end<T: PartialEq + Copy>(list: &mut Vec<T>, item: T) {
    list.retain(|other| *other != item);
    list.push(item);
}

impl Model {
    fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
        let (team, lane) = (entry.compartment.team, entry.lane);
        if !self.teams.contains(&team) {
            self.teams.push(team);
        }
        if !self.lanes.contains(&(team, lane)) {
            self.lanes.push((team, lane));
        }
        if !self.keys.contains(&(team, lane, entry.fairness)) {
            self.keys.push((team, lane, entry.fairness));
        }
    }

    fn remove(&mut self, id: TaskId) {
        self.entries.retain(|entry| entry.id != id);
        let of = |entry: &Entry| (entry.compartment.team, entry.lane, entry.fairness);
        let left: Vec<_> = self.entries.iter().map(of).collect();
        self.keys.retain(|key| left.contains(key));
        let lanes = left.iter().map(|(team, lane, _)| (*team, *lane));
        let lanes: Vec<_> = lanes.collect();
        self.lanes.retain(|lane| lanes.contains(lane));
        self.teams
            .retain(|team| lanes.iter().any(|(of, _)| of == team));
    }

    /// The first task of a flow on hosts that are not full.
    fn first(&self, (team, lane, key): (u64, Lane, u64), full: &[Compartment]) -> Option<Entry> {
        let of_flow: Vec<&Entry> = self
            .entries
            .iter()
            .filter(|e| e.compartment.team == team && e.lane == lane && e.fairness == key)
            .filter(|e| !full.contains(&e.compartment))
            .collect();
        // Of those that differ only in age, the one created first.
        let oldest = of_flow.iter().filter(|e| {
            of_flow
                .iter()
                .filter(|o| o.compartment == e.compartment && o.priority == e.priority)
                .all(|o| o.seq >= e.seq)
        });
        oldest
            .min_by_key(|e| {
                let worth = i64::from(e.priority.get()) * 300_000;
                (e.due.0 - worth, Reverse(e.priority), e.seq)
            })
            .map(|e| **e)
    }

    fn serve(&mut self, mut admit: impl FnMut(TaskId, Compartment) -> Admission) -> Vec<TaskId> {
        let mut served = Vec::new();
        let mut full_teams = Vec::new();
        let mut full = Vec::new();
        'turn: loop {
            let mut chosen = None;
            'search: for team in self.teams.iter().filter(|t| !full_teams.contains(*t)) {
                for &(of, lane) in self.lanes.iter().filter(|(of, _)| of == team) {
                    for key in self.keys.iter().filter(|k| (k.0, k.1) == (of, lane)) {
                        if let Some(first) = self.first(*key, &full) {
                            chosen = Some(first);
                            break 'search;
                        }
                    }
                }
            }
            let Some(entry) = chosen else { break 'turn };
            let (team, lane, key) = (entry.compartment.team, entry.lane, entry.fairness);
            match admit(entry.id, entry.compartment) {
                Admission::Yes => {
                    served.push(entry.id);
                    to_the_end(&mut self.keys, (team, lane, key));
                    to_the_end(&mut self.lanes, (team, lane));
                    to_the_end(&mut self.teams, team);
                    self.remove(entry.id);
                }
                Admission::Blocked => self.remove(entry.id),
                Admission::HostFull => full.push(entry.compartment),
                Admission::TeamFull => full_teams.push(team),
                Admission::Full => break,
            }
        }
        served
    }
}

/// What admits tasks in a turn.
#[derive(Debug, Clone)]
struct Slots {
    left: usize,
    full_team: u64,
    full_hosts: Vec<u64>,
    blocked: u64,
}

impl Slots {
    fn admit(&mut self, id: TaskId, compartment: Compartment, seqs: &[TaskId]) -> Admission {
        if compartment.team == self.full_team {
            return Admission::TeamFull;
        }
        if self.full_hosts.contains(&compartment.host) {
            return Admission::HostFull;
        }
        let number = seqs.iter().position(|other| *other == id).unwrap_or(0) as u64;
        if number % 7 == self.blocked {
            return Admission::Blocked;
        }
        if self.left == 0 {
            return Admission::Full;
        }
        self.left -= 1;
        Admission::Yes
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push(Entry),
    Remove(prop::sample::Index),
    Serve(Slots),
}

fn step() -> impl Strategy<Value = Step> {
    let entry = (0..3_u64, 0..3_u64, 0..3_u32, 0..3_u64, 1..=10_u8, 0..40_i64).prop_map(
        |(team, host, lane, fairness, level, minutes)| {
            Step::Push(Entry {
                compartment: Compartment { team, host },
                lane: Lane::of(lane),
                fairness,
                priority: priority(level),
                due: Timestamp(minutes * 60_000),
                ..entry(0)
            })
        },
    );
    let slots = (
        0..8_usize,
        0..6_u64,
        prop::collection::vec(0..6_u64, 0..3),
        0..20_u64,
    )
        .prop_map(|(left, full_team, full_hosts, blocked)| {
            Step::Serve(Slots {
                left,
                full_team,
                full_hosts,
                blocked,
            })
        });
    prop_oneof![
        8 => entry,
        1 => any::<prop::sample::Index>().prop_map(Step::Remove),
        3 => slots,
    ]
}

proptest! {
    #[test]
    fn every_turn_serves_what_one_would_find_by_searching(steps in prop::collection::vec(step(), 0..80)) {
        let (mut ready, mut model) = (Ready::default(), Model::default());
        let mut entries: Vec<Entry> = Vec::new();
        for step in steps {
            match step {
                Step::Push(with) => {
                    let seq = entries.len() as u64;
                    let entry = Entry { id: id(seq), seq: StreamSeq(seq), ..with };
                    entries.push(entry);
                    ready.push(entry);
                    // Once is enough.
                    ready.push(entry);
                    model.push(entry);
                }
                Step::Remove(index) => {
                    if !entries.is_empty() {
                        let entry = entries[index.index(entries.len())];
                        ready.remove(&entry);
                        model.remove(entry.id);
                    }
                }
                Step::Serve(slots) => {
                    let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
                    let (mut first, mut second) = (slots.clone(), slots);
                    let served = ready.serve(|_| 1, |_| 1, |id, of| first.admit(id, of, &ids));
                    let expected = model.serve(|id, of| second.admit(id, of, &ids));
                    prop_assert_eq!(served, expected);
                }
            }
            ready.check();
            prop_assert_eq!(ready.len(), model.entries.len());
            for entry in &entries {
                let is_there = model.entries.contains(entry);
                prop_assert_eq!(ready.contains(entry), is_there);
            }
        }
    }

    #[test]
    fn teams_queues_and_keys_that_wait_are_served_equally_often(
        entries in prop::collection::vec((0..3_u64, 0..3_u32, 0..3_u64, 1..=10_u8), 1..100),
        slots in 1..50_usize,
    ) {
        let entries: Vec<_> = (0..).zip(entries).map(|(seq, (team, lane, fairness, level))| Entry {
            compartment: Compartment { team, host: seq % 3 },
            lane: Lane::of(lane),
            fairness,
            priority: priority(level),
            ..entry(seq)
        }).collect();
        let mut ready = ready(entries.iter().copied());
        let served = serve(&mut ready, slots);
        // Of any two siblings that still wait, neither was served more than once more often.
        let group = |of: Level<'_, (u64, Option<Lane>, u64)>, within: Level<'_, (u64, Option<Lane>)>| {
            let mut counts: BTreeMap<_, BTreeMap<_, (usize, usize)>> = BTreeMap::new();
            for entry in &entries {
                let count = counts.entry(within(entry)).or_default().entry(of(entry)).or_default();
                if served.contains(&entry.id) { count.0 += 1 } else { count.1 += 1 }
            }
            counts.into_values().all(|siblings| {
                let waiting = siblings.values().filter(|(_, left)| *left > 0).map(|(served, _)| *served);
                let most = siblings.values().map(|(served, _)| *served).max().unwrap_or(0);
                waiting.min().is_none_or(|least| most <= least + 1)
            })
        };
        let team = |e: &Entry| e.compartment.team;
        prop_assert!(group(&|e| (team(e), None, 0), &|_| (0, None)), "teams");
        prop_assert!(group(&|e| (team(e), Some(e.lane), 0), &|e| (team(e), None)), "queues");
        prop_assert!(group(&|e| (team(e), Some(e.lane), e.fairness), &|e| (team(e), Some(e.lane))), "keys");
    }
}

#[test]
fn a_team_that_posts_much_delays_another_by_one_task_only() {
    let mut ready = ready((0..1_000).map(|seq| of_team(1, seq)));
    assert_eq!(serve(&mut ready, 3), [id(0), id(1), id(2)]);
    ready.push(of_team(2, 1_000));
    assert_eq!(serve(&mut ready, 3), [id(3), id(1_000), id(4)]);
}

#[test]
fn within_a_queue_fairness_keys_take_turns() {
    let mut ready = ready([
        of_key(7, 0),
        of_key(7, 1),
        of_key(7, 2),
        of_key(8, 3),
        entry(4),
    ]);
    assert_eq!(serve(&mut ready, 9), [id(0), id(3), id(4), id(1), id(2)]);
}

#[test]
fn a_fairness_key_starts_as_many_tasks_in_a_turn_as_it_has_weight() {
    let heavy = |seq| Entry {
        weight: 3,
        ..of_key(7, seq)
    };
    let entries = (0..6).map(heavy).chain((6..9).map(|seq| of_key(8, seq)));
    let mut ready = ready(entries);
    let expected = [0, 1, 2, 6, 3, 4, 5, 7, 8].map(id);
    assert_eq!(serve(&mut ready, 2), expected[..2]);
    assert_eq!(serve(&mut ready, 9), expected[2..], "a turn goes on");
}

#[test]
fn a_queue_starts_as_many_tasks_in_a_turn_as_it_has_weight() {
    let in_lane = |lane, seq| Entry {
        lane: Lane::of(lane),
        ..entry(seq)
    };
    let entries = (0..4).map(|seq| in_lane(1, seq));
    let mut ready = ready(entries.chain((4..8).map(|seq| in_lane(2, seq))));
    let weight = |lane| if lane == Lane::of(2) { 2 } else { 1 };
    let expected = [0, 4, 5, 1, 6, 7, 2, 3].map(id);
    assert_eq!(serve_by(&mut ready, 9, weight), expected);
}

#[test]
fn a_team_starts_as_many_tasks_in_a_turn_as_it_has_weight() {
    let entries = (0..4).map(|seq| of_team(1, seq));
    let mut ready = ready(entries.chain((4..8).map(|seq| of_team(2, seq))));
    let of_team = |team| if team == 2 { 3 } else { 1 };
    let served = ready.serve(|_| 1, of_team, |_, _| Admission::Yes);
    ready.check();
    assert_eq!(served, [0, 4, 5, 6, 1, 7, 2, 3].map(id));
}

#[test]
fn a_task_that_waits_rises_by_a_priority_in_five_minutes() {
    let low = |minutes: i64, seq| Entry {
        priority: priority(1),
        due: Timestamp(minutes * 60_000),
        ..entry(seq)
    };
    let high = |minutes: i64, seq| Entry {
        priority: priority(10),
        ..low(minutes, seq)
    };
    // Nine priorities are 45 minutes.
    let mut ready = ready([low(0, 0), high(0, 1), high(44, 2), high(45, 3), high(46, 4)]);
    assert_eq!(serve(&mut ready, 9), [id(1), id(2), id(3), id(0), id(4)]);
}

#[test]
fn among_equals_the_order_is_that_of_creation_whatever_clocks_say() {
    let entries = (0..50).map(|seq| Entry {
        due: Timestamp(60_000 * (50 - i64::try_from(seq).expect("small"))),
        ..entry(seq)
    });
    let mut ready = ready(entries);
    let expected: Vec<_> = (0..50).map(id).collect();
    assert_eq!(serve(&mut ready, 99), expected);
}

#[test]
fn a_task_that_comes_back_has_its_old_place() {
    let mut ready = ready((0..4).map(entry));
    assert_eq!(serve(&mut ready, 2), [id(0), id(1)]);
    ready.push(entry(1));
    assert_eq!(serve(&mut ready, 9), [id(1), id(2), id(3)]);
}

#[test]
fn how_many_are_ahead_is_counted_in_the_flow() {
    let urgent = Entry {
        priority: priority(9),
        ..entry(3)
    };
    let elsewhere = Entry {
        compartment: Compartment { team: 1, host: 2 },
        ..entry(2)
    };
    let ready = ready([
        entry(0),
        entry(1),
        elsewhere,
        urgent,
        of_key(5, 4),
        entry(5),
    ]);
    assert_eq!(ready.ahead(&entry(5), 100), 4);
    assert_eq!(ready.ahead(&entry(1), 100), 2);
    assert_eq!(ready.ahead(&urgent, 100), 0);
    assert_eq!(ready.ahead(&entry(5), 3), 3, "no further than asked");
}

#[test]
fn flows_without_a_slot_hide_no_other_however_many_they_are() {
    // Many keys of one queue, many queues of one team, and many teams, all at a host that hangs.
    let many = 3_000;
    let mut entries: Vec<_> = (0..many).map(|seq| of_key(seq + 1, seq)).collect();
    entries.extend((0..many).map(|n| Entry {
        lane: Lane::of(u32::try_from(n + 1).expect("small")),
        ..of_team(2, many + n)
    }));
    entries.extend((0..many).map(|n| of_team(100 + n, 2 * many + n)));
    // And one that could run, behind each of them.
    let free = |of: Entry, n: u64| Entry {
        id: id(3 * many + n),
        seq: StreamSeq(3 * many + n),
        compartment: Compartment {
            host: 2,
            ..of.compartment
        },
        ..of
    };
    entries.push(free(of_key(9_999, 0), 0));
    entries.push(free(
        Entry {
            lane: Lane::of(9_999),
            ..of_team(2, 0)
        },
        1,
    ));
    entries.push(free(of_team(99_999, 0), 2));
    let mut ready = ready(entries);
    let mut served = Vec::new();
    let mut asked = 0;
    for turn in 0.. {
        assert!(turn < 60, "after {turn} turns: {served:?}");
        let mut admitted = 0;
        served.extend(ready.serve(
            |_| 1,
            |_| 1,
            |_, compartment| {
                admitted += 1;
                match compartment.host {
                    1 => Admission::HostFull,
                    _ => Admission::Yes,
                }
            },
        ));
        asked = asked.max(admitted);
        if served.len() == 3 {
            break;
        }
    }
    ready.check();
    assert!(asked <= MAX_PASSED_OVER + 3, "{asked}");
}

#[test]
fn a_turn_that_finds_too_many_blocked_tasks_is_cut_short_and_the_next_one_goes_on() {
    let all = MAX_BLOCKED as u64 + 5;
    let mut ready = ready((0..all).map(entry));
    let last = id(all - 1);
    let admit = |id: TaskId, _: Compartment| {
        if id == last {
            Admission::Yes
        } else {
            Admission::Blocked
        }
    };
    assert!(ready.serve(|_| 1, |_| 1, admit).is_empty());
    assert!(ready.is_cut_short());
    assert_eq!(ready.serve(|_| 1, |_| 1, admit), [last]);
    assert!(!ready.is_cut_short());
    assert_eq!(ready.len(), 0);
}

#[test]
fn no_more_than_is_admitted_is_served() {
    let mut ready = ready((0..10).map(entry));
    assert_eq!(serve(&mut ready, 3), [id(0), id(1), id(2)]);
    assert_eq!(ready.len(), 7);
}
