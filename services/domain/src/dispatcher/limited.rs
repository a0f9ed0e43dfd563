//! Tasks with limit keys: between the state machine and what holds them back ([`super::keys`]).

use std::collections::{BTreeMap, BTreeSet};

use super::Dispatcher;
use super::keys::{Claim, Claimant, rank_of};
use super::lanes::Lanes;
use super::open::Phase;
use super::open_tasks::OpenTasks;
use super::parked::Rank;
use super::rules::LimitRules;
use crate::event::{TaskCreated, TaskEvent};
use crate::id::{TaskId, TeamId};
use crate::limit::{KeyStanding, LimitAsk, LimitBounds, LimitGrant, LimitId, LimitNudge};
use crate::partition::{Partition, PartitionCount};
use crate::seq::StreamSeq;
use crate::time::Times;

/// How often tasks go from one gate to the next in one turn.
const PASSES: usize = 8;

/// The keys of a task.
pub(super) fn claims(created: &TaskCreated) -> Option<Box<[Claim]>> {
    let claims = created.limits.iter().map(|limit| Claim {
        limit: LimitId::of(&created.team, &limit.key),
        key: limit.key.clone(),
        bounds: LimitBounds {
            concurrency: limit.concurrency,
            rate: limit.rate,
        },
    });
    let claims: Box<[_]> = claims.collect();
    (!claims.is_empty()).then_some(claims)
}

/// A task with its keys, if it has any.
pub(super) fn claimant<'a>(
    tasks: &'a OpenTasks,
    lanes: &'a Lanes,
    id: TaskId,
) -> Option<Claimant<'a>> {
    let task = tasks.get(&id)?;
    Some(Claimant {
        id,
        claims: task.limits.as_deref()?,
        team: &lanes.names(task.lane).0,
        created: task.created,
        rank: rank_of(task.rank(), task.lane),
    })
}

/// The same of a task that may be gone by the time.
pub(super) struct Limited {
    claims: Box<[Claim]>,
    team: TeamId,
    created: StreamSeq,
    rank: Rank,
}

impl Limited {
    pub(super) fn claimant(&self, id: TaskId) -> Claimant<'_> {
        Claimant {
            id,
            team: &self.team,
            claims: &self.claims,
            created: self.created,
            rank: self.rank,
        }
    }
}

impl Dispatcher {
    pub(super) fn limited(&self, id: TaskId) -> Option<Limited> {
        let of = claimant(&self.tasks, &self.lanes, id)?;
        Some(Limited {
            claims: of.claims.into(),
            team: of.team.clone(),
            created: of.created,
            rank: of.rank,
        })
    }

    /// Puts a task into the ready queue that nothing holds back.
    pub(super) fn make_ready(&mut self, id: TaskId) {
        if let Some(of) = claimant(&self.tasks, &self.lanes, id) {
            self.keys.offer(of);
        }
        self.push(id);
    }

    /// Puts a task into the order of service: of calls, or of what workers claim.
    pub(super) fn push(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        if task.is_pulled() {
            self.offers.push(task.entry(id));
        } else {
            self.ready.push(task.entry(id));
        }
    }

    /// A task that was to be served is parked by its queue.
    pub(super) fn leave_keys(&mut self, id: TaskId, now: Times) {
        if let Some(of) = claimant(&self.tasks, &self.lanes, id) {
            self.keys.leave(of, now);
        }
    }

