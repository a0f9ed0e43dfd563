//! Ready tasks that are held back: those of queues that are paused, or that have as many attempts
//! as they may have.
//!
//! A task that is held back is parked outside of the ready queue, under its queue, so that a crowd
//! of them costs nothing per turn. It is let go, in its order, once its queue may start something
//! again. Nothing is counted up and down: how much of a limit is used is the set of the running
//! tasks, and what is parked is a part of the ready ones; both follow from the state, so nothing
//! can leak.
//!
//! A task that is in the ready queue when its queue is paused is parked when its turn comes:
//! looking for such tasks would cost a walk over all.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::lanes::{Lane, Lanes};
use super::parked::{Parked, Rank};
use super::rate::Bucket;
use super::rules::{Hold, Listening, Place, QueueRules};
use super::waits::PausesOf;
use crate::id::TaskId;
use crate::task::waits::WaitKind;
use crate::time::{Elapsed, Times, Timestamp};

/// Most parked tasks of a queue that go back into the ready queue in one turn, so that a turn stays
/// short however many there are.
const AT_ONCE: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Gates {
    /// Queues that have rules, or had and still have parked tasks.
    gates: HashMap<Place, Gate>,
    /// The tasks of each queue that hold a slot: their attempt is running, or its start waits for
    /// the log.
    running: HashMap<Lane, HashSet<TaskId>>,
    /// Queues whose parked tasks may be able to go on.
    stirred: BTreeSet<Place>,
    /// When pauses end, and leases of listeners.
    dates: BTreeSet<(Timestamp, Place)>,
    /// When rates allow the next start.
    lengths: BTreeSet<(Elapsed, Place)>,
    /// When queues were paused.
    pub(super) pauses: PausesOf<Place>,
    /// When nobody listened to queues that have to be listened to.
    pub(super) unheard: PausesOf<Place>,
}

/// Which rule of its queue holds a task back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeldBy {
    /// The queue is paused, until then if the pause has an end.
    Pause(Option<Timestamp>),
    /// Nobody listens to the queue.
    Unheard,
    /// As many attempts are running as may.
    Concurrency,
    /// The rate allows no start before that time has passed.
    Rate(Duration),
}

#[derive(Debug, Default)]
struct Gate {
    rules: QueueRules,
    parked: Parked,
    /// Its tasks in the ready queue, as far as they went there through this gate. They take up what
    /// the limits leave, also while they wait for a slot of their host.
    offered: HashSet<TaskId>,
    bucket: Option<Bucket>,
}

impl Gate {
    /// Whether nothing starts, whatever its limits leave.
    fn is_shut(&self) -> bool {
        self.rules.paused.is_some() || self.rules.listening == Some(Listening::Over)
    }

    /// How many more tasks could start now, apart from those in the ready queue.
    fn room(&self, running: usize, now: Times) -> usize {
        if self.is_shut() {
            return 0;
        }
        let slots = self
            .rules
            .concurrency
            .map_or(usize::MAX, |most| (most as usize).saturating_sub(running));
        let starts = self.bucket.as_ref().map_or(usize::MAX, |bucket| {
            usize::try_from(bucket.starts(now.elapsed)).unwrap_or(usize::MAX)
        });
        slots.min(starts)
    }
}

impl Gates {
    /// Sets the rules of a queue.
    pub(super) fn set(&mut self, place: &Place, mut rules: QueueRules, now: Times) {
        rules.listening = rules.listening.map(|of| of.at(now.wall));
        let is_unheard = rules.listening == Some(Listening::Over);
        self.unheard
            .note(place, is_unheard.then_some(Hold::Open), now.wall);
        let before = self.gates.get(place).and_then(|gate| gate.rules.paused);
        if before != rules.paused {
            self.pauses.note(place, rules.paused, now.wall);
        }
        let is_idle = self
            .gates
            .get(place)
            .is_none_or(|gate| gate.parked.is_empty());
        if rules == QueueRules::default() && is_idle {
            if let Some(gate) = self.gates.remove(place) {
                self.forget_date(place, gate.rules);
            }
            return;
        }
        let gate = self.gates.entry(place.clone()).or_default();
        let before = std::mem::replace(&mut gate.rules, rules);
        if before.rate != rules.rate {
            // Empty: how many starts there were in the time before is not known.
            gate.bucket = rules.rate.map(|rate| Bucket::new(rate, now.elapsed));
        }
        self.forget_date(place, before);
        if let Some(Hold::Until(until)) = rules.paused {
            self.dates.insert((until, place.clone()));
        }
        if let Some(Listening::Until(until)) = rules.listening {
            self.dates.insert((until, place.clone()));
        }
        self.stirred.insert(place.clone());
    }

