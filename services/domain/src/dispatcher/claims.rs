//! Claims of workers: who waits for tasks of which queues, and who gets which.
//!
//! A claim that finds a task gets it at once, as many as it asks for. One that finds none waits,
//! and is served when a task of its queues becomes ready: those that wait get one task each in turn,
//! in the order in which they came, so that many tasks that come together are spread over all of
//! them. Nothing of this is stored but the starts; a claim is answered when all of its starts are.
//!
//! What holds tasks back is asked here and not before: a task that nobody claims takes up nothing
//! ([`super::offers`]). A task that its limit keys hold back is parked under one of them while its
//! home is asked, as any other is; what comes back from there waits among the offers again, and
//! takes up no share unless somebody claims it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::action::{Action, Admission, Claim, LeaseGranted, Ticket};
use super::gates::HeldBy;
use super::limited::claimant;
use super::open::Phase;
use super::{Dispatcher, Place};
use crate::actor::Actor;
use crate::command::OwnerReply;
use crate::event::{TaskEvent, TaskStarted};
use crate::id::{QueueName, TaskId, TeamId};
use crate::seq::StreamSeq;
use crate::task::pull::Claimed;
use crate::time::{Elapsed, Times};

/// Claims that may wait in one partition. Further ones are asked to try again.
const MAX_WAITING: usize = 10_000;
/// How long a claim waits at least that finds tasks which only need an answer of the home of a limit
/// key: a worker that never waits would not get them otherwise.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often tasks that limit keys let go are offered in one turn.
const PASSES: usize = 8;

#[derive(Debug)]
struct Waiting {
    team: TeamId,
    queues: Vec<QueueName>,
    max: usize,
    worker: String,
    lease_ms: u32,
    ask: u64,
    actor: Actor,
    ticket: Ticket,
    until: Elapsed,
    /// Whether it has been given time because of limit keys.
    is_patient: bool,
}

/// A claim whose starts wait for the log.
#[derive(Debug)]
struct Storing {
    team: TeamId,
    ask: u64,
    left: usize,
    leases: Vec<LeaseGranted>,
    /// Nobody waits for it any more: what it was given goes back.
    is_withdrawn: bool,
}

#[derive(Debug, Default)]
pub(super) struct Claims {
    /// By arrival.
    waiting: BTreeMap<u64, Waiting>,
    by_place: BTreeMap<Place, BTreeSet<u64>>,
    by_ask: HashMap<(TeamId, u64), u64>,
    /// When waits are over.
    ends: BTreeSet<(Elapsed, u64)>,
    arrivals: u64,
    storing: HashMap<Ticket, Storing>,
    /// The queue that gave a task last: the next turn begins behind it.
    last: Option<Place>,
    /// Queues that have tasks for claims that wait, and are held back by their rules.
    held: BTreeSet<Place>,
    /// Tasks that their keys have let go, and that take up a share of them until it is known whether
    /// somebody claims them.
    let_go: BTreeSet<TaskId>,
}

impl Claims {
    fn insert(&mut self, arrival: u64, waiting: Waiting) {
        for queue in &waiting.queues {
            let place = (waiting.team.clone(), queue.clone());
            self.by_place.entry(place).or_default().insert(arrival);
        }
        let ask = (waiting.team.clone(), waiting.ask);
        self.by_ask.insert(ask, arrival);
        self.ends.insert((waiting.until, arrival));
        self.waiting.insert(arrival, waiting);
    }

    fn remove(&mut self, arrival: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&arrival)?;
        for queue in &waiting.queues {
            let place = (waiting.team.clone(), queue.clone());
            if let Some(arrivals) = self.by_place.get_mut(&place) {
                arrivals.remove(&arrival);
                if arrivals.is_empty() {
                    self.by_place.remove(&place);
                }
            }
        }
        self.by_ask.remove(&(waiting.team.clone(), waiting.ask));
        self.ends.remove(&(waiting.until, arrival));
        Some(waiting)
    }

    /// The first claim that waits for tasks of the queue, from that arrival on.
    fn next_at(&self, place: &Place, from: u64) -> Option<u64> {
        self.by_place.get(place)?.range(from..).next().copied()
    }

    /// Lets a claim wait, once, until limit keys may have been granted room.
    fn be_patient(&mut self, arrival: u64, now: Times) {
        let until = now.elapsed.plus(PATIENCE);
        let waiting = self.waiting.get_mut(&arrival);
        if let Some(waiting) = waiting.filter(|of| !of.is_patient && of.until < until) {
            self.ends.remove(&(waiting.until, arrival));
            (waiting.until, waiting.is_patient) = (until, true);
            self.ends.insert((until, arrival));
        }
    }

    /// A task was let go by its limit keys.
    pub(super) fn was_let_go(&mut self, id: TaskId) {
        self.let_go.insert(id);
    }

    /// The workers of the claims of a team that wait for tasks, once for each of them.
    pub(super) fn waiting_of(&self, team: &TeamId) -> impl Iterator<Item = &str> {
        let of_team = self.waiting.values().filter(move |of| of.team == *team);
        of_team.map(|waiting| waiting.worker.as_str())
    }

    /// The requests that wait for tasks, or for their starts to be stored.
    pub(super) fn tickets(&self) -> impl Iterator<Item = Ticket> + '_ {
        let waiting = self.waiting.values().map(|waiting| waiting.ticket);
        waiting.chain(self.storing.keys().copied())
    }
}

