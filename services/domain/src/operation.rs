//! Operations: the same thing done to many tasks, which one event names by a filter.
//!
//! Whoever runs an operation goes through its tasks in their order, in slices, and writes down now
//! and then how far it has come ([`progress`]). After a crash, another one repeats what lies behind
//! the last such record. That is harmless, since what is made for a task has a key that is derived
//! from the operation and the task ([`item_key`]), and nobody needs to know who was first.

pub mod progress;
#[cfg(test)]
mod tests;

use crate::access::Aggregate;
use crate::access::team::TeamRefusal;
use crate::access::team::pause::valid_reason;
use crate::actor::Actor;
use crate::event::{
    BulkAction, ControlEvent, OperationCancelled, OperationCreated, OperationEnded,
    OperationPaused, OperationProgressed, OperationResumed,
};
use crate::id::{OperationId, TaskId};
use crate::time::Timestamp;

pub use progress::{Pace, Progress, Verdict};

/// Limit of the tasks that one operation matches.
pub const MAX_MATCHED: u64 = 100_000;
/// The same of one that purges, since it makes nothing.
pub const MAX_PURGED: u64 = 1_000_000;
/// Limit of the tasks that an operation names one by one.
pub const MAX_NAMED: usize = 1_000;
/// Highest rate, in tasks a second.
pub const MAX_RATE: u32 = 1_000;
/// Rate of an operation that sets none, in tasks a second.
pub const DEFAULT_RATE: u32 = 100;
/// The same of one that purges: no target is called because of it.
pub const DEFAULT_PURGE_RATE: u32 = MAX_RATE;
/// Limit of operations of a team that are not over.
pub const MAX_OPEN: usize = 20;
/// Limit of operations of a team that run at a time; further ones wait.
pub const MAX_RUNNING: usize = 4;
/// How long after its end an operation can be undone, in milliseconds.
pub const UNDO_MS: i64 = 600_000;

/// An operation, built from the latest event of each type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operation {
    /// `None` until it exists.
    pub created: Option<Box<OperationCreated>>,
    /// Since when it is paused, and by whom.
    pub paused: Option<(Timestamp, String)>,
    /// When it was cancelled, and by whom.
    pub cancelled: Option<(Timestamp, String)>,
    /// How far it has come.
    pub progress: Progress,
    /// When the last task was taken.
    pub ended: Option<Timestamp>,
}

/// What an operation does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It takes one task after the other.
    Running,
    /// It takes no further task until it is resumed.
    Paused,
    /// It takes no further task.
    Cancelled,
    /// It has taken all of them.
    Completed,
}

