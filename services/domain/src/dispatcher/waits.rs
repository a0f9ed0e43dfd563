//! What has kept each ready task from running so far, to tell whoever asks why it took so long.
//!
//! A task that is held back gets a mark: since when, and by what. So does one that goes on which has
//! marks; a task that nothing ever held back has none. Pauses begin and end while
//! tasks are held back, however many they are, so these are not marked at the tasks: queues and limits
//! remember when they were paused, and both are laid over each other when somebody asks.
//!
//! The marks follow from what this owner did, and are not stored. What they tell is, with the start or
//! the end that the wait led to; of a task that still waits, a new owner knows its own part.

use std::collections::{HashMap, VecDeque};

use super::Dispatcher;
use super::open::{Open, Phase};
use super::rules::Hold;
use crate::event::TaskEvent;
use crate::id::TaskId;
use crate::limit::LimitId;
use crate::task::waits::{MAX_WAITS, WaitKind, Waited};
use crate::time::{Times, Timestamp};

/// A turn that lasts less than this, in milliseconds, does not count: a task that goes on and is held
/// back again at once was held back. What holds a task back counts however short it is.
const FLICKER_MS: i64 = 20;
/// How many pauses of one queue or limit are remembered: the latest.
const MAX_PAUSES: usize = 16;
/// Of how many queues or limits pauses are remembered that are over.
const MAX_PAUSED: usize = 1_024;

/// From when on something keeps a task from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    at: Timestamp,
    by: WaitKind,
    /// Which of its limits it is, by its place among them.
    limit: Option<u8>,
}

#[derive(Debug, Default)]
struct Marks {
    /// In the order of their times; never empty.
    all: Vec<Mark>,
    /// Whether there were others before them.
    is_cut: bool,
}

impl Marks {
    fn push(&mut self, mark: Mark) {
        let mark = Mark {
            at: self.all.last().map_or(mark.at, |last| mark.at.max(last.at)),
            ..mark
        };
        let same = |of: &Mark| (of.by, of.limit) == (mark.by, mark.limit);
        if self.all.last().is_some_and(same) {
            return;
        }
        if let Some(last) = self.all.last()
            && last.by.is_turn()
            && mark.at.0.saturating_sub(last.at.0) < FLICKER_MS
        {
            let at = last.at;
            self.all.pop();
            if !self.all.last().is_some_and(same) {
                self.all.push(Mark { at, ..mark });
            }
            return;
        }
        if self.all.len() >= MAX_WAITS {
            self.all.remove(0);
            self.is_cut = true;
        }
        self.all.push(mark);
    }
}

/// The marks of all tasks.
#[derive(Debug, Default)]
pub(super) struct Marked {
    tasks: HashMap<TaskId, Marks>,
    /// When this owner began to serve.
    since: Timestamp,
}

impl Marked {
    /// From now on, marks are made.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.since = now;
    }

    pub(super) fn forget(&mut self, id: TaskId) {
        if self.tasks.remove(&id).is_some() && self.tasks.is_empty() {
            // Gives back what a crowd took.
            self.tasks = HashMap::new();
        }
    }

    /// The last mark of a task.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn last(&self, id: TaskId) -> Option<WaitKind> {
        Some(self.tasks.get(&id)?.all.last()?.by)
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn ids(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.tasks.keys().copied()
    }
}

/// When a queue or limit was paused, by what this owner knows.
#[derive(Debug, Default)]
struct Pauses(VecDeque<(Timestamp, Option<Timestamp>)>);

impl Pauses {
    fn is_over(&self, now: Timestamp) -> bool {
        let lasts = |end: &Option<Timestamp>| end.is_none_or(|end| end > now);
        !self.0.back().is_some_and(|(_, end)| lasts(end))
    }