    /// A task that was to be served, or that its queue has let go, is parked under one of its keys.
    pub(super) fn park_under(&mut self, id: TaskId, limit: LimitId, now: Times) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        self.gates
            .leave(self.lanes.names(task.lane), task.rank(), id);
        if let Some(of) = claimant(&self.tasks, &self.lanes, id) {
            self.keys.park(of, limit, now);
            let by = self.keys.why(limit, now);
            self.mark(id, by, Some(limit), now);
        }
    }

    /// The same of a task whose turn it was: it had all of its keys.
    pub(super) fn park_again_under(&mut self, id: TaskId, limit: LimitId, now: Times) {
        self.park_under(id, limit, now);
        if let Some(of) = claimant(&self.tasks, &self.lanes, id) {
            self.keys.keep_before(of, limit, now);
        }
    }

    /// Puts the tasks back into the ready queue that nothing holds back any more.
    pub(super) fn let_go(&mut self, now: Times) {
        self.let_go_to_hosts(now);
        for _ in 0..PASSES {
            for id in self.gates.let_go(&self.lanes, now) {
                let of = claimant(&self.tasks, &self.lanes, id);
                match of.and_then(|of| self.keys.lacks(of.claims, now)) {
                    None => {
                        self.make_ready(id);
                        self.mark_going_on(id, now);
                    }
                    Some(limit) => self.park_under(id, limit, now),
                }
            }
            if !self.keys.is_stirred() {
                return;
            }
            let (tasks, lanes) = (&self.tasks, &self.lanes);
            let free = self.keys.let_go(|id| claimant(tasks, lanes, id), now);
            for (id, limit) in std::mem::take(&mut self.keys.moved) {
                let by = self.keys.why(limit, now);
                self.mark(id, by, Some(limit), now);
            }
            for id in free {
                let Some(task) = self.tasks.get(&id) else {
                    continue;
                };
                if task.is_pulled() {
                    self.claims.was_let_go(id);
                    self.push(id);
                    self.mark_going_on(id, now);
                    continue;
                }
                let place = (self.lanes.names(task.lane), task.lane);
                if self.gates.enter(place, task.rank(), id, now) {
                    self.ready.push(task.entry(id));
                    self.mark_going_on(id, now);
                } else {
                    self.leave_keys(id, now);
                    self.mark_parked(id, now);
                }
            }
        }
    }

    /// Whether the task has a key that is paused.
    pub(super) fn is_limit_paused(&self, id: TaskId) -> bool {
        let of = claimant(&self.tasks, &self.lanes, id);
        of.is_some_and(|of| self.keys.any_paused(of.claims))
    }

    /// Sets what was decided about a limit key at run time. A pause takes effect as that of a queue
    /// does: see [`Dispatcher::starts_paused`].
    pub fn set_limit_rules(&mut self, limit: LimitId, rules: LimitRules, now: Times) {
        self.keys.set(limit, rules, now);
    }

    /// What was pinned for a limit key.
    #[must_use]
    pub fn limit_pin(&self, limit: LimitId) -> Option<LimitBounds> {
        self.keys.pin(limit)
    }

    /// Keys whose pins have changed since this was asked last: of those that it is the home of, the
    /// partition tells the others.
    pub fn take_pinned_limits(&mut self) -> Vec<LimitId> {
        self.keys.take_pinned()
    }

    /// Whether homes of limit keys are to be asked, for which [`Dispatcher::open_limit_office`] is
    /// needed.
    #[must_use]
    pub fn lacks_limit_office(&self, now: Times) -> bool {
        self.keys.lacks_office(now.elapsed)
    }

    /// Lets it ask homes of limit keys. `term` is the fence by which this owner took over, and `last`
    /// are the last fences of all partitions, read after it was stored.
    pub fn open_limit_office(
        &mut self,
        me: Partition,
        term: StreamSeq,
        count: PartitionCount,
        last: BTreeMap<Partition, StreamSeq>,
    ) {
        self.keys.open_office(me, term, count, last);
    }

    /// What is to be asked of which partitions. `fence` is the owner's latest; `may_start` tells whether
    /// tasks are started.
    pub fn limit_asks(
        &mut self,
        fence: StreamSeq,
        may_start: bool,
        now: Times,
    ) -> Vec<(Partition, LimitAsk)> {
        self.keys.asks(fence, may_start, now.elapsed)
    }

    /// A home has answered.
    pub fn limit_granted(&mut self, home: Partition, grant: &LimitGrant, now: Times) {
        self.keys.granted(home, grant, now.elapsed);
    }

    /// A home has not answered.
    pub fn limit_unanswered(&mut self, home: Partition, number: u64, now: Times) {
        self.keys.unanswered(home, number, now.elapsed);
    }

    /// A home wants to be asked.
    pub fn limit_nudged(&mut self, nudge: &LimitNudge, now: Times) {
        self.keys.nudged(nudge, now.elapsed);
    }

    /// How the limit keys of a team stand in this partition.
    #[must_use]
    pub fn limit_standing(&self, team: &TeamId, now: Times) -> Vec<KeyStanding> {
        self.keys.standing(team, now)
    }

    /// Compares the slots of limit keys that are held with the tasks that run or are about to, and
    /// returns how many differ: never any, unless there is a mistake. It visits all that runs.
    #[must_use]
    pub fn limit_mismatches(&self) -> u64 {
        let held: BTreeSet<_> = self.keys.running().collect();
        let decisions = self.in_flight.iter().chain(&self.decided);
        let starting: BTreeSet<_> = decisions
            .filter(|decision| matches!(decision.event, TaskEvent::Started(_)))
            .map(|decision| decision.event.id())
            .collect();
        let runs = |id: &TaskId| {
            let task = self.tasks.get(id);
            task.is_some_and(|task| matches!(task.phase, Phase::Running { .. }))
                || starting.contains(id)
        };
        let all = self.gates.running();
        let should: BTreeSet<_> = all
            .iter()
            .chain(&starting)
            .filter(|id| runs(id))
            .filter_map(|id| Some((id, self.tasks.get(id)?.limits.as_deref()?)))
            .flat_map(|(id, claims)| claims.iter().map(|claim| (claim.limit, *id)))
            .collect();
        held.symmetric_difference(&should).count() as u64
    }

    /// The tasks that hold a slot of a limit key.
    #[cfg(any(test, feature = "check"))]
    #[must_use]
    pub fn limit_holders(&self, limit: LimitId) -> BTreeSet<TaskId> {
        let held = self.keys.running();
        held.filter_map(|(of, id)| (of == limit).then_some(id))
            .collect()
    }
}
