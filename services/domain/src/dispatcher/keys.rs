//! Limit keys as their holder sees them: which tasks of this partition they keep from starting, and
//! what is asked of their homes. The protocol is explained in [`crate::limit`].
//!
//! All keys of a task are taken in one decision or none. A task that one of its keys keeps from starting
//! takes nothing: it is parked under that key, outside of the ready queue, and when the key has room
//! again all of them are asked anew. How much of a key is used is the set of its running tasks; nothing
//! is counted up and down, so nothing can leak.

mod asking;
mod kept;
mod key;
mod learned;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lanes::Lane;
use super::parked::Rank;
use super::rules::{Hold, LimitRules};
use super::waits::PausesOf;
use crate::id::{LimitKey, TaskId, TeamId};
use crate::limit::{KeyStanding, LimitBounds, LimitId};
use crate::partition::{Partition, PartitionCount};
use crate::seq::StreamSeq;
use crate::task::waits::WaitKind;
use crate::time::{Elapsed, Times, Timestamp};
use asking::ToHome;
use key::Key;

pub(super) use learned::Learned;

/// Most tasks that one key lets go in one turn, so that a turn stays short.
const AT_ONCE: usize = 1_000;

/// A key of a task, and what the task says about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    pub(super) limit: LimitId,
    pub(super) key: LimitKey,
    pub(super) bounds: LimitBounds,
}

/// A task as its keys see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claimant<'a> {
    pub(super) id: TaskId,
    pub(super) team: &'a TeamId,
    pub(super) claims: &'a [Claim],
    /// Sequence of its creation.
    pub(super) created: StreamSeq,
    pub(super) rank: Rank,
}

/// Where a task waits among those of a key: queues take turns, and in a queue its fairness keys.
pub(super) fn rank_of(rank: Rank, lane: Lane) -> Rank {
    Rank {
        fairness: rank.fairness ^ lane.turn(),
        ..rank
    }
}

/// What keeps a task from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LimitedBy {
    /// The key is paused, until then if the pause has an end.
    Pause(Option<Timestamp>),
    /// As many attempts run as may.
    Concurrency,
    /// The rate allows no start before that time has passed.
    Rate(Duration),
}

/// Where the homes are, and who is too old to be one.
#[derive(Debug)]
struct Office {
    me: Partition,
    term: StreamSeq,
    count: PartitionCount,
    /// The last fences of all partitions, read after this owner's fence was stored.
    least: BTreeMap<Partition, StreamSeq>,
    homes: BTreeMap<Partition, ToHome>,
}

#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The keys of tasks that run or wait to start, and those of which a share is held.
    keys: HashMap<LimitId, Key>,
    /// What was decided about keys at run time.
    rules: HashMap<LimitId, LimitRules>,
    /// Keys whose parked tasks may be able to go on.
    stirred: BTreeSet<LimitId>,
    /// When homes are to be asked about keys.
    due: BTreeSet<(Elapsed, LimitId)>,
    /// When pauses end.
    dates: BTreeSet<(Timestamp, LimitId)>,
    office: Option<Office>,
    /// Pins that have changed and of which the home has to tell others.
    pinned: Vec<LimitId>,
    /// Whether nothing is started for now, so that nothing is wanted.
    is_held_up: bool,
    /// Pauses that targets asked for.
    learned: HashMap<LimitId, Learned>,
    /// When they end.
    ends: BTreeSet<(Elapsed, LimitId)>,
    /// Tasks that wait for another key now, which nobody has been told yet.
    pub(super) moved: Vec<(TaskId, LimitId)>,
    /// When keys were paused.
    pub(super) pauses: PausesOf<LimitId>,
}

impl Keys {
    fn key(&mut self, team: &TeamId, claim: &Claim) -> &mut Key {
        self.keys
            .entry(claim.limit)
            .or_insert_with(|| Key::new(team.clone(), claim.key.clone()))
    }

    fn is_paused(&self, limit: LimitId) -> bool {
        let rules = self.rules.get(&limit);
        rules.is_some_and(|rules| rules.paused.is_some()) || self.learned.contains_key(&limit)
    }