    fn begin(&mut self, from: Timestamp, until: Option<Timestamp>) {
        match self.0.back_mut() {
            // One that goes on has only got another end.
            Some((_, end)) if end.is_none_or(|end| end >= from) => *end = until,
            _ => {
                if self.0.len() >= MAX_PAUSES {
                    self.0.pop_front();
                }
                self.0.push_back((from, until));
            }
        }
    }

    fn end(&mut self, at: Timestamp) {
        if let Some((_, end)) = self.0.back_mut() {
            *end = Some(end.map_or(at, |end| end.min(at)));
        }
    }
}

/// When queues were paused, or limits.
#[derive(Debug)]
pub(super) struct PausesOf<K>(HashMap<K, Pauses>);

impl<K> Default for PausesOf<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: std::hash::Hash + Eq + Clone> PausesOf<K> {
    /// Whether nothing was ever paused, by what this owner remembers.
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Somebody has paused it, or lets it go on.
    pub(super) fn note(&mut self, of: &K, hold: Option<Hold>, now: Timestamp) {
        match hold {
            Some(Hold::Open) => self.begin(of, now, None),
            Some(Hold::Until(until)) => self.begin(of, now, Some(until)),
            None => {
                if let Some(pauses) = self.0.get_mut(of) {
                    pauses.end(now);
                }
            }
        }
    }

    /// It is paused from one time to another.
    pub(super) fn begin(&mut self, of: &K, from: Timestamp, until: Option<Timestamp>) {
        if !self.0.contains_key(of) && self.0.len() >= MAX_PAUSED {
            self.0.retain(|_, pauses| !pauses.is_over(from));
        }
        let pauses = self.0.entry(of.clone()).or_default();
        pauses.begin(from, until);
    }

    /// When it was paused within that time, oldest first.
    fn within<'a>(
        &'a self,
        of: &K,
        (from, to): (Timestamp, Timestamp),
    ) -> impl Iterator<Item = (Timestamp, Timestamp)> + 'a {
        let pauses = self.0.get(of).into_iter().flat_map(|of| &of.0);
        pauses.filter_map(move |(begin, end)| {
            let part = ((*begin).max(from), end.map_or(to, |end| end.min(to)));
            (part.0 < part.1).then_some(part)
        })
    }
}

/// A part of a wait with its end.
#[derive(Debug, Clone, Copy)]
struct Part {
    from: Timestamp,
    to: Timestamp,
    by: WaitKind,
    limit: Option<u8>,
}

impl Part {
    /// The same part with pauses laid over it.
    fn under(
        self,
        pauses: impl Iterator<Item = (Timestamp, Timestamp)>,
        (by, limit): (WaitKind, Option<u8>),
    ) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut from = self.from;
        for (begin, end) in pauses {
            let begin = begin.max(from);
            if begin >= end {
                continue;
            }
            if begin > from {
                let to = begin;
                parts.push(Self { from, to, ..self });
            }
            parts.push(Self {
                from: begin,
                to: end,
                by,
                limit,
            });
            from = end;
        }
        if from < self.to {
            parts.push(Self { from, ..self });
        }
        parts
    }
}

impl Dispatcher {
    /// A task is held back from now on.
    pub(super) fn mark(&mut self, id: TaskId, by: WaitKind, limit: Option<LimitId>, now: Times) {
        self.mark_since(id, (by, limit), now.wall);
    }

    /// The same of a task that has just become ready.
    pub(super) fn mark_new(&mut self, id: TaskId, by: WaitKind, limit: Option<LimitId>) {
        let now = self.now.wall;
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        let is_marked = self.marked.tasks.contains_key(&id);
        let since = match task.phase {
            // Something else has held it back until now.
            _ if is_marked => now,
            Phase::Ready { since, .. } if since >= self.marked.since => since.min(now),
            // What it waits for came before it, or it would have run.
            Phase::Ready { since, .. } if self.is_behind_since_creation(id, task, by) => since,
            _ => now,
        };
        self.mark_since(id, (by, limit), since);
    }