/// Commands to an operation.
#[derive(Debug, Clone)]
pub enum OperationCommand {
    /// Create it. Who did so and when is filled in.
    Create(Box<OperationCreated>),
    /// Take no further task for now.
    Pause,
    /// Take further tasks again, after a pause.
    Resume,
    /// Take no further task.
    Cancel,
    /// Write down how far it has come.
    Progress {
        /// The progress that was continued. Whoever continued another one was overtaken.
        from: Progress,
        to: Progress,
        /// Whether no task is left.
        ends: bool,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationRefusal {
    #[error("Operation not found")]
    NoSuchOperation,
    /// The id, which a client's key stands for, belongs to another request.
    #[error("The Idempotency-Key was used with another request")]
    Mismatch,
    #[error("The operation is over")]
    Over,
    /// Somebody else ran it meanwhile.
    #[error("the operation was continued elsewhere")]
    Overtaken,
    /// A value of the request is invalid.
    #[error(transparent)]
    Invalid(TeamRefusal),
}

impl Operation {
    /// What it does now.
    #[must_use]
    pub fn state(&self) -> State {
        if self.ended.is_some() {
            State::Completed
        } else if self.cancelled.is_some() {
            State::Cancelled
        } else if self.paused.is_some() {
            State::Paused
        } else {
            State::Running
        }
    }

    /// Whether no further task is ever taken.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state(), State::Cancelled | State::Completed)
    }

    /// When it was over.
    #[must_use]
    pub fn over_at(&self) -> Option<Timestamp> {
        let cancelled = self.cancelled.as_ref().map(|(at, _)| *at);
        self.ended.or(cancelled)
    }

    fn existing(&self) -> Result<&OperationCreated, OperationRefusal> {
        self.created
            .as_deref()
            .ok_or(OperationRefusal::NoSuchOperation)
    }

    /// The operation, if it is not over.
    fn open(&self) -> Result<&OperationCreated, OperationRefusal> {
        let created = self.existing()?;
        if self.is_over() {
            return Err(OperationRefusal::Over);
        }
        Ok(created)
    }

    fn progress(
        &self,
        from: &Progress,
        to: Progress,
        ends: bool,
        at: Timestamp,
    ) -> Result<Vec<ControlEvent>, OperationRefusal> {
        let created = self.existing()?;
        if self.ended.is_some() {
            return Err(OperationRefusal::Over);
        }
        if self.progress != *from {
            return Err(OperationRefusal::Overtaken);
        }
        let (operation, team) = (created.operation.clone(), created.team.clone());
        let environment = created.environment;
        // One that was cancelled meanwhile stays so, whatever was left.
        if ends && self.cancelled.is_none() {
            return Ok(vec![ControlEvent::OperationEnded(OperationEnded {
                operation,
                team,
                environment,
                done: to.done,
                refused: to.refused,
                refusals: to.refusals,
                at,
            })]);
        }
        if to == *from {
            return Ok(Vec::new());
        }
        Ok(vec![ControlEvent::OperationProgressed(
            OperationProgressed {
                operation,
                team,
                environment,
                cursor: to.cursor,
                done: to.done,
                refused: to.refused,
                refusals: to.refusals,
                at,
            },
        )])
    }
}

impl Aggregate for Operation {
    type Command = OperationCommand;
    type Rules = ();
    type Refusal = OperationRefusal;

    fn decide(
        &self,
        command: OperationCommand,
        by: &Actor,
        (): &(),
        now: Timestamp,
    ) -> Result<Vec<ControlEvent>, OperationRefusal> {
        match command {
            OperationCommand::Create(draft) => {
                let mut new = draft.checked()?;
                (new.created_by, new.at) = (by.to_string(), now);
                match &self.created {
                    None => Ok(vec![ControlEvent::OperationCreated(Box::new(new))]),
                    Some(known) if is_same_request(known, &new) => Ok(Vec::new()),
                    Some(_) => Err(OperationRefusal::Mismatch),
                }
            }
            OperationCommand::Pause => {
                let created = self.open()?;
                if self.paused.is_some() {
                    return Ok(Vec::new());
                }
                Ok(vec![ControlEvent::OperationPaused(OperationPaused {
                    operation: created.operation.clone(),
                    team: created.team.clone(),
                    environment: created.environment,
                    paused_by: by.to_string(),
                    at: now,
                })])
            }
            OperationCommand::Resume => {
                let created = self.open()?;
                if self.paused.is_none() {
                    return Ok(Vec::new());
                }
                Ok(vec![ControlEvent::OperationResumed(OperationResumed {
                    operation: created.operation.clone(),
                    team: created.team.clone(),
                    environment: created.environment,
                    at: now,
                })])
            }
            OperationCommand::Cancel => {
                if self.state() == State::Cancelled {
                    return Ok(Vec::new());
                }
                let created = self.open()?;
                Ok(vec![ControlEvent::OperationCancelled(OperationCancelled {
                    operation: created.operation.clone(),
                    team: created.team.clone(),
                    environment: created.environment,
                    cancelled_by: by.to_string(),
                    at: now,
                })])
            }
            OperationCommand::Progress { from, to, ends } => self.progress(&from, to, ends, now),
        }
    }

