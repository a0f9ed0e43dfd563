//! The order of service: which ready task runs next.
//!
//! Teams take turns, in a team its queues, in a queue its fairness keys; each turn starts as many
//! tasks as the team, the queue or the key has weight, one without it. That is deficit round robin in which
//! each task costs one. Tasks of one
//! fairness key (a flow) are served by priority, and a task that waits rises by one priority for
//! each [`RISE`]: it is placed by the time at which it was due, less a [`RISE`] for each priority (of the native
//! API; finer ones are worth their part of it).
//! All of them age alike, so that their order never changes while they wait. Among tasks of one
//! priority the order is that of creation, whatever the clocks of gateways say; a task that is
//! retried keeps its place.
//!
//! All tasks of a team that has used its share of the slots are skipped in one step, and those of a
//! full host in one step for each flow, however many they are. Any future rule that lets a ready task overtake
//! another belongs here; one that holds tasks back takes them out ([`Admission::Blocked`]).

mod ring;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
#[cfg(any(test, feature = "check"))]
use std::collections::BTreeSet;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::time::Duration;

use super::action::{Admission, Compartment};
use super::lanes::Lane;
use crate::id::TaskId;
use crate::seq::StreamSeq;
use crate::task::Priority;
use crate::time::Timestamp;
use ring::{At, Ring};

/// How long a task waits before it counts as one of the next higher priority.
pub(super) const RISE: Duration = Duration::from_secs(300);
/// Limit of hosts and teams without a free slot that one turn passes over, counted in each flow: a
/// turn stays short with any number of teams, queues and hosts.
const MAX_PASSED_OVER: usize = 2_048;
/// The same within one team and within one queue. Behind that the others still have a chance, and
/// those that were passed over come last in the next turn.
const MAX_PASSED_OVER_OF_TEAM: usize = 512;
const MAX_PASSED_OVER_OF_LANE: usize = 256;
/// Limit of tasks that leave the queue in one turn because they are blocked, for the same reason.
const MAX_BLOCKED: usize = 10_000;

/// A ready task, and all that its turn depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: TaskId,
    /// Whose slots it uses.
    pub(super) compartment: Compartment,
    pub(super) lane: Lane,
    /// Hash of its fairness key; 0 without one.
    pub(super) fairness: u64,
    /// How many tasks of its fairness key start in a turn.
    pub(super) weight: u8,
    pub(super) priority: Priority,
    /// When it was to run first.
    pub(super) due: Timestamp,
    /// Sequence of its creation.
    pub(super) seq: StreamSeq,
}

impl Entry {
    fn flow(&self) -> Flow {
        Flow {
            team: self.compartment.team,
            lane: self.lane,
            fairness: self.fairness,
        }
    }

    fn column(&self) -> Column {
        Column {
            host: self.compartment.host,
            priority: self.priority,
        }
    }
}

/// Tasks among which priorities count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Flow {
    team: u64,
    lane: Lane,
    fairness: u64,
}

/// Tasks of a flow that differ only in when they were created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Column {
    host: u64,
    priority: Priority,
}

/// Place of a task in its flow; the smallest is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// When it was due in milliseconds, less what its priority is worth.
    time: i64,
    priority: Reverse<Priority>,
    seq: StreamSeq,
}

impl Place {
    pub(super) fn of(priority: Priority, due: Timestamp, seq: StreamSeq) -> Self {
        let worth = i64::try_from(RISE.as_millis()).unwrap_or(i64::MAX);
        let worth = worth.saturating_mul(priority.value().into()) / i64::from(Priority::STEP);
        Self {
            time: due.0.saturating_sub(worth),
            priority: Reverse(priority),
            seq,
        }
    }
}

/// A column's first task, in its flow's order: its place and its host.
type Head = (Place, u64);

/// Before every head.
const FIRST: Head = (
    Place {
        time: i64::MIN,
        priority: Reverse(Priority::MAX),
        seq: StreamSeq(0),
    },
    0,
);

