//! Keys by which not every task runs: which open tasks share one, and which of them give way.
//!
//! Who gives way is worked out from the tasks that are open now, by the owner alone and never in a
//! replay: it takes effect with the end of the task that gives way, which names the other one. So
//! there is nothing to undo when the log turns out to have, between two creations, an event that
//! was decided before the second of them was read; and an owner that takes over works out anew what
//! the former one could not store. Nothing is counted and nothing is locked: the tasks of a key are
//! an index of the open ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Dispatcher;
use super::dedup::Terms;
use super::open::{Open, Phase};
use super::orders::Line;
use super::windows::Window;
use crate::event::TaskCreated;
use crate::id::TaskId;
use crate::seq::StreamSeq;
use crate::task::SingletonMode;
use crate::task::once::{Instead, Once, Span};

/// The key of a task, what it means, and what follows from it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Keyed {
    pub(super) line: Line,
    pub(super) rule: Rule,
    /// The task that runs instead, once that is decided.
    #[serde(skip)]
    pub(super) instead: Option<Instead>,
    /// Whether it gave way before anything else was decided about it, so that it concerns no other
    /// task any more.
    #[serde(skip)]
    is_out: bool,
    /// Whether its cancellation waits for the log.
    #[serde(skip)]
    pub(super) is_ending: bool,
}

/// What a key means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Rule {
    Debounce(Window),
    Singleton(SingletonMode),
    Dedup(Terms),
}

impl Keyed {
    /// The key of a task as it was created; `span`, if a restatement says how its window stands.
    pub(super) fn of(created: &TaskCreated, span: Option<Span>) -> Option<Box<Self>> {
        let once = created.once.as_deref()?;
        let (kind, rule) = match once {
            Once::Debounce(debounce) => {
                let span = span.unwrap_or(Span::of(created.at));
                ("debounce", Rule::Debounce(Window::new(debounce, span)))
            }
            Once::Singleton(singleton) => ("singleton", Rule::Singleton(singleton.mode)),
            Once::Dedup(dedup) => {
                let kind = if dedup.content { "content" } else { "dedup" };
                (kind, Rule::Dedup(Terms::of(dedup)))
            }
        };
        // No key has a control character, so the kind cannot be a part of another key.
        let key = format!("{kind}\0{}", once.key());
        Some(Box::new(Self {
            line: Line::of(&created.team, &created.queue, &key),
            rule,
            instead: None,
            is_out: false,
            is_ending: false,
        }))
    }
}

/// The tasks of each key that may have to give way to another one, or another one to them, in the
/// order of their creations.
#[derive(Debug, Default)]
pub(super) struct Sharing(BTreeMap<(Line, StreamSeq), TaskId>);

impl Sharing {
    pub(super) fn enter(&mut self, id: TaskId, task: &Open) {
        if let Some(line) = task.shares() {
            self.0.insert((line, task.created), id);
        }
    }

    pub(super) fn leave(&mut self, task: &Open) {
        if let Some(keyed) = &task.keyed {
            self.0.remove(&(keyed.line, task.created));
        }
    }

    /// The tasks of a key.
    pub(super) fn of(&self, line: Line) -> impl Iterator<Item = TaskId> + '_ {
        self.0
            .range((line, StreamSeq(0))..)
            .take_while(move |((of, _), _)| *of == line)
            .map(|(_, &id)| id)
    }

    /// Those that were created before another one.
    pub(super) fn before(
        &self,
        line: Line,
        seq: StreamSeq,
    ) -> impl DoubleEndedIterator<Item = TaskId> + '_ {
        let before = self.0.range((line, StreamSeq(0))..(line, seq));
        before.map(|(_, &id)| id)
    }

    /// All tasks, key by key.
    pub(super) fn ids(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.0.values().copied()
    }

    /// The keys that more than one task shares.
    fn shared(&self) -> Vec<Line> {
        let mut shared: Vec<Line> = Vec::new();
        let mut before = None;
        for (line, _) in self.0.keys() {
            if before == Some(*line) && shared.last() != Some(line) {
                shared.push(*line);
            }
            before = Some(*line);
        }
        shared
    }

    #[cfg(any(test, feature = "check"))]
    pub(super) fn all(&self) -> &BTreeMap<(Line, StreamSeq), TaskId> {
        &self.0
    }
}

impl Open {
    /// The key by which the task concerns others now.
    pub(super) fn shares(&self) -> Option<Line> {
        let keyed = self.keyed.as_deref()?;
        let concerns = match keyed.rule {
            Rule::Debounce(_) => self.attempts == 0,
            Rule::Singleton(_) | Rule::Dedup(_) => true,
        };
        let ended = matches!(self.phase, Phase::Ended { .. });
        (concerns && !keyed.is_out && !ended).then_some(keyed.line)
    }

    /// Drops what does not follow from the log.
    #[cfg(test)]
    pub(super) fn forget_derived(&mut self) {
        if let Some(keyed) = &mut self.keyed {
            (keyed.instead, keyed.is_out, keyed.is_ending) = (None, false, false);
            if let Rule::Debounce(window) = &mut keyed.rule {
                window.opened = crate::time::Elapsed::default();
            }
        }
    }

    /// The task that runs instead of this one.
    pub(super) fn instead(&self) -> Option<Instead> {
        self.keyed.as_deref()?.instead
    }
}

/// Where a task was in the index of keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared {
    line: Line,
    created: StreamSeq,
    is_window: bool,
}

impl Dispatcher {
    /// Where a task is in the index of keys.
    pub(super) fn shared(&self, id: TaskId) -> Option<Shared> {
        let task = self.tasks.get(&id)?;
        Some(Shared {
            line: task.shares()?,
            created: task.created,
            is_window: task.window().is_some(),
        })
    }

    /// A task has come: works out who gives way among those with its key.
    pub(super) fn settle_new(&mut self, id: TaskId) {
        match self.shared(id) {
            Some(shared) if shared.is_window => self.settle_window(shared.line, true),
            Some(_) => {
                self.settle_single(id);
                self.settle_dedup(id);
            }
            None => {}
        }
    }

    /// Works out who gives way, by an owner that takes over.
    pub(super) fn settle_all(&mut self) {
        for line in self.sharing.shared() {
            self.settle_window(line, false);
            let members: Vec<_> = self.sharing.of(line).collect();
            for id in members {
                self.settle_single(id);
            }
        }
        for id in self.with_terms() {
            self.settle_dedup(id);
        }
    }

    /// An event has changed a task, which was there in the index before.
    pub(super) fn settle_after(&mut self, id: TaskId, before: Shared) {
        let Shared {
            line,
            created,
            is_window,
        } = before;
        let is_gone = self.tasks.get(&id).and_then(Open::shares).is_none();
        if is_gone {
            self.sharing.0.remove(&(line, created));
        }
        if is_window && self.active {
            self.settle_window(line, false);
        }
        if is_gone && self.singles.ended(line, id) {
            self.let_next(line);
        }
    }

    /// Decides that a task gives way.
    pub(super) fn give_way(&mut self, id: TaskId, instead: Instead) {
        self.disarm(id);
        if let Some(task) = self.tasks.get_mut(&id) {
            let is_out = task.attempts == 0 && !task.busy;
            if is_out {
                self.sharing.leave(task);
            }
            if let Some(keyed) = &mut task.keyed {
                (keyed.instead, keyed.is_out) = (Some(instead), is_out);
            }
        }
        self.arm(id);
    }
}