    fn forget_date(&mut self, place: &Place, rules: QueueRules) {
        if let Some(Hold::Until(until)) = rules.paused {
            self.dates.remove(&(until, place.clone()));
        }
        if let Some(Listening::Until(until)) = rules.listening {
            self.dates.remove(&(until, place.clone()));
        }
    }

    /// Whether a queue is paused, or lacks somebody who listens to it.
    pub(super) fn is_shut(&self, place: &Place) -> bool {
        self.gates.get(place).is_some_and(Gate::is_shut)
    }

    /// A task of the queue has become ready. Returns whether it goes into the ready queue; otherwise
    /// it is parked.
    pub(super) fn enter(
        &mut self,
        (place, lane): (&Place, Lane),
        rank: Rank,
        id: TaskId,
        now: Times,
    ) -> bool {
        let Some(gate) = self.gates.get_mut(place) else {
            return true;
        };
        let running = self.running.get(&lane).map_or(0, HashSet::len);
        // Behind those that wait already: the better of them goes first.
        if gate.parked.is_empty() && gate.room(running, now) > gate.offered.len() {
            gate.offered.insert(id);
            return true;
        }
        gate.parked.insert(rank, id);
        self.stirred.insert(place.clone());
        false
    }

    /// A task is no longer ready, or a decision about it is pending.
    pub(super) fn leave(&mut self, place: &Place, rank: Rank, id: TaskId) {
        let Some(gate) = self.gates.get_mut(place) else {
            return;
        };
        gate.parked.remove(rank);
        gate.offered.remove(&id);
        self.stirred.insert(place.clone());
    }

    /// Whether a task whose turn it is may start.
    pub(super) fn allows(&self, (place, lane): (&Place, Lane), now: Times) -> bool {
        let Some(gate) = self.gates.get(place) else {
            return true;
        };
        gate.room(self.running.get(&lane).map_or(0, HashSet::len), now) > 0
    }

    /// Which rule keeps the queue's tasks from starting now.
    pub(super) fn holds(&self, (place, lane): (&Place, Lane), now: Times) -> Option<HeldBy> {
        let gate = self.gates.get(place)?;
        match gate.rules.paused {
            Some(Hold::Open) => return Some(HeldBy::Pause(None)),
            Some(Hold::Until(until)) => return Some(HeldBy::Pause(Some(until))),
            None if gate.is_shut() => return Some(HeldBy::Unheard),
            None => {}
        }
        let running = self.running.get(&lane).map_or(0, HashSet::len);
        let most = gate.rules.concurrency;
        if most.is_some_and(|most| running >= most as usize) {
            return Some(HeldBy::Concurrency);
        }
        let next = gate.bucket?.next_start(now.elapsed)?;
        Some(HeldBy::Rate(next.since(now.elapsed)))
    }

    /// What keeps the tasks of a queue from running that are held back.
    pub(super) fn why(&self, place: (&Place, Lane), now: Times) -> WaitKind {
        match self.holds(place, now) {
            // Since when nobody listens is remembered as the times of pauses are.
            Some(HeldBy::Pause(_) | HeldBy::Unheard) => WaitKind::QueuePaused,
            Some(HeldBy::Concurrency) => WaitKind::QueueConcurrency,
            Some(HeldBy::Rate(_)) => WaitKind::QueueRate,
            // There is room, and others of the queue come first.
            None => self.why_without_pause(place.0),
        }
    }

    /// The same apart from pauses.
    pub(super) fn why_without_pause(&self, place: &Place) -> WaitKind {
        let rules = self.gates.get(place).map(|gate| gate.rules);
        match rules.unwrap_or_default() {
            QueueRules {
                concurrency: Some(_),
                ..
            } => WaitKind::QueueConcurrency,
            QueueRules { rate: Some(_), .. } => WaitKind::QueueRate,
            _ => WaitKind::Turn,
        }
    }

    /// How many of the tasks that are held back come before that one, counted up to `most`.
    pub(super) fn ahead(&self, place: &Place, rank: Rank, most: usize) -> usize {
        let gate = self.gates.get(place);
        gate.map_or(0, |gate| gate.parked.ahead(rank, most))
    }

