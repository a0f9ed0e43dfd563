//! Debounce: of tasks with the same key that follow each other closely one runs, when they have
//! ceased to come.
//!
//! The tasks of a window wait, and all but one give way. When the one that is left starts, the
//! window is over: it leaves the index, and the next task opens a window of its own. A task whose
//! start waits for the log counts as started.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Dispatcher;
use super::keyed::{Keyed, Rule};
use super::open::{Open, Phase};
use super::orders::Line;
use crate::event::TaskEvent;
use crate::id::TaskId;
use crate::task::once::{Debounce, DebounceMode, Instead, InsteadReason, Span};
use crate::time::{Elapsed, Times, Timestamp};

/// The window of a task, with all that it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window {
    mode: DebounceMode,
    delay_ms: u64,
    max_ms: u64,
    pub(super) span: Span,
    /// When the first of its tasks came, by this owner's monotonic clock.
    #[serde(skip)]
    pub(super) opened: Elapsed,
}

impl Window {
    pub(super) fn new(debounce: &Debounce, span: Span) -> Self {
        Self {
            mode: debounce.mode,
            delay_ms: debounce.delay_ms,
            max_ms: debounce.max_delay_ms,
            span,
            opened: Elapsed::default(),
        }
    }

    fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    fn longest(&self) -> Duration {
        Duration::from_millis(self.max_ms)
    }

    /// When the wait is over, by the wall clock.
    fn until(&self) -> Timestamp {
        let latest = self.span.since.plus(self.longest());
        self.span.last.plus(self.delay()).min(latest)
    }
}

impl Keyed {
    /// How a task with this key begins, if it waits for others.
    pub(super) fn first_phase(&self) -> Option<Phase> {
        let Rule::Debounce(window) = &self.rule else {
            return None;
        };
        Some(Phase::Waiting {
            until: window.until(),
            from: Some(window.span.last),
            wake: Elapsed::default(),
        })
    }
}

impl Open {
    pub(super) fn window(&self) -> Option<&Window> {
        match &self.keyed.as_deref()?.rule {
            Rule::Debounce(window) => Some(window),
            Rule::Singleton(_) | Rule::Dedup(_) => None,
        }
    }

    fn window_mut(&mut self) -> Option<&mut Window> {
        match &mut self.keyed.as_deref_mut()?.rule {
            Rule::Debounce(window) => Some(window),
            Rule::Singleton(_) | Rule::Dedup(_) => None,
        }
    }

    /// Whether it waits for the end of its window, rather than between two attempts.
    pub(super) fn is_in_window(&self) -> bool {
        self.attempts == 0 && self.window().is_some()
    }

    /// Converts the dates of its window to the clock of an owner that takes over.
    pub(super) fn place_window(&mut self, now: Times) {
        if let Some(window) = self.window_mut() {
            window.opened = now.began(window.span.since);
        }
    }

    /// Starts the clock of a window that opens now.
    pub(super) fn open_window(&mut self, now: Elapsed) {
        let Some(window) = self.window_mut() else {
            return;
        };
        window.opened = now;
        let quiet = now.plus(window.delay());
        self.wait_on(quiet);
    }

    /// Waits until `quiet`, as far as its window allows. One whose wait is over, or that was asked to
    /// run, does not wait again.
    fn wait_on(&mut self, quiet: Elapsed) {
        let Some(window) = self.window() else {
            return;
        };
        let latest = window.opened.plus(window.longest());
        let (last, end) = (window.span.last, window.until());
        if let Phase::Waiting { until, from, wake } = &mut self.phase {
            (*until, *from, *wake) = (end, Some(last), quiet.min(latest));
        }
    }

    /// Whether it may give way, or another one to it: its start, its end and whatever else waits for
    /// the log come first.
    fn is_in_question(&self) -> bool {
        self.is_in_window()
            && !self.busy
            && matches!(self.phase, Phase::Waiting { .. } | Phase::Ready { .. })
            && !self.is_to_be_cancelled()
    }
}

impl Dispatcher {
    /// Lets all tasks of a window but one give way. The mode of the newer of two says which.
    pub(super) fn settle_window(&mut self, line: Line, came: bool) {
        let waiting = |id: &TaskId| self.tasks.get(id).is_some_and(Open::is_in_question);
        let members: Vec<_> = self.sharing.of(line).filter(waiting).collect();
        let Some((&first, newer)) = members.split_first() else {
            return;
        };
        let mut survivor = first;
        for &id in newer {
            let mode = self.tasks.get(&id).and_then(Open::window).map(|w| w.mode);
            let absorbed = match mode {
                Some(DebounceMode::First) => id,
                _ => std::mem::replace(&mut survivor, id),
            };
            self.absorb(absorbed, survivor, came);
        }
    }

    fn absorb(&mut self, absorbed: TaskId, survivor: TaskId, came: bool) {
        let Some(of) = self.tasks.get(&absorbed).and_then(Open::window) else {
            return;
        };
        let (span, opened) = (of.span, of.opened);
        let instead = Instead {
            task: survivor,
            reason: InsteadReason::Debounced,
            span: Some(span),
        };
        self.give_way(absorbed, instead);
        self.disarm(survivor);
        let now = self.now;
        if let Some(task) = self.tasks.get_mut(&survivor)
            && let Some(window) = task.window_mut()
        {
            window.span = window.span.with(span);
            window.opened = window.opened.min(opened);
            let quiet = if came {
                now.elapsed.plus(window.delay())
            } else {
                now.end_of(window.span.last, window.delay())
            };
            task.wait_on(quiet);
        }
        self.arm(survivor);
    }

    /// In a replay: a task has ended because it gave way, and the other one stands for it.
    pub(super) fn stand_for(&mut self, event: &TaskEvent) {
        let TaskEvent::Cancelled(cancelled) = event else {
            return;
        };
        if let Some(instead) = cancelled.instead
            && let Some(span) = instead.span
            && let Some(task) = self.tasks.get_mut(&instead.task)
            && task.is_in_window()
            && let Some(window) = task.window_mut()
        {
            window.span = window.span.with(span);
            task.wait_on(Elapsed::default());
        }
    }
}
