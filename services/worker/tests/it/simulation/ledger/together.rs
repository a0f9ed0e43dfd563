//! Cancellations of whole workflows: they reach all that has not ended by then, in one step, and
//! nothing of it starts after the answer.

use std::collections::BTreeSet;

use waybill_domain::command::OwnerReply;
use waybill_domain::event::TaskEvent;
use waybill_domain::id::TaskId;
use waybill_log::Record;

use super::{Ledger, Wish};

/// A workflow that a client asked to cancel.
pub(super) struct Together {
    tasks: Vec<TaskId>,
    actor: String,
    /// Those that the first event of it has found open, as far as they were not reached since.
    left: Option<BTreeSet<TaskId>>,
    is_answered: bool,
}

impl Ledger {
    pub(in super::super) fn asks_together(&mut self, tasks: &[TaskId], actor: String) -> usize {
        for task in tasks {
            self.asks(*task, Wish::Cancel, actor.clone());
        }
        self.together.push(Together {
            tasks: tasks.to_vec(),
            actor,
            left: None,
            is_answered: false,
        });
        self.together.len() - 1
    }

    pub(in super::super) fn replied_together(&mut self, number: usize, reply: &OwnerReply) {
        if let (OwnerReply::Done { .. }, Some(together)) = (reply, self.together.get_mut(number)) {
            together.is_answered = true;
            self.count("cancelled together");
        }
    }

    pub(super) fn of_workflow(&mut self, record: &Record, event: &TaskEvent) {
        let id = event.id();
        let (mut broken, mut ended) = (None, 0_u64);
        for together in &mut self.together {
            if !together.tasks.contains(&id) {
                continue;
            }
            let is_of_it = record.actor == together.actor;
            if is_of_it && together.left.is_none() {
                let is_open = |task: &&TaskId| {
                    let life = self.lives.get(task);
                    life.is_some_and(|life| !life.ended && !life.cancel_requested)
                };
                let open = together.tasks.iter().filter(is_open);
                together.left = Some(open.copied().collect());
            }
            if matches!(event, TaskEvent::Started(_)) && together.is_answered {
                broken = Some("starts after the answer to the cancellation of its workflow");
                continue;
            }
            let Some(left) = &mut together.left else {
                continue;
            };
            match event {
                _ if is_of_it => {
                    left.remove(&id);
                    ended += u64::from(left.is_empty());
                }
                _ if !left.is_empty() => {
                    broken =
                        Some("changes before the cancellation of its workflow is stored whole");
                }
                _ => {}
            }
        }
        if let Some(what) = broken {
            self.broken(format!("{} {id} {what}", record.seq));
        }
        for _ in 0..ended {
            self.count("ended together");
        }
    }

    /// What cancellations have not reached at the end.
    pub(super) fn left_of_workflows(&self) -> Vec<String> {
        let left = self.together.iter().filter_map(|together| {
            let left = together.left.as_ref().filter(|left| !left.is_empty())?;
            let actor = &together.actor;
            Some(format!(
                "the cancellation by {actor} is not stored whole: without {left:?}"
            ))
        });
        left.collect()
    }
}