    /// Parks a task that was in the ready queue.
    pub(super) fn park(&mut self, place: &Place, rank: Rank, id: TaskId) {
        if let Some(gate) = self.gates.get_mut(place) {
            gate.offered.remove(&id);
            gate.parked.insert(rank, id);
            self.stirred.insert(place.clone());
        }
    }

    /// A task starts: it uses what the limits of its queue allow.
    pub(super) fn starts(&mut self, (place, lane): (&Place, Lane), id: TaskId, now: Times) {
        self.running.entry(lane).or_default().insert(id);
        if let Some(gate) = self.gates.get_mut(place) {
            gate.offered.remove(&id);
            if let Some(bucket) = &mut gate.bucket {
                bucket.take(now.elapsed);
            }
        }
    }

    /// Notes whether the attempt of a task is running.
    pub(super) fn runs(&mut self, lane: Lane, id: TaskId, runs: bool) {
        if runs {
            self.running.entry(lane).or_default().insert(id);
            return;
        }
        if let Some(running) = self.running.get_mut(&lane)
            && running.remove(&id)
            && running.is_empty()
        {
            self.running.remove(&lane);
        }
    }

    /// The tasks of a queue that hold a slot.
    pub(super) fn running_in(&self, lane: Lane) -> impl Iterator<Item = TaskId> + '_ {
        self.running.get(&lane).into_iter().flatten().copied()
    }

    /// Ends the pauses and waits whose time has come.
    pub(super) fn tick(&mut self, now: Times) {
        while let Some((until, _)) = self.dates.first()
            && *until <= now.wall
            && let Some((until, place)) = self.dates.pop_first()
        {
            if let Some(gate) = self.gates.get_mut(&place) {
                if gate.rules.paused == Some(Hold::Until(until)) {
                    gate.rules.paused = None;
                }
                if gate.rules.listening == Some(Listening::Until(until)) {
                    // For good, whatever the wall clock says from now on: a renewal is another rule.
                    gate.rules.listening = Some(Listening::Over);
                    self.unheard.begin(&place, until, None);
                }
            }
            self.stirred.insert(place);
        }
        while let Some((at, _)) = self.lengths.first()
            && *at <= now.elapsed
            && let Some((_, place)) = self.lengths.pop_first()
        {
            self.stirred.insert(place);
        }
    }

    /// Time until [`Gates::tick`] has something to do, unless the wall clock jumps.
    pub(super) fn next_in(&self, now: Times) -> Option<Duration> {
        let date = self.dates.first().map(|(at, _)| at.since(now.wall));
        let length = self.lengths.first().map(|(at, _)| at.since(now.elapsed));
        date.into_iter().chain(length).min()
    }

    /// The parked tasks that go into the ready queue now.
    pub(super) fn let_go(&mut self, lanes: &Lanes, now: Times) -> Vec<TaskId> {
        let mut free = Vec::new();
        for place in std::mem::take(&mut self.stirred) {
            let Some(gate) = self.gates.get_mut(&place) else {
                continue;
            };
            let running = lanes
                .find(&place)
                .and_then(|lane| self.running.get(&lane))
                .map_or(0, HashSet::len);
            let room = gate.room(running, now);
            let more = room.saturating_sub(gate.offered.len());
            for _ in 0..more.min(AT_ONCE) {
                let Some(id) = gate.parked.pop() else {
                    break;
                };
                gate.offered.insert(id);
                free.push(id);
            }
            if gate.parked.is_empty() {
                if gate.rules == QueueRules::default() {
                    self.gates.remove(&place);
                }
            } else if more > AT_ONCE {
                self.stirred.insert(place);
            } else if let Some(bucket) = gate.bucket.filter(|_| !gate.is_shut())
                && let Some(at) = bucket.next_start(now.elapsed)
            {
                self.lengths.insert((at, place));
            }
        }
        free
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn is_parked(&self, place: &Place, rank: Rank) -> bool {
        let gate = self.gates.get(place);
        gate.is_some_and(|gate| gate.parked.contains(rank))
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn parked(&self) -> usize {
        self.gates.values().map(|gate| gate.parked.len()).sum()
    }

    /// All tasks that hold a slot.
    pub(super) fn running(&self) -> BTreeSet<TaskId> {
        self.running.values().flatten().copied().collect()
    }
}
