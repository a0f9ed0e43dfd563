//! What is promised about changes of priority.

use std::collections::{BTreeMap, BTreeSet};

use waybill_domain::command::OwnerReply;
use waybill_domain::event::TaskEvent;
use waybill_domain::id::TaskId;
use waybill_domain::task::Priority;
use waybill_log::{Record, StreamSeq};

use super::Ledger;

/// What clients wanted, and what became of it.
#[derive(Default)]
pub(super) struct Priorities {
    /// By who asked, each once.
    wanted: BTreeMap<String, (TaskId, Priority)>,
    stored: BTreeSet<(TaskId, StreamSeq)>,
}

impl Ledger {
    /// Checks what an event says about the priority of its task.
    pub(super) fn of_priority(&mut self, record: &Record, event: &TaskEvent) {
        let id = event.id();
        let Some(life) = self.lives.get_mut(&id) else {
            return;
        };
        let wrong = match event {
            TaskEvent::PriorityChanged(e) => {
                let wanted = self.priorities.wanted.get(&record.actor);
                let is_wanted = wanted == Some(&(id, e.priority));
                let right = is_wanted
                    && e.from == life.priority
                    && e.priority != e.from
                    && e.attempts == life.started
                    && life.running.is_none()
                    && !life.ended
                    && !life.cancel_requested;
                life.priority = e.priority;
                self.priorities.stored.insert((id, record.seq));
                (!right).then_some("a priority changes as somebody wanted, of a task that waits")
            }
            TaskEvent::Restated(e) => {
                let changed = e.changed_priority.as_ref();
                let said = changed.map_or(e.created.priority, |changed| changed.to);
                if changed.is_some() {
                    *self.counts.entry("changed priority restated").or_default() += 1;
                }
                (said != life.priority).then_some("a restatement says the priority of the task")
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

    /// Records that a client asks for another priority.
    pub(in super::super) fn wants_priority(
        &mut self,
        task: TaskId,
        actor: String,
        priority: Priority,
    ) {
        self.priorities.wanted.insert(actor, (task, priority));
    }

    /// Checks the reply of an owner.
    pub(in super::super) fn priority_answered(&mut self, task: TaskId, reply: &OwnerReply) {
        if let OwnerReply::Done { seq } = reply
            && !self.priorities.stored.contains(&(task, *seq))
        {
            self.broken(format!(
                "the priority of {task} was said to be changed by {seq}, which does not say so"
            ));
        }
    }
}