/// What came of looking for one task for a claim.
enum Found {
    Task,
    /// There are tasks, and limit keys were asked for room.
    Soon,
    Nothing,
}

impl Dispatcher {
    /// A worker asks for tasks. It is answered by an [`Action::Claimed`] once there are some and
    /// their starts are stored, or by a reply without any when it has waited long enough.
    pub fn claim(&mut self, claim: Claim, now: Times, actions: &mut Vec<Action>) {
        self.workers.sees(&claim.team, &claim.worker, now);
        let ticket = claim.ticket;
        let again = OwnerReply::TryAgain;
        let former = self.claims.by_ask.get(&(claim.team.clone(), claim.ask));
        let former = former.copied();
        // What waits was given nothing.
        if claim.is_repeated && former.is_none() {
            if self.is_storing(&claim.team, claim.ask) {
                actions.push(Action::Reply {
                    ticket,
                    reply: again,
                });
                return;
            }
            let leases = self.leases_of(&claim.team, &claim.queues, claim.ask);
            if !leases.is_empty() {
                actions.push(Action::Claimed { ticket, leases });
                return;
            }
        }
        // A request that is repeated keeps its place.
        if let Some(former) = former.and_then(|arrival| self.claims.remove(arrival)) {
            actions.push(Action::Reply {
                ticket: former.ticket,
                reply: OwnerReply::TryAgain,
            });
        } else if self.claims.waiting.len() >= MAX_WAITING {
            actions.push(Action::Reply {
                ticket,
                reply: again,
            });
            return;
        }
        let arrival = former.unwrap_or_else(|| {
            self.claims.arrivals += 1;
            self.claims.arrivals
        });
        let waiting = Waiting {
            team: claim.team,
            queues: claim.queues,
            max: claim.max,
            worker: claim.worker,
            lease_ms: claim.lease_ms,
            ask: claim.ask,
            actor: claim.actor,
            ticket,
            until: now.elapsed.plus(claim.wait),
            is_patient: false,
        };
        self.claims.insert(arrival, waiting);
    }

    /// Nobody waits for a claim any more: it gets nothing, and what it was given goes back without
    /// using up a retry.
    pub fn withdraw_claim(
        &mut self,
        (team, ask): (&TeamId, u64),
        queues: &[QueueName],
        now: Times,
        actions: &mut Vec<Action>,
    ) {
        let arrival = self.claims.by_ask.get(&(team.clone(), ask)).copied();
        if let Some(waiting) = arrival.and_then(|arrival| self.claims.remove(arrival)) {
            actions.push(Action::Reply {
                ticket: waiting.ticket,
                reply: OwnerReply::TryAgain,
            });
        }
        let storing = self.claims.storing.values_mut();
        for storing in storing.filter(|storing| storing.ask == ask && storing.team == *team) {
            storing.is_withdrawn = true;
        }
        for lease in self.leases_of(team, queues, ask) {
            self.attempt_released(lease.task, lease.attempt, now);
        }
    }

    /// Sends all waiting claims away, because another owner may serve them sooner.
    pub fn turn_away_claims(&mut self, actions: &mut Vec<Action>) {
        let arrivals: Vec<_> = self.claims.waiting.keys().copied().collect();
        for arrival in arrivals {
            if let Some(waiting) = self.claims.remove(arrival) {
                actions.push(Action::Reply {
                    ticket: waiting.ticket,
                    reply: OwnerReply::TryAgain,
                });
            }
        }
    }