    fn evolve(&mut self, event: &ControlEvent) {
        match event {
            ControlEvent::OperationCreated(e) => {
                self.created.get_or_insert_with(|| e.clone());
            }
            ControlEvent::OperationPaused(e) => self.paused = Some((e.at, e.paused_by.clone())),
            ControlEvent::OperationResumed(_) => self.paused = None,
            ControlEvent::OperationCancelled(e) => {
                self.cancelled = Some((e.at, e.cancelled_by.clone()));
            }
            ControlEvent::OperationProgressed(e) => {
                self.progress = Progress {
                    cursor: e.cursor.clone(),
                    done: e.done,
                    refused: e.refused,
                    refusals: e.refusals.clone(),
                };
            }
            ControlEvent::OperationEnded(e) => {
                self.ended = Some(e.at);
                self.progress = Progress {
                    cursor: None,
                    done: e.done,
                    refused: e.refused,
                    refusals: e.refusals.clone(),
                };
            }
            _ => {}
        }
    }
}

impl OperationCreated {
    /// Checks what a client chose, and trims the reason.
    pub fn checked(mut self) -> Result<Self, OperationRefusal> {
        let invalid = |field, message: String| {
            let refusal = TeamRefusal::invalid(field, message);
            Err(OperationRefusal::Invalid(refusal))
        };
        if !(1..=MAX_RATE).contains(&self.rate) {
            let given = self.rate;
            return invalid(
                "rate",
                format!("rate must be between 1 and {MAX_RATE} tasks a second, not {given}"),
            );
        }
        if self.tasks.len() > MAX_NAMED {
            let given = self.tasks.len();
            return invalid(
                "ids",
                format!("ids must have at most {MAX_NAMED} entries, not {given}"),
            );
        }
        let most = max_matched(self.action);
        if self.matched > most {
            return invalid("filter", format!("filter matches more than {most} tasks"));
        }
        let reason = self.reason.as_deref().map(valid_reason).transpose();
        self.reason = reason.map_err(OperationRefusal::Invalid)?.flatten();
        Ok(self)
    }
}

/// How many tasks an operation may match.
#[must_use]
pub fn max_matched(action: BulkAction) -> u64 {
    match action {
        BulkAction::Purge => MAX_PURGED,
        BulkAction::Retry
        | BulkAction::Replay
        | BulkAction::Cancel
        | BulkAction::Undo
        | BulkAction::ChangePriority => MAX_MATCHED,
    }
}

/// How many tasks a second an operation takes that sets no rate.
#[must_use]
pub fn default_rate(action: BulkAction) -> u32 {
    match action {
        BulkAction::Purge => DEFAULT_PURGE_RATE,
        BulkAction::Retry
        | BulkAction::Replay
        | BulkAction::Cancel
        | BulkAction::Undo
        | BulkAction::ChangePriority => DEFAULT_RATE,
    }
}

/// Whether an operation can be undone: it may have cancelled tasks or changed priorities.
#[must_use]
pub fn can_be_undone(action: BulkAction) -> bool {
    matches!(
        action,
        BulkAction::Cancel | BulkAction::Purge | BulkAction::ChangePriority
    )
}

/// Whether both ask for the same. When and by whom does not matter, nor how many tasks matched.
fn is_same_request(a: &OperationCreated, b: &OperationCreated) -> bool {
    let asked = |of: &OperationCreated| {
        (
            of.team.clone(),
            of.environment,
            of.action,
            of.filter.clone(),
            of.tasks.clone(),
            of.undoes.clone(),
            of.rate,
            of.reason.clone(),
            of.priority,
        )
    };
    asked(a) == asked(b)
}

/// The idempotency key of what an operation makes for a task; `None` if it makes nothing. Keys of
/// clients are ASCII, so none is like these.
#[must_use]
pub fn item_key(operation: &OperationCreated, task: TaskId) -> Option<String> {
    match operation.action {
        // By whomever it is tried again, a dead letter is tried again once.
        BulkAction::Retry => Some(retry_key(task)),
        BulkAction::Replay => Some(format!("replay→{}→{task}", operation.operation)),
        BulkAction::Undo => {
            let undone = operation.undoes.as_ref().unwrap_or(&operation.operation);
            Some(format!("undo→{undone}→{task}"))
        }
        BulkAction::Cancel | BulkAction::Purge | BulkAction::ChangePriority => None,
    }
}

/// The idempotency key of the task that tries a dead letter again.
#[must_use]
pub fn retry_key(task: TaskId) -> String {
    format!("retry→{task}")
}

/// The actor that records name which an operation causes. The operation says whose it is.
#[must_use]
pub fn actor(operation: &OperationId) -> Actor {
    Actor::System(operation.to_string())
}
