//! Duplicates: a task gives way to another one with the same key that was accepted shortly before
//! it, also if that one has ended.
//!
//! Whether one comes within the window of another is asked of the two times in the log, so that
//! every owner answers alike. Tasks that have ended are remembered for as long as they may be asked
//! for, by the monotonic clock, and no more of a queue than [`MAX_REMEMBERED`]. The log keeps what a
//! replay needs to remember them, and snapshots have them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Dispatcher;
use super::action::number;
use super::keyed::Rule;
use super::open::{Open, Phase};
use super::orders::Line;
use crate::event::TaskEvent;
use crate::id::{TaskId, TeamId};
use crate::seq::StreamSeq;
use crate::task::once::{Dedup, IfFailed, Instead, InsteadReason, MAX_REMEMBERED, OnDuplicate};
use crate::time::{Elapsed, Times, Timestamp};

/// How much longer than its window an ended task is remembered, since the clocks of those who accept
/// tasks differ.
const MARGIN: Duration = Duration::from_secs(60);

/// What its key means to a task, and to those that follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Terms {
    window_ms: u64,
    on_duplicate: OnDuplicate,
    if_failed: IfFailed,
}

impl Terms {
    pub(super) fn of(dedup: &Dedup) -> Self {
        Self {
            window_ms: dedup.window_ms,
            on_duplicate: dedup.on_duplicate,
            if_failed: dedup.if_failed,
        }
    }
}

/// A task that has ended, and was not cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Past {
    line: Line,
    created: StreamSeq,
    pub(super) id: TaskId,
    /// Hash of its queue.
    queue: u64,
    at: Timestamp,
    window_ms: u64,
    failed: bool,
    /// The oldest sequence from which a replay remembers it.
    pub(super) needed: StreamSeq,
}

impl Past {
    fn kept(&self) -> Duration {
        Duration::from_millis(self.window_ms) + MARGIN
    }
}

/// Whether a task that was accepted at `at` comes within the window of another one.
fn is_within(at: Timestamp, other: Timestamp, window_ms: u64) -> bool {
    at.since(other) < Duration::from_millis(window_ms)
}

/// The ended tasks that later ones may duplicate.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    tasks: BTreeMap<(Line, StreamSeq), (Past, Elapsed)>,
    /// Those of each queue, in the order of their creations.
    queues: HashMap<u64, BTreeMap<StreamSeq, Line>>,
    /// When they are forgotten; empty during replay.
    ends: BTreeSet<(Elapsed, Line, StreamSeq)>,
}

impl Remembered {
    /// Remembers a task until a time, or during a replay without an end.
    pub(super) fn insert(&mut self, past: Past, until: Option<Elapsed>) {
        let (line, created, queue) = (past.line, past.created, past.queue);
        self.forget(line, created);
        if let Some(until) = until {
            self.ends.insert((until, line, created));
        }
        let until = until.unwrap_or_default();
        self.tasks.insert((line, created), (past, until));
        let of_queue = self.queues.entry(queue).or_default();
        of_queue.insert(created, line);
        if of_queue.len() > MAX_REMEMBERED
            && let Some((&oldest, &line)) = of_queue.first_key_value()
        {
            self.forget(line, oldest);
        }
    }

    fn forget(&mut self, line: Line, created: StreamSeq) {
        let Some((past, until)) = self.tasks.remove(&(line, created)) else {
            return;
        };
        self.ends.remove(&(until, line, created));
        if let Some(of_queue) = self.queues.get_mut(&past.queue) {
            of_queue.remove(&created);
            if of_queue.is_empty() {
                self.queues.remove(&past.queue);
            }
        }
    }

    /// Sets the ends by the clock of an owner that takes over.
    pub(super) fn place(&mut self, now: Times) {
        self.ends.clear();
        for ((line, created), (past, until)) in &mut self.tasks {
            *until = now.end_of(past.at, past.kept());
            self.ends.insert((*until, *line, *created));
        }
    }

    /// Forgets those whose time is over.
    pub(super) fn tick(&mut self, now: Times) {
        while let Some(&(until, line, created)) = self.ends.first()
            && until <= now.elapsed
        {
            self.forget(line, created);
        }
    }

    /// Time until one is forgotten.
    pub(super) fn next_in(&self, now: Times) -> Option<Duration> {
        self.ends.first().map(|(at, ..)| at.since(now.elapsed))
    }

    /// The oldest sequence from which a replay remembers them all.
    pub(super) fn needs(&self) -> Option<StreamSeq> {
        self.tasks.values().map(|(past, _)| past.needed).min()
    }

    /// In the order of their creations.
    pub(super) fn all(&self) -> impl Iterator<Item = &Past> {
        self.tasks.values().map(|(past, _)| past)
    }