    /// Gives tasks to the claims that wait, and sends those away that have waited long enough.
    pub fn serve_claims(&mut self, now: Times, actions: &mut Vec<Action>) {
        let mut given: BTreeMap<u64, usize> = BTreeMap::new();
        for _ in 0..PASSES {
            self.claims.held.clear();
            let more = self.give(&mut given, now);
            self.leave_shares(now);
            if !more && !self.keys.is_stirred() {
                break;
            }
            self.let_go(now);
        }
        for (arrival, count) in given {
            if let Some(waiting) = self.claims.remove(arrival) {
                let storing = Storing {
                    team: waiting.team,
                    ask: waiting.ask,
                    left: count,
                    leases: Vec::with_capacity(count),
                    is_withdrawn: false,
                };
                self.claims.storing.insert(waiting.ticket, storing);
            }
        }
        while let Some((end, arrival)) = self.claims.ends.first().copied()
            && end <= now.elapsed
        {
            if let Some(waiting) = self.claims.remove(arrival) {
                actions.push(Action::Claimed {
                    ticket: waiting.ticket,
                    leases: Vec::new(),
                });
            }
        }
    }

    /// Gives what there is to the claims that wait for it: in each round every queue gives one task
    /// to each of them. Returns whether limit keys let tasks go meanwhile.
    fn give(&mut self, given: &mut BTreeMap<u64, usize>, now: Times) -> bool {
        loop {
            let mut any = false;
            for place in self.places_to_serve() {
                let mut next = 0;
                while let Some(arrival) = self.claims.next_at(&place, next) {
                    next = arrival + 1;
                    let has = given.get(&arrival).copied().unwrap_or(0);
                    let waiting = self.claims.waiting.get(&arrival);
                    if waiting.is_none_or(|waiting| has >= waiting.max) {
                        continue;
                    }
                    match self.give_one_of(&place, arrival, now) {
                        Found::Task => {
                            *given.entry(arrival).or_default() += 1;
                            self.claims.last = Some(place.clone());
                            any = true;
                        }
                        Found::Soon => {
                            self.claims.be_patient(arrival, now);
                            break;
                        }
                        Found::Nothing => break,
                    }
                }
            }
            if !any {
                return !self.claims.let_go.is_empty();
            }
        }
    }

    /// The queues that have tasks for which claims wait, from behind the one that gave last.
    fn places_to_serve(&self) -> Vec<Place> {
        let claims = &self.claims;
        if self.offers.is_empty() || claims.waiting.is_empty() {
            return Vec::new();
        }
        let mut places: Vec<Place> = if claims.by_place.len() <= self.offers.lanes_len() {
            let has = |place: &&Place| {
                let lane = self.lanes.find(place);
                lane.is_some_and(|lane| self.offers.has(lane))
            };
            claims.by_place.keys().filter(has).cloned().collect()
        } else {
            let places = self.offers.lanes().map(|lane| self.lanes.names(lane));
            let waited_for = places.filter(|place| claims.by_place.contains_key(*place));
            waited_for.cloned().collect()
        };
        places.sort_unstable();
        if let Some(last) = &claims.last {
            let behind = places.partition_point(|place| place <= last);
            places.rotate_left(behind);
        }
        places
    }

    /// What nobody has claimed takes up no share of its limit keys.
    fn leave_shares(&mut self, now: Times) {
        for id in std::mem::take(&mut self.claims.let_go) {
            let waits = self.tasks.get(&id).is_some_and(|task| {
                !task.busy && task.is_pulled() && matches!(task.phase, Phase::Ready { .. })
            });
            let of = claimant(&self.tasks, &self.lanes, id).filter(|_| waits);
            if let Some(of) = of.filter(|of| !self.keys.is_parked(of.claims, of.rank)) {
                self.keys.leave(of, now);
            }
        }
    }

    /// Gives one task of a queue to a claim.
    fn give_one_of(&mut self, place: &Place, arrival: u64, now: Times) -> Found {
        let lane = self.lanes.find(place).filter(|lane| self.offers.has(*lane));
        let Some(lane) = lane else {
            return Found::Nothing;
        };
        let (tasks, lanes) = (&self.tasks, &self.lanes);
        let (gates, keys) = (&mut self.gates, &mut self.keys);
        let mut limited = Vec::new();
        let (mut taken, mut is_held) = (false, false);
        let served = self.offers.serve(lane, |id, _| {
            if taken {
                return Admission::Full;
            }
            let Some(task) = tasks.get(&id) else {
                return Admission::Yes;
            };
            // The task expires instead of starting.
            if task.is_overdue(now) {
                return Admission::Yes;
            }
            if !gates.allows((place, lane), now) {
                is_held = true;
                return Admission::Full;
            }
            let of = claimant(tasks, lanes, id);
            if let Some(limit) = of.and_then(|of| keys.forbids(of.claims, now)) {
                limited.push((id, limit));
                return Admission::Blocked;
            }
            gates.starts((place, lane), id, now);
            if let Some(of) = of {
                keys.starts(of, now);
            }
            taken = true;
            Admission::Yes
        });
        let found = match (taken, limited.is_empty()) {
            (true, _) => Found::Task,
            (false, false) => Found::Soon,
            (false, true) => Found::Nothing,
        };
        if is_held {
            self.claims.held.insert(place.clone());
        }
        for (id, limit) in limited {
            self.park_under(id, limit, now);
        }
        for id in served {
            if self.tasks.get(&id).is_some_and(|task| task.is_overdue(now)) {
                self.expire(id, now);
            } else {
                self.start_for(id, arrival, now);
            }
        }
        found
    }

