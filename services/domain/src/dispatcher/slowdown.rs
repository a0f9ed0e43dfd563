//! Limits that targets pause: an answer 429 with `Retry-After` holds all tasks with the key of its
//! task back, if the task says so.
//!
//! The pause is an event of its own, decided before the outcome of the attempt, so that nothing
//! starts in between. It holds in this partition from the moment it is stored, and survives its
//! owner. The home of the key learns of it with the next ask, and tells the other partitions.

use super::keys::Learned;
use super::{Decision, Dispatcher, Open};
use crate::event::{Answer, TaskEvent, TaskLimitPaused};
use crate::limit::LimitId;
use crate::seq::StreamSeq;
use crate::task::rate_limited::pause_of_limit;
use crate::time::{Elapsed, Times, Timestamp};

/// The answer of an attempt that did not succeed.
fn answer_of(event: &TaskEvent) -> Option<&Answer> {
    match event {
        TaskEvent::AttemptFailed(event) => event.answer.as_ref(),
        TaskEvent::Dead(event) => event.answer.as_ref(),
        _ => None,
    }
}

impl Open {
    /// The pause that the outcome of an attempt means for a limit of the task.
    fn pauses(&self, event: &TaskEvent) -> Option<(&super::keys::Claim, Timestamp)> {
        self.on_rate_limited?;
        let claim = self.limits.as_deref()?.first()?;
        let length = pause_of_limit(answer_of(event)?, &self.retry_bounds, event.at())?;
        Some((claim, event.at().plus(length)))
    }
}

impl Dispatcher {
    /// Decides the pause that the outcome of an attempt means, if it means one.
    pub(super) fn slow_down(&mut self, event: &TaskEvent, now: Times) {
        let Some(task) = self.tasks.get(&event.id()) else {
            return;
        };
        let Some((claim, until)) = task.pauses(event) else {
            return;
        };
        let (team, queue) = self.lanes.names(task.lane).clone();
        let event = TaskLimitPaused {
            id: event.id(),
            team: team.clone(),
            key: claim.key.clone(),
            until,
            at: event.at(),
        };
        let traceparent = task.traceparent.as_deref().map(Into::into);
        // Unlike other decisions, this one holds before it is stored: else something would start
        // behind it in the log. Should it never be stored, something has waited for nothing.
        self.limit_paused(None, &event, Some(now.elapsed));
        self.decided.push_back(Decision {
            event: TaskEvent::LimitPaused(event),
            team,
            queue,
            actor: None,
            traceparent,
            ticket: None,
            decided: now.elapsed,
            is_joined: false,
        });
    }

    /// A limit is paused, as the log says at `seq`. `at`: when that was decided, by this owner's
    /// clock.
    pub(super) fn limit_paused(
        &mut self,
        seq: Option<StreamSeq>,
        event: &TaskLimitPaused,
        at: Option<Elapsed>,
    ) {
        let length = event.until.since(event.at);
        let learned = Learned {
            team: event.team.clone(),
            key: event.key.clone(),
            task: event.id,
            since: event.at,
            until: event.until,
            needed: seq,
            ends: at.unwrap_or_default().plus(length),
        };
        let limit = LimitId::of(&event.team, &event.key);
        self.keys.learn(limit, learned, true, self.now.elapsed);
    }
}