    /// How many more tasks of the key may start now, apart from those in the ready queue.
    fn room(&self, claim: &Claim, now: Times) -> usize {
        if self.is_paused(claim.limit) {
            return 0;
        }
        let pin = self.pin(claim.limit);
        let key = self.keys.get(&claim.limit);
        key.map_or(0, |key| key.room(pin, now.elapsed))
    }

    fn offered(&self, limit: LimitId) -> usize {
        self.keys.get(&limit).map_or(0, |key| key.offered.len())
    }

    /// What was pinned for a key.
    pub(super) fn pin(&self, limit: LimitId) -> Option<LimitBounds> {
        self.rules.get(&limit).and_then(|rules| rules.pin)
    }

    /// Whether any of its keys is paused.
    pub(super) fn any_paused(&self, claims: &[Claim]) -> bool {
        claims.iter().any(|claim| self.is_paused(claim.limit))
    }

    /// The first key, in the order of all keys, that has no room for one more task in the ready queue.
    pub(super) fn lacks(&self, claims: &[Claim], now: Times) -> Option<LimitId> {
        let full = claims
            .iter()
            .filter(|claim| self.room(claim, now) <= self.offered(claim.limit));
        full.map(|claim| claim.limit).min()
    }

    /// The key behind whose waiting tasks a task has to wait that has become ready: the better of
    /// them goes first. It is the last such key, so that nothing is asked for that is of no use yet.
    pub(super) fn behind(&self, claims: &[Claim], now: Times) -> Option<LimitId> {
        let waits = |claim: &&Claim| {
            let key = self.keys.get(&claim.limit);
            key.is_some_and(|key| !key.parked.is_empty())
        };
        let waits = claims.iter().filter(waits).map(|claim| claim.limit).max();
        waits.or_else(|| self.lacks(claims, now))
    }

    /// The first key, in the order of all keys, that keeps a task whose turn it is from starting.
    pub(super) fn forbids(&self, claims: &[Claim], now: Times) -> Option<LimitId> {
        let full = claims.iter().filter(|claim| self.room(claim, now) == 0);
        full.map(|claim| claim.limit).min()
    }