    /// Whether what a task waits for has kept it from running ever since its creation.
    fn is_behind_since_creation(&self, id: TaskId, task: &Open, by: WaitKind) -> bool {
        match by {
            WaitKind::Predecessors => true,
            WaitKind::Order => {
                let head = task.line().and_then(|line| self.orders.head(line));
                let head = head.filter(|head| *head != id);
                let head = head.and_then(|head| self.tasks.get(&head));
                head.is_some_and(|head| head.created < task.created)
            }
            _ => false,
        }
    }

    fn mark_since(&mut self, id: TaskId, (by, limit): (WaitKind, Option<LimitId>), at: Timestamp) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        let limit = limit.and_then(|limit| {
            let claims = task.limits.as_deref()?;
            u8::try_from(claims.iter().position(|claim| claim.limit == limit)?).ok()
        });
        let marks = self.marked.tasks.entry(id).or_default();
        marks.push(Mark { at, by, limit });
    }

    /// A task goes on that may have been held back.
    pub(super) fn mark_going_on(&mut self, id: TaskId, now: Times) {
        if let Some(marks) = self.marked.tasks.get_mut(&id)
            && let Some(task) = self.tasks.get(&id)
        {
            marks.push(Mark {
                at: now.wall,
                by: turn(task),
                limit: None,
            });
        }
    }

    /// A task is parked by its queue.
    pub(super) fn mark_parked(&mut self, id: TaskId, now: Times) {
        if let Some(by) = self.why_parked(id, now) {
            self.mark(id, by, None, now);
        }
    }

    /// The same of a task that has just become ready.
    pub(super) fn mark_parked_new(&mut self, id: TaskId) {
        if let Some(by) = self.why_parked(id, self.now) {
            self.mark_new(id, by, None);
        }
    }

    fn why_parked(&self, id: TaskId, now: Times) -> Option<WaitKind> {
        let task = self.tasks.get(&id)?;
        let place = (self.lanes.names(task.lane), task.lane);
        Some(self.gates.why(place, now))
    }

    /// A task was debounced until now.
    pub(super) fn mark_debounced(&mut self, id: TaskId) {
        let since = self.tasks.get(&id).map(|task| task.created_at);
        if let Some(since) = since.filter(|since| *since >= self.marked.since) {
            self.mark_since(id, (WaitKind::Debounce, None), since);
        }
    }

    /// What has kept a task from running since it became ready, and since when that is known, if
    /// not from the beginning.
    pub(super) fn waited(&self, id: TaskId, now: Timestamp) -> (Vec<Waited>, Option<Timestamp>) {
        let Some(task) = self.tasks.get(&id) else {
            return (Vec::new(), None);
        };
        let Phase::Ready { since, .. } = task.phase else {
            return (Vec::new(), None);
        };
        let parts = self.parts(id, task, (since, now));
        let known = parts.first().map_or(now, |part| part.from);
        let claims = task.limits.as_deref().unwrap_or_default();
        let named = |part: Part| Waited {
            from: part.from,
            by: part.by,
            limit: part
                .limit
                .and_then(|at| Some(claims.get(usize::from(at))?.key.clone())),
        };
        let mut waited: Vec<Waited> = Vec::new();
        for part in parts.into_iter().map(named) {
            let same = |last: &Waited| (last.by, &last.limit) == (part.by, &part.limit);
            if !waited.last().is_some_and(same) {
                waited.push(part);
            }
        }
        let cut = waited.len().saturating_sub(MAX_WAITS);
        waited.drain(..cut);
        let known = waited.first().map_or(known, |first| first.from);
        (waited, (known > since).then_some(known))
    }

    /// The parts of a wait, as far as they are known.
    fn parts(&self, id: TaskId, task: &Open, (since, now): (Timestamp, Timestamp)) -> Vec<Part> {
        let marks = self.marked.tasks.get(&id);
        let all = marks.map_or(&[][..], |marks| &marks.all);
        let mut parts = Vec::new();
        let first = all.first().map_or(now, |mark| mark.at);
        // Before the first mark, nothing held it back.
        let begin = since.max(self.marked.since);
        if begin < first && !marks.is_some_and(|marks| marks.is_cut) {
            parts.push(Part {
                from: begin,
                to: first,
                by: turn(task),
                limit: None,
            });
        }
        let ends = all.iter().skip(1).map(|mark| mark.at).chain([now]);
        parts.extend(all.iter().zip(ends).map(|(mark, to)| Part {
            from: mark.at,
            to,
            by: mark.by,
            limit: mark.limit,
        }));
        parts
            .into_iter()
            .flat_map(|part| self.with_pauses(task, part))
            .filter(|part| part.from < part.to)
            .collect()
    }

    /// A part of a wait, and when the queue of the task or one of its limits was paused meanwhile.
    fn with_pauses(&self, task: &Open, part: Part) -> Vec<Part> {
        if matches!(
            part.by,
            WaitKind::Debounce
                | WaitKind::Predecessors
                | WaitKind::Order
                | WaitKind::Singleton
                | WaitKind::TargetOpen
                | WaitKind::WaitingForListener
        ) {
            return vec![part];
        }
        let place = self.lanes.names(task.lane);
        let part = Part {
            by: match part.by {
                // It may have been held back by a pause, and afterwards by something else.
                WaitKind::QueuePaused => self.gates.why_without_pause(place),
                WaitKind::LimitPaused => WaitKind::LimitConcurrency,
                by => by,
            },
            ..part
        };
        let pauses = self.gates.pauses.within(place, (part.from, part.to));
        let parts = part.under(pauses, (WaitKind::QueuePaused, None));
        let unheard = parts.into_iter().flat_map(|part| {
            if part.by == WaitKind::QueuePaused {
                return vec![part];
            }
            let times = self.gates.unheard.within(place, (part.from, part.to));
            part.under(times, (WaitKind::WaitingForListener, None))
        });
        let mut parts: Vec<_> = unheard.collect();
        for (claim, at) in task.limits.iter().flatten().zip(0_u8..) {
            let laid = parts.into_iter().flat_map(|part| {
                if matches!(
                    part.by,
                    WaitKind::QueuePaused | WaitKind::WaitingForListener
                ) {
                    return vec![part];
                }
                let span = (part.from, part.to);
                let pauses = self.keys.pauses.within(&claim.limit, span);
                part.under(pauses, (WaitKind::LimitPaused, Some(at)))
            });
            parts = laid.collect();
        }
        parts
    }

    /// Writes into the start of a task, and into the end of one that waited, what it has waited for.
    /// A start without anything says that nothing held the task back.
    pub(super) fn tell_waits(&self, event: &mut TaskEvent, now: Times) {
        let id = event.id();
        let waits = match event {
            TaskEvent::Started(e) => &mut e.waits,
            TaskEvent::Expired(e) if e.attempt.is_none() => &mut e.waits,
            TaskEvent::Cancelled(e) if e.attempt.is_none() => &mut e.waits,
            _ => return,
        };
        // Of most tasks there is nothing to tell, and each of them starts.
        let is_marked = self.marked.tasks.contains_key(&id);
        let gates = [self.gates.pauses.is_empty(), self.gates.unheard.is_empty()];
        if !is_marked && gates == [true; 2] && self.keys.pauses.is_empty() {
            return;
        }
        let (waited, _) = self.waited(id, now.wall);
        if waited.len() > 1 || waited.iter().any(|part| !part.by.is_turn()) {
            *waits = waited;
        }
    }
}

/// What a task waits for that nothing holds back.
fn turn(task: &Open) -> WaitKind {
    if task.is_pulled() {
        WaitKind::Unclaimed
    } else {
        WaitKind::Turn
    }
}