    /// The latest of a key that was created before another task and counts for it.
    fn latest(
        &self,
        line: Line,
        before: StreamSeq,
        counts: impl Fn(&Past) -> bool,
    ) -> Option<TaskId> {
        let all = self.tasks.range((line, StreamSeq(0))..(line, before));
        let mut all = all.rev().map(|(_, (past, _))| past);
        all.find(|past| counts(past)).map(|past| past.id)
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn check(&self, active: bool) {
        let of_queues: usize = self.queues.values().map(BTreeMap::len).sum();
        assert_eq!(
            of_queues,
            self.tasks.len(),
            "each is remembered in its queue"
        );
        let ends = if active { self.tasks.len() } else { 0 };
        assert_eq!(self.ends.len(), ends, "each is forgotten at its time");
    }
}

impl Open {
    fn terms(&self) -> Option<Terms> {
        match self.keyed.as_deref()?.rule {
            Rule::Dedup(terms) => Some(terms),
            Rule::Debounce(_) | Rule::Singleton(_) => None,
        }
    }

    /// Whether it has started, or something is being stored about it, such as its start.
    fn has_begun(&self) -> bool {
        self.attempts > 0 || self.busy
    }

    /// Whether it ends, or is about to, without having done what it was for.
    fn is_leaving(&self) -> bool {
        let keyed = self.keyed.as_deref();
        self.cancel_requested.is_some()
            || self.requesting_cancel
            || self.cancelled_after.is_some()
            || keyed.is_none_or(|keyed| keyed.instead.is_some() || keyed.is_ending)
    }
}

/// What has become of a task whose key may make it a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is none, and open.
    Open,
    /// It gives way to another task, which is not in the log yet.
    Ending,
    /// It has ended, or is unknown here.
    NotOpen,
}

impl Dispatcher {
    /// What has become of a task of the team, whose creation has been applied.
    #[must_use]
    pub fn kept(&self, id: TaskId, team: &TeamId) -> Kept {
        match self.tasks.get(&id) {
            Some(task) if self.lanes.names(task.lane).0 != *team => Kept::NotOpen,
            Some(Open {
                phase: Phase::Ended { .. },
                ..
            })
            | None => Kept::NotOpen,
            Some(task) if task.instead().is_some() => Kept::Ending,
            Some(_) => Kept::Open,
        }
    }

    /// Of a task that `event` is about to end: what is remembered of it.
    pub(super) fn past(&self, event: &TaskEvent) -> Option<Past> {
        let failed = match event {
            TaskEvent::Succeeded(_) => false,
            TaskEvent::Dead(_) | TaskEvent::Expired(_) => true,
            _ => return None,
        };
        let id = event.id();
        let task = self.tasks.get(&id)?;
        let (team, queue) = self.lanes.names(task.lane);
        Some(Past {
            line: task.shares()?,
            created: task.created,
            id,
            queue: number("queue", &format!("{team}\0{queue}")),
            at: task.created_at,
            window_ms: task.terms()?.window_ms,
            failed,
            needed: task.stored,
        })
    }

    /// Remembers a task that has ended.
    pub(super) fn keep_in_mind(&mut self, past: Past) {
        let until = self.now.elapsed.plus(past.kept());
        self.remembered.insert(past, self.active.then_some(until));
    }

    /// The tasks whose key makes them duplicates, or others of them.
    pub(super) fn with_terms(&self) -> Vec<TaskId> {
        let has = |id: &TaskId| self.tasks.get(id).and_then(Open::terms).is_some();
        self.sharing.ids().filter(has).collect()
    }

    /// Works out whether a task is a duplicate: of any that was created before it, within the window
    /// of that one, and that is open or remembered. The clocks of those who accept tasks differ, so
    /// the latest in the log need not be the one whose window lasts longest.
    pub(super) fn settle_dedup(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id).filter(|task| !task.is_leaving()) else {
            return;
        };
        let (Some(line), Some(terms)) = (task.shares(), task.terms()) else {
            return;
        };
        let (created, at) = (task.created, task.created_at);
        let has_started = task.has_begun();
        let counts = |other: &TaskId| {
            let other = self.tasks.get(other).filter(|other| !other.is_leaving());
            let window = |other: &Open| other.terms().map_or(0, |terms| terms.window_ms);
            other.is_some_and(|other| is_within(at, other.created_at, window(other)))
        };
        let open = self.sharing.before(line, created).rev().filter(counts);
        let has_begun = |id: &TaskId| self.tasks.get(id).is_some_and(Open::has_begun);
        let (begun, idle): (Vec<_>, Vec<_>) = open.partition(has_begun);
        if !has_started {
            let counts = |past: &Past| {
                is_within(at, past.at, past.window_ms)
                    && (!past.failed || terms.if_failed == IfFailed::Existing)
            };
            let past = || self.remembered.latest(line, created, counts);
            let stays = terms.on_duplicate != OnDuplicate::ReplaceIfNotStarted;
            let idle = idle.first().filter(|_| stays);
            let other = begun.first().or(idle).copied().or_else(past);
            if let Some(other) = other {
                self.give_way(id, Instead::of(other, InsteadReason::Duplicate));
                return;
            }
        }
        // If this one has started, then because each of them was about to leave: so it must not come
        // back with another owner, whatever this one says about those before it.
        for other in idle {
            self.give_way(other, Instead::of(id, InsteadReason::Refreshed));
        }
    }
}