    /// Which of its keys keeps a task from starting, and why.
    pub(super) fn holds<'a>(
        &self,
        claims: &'a [Claim],
        now: Times,
    ) -> Option<(&'a LimitKey, LimitedBy)> {
        claims.iter().find_map(|claim| {
            let paused = self.rules.get(&claim.limit).and_then(|rules| rules.paused);
            let why = match paused {
                Some(Hold::Open) => Some(LimitedBy::Pause(None)),
                Some(Hold::Until(until)) => Some(LimitedBy::Pause(Some(until))),
                None if self.learned.contains_key(&claim.limit) => {
                    let learned = self.learned.get(&claim.limit);
                    let end = learned.map(|pause| pause.ends.since(now.elapsed));
                    Some(LimitedBy::Pause(end.map(|left| now.wall.plus(left))))
                }
                None => match self.keys.get(&claim.limit) {
                    None => Some(LimitedBy::Concurrency),
                    Some(key) => key.lacks(self.pin(claim.limit), now.elapsed),
                },
            };
            why.map(|why| (&claim.key, why))
        })
    }

    /// What keeps the tasks that wait for a key from running.
    pub(super) fn why(&self, limit: LimitId, now: Times) -> WaitKind {
        let key = self.keys.get(&limit);
        let lacks = key.and_then(|key| key.lacks(self.pin(limit), now.elapsed));
        match lacks {
            _ if self.is_paused(limit) => WaitKind::LimitPaused,
            Some(LimitedBy::Rate(_)) => WaitKind::LimitRate,
            _ => WaitKind::LimitConcurrency,
        }
    }

    /// Parks a task under one of its keys.
    pub(super) fn park(&mut self, of: Claimant<'_>, limit: LimitId, now: Times) {
        self.leave(of, now);
        if let Some(claim) = of.claims.iter().find(|claim| claim.limit == limit) {
            let key = self.key(of.team, claim);
            key.parked.insert(of.rank, of.id);
            key.tell(of.created, claim.bounds);
            self.plan(limit, now.elapsed);
        }
    }

    /// A task that had the share of a key waits for a later one, under which it is parked: those of
    /// all before it are kept for a while.
    pub(super) fn keep_before(&mut self, of: Claimant<'_>, later: LimitId, now: Times) {
        for claim in of.claims.iter().filter(|claim| claim.limit < later) {
            if let Some(key) = self.keys.get_mut(&claim.limit) {
                key.keep(of.id, now.elapsed);
                self.plan(claim.limit, now.elapsed);
            }
        }
    }

    /// A task goes into the ready queue: it takes up what its keys leave.
    pub(super) fn offer(&mut self, of: Claimant<'_>) {
        for claim in of.claims {
            let key = self.key(of.team, claim);
            key.offered.insert(of.id);
            key.kept.leave(of.id);
            key.tell(of.created, claim.bounds);
        }
    }

    /// A task is neither parked nor in the ready queue any more.
    pub(super) fn leave(&mut self, of: Claimant<'_>, now: Times) {
        for claim in of.claims {
            let Some(key) = self.keys.get_mut(&claim.limit) else {
                continue;
            };
            let was_parked = key.parked.remove(of.rank);
            let was_offered = key.offered.remove(&of.id);
            let was_kept = key.kept.leave(of.id);
            key.is_urgent |= was_kept && key.is_wanted;
            if (was_parked || was_offered) && !key.running.contains(&of.id) {
                key.stating.remove(&of.created);
            }
            if was_offered {
                self.stirred.insert(claim.limit);
            }
            if was_parked || was_offered || was_kept {
                self.plan(claim.limit, now.elapsed);
            }
        }
    }

    /// A task starts: it uses all of its keys.
    pub(super) fn starts(&mut self, of: Claimant<'_>, now: Times) {
        for claim in of.claims {
            let pin = self.pin(claim.limit);
            let key = self.key(of.team, claim);
            key.offered.remove(&of.id);
            key.kept.leave(of.id);
            key.running.insert(of.id);
            key.tell(of.created, claim.bounds);
            key.use_start(pin);
            self.plan(claim.limit, now.elapsed);
        }
    }

    /// Notes whether the attempt of a task is running.
    pub(super) fn runs(&mut self, of: Claimant<'_>, runs: bool, now: Times) {
        for claim in of.claims {
            if runs {
                let key = self.key(of.team, claim);
                key.running.insert(of.id);
                key.tell(of.created, claim.bounds);
            } else if let Some(key) = self.keys.get_mut(&claim.limit)
                && key.running.remove(&of.id)
            {
                key.is_urgent |= key.is_wanted;
                if !key.offered.contains(&of.id) && !key.parked.contains(of.rank) {
                    key.stating.remove(&of.created);
                }
                self.stirred.insert(claim.limit);
            } else {
                continue;
            }
            self.plan(claim.limit, now.elapsed);
        }
    }

    /// The parked tasks that go into the ready queue now, as far as their keys are concerned. `find`
    /// returns a task; what it does not find has ended.
    pub(super) fn let_go<'a>(
        &mut self,
        find: impl Fn(TaskId) -> Option<Claimant<'a>>,
        now: Times,
    ) -> Vec<TaskId> {
        let mut free = Vec::new();
        for limit in std::mem::take(&mut self.stirred) {
            for _ in 0..AT_ONCE {
                let (is_paused, pin) = (self.is_paused(limit), self.pin(limit));
                let Some(key) = self.keys.get_mut(&limit) else {
                    break;
                };
                if is_paused || key.room(pin, now.elapsed) <= key.offered.len() {
                    break;
                }
                let Some(id) = key.parked.pop() else {
                    break;
                };
                let Some(of) = find(id) else {
                    continue;
                };
                match self.lacks(of.claims, now) {
                    None => {
                        key_left(self.keys.get_mut(&limit), of.created);
                        self.offer(of);
                        free.push(id);
                    }
                    Some(other) => {
                        key_left(self.keys.get_mut(&limit), of.created);
                        self.park(of, other, now);
                        self.keep_before(of, other, now);
                        self.moved.push((id, other));
                    }
                }
            }
            self.plan(limit, now.elapsed);
        }
        free
    }

    /// Whether [`Keys::let_go`] has something to look at.
    pub(super) fn is_stirred(&self) -> bool {
        !self.stirred.is_empty()
    }

    /// Sets what was decided about a key.
    pub(super) fn set(&mut self, limit: LimitId, rules: LimitRules, now: Times) {
        let before = if rules == LimitRules::default() {
            self.rules.remove(&limit)
        } else {
            self.rules.insert(limit, rules)
        };
        let before = before.unwrap_or_default();
        if before.paused != rules.paused {
            self.pauses.note(&limit, rules.paused, now.wall);
        }
        if let Some(Hold::Until(until)) = before.paused {
            self.dates.remove(&(until, limit));
        }
        if let Some(Hold::Until(until)) = rules.paused {
            self.dates.insert((until, limit));
        }
        if before.pin != rules.pin {
            self.pinned.push(limit);
            if let Some(key) = self.keys.get_mut(&limit) {
                // Nothing starts until the home has said what it may have by the new bounds.
                key.give_back_all();
                key.is_urgent = true;
            }
        }
        self.stirred.insert(limit);
        self.plan(limit, now.elapsed);
    }

    /// Ends the pauses whose time has come.
    pub(super) fn tick(&mut self, now: Times) {
        self.end_pauses(now.elapsed);
        while let Some((until, _)) = self.dates.first()
            && *until <= now.wall
            && let Some((_, limit)) = self.dates.pop_first()
        {
            if let Some(rules) = self.rules.get_mut(&limit) {
                rules.paused = None;
            }
            self.stirred.insert(limit);
            self.plan(limit, now.elapsed);
        }
    }

    /// Time until [`Keys::tick`] or [`Keys::asks`] has something to do.
    pub(super) fn next_in(&self, now: Times) -> Option<Duration> {
        let date = self.dates.first().map(|(at, _)| at.since(now.wall));
        let due = self.due.first().map(|(at, _)| at.since(now.elapsed));
        // Until it is known where the homes are, whoever finds that out wakes the owner.
        let due = due.filter(|_| self.office.is_some());
        let homes = self.homes_in(now.elapsed);
        let end = self.ends.first().map(|(at, _)| at.since(now.elapsed));
        let homes = homes.into_iter().chain(end).min();
        date.into_iter().chain(due).chain(homes).min()
    }

    /// How many tasks that wait for one of these keys come before a task, counted up to `most`.
    pub(super) fn ahead(&self, of: Claimant<'_>, most: usize) -> usize {
        let keys = of
            .claims
            .iter()
            .filter_map(|claim| self.keys.get(&claim.limit));
        let parked = keys.filter(|key| key.parked.contains(of.rank));
        parked.map(|key| key.parked.ahead(of.rank, most)).sum()
    }

    /// How the keys of a team stand.
    pub(super) fn standing(&self, team: &TeamId, now: Times) -> Vec<KeyStanding> {
        let of_team = self.keys.iter().filter(|(_, key)| key.team == *team);
        let told = of_team.map(|(limit, key)| KeyStanding {
            paused: self.pause_told(*limit, now.elapsed),
            ..key.standing(self.pin(*limit), now)
        });
        told.collect()
    }

    /// Whether a task is parked under one of these keys.
    pub(super) fn is_parked(&self, claims: &[Claim], rank: Rank) -> bool {
        claims.iter().any(|claim| {
            let key = self.keys.get(&claim.limit);
            key.is_some_and(|key| key.parked.contains(rank))
        })
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn parked(&self) -> usize {
        self.keys.values().map(|key| key.parked.len()).sum()
    }

    /// The slots that are held: each key with the tasks that use it.
    pub(super) fn running(&self) -> impl Iterator<Item = (LimitId, TaskId)> + '_ {
        let keys = self.keys.iter();
        keys.flat_map(|(limit, key)| key.running.iter().map(|id| (*limit, *id)))
    }
}

/// A task was taken out of those that are parked.
fn key_left(key: Option<&mut Key>, created: StreamSeq) {
    if let Some(key) = key {
        key.stating.remove(&created);
    }
}