    /// Decides the start of a task that a claim gets.
    fn start_for(&mut self, id: TaskId, arrival: u64, now: Times) {
        self.has_its_key(id);
        let (Some(task), Some(waiting)) = (self.tasks.get(&id), self.claims.waiting.get(&arrival))
        else {
            return;
        };
        let lease_ms = task.lease_within(waiting.lease_ms, now);
        let event = TaskEvent::Started(TaskStarted {
            id,
            attempt: task.attempts + 1,
            at: now.wall,
            lease_until: now.wall.plus(Duration::from_millis(lease_ms.into())),
            probe: false,
            claim: Some(Claimed {
                worker: waiting.worker.clone(),
                lease_ms,
                ask: waiting.ask,
            }),
            waits: Vec::new(),
        });
        let traceparent = task.traceparent.as_deref().map(Into::into);
        let asked = (waiting.actor.clone(), traceparent, waiting.ticket);
        self.decide(event, Some(asked), now);
    }

    /// A start that a claim waits for is stored.
    pub(super) fn claim_stored(
        &mut self,
        ticket: Ticket,
        seq: StreamSeq,
        started: &TaskStarted,
        actions: &mut Vec<Action>,
    ) {
        let lease = self.tasks.get(&started.id).and_then(|task| {
            let lease = task.lease()?;
            Some(LeaseGranted {
                task: started.id,
                attempt: started.attempt,
                created: task.stored,
                started: seq,
                lease_ms: lease.lease_ms,
            })
        });
        let Some(storing) = self.claims.storing.get_mut(&ticket) else {
            return;
        };
        storing.leases.extend(lease);
        storing.left = storing.left.saturating_sub(1);
        if storing.left > 0 {
            return;
        }
        let Some(storing) = self.claims.storing.remove(&ticket) else {
            return;
        };
        if storing.is_withdrawn {
            for lease in storing.leases {
                self.attempt_released(lease.task, lease.attempt, self.now);
            }
            actions.push(Action::Reply {
                ticket,
                reply: OwnerReply::TryAgain,
            });
        } else {
            actions.push(Action::Claimed {
                ticket,
                leases: storing.leases,
            });
        }
    }

    fn is_storing(&self, team: &TeamId, ask: u64) -> bool {
        let mut storing = self.claims.storing.values();
        storing.any(|storing| storing.ask == ask && storing.team == *team)
    }

    /// What a request of a team was given and still has. It visits what runs of these queues.
    fn leases_of(&self, team: &TeamId, queues: &[QueueName], ask: u64) -> Vec<LeaseGranted> {
        let lanes = queues
            .iter()
            .filter_map(|queue| self.lanes.find(&(team.clone(), queue.clone())));
        let running = lanes.flat_map(|lane| self.gates.running_in(lane));
        let mut leases: Vec<_> = running
            .filter_map(|id| {
                let task = self.tasks.get(&id).filter(|task| !task.busy)?;
                let lease = task.lease().filter(|lease| lease.ask == ask)?;
                Some(LeaseGranted {
                    task: id,
                    attempt: task.attempts,
                    created: task.stored,
                    started: self.certain,
                    lease_ms: lease.lease_ms,
                })
            })
            .collect();
        leases.sort_unstable_by_key(|lease| lease.task);
        leases
    }

    /// Time until a claim has waited long enough, or a rate lets a task go that one waits for.
    pub(super) fn claims_in(&self, now: Times) -> Option<Duration> {
        let end = self.claims.ends.first();
        let end = end.map(|(at, _)| at.since(now.elapsed));
        let held = self.claims.held.iter().filter_map(|place| {
            let lane = self.lanes.find(place)?;
            match self.gates.holds((place, lane), now)? {
                HeldBy::Rate(length) => Some(length),
                HeldBy::Pause(_) | HeldBy::Unheard | HeldBy::Concurrency => None,
            }
        });
        end.into_iter().chain(held).min()
    }
}
