//! One key: what it may have running in this partition, and what waits for it.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::LimitedBy;
use super::kept::Kept;
use crate::dispatcher::parked::Parked;
use crate::id::{LimitKey, TaskId, TeamId};
use crate::limit::{KeyAsk, KeyGrant, KeyStanding, LimitBounds, LimitId, START_VALIDITY};
use crate::seq::StreamSeq;
use crate::time::{Elapsed, Times};

/// A home is asked that often about a key in use, so that what lies idle is given back.
const HEARTBEAT: Duration = Duration::from_millis(800);

#[derive(Debug)]
pub(super) struct Key {
    pub(super) team: TeamId,
    pub(super) name: LimitKey,
    /// The tasks that hold a slot: their attempt is running, or its start waits for the log.
    pub(super) running: HashSet<TaskId>,
    /// Its tasks in the ready queue.
    pub(super) offered: HashSet<TaskId>,
    pub(super) parked: Parked,
    /// Tasks that are parked under a later key, for which a share of this one is kept.
    pub(super) kept: Kept,
    /// What those of these tasks say that say anything, by their creation.
    pub(super) stating: BTreeMap<StreamSeq, LimitBounds>,
    /// Nothing is started while that many run.
    share: u32,
    /// Whether the home counts starts, as far as is known.
    is_rated: bool,
    starts: u32,
    starts_until: Elapsed,
    /// Whether other partitions wait for it.
    pub(super) is_wanted: bool,
    /// Whether the home is to be asked at once.
    pub(super) is_urgent: bool,
    /// When the home is to be asked, as it is noted in the order of these times.
    pub(super) due: Option<Elapsed>,
    asked: Option<Asked>,
}