#[derive(Debug, Default)]
pub(super) struct Ready {
    /// All tasks, with when they were due.
    queue: BTreeMap<(Flow, Column, StreamSeq), (TaskId, Timestamp)>,
    /// The first task of each column.
    heads: BTreeMap<(Flow, Head), TaskId>,
    /// Weights of flows, as far as they are not 1: that of the task that came last.
    weights: HashMap<Flow, u8>,
    teams: Ring<(), u64>,
    lanes: Ring<u64, Lane>,
    keys: Ring<(u64, Lane), u64>,
    /// Whether the last turn ended because so many tasks were blocked.
    is_cut_short: bool,
}

/// A task that could be served next.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    flow: Flow,
    head: Head,
    id: TaskId,
}

impl Candidate {
    fn compartment(&self) -> Compartment {
        Compartment {
            team: self.flow.team,
            host: self.head.1,
        }
    }
}

/// What one turn has passed over so far. Whatever is served goes behind all others, so a turn only
/// ever looks ahead.
#[derive(Debug, Default)]
struct Walk {
    teams: At,
    lanes: HashMap<u64, At>,
    keys: HashMap<(u64, Lane), At>,
    heads: HashMap<Flow, Head>,
    full: HashSet<Compartment>,
    steps: usize,
    steps_of_team: HashMap<u64, usize>,
    steps_of_lane: HashMap<(u64, Lane), usize>,
}

impl Walk {
    fn step(&mut self, team: u64, lane: Option<Lane>) {
        self.steps += 1;
        *self.steps_of_team.entry(team).or_default() += 1;
        if let Some(lane) = lane {
            *self.steps_of_lane.entry((team, lane)).or_default() += 1;
        }
    }

    fn is_tired_of_team(&self, team: u64) -> bool {
        let steps = self.steps_of_team.get(&team);
        steps.is_some_and(|steps| *steps >= MAX_PASSED_OVER_OF_TEAM)
    }

    fn is_tired_of_lane(&self, team: u64, lane: Lane) -> bool {
        let steps = self.steps_of_lane.get(&(team, lane));
        steps.is_some_and(|steps| *steps >= MAX_PASSED_OVER_OF_LANE)
    }
}

impl Ready {
    /// Adds a task, unless the queue has it.
    pub(super) fn push(&mut self, entry: Entry) {
        let (flow, column) = (entry.flow(), entry.column());
        let former = self.head(flow, column);
        if entry.weight > 1 {
            self.weights.insert(flow, entry.weight);
        } else {
            self.weights.remove(&flow);
        }
        self.queue
            .insert((flow, column, entry.seq), (entry.id, entry.due));
        let place = Place::of(entry.priority, entry.due, entry.seq);
        match former {
            Some(((first, _), _)) if first.seq <= entry.seq => return,
            Some((former, _)) => {
                self.heads.remove(&(flow, former));
            }
            None => {}
        }
        let head = (place, column.host);
        self.heads.insert((flow, head), entry.id);
        self.keys.enter((flow.team, flow.lane), flow.fairness);
        self.lanes.enter(flow.team, flow.lane);
        self.teams.enter((), flow.team);
    }

