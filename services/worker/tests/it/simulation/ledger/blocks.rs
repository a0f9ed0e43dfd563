//! What is promised about failed tasks that block those behind them.

use std::collections::{BTreeMap, BTreeSet};

use waybill_domain::command::OwnerReply;
use waybill_domain::event::{TaskCreated, TaskEvent};
use waybill_domain::id::TaskId;
use waybill_domain::task::OnFailure;
use waybill_log::{Record, StreamSeq};

use super::Ledger;
use super::order::line_of;

/// What people wanted, and what became of it.
#[derive(Default)]
pub(super) struct Blocking {
    now: BTreeSet<TaskId>,
    /// By who asked, each once.
    wanted: BTreeMap<String, TaskId>,
    stored: BTreeSet<(TaskId, StreamSeq)>,
}

impl Ledger {
    /// The tasks that block others.
    pub(in super::super) fn blocking(&self) -> Vec<TaskCreated> {
        let lives = self.blocking.now.iter().filter_map(|id| self.lives.get(id));
        lives.map(|life| life.created.clone()).collect()
    }

    pub(super) fn blocks(&self, id: &TaskId) -> bool {
        self.blocking.now.contains(id)
    }

    /// Checks what an event says about blocks, before it takes effect.
    pub(super) fn of_block(&mut self, record: &Record, event: &TaskEvent) {
        let id = event.id();
        let Some(life) = self.lives.get(&id) else {
            return;
        };
        let order = life.created.ordering.as_ref();
        let wrong = match event {
            TaskEvent::Dead(_) | TaskEvent::Expired(_)
                if order.is_some_and(|order| order.on_failure == OnFailure::Block) =>
            {
                self.blocking.now.insert(id);
                *self.counts.entry("blocked").or_default() += 1;
                None
            }
            TaskEvent::Unblocked(e) => {
                let was_blocking = self.blocking.now.remove(&id);
                self.blocking.stored.insert((id, record.seq));
                let right = match e.by {
                    None => self.blocking.wanted.get(&record.actor) == Some(&id),
                    Some(by) => self.takes_its_place(by, id),
                };
                let what = if e.by.is_some() {
                    "done again"
                } else {
                    "let go"
                };
                *self.counts.entry(what).or_default() += 1;
                (!was_blocking || !right).then_some(
                    "those behind a failure go on because somebody wanted it, or after it is done again",
                )
            }
            // Nobody will retry it.
            TaskEvent::Purged(_) => {
                self.blocking.now.remove(&id);
                None
            }
            TaskEvent::Restated(e) => {
                let blocks = self.blocking.now.contains(&id);
                if blocks {
                    *self.counts.entry("block restated").or_default() += 1;
                }
                let is_whole = !blocks || e.created.body == life.created.body;
                (e.blocks.is_some() != blocks || !is_whole).then_some(
                    "a restatement says whether the task blocks others, and has its request",
                )
            }
            _ => None,
        };
        if let Some(promise) = wrong {
            self.broken(format!(
                "{} {} of {id} breaks: {promise}",
                record.seq, record.event
            ));
        }
    }

    /// Puts a task before the one that it does again. Returns whether it does so.
    fn takes_its_place(&mut self, by: TaskId, old: TaskId) -> bool {
        let Some(heir) = self.lives.get(&by) else {
            return false;
        };
        let line = line_of(&heir.created).and_then(|line| self.lines.get_mut(&line));
        let (Some(line), true) = (line, heir.created.replay_of == Some(old)) else {
            return false;
        };
        line.retain(|id| *id != by);
        let at = line.iter().position(|id| *id == old);
        line.insert(at.unwrap_or(0), by);
        at.is_some()
    }

    /// Records that somebody wants those behind a task to go on.
    pub(in super::super) fn wants_unblocked(&mut self, task: TaskId, actor: String) {
        self.blocking.wanted.insert(actor, task);
    }

    /// Checks the reply of an owner.
    pub(in super::super) fn unblock_answered(&mut self, task: TaskId, reply: &OwnerReply) {
        if let OwnerReply::Done { seq } = reply
            && !self.blocking.stored.contains(&(task, *seq))
        {
            self.broken(format!(
                "{task} was said to block nothing any more by {seq}, which does not say so"
            ));
        }
    }
}