/// The last ask that was answered.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Elapsed,
    wants: u32,
    /// Whether it was granted everything.
    is_met: bool,
    /// When there are more starts.
    again: Option<Elapsed>,
    says: Option<LimitBounds>,
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Key {
    pub(super) fn new(team: TeamId, name: LimitKey) -> Self {
        Self {
            team,
            name,
            running: HashSet::new(),
            offered: HashSet::new(),
            parked: Parked::default(),
            kept: Kept::default(),
            stating: BTreeMap::new(),
            share: 0,
            is_rated: false,
            starts: 0,
            starts_until: Elapsed::default(),
            is_wanted: false,
            is_urgent: false,
            due: None,
            asked: None,
        }
    }

    /// Notes what a task says that runs or waits.
    pub(super) fn tell(&mut self, created: StreamSeq, bounds: LimitBounds) {
        if !bounds.are_none() {
            self.stating.insert(created, bounds);
        }
    }

    fn says(&self) -> Option<(StreamSeq, LimitBounds)> {
        self.stating
            .last_key_value()
            .map(|(seq, bounds)| (*seq, *bounds))
    }

    /// Whether each start has to be granted: also when the home has yet to hear that it does.
    fn is_rated(&self, pin: Option<LimitBounds>) -> bool {
        let says = self.says().map(|(_, bounds)| bounds);
        let untold = says.filter(|_| self.asked.is_none_or(|asked| asked.says != says));
        let own = pin.or(untold);
        self.is_rated || own.is_some_and(|bounds| bounds.rate.is_some())
    }

    fn slots(&self) -> usize {
        (self.share as usize).saturating_sub(self.running.len())
    }

    fn starts(&self, now: Elapsed) -> usize {
        if now <= self.starts_until {
            self.starts as usize
        } else {
            0
        }
    }

    /// How many more tasks may start now, apart from those in the ready queue.
    pub(super) fn room(&self, pin: Option<LimitBounds>, now: Elapsed) -> usize {
        if self.is_rated(pin) {
            self.slots().min(self.starts(now))
        } else {
            self.slots()
        }
    }

    /// What keeps a task from starting now.
    pub(super) fn lacks(&self, pin: Option<LimitBounds>, now: Elapsed) -> Option<LimitedBy> {
        if self.slots() == 0 {
            return Some(LimitedBy::Concurrency);
        }
        let no_start = self.is_rated(pin) && self.starts(now) == 0;
        no_start.then(|| LimitedBy::Rate(self.again(now)))
    }

    /// How long it takes until there are more starts.
    fn again(&self, now: Elapsed) -> Duration {
        let again = self.asked.and_then(|asked| asked.again);
        again.map_or(Duration::ZERO, |again| again.since(now))
    }

    pub(super) fn use_start(&mut self, pin: Option<LimitBounds>) {
        if self.is_rated(pin) {
            self.starts = self.starts.saturating_sub(1);
        }
    }

    /// Starts nothing more until the home was asked.
    pub(super) fn give_back_all(&mut self) {
        (self.share, self.starts) = (0, 0);
    }

    fn wants(&self, may_start: bool) -> u32 {
        let waiting = if may_start {
            self.offered.len() + self.parked.len()
        } else {
            0
        };
        let uses = self.running.len() + waiting;
        let kept = if may_start { self.kept.len() } else { 0 };
        // No more is asked for because something is kept.
        count(uses.max((uses + kept).min(self.share as usize)))
    }

    /// Keeps a share for a task, if one lies idle that is kept for no other.
    pub(super) fn keep(&mut self, id: TaskId, now: Elapsed) {
        self.kept.tick(now);
        if self.kept.len() < self.slots() {
            self.kept.keep(id, now);
        }
    }

    /// When something that is kept has been for long enough, if it lies idle.
    fn kept_until(&self) -> Option<Elapsed> {
        let uses = self.running.len() + self.offered.len() + self.parked.len();
        self.kept.next().filter(|_| uses < self.share as usize)
    }

    /// Whether the home may reckon that something of it is held.
    pub(super) fn holds(&self) -> bool {
        self.share > 0 || !self.running.is_empty()
    }

    /// Whether nothing is known about the key that would not be known without it.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
            && self.offered.is_empty()
            && self.parked.is_empty()
            && self.kept.is_empty()
            && self.share == 0
            && self.asked.is_none()
    }

    /// When the home is to be asked.
    pub(super) fn asks_at(
        &self,
        pin: Option<LimitBounds>,
        starts_nothing: bool,
        now: Elapsed,
    ) -> Option<Elapsed> {
        let waits = !self.parked.is_empty() && !starts_nothing;
        let Some(asked) = self.asked else {
            return (waits || self.is_urgent).then_some(now);
        };
        let heartbeat = asked.at.plus(HEARTBEAT);
        let heartbeat = self
            .kept_until()
            .map_or(heartbeat, |until| until.min(heartbeat));
        let says = self.says().map(|(_, bounds)| bounds);
        let is_blocked = waits && self.room(pin, now) <= self.offered.len();
        if self.is_urgent || (says.is_some() && says != asked.says) {
            return Some(now);
        }
        if is_blocked
            && self.slots() <= self.offered.len()
            && asked.is_met
            && self.wants(true) > asked.wants
        {
            return Some(now);
        }
        if is_blocked && self.slots() > self.offered.len() {
            // It lacks starts.
            return Some(asked.again.unwrap_or(heartbeat).min(heartbeat).max(now));
        }
        Some(heartbeat.max(now))
    }

    /// What is asked of the home. What is not needed is given back by that.
    pub(super) fn ask(
        &mut self,
        limit: LimitId,
        pin: Option<LimitBounds>,
        may_start: bool,
        now: Elapsed,
    ) -> KeyAsk {
        self.kept.tick(now);
        let (running, wants) = (count(self.running.len()), self.wants(may_start));
        self.share = self.share.min(wants);
        self.is_urgent = false;
        let there = self.starts(now);
        let lacking = (self.parked.len() + self.offered.len()).saturating_sub(there);
        KeyAsk {
            limit,
            held: self.share.max(running),
            running,
            wants,
            starts: if may_start && self.may_need_starts(pin) {
                count(lacking)
            } else {
                0
            },
            says: self.says(),
            keeps: if may_start {
                count(self.kept.len()).min(self.share.saturating_sub(running))
            } else {
                0
            },
            paused: None,
        }
    }

    fn may_need_starts(&self, pin: Option<LimitBounds>) -> bool {
        // Before the first answer it is not known.
        self.is_rated(pin) || self.asked.is_none()
    }

    /// Takes an answer into account. `asked` is what was asked, at `at`.
    pub(super) fn granted(&mut self, asked: &KeyAsk, grant: &KeyGrant, at: Elapsed, now: Elapsed) {
        self.share = grant.share;
        self.is_rated = grant.starts.is_some();
        let (left, until) = (count(self.starts(now)), at.plus(START_VALIDITY));
        (self.starts, self.starts_until) = match grant.starts {
            None => (0, self.starts_until),
            Some(0) => (left, self.starts_until),
            Some(more) if left == 0 => (more, until),
            // Those that are left are void first, and the others with them.
            Some(more) => (left.saturating_add(more), self.starts_until.min(until)),
        };
        self.is_wanted = grant.is_wanted;
        // The home reckons with what was held until it hears that less is.
        self.is_urgent |= grant.share.max(count(self.running.len())) < asked.held;
        let is_done = asked.held == 0 && asked.wants == 0 && grant.share == 0;
        self.asked = (!is_done).then_some(Asked {
            at,
            wants: asked.wants,
            is_met: grant.share >= asked.wants,
            again: grant
                .starts
                .map(|_| now.plus(Duration::from_millis(grant.again_ms.into()))),
            says: asked.says.map(|(_, bounds)| bounds),
        });
    }

    pub(super) fn standing(&self, pin: Option<LimitBounds>, now: Times) -> KeyStanding {
        let lacks = (!self.parked.is_empty()).then(|| self.lacks(pin, now.elapsed));
        KeyStanding {
            key: self.name.clone(),
            running: count(self.running.len()),
            waiting: count(self.parked.len() + self.offered.len()),
            says: self.says(),
            next_start: match lacks.flatten() {
                Some(LimitedBy::Rate(length)) => Some(now.wall.plus(length)),
                _ => None,
            },
            paused: None,
        }
    }
}