    /// Removes a task, if the queue has it.
    pub(super) fn remove(&mut self, entry: &Entry) {
        self.take(entry.flow(), entry.column(), entry.seq);
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether the last turn ended before its time, so that another one finds more to do at once.
    pub(super) fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// Removes and returns the tasks that may be served now, in order. `admit` decides about one
    /// task after the other. Those that it calls blocked are removed too, and not returned. `weight`
    /// tells how many tasks of a queue start in a turn, `of_team` how many of a team.
    pub(super) fn serve(
        &mut self,
        weight: impl Fn(Lane) -> u32,
        of_team: impl Fn(u64) -> u32,
        mut admit: impl FnMut(TaskId, Compartment) -> Admission,
    ) -> Vec<TaskId> {
        let mut served = Vec::new();
        let mut blocked = 0;
        let mut walk = Walk::default();
        while blocked < MAX_BLOCKED {
            let Some(candidate) = self.candidate(&mut walk) else {
                break;
            };
            let Candidate { flow, head, id } = candidate;
            match admit(id, candidate.compartment()) {
                Admission::Yes => {
                    let of_key = self.weights.get(&flow).copied().unwrap_or(1);
                    self.take_head(flow, head, &mut walk);
                    let lane = (flow.team, flow.lane);
                    self.keys.served(lane, flow.fairness, of_key.into());
                    self.lanes.served(flow.team, flow.lane, weight(flow.lane));
                    self.teams.served((), flow.team, of_team(flow.team));
                    served.push(id);
                }
                Admission::Blocked => {
                    blocked += 1;
                    self.take_head(flow, head, &mut walk);
                }
                Admission::HostFull => {
                    walk.full.insert(candidate.compartment());
                }
                Admission::TeamFull => {
                    walk.step(flow.team, None);
                    if let Some((at, _)) = self.teams.first((), walk.teams) {
                        walk.teams = at.next();
                    }
                }
                Admission::Full => break,
            }
        }
        self.is_cut_short = blocked >= MAX_BLOCKED;
        served
    }

    /// The next task that may be served, as far as this turn knows; `None` at the end of the turn.
    fn candidate(&mut self, walk: &mut Walk) -> Option<Candidate> {
        loop {
            if walk.steps >= MAX_PASSED_OVER {
                self.teams.pass_over((), walk.teams);
                return None;
            }
            let (at, team) = self.teams.first((), walk.teams)?;
            if let Some(candidate) = self.candidate_of_team(team, walk) {
                return Some(candidate);
            }
            walk.teams = at.next();
        }
    }

    fn candidate_of_team(&mut self, team: u64, walk: &mut Walk) -> Option<Candidate> {
        loop {
            let from = walk.lanes.get(&team).copied().unwrap_or_default();
            if walk.is_tired_of_team(team) {
                self.lanes.pass_over(team, from);
                return None;
            }
            let (at, lane) = self.lanes.first(team, from)?;
            if let Some(candidate) = self.candidate_of_lane(team, lane, walk) {
                return Some(candidate);
            }
            walk.lanes.insert(team, at.next());
        }
    }

    fn candidate_of_lane(&mut self, team: u64, lane: Lane, walk: &mut Walk) -> Option<Candidate> {
        loop {
            let from = walk.keys.get(&(team, lane)).copied().unwrap_or_default();
            if walk.is_tired_of_lane(team, lane) {
                self.keys.pass_over((team, lane), from);
                return None;
            }
            let (at, fairness) = self.keys.first((team, lane), from)?;
            let flow = Flow {
                team,
                lane,
                fairness,
            };
            if let Some(candidate) = self.candidate_of_flow(flow, walk) {
                return Some(candidate);
            }
            walk.keys.insert((team, lane), at.next());
        }
    }

    fn candidate_of_flow(&self, flow: Flow, walk: &mut Walk) -> Option<Candidate> {
        loop {
            let (head, id) = self.first_head(flow, walk.heads.get(&flow))?;
            let (team, host) = (flow.team, head.1);
            if walk.full.is_empty() || !walk.full.contains(&Compartment { team, host }) {
                return Some(Candidate { flow, head, id });
            }
            walk.heads.insert(flow, head);
            walk.step(team, Some(flow.lane));
        }
    }

    /// The first task of the flow, or of those behind a head of it.
    fn first_head(&self, flow: Flow, behind: Option<&Head>) -> Option<(Head, TaskId)> {
        let from = match behind {
            Some(head) => Excluded((flow, *head)),
            None => Included((flow, FIRST)),
        };
        let (&(of, head), &id) = self.heads.range((from, Unbounded)).next()?;
        (of == flow).then_some((head, id))
    }

    /// The first task of a column.
    fn head(&self, flow: Flow, column: Column) -> Option<(Head, TaskId)> {
        let first = (flow, column, StreamSeq(0));
        let (&(of, in_column, seq), &(id, due)) = self.queue.range(first..).next()?;
        let is_of = of == flow && in_column == column;
        is_of.then(|| ((Place::of(column.priority, due, seq), column.host), id))
    }

    /// Removes a task, and returns the head that follows in its column if it was the first there.
    fn take(&mut self, flow: Flow, column: Column, seq: StreamSeq) -> Option<Head> {
        let (_, due) = self.queue.remove(&(flow, column, seq))?;
        let former = (Place::of(column.priority, due, seq), column.host);
        self.heads.remove(&(flow, former))?;
        let next = self.head(flow, column);
        match next {
            Some((head, id)) => {
                self.heads.insert((flow, head), id);
            }
            None if self.first_head(flow, None).is_none() => self.close(flow),
            None => {}
        }
        next.map(|(head, _)| head)
    }

    /// Removes a flow without a task, with its queue and its team if it was their last one.
    fn close(&mut self, flow: Flow) {
        let Flow {
            team,
            lane,
            fairness,
        } = flow;
        self.weights.remove(&flow);
        self.keys.leave((team, lane), fairness);
        if self.keys.first((team, lane), At::default()).is_none() {
            self.lanes.leave(team, lane);
        }
        if self.lanes.first(team, At::default()).is_none() {
            self.teams.leave((), team);
        }
    }

    /// Takes a candidate out of the queue.
    fn take_head(&mut self, flow: Flow, head: Head, walk: &mut Walk) {
        let (place, host) = head;
        let column = Column {
            host,
            priority: place.priority.0,
        };
        let next = self.take(flow, column, place.seq);
        // The next task of the column was created later. If it was due earlier all the same, it may
        // come before heads that were passed over.
        if let (Some(next), Some(passed)) = (next, walk.heads.get(&flow))
            && next < *passed
        {
            walk.heads.remove(&flow);
        }
    }

    /// How many tasks of its flow come before a task, counting no further than `most`.
    pub(super) fn ahead(&self, entry: &Entry, most: usize) -> usize {
        let (flow, column) = (entry.flow(), entry.column());
        let place = Place::of(entry.priority, entry.due, entry.seq);
        let first = Column {
            host: 0,
            priority: Priority::LEAST,
        };
        self.queue
            .range((flow, first, StreamSeq(0))..)
            .take_while(|((of, ..), _)| *of == flow)
            .filter(|((_, of, seq), (_, due))| {
                if *of == column {
                    *seq < entry.seq
                } else {
                    Place::of(of.priority, *due, *seq) < place
                }
            })
            .take(most)
            .count()
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn contains(&self, entry: &Entry) -> bool {
        self.queue
            .contains_key(&(entry.flow(), entry.column(), entry.seq))
    }

    /// Panics if parts of the queue contradict each other.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn check(&self) {
        let mut heads: BTreeMap<(Flow, Column), (Head, TaskId)> = BTreeMap::new();
        let mut keys = BTreeSet::new();
        let mut lanes = BTreeSet::new();
        let mut teams = BTreeSet::new();
        for (&(flow, column, seq), &(id, due)) in &self.queue {
            let head = (Place::of(column.priority, due, seq), column.host);
            heads.entry((flow, column)).or_insert((head, id));
            keys.insert(((flow.team, flow.lane), flow.fairness));
            lanes.insert((flow.team, flow.lane));
            teams.insert(((), flow.team));
        }
        let heads: BTreeMap<_, _> = heads
            .into_iter()
            .map(|((flow, _), (head, id))| ((flow, head), id))
            .collect();
        assert_eq!(self.heads, heads, "each column has its head");
        assert_eq!(self.keys.children().collect::<BTreeSet<_>>(), keys);
        assert_eq!(self.lanes.children().collect::<BTreeSet<_>>(), lanes);
        assert_eq!(self.teams.children().collect::<BTreeSet<_>>(), teams);
        for flow in self.weights.keys() {
            assert!(self.first_head(*flow, None).is_some(), "a weight of tasks");
        }
        self.keys.check();
        self.lanes.check();
        self.teams.check();
    }
}
