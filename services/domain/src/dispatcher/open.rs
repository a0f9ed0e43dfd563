//! An open task as the dispatcher holds it: everything that decides when it runs, but nothing of
//! what it carries. Its body and headers stay in the log.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::LEASE_SLACK;
use super::action::{Call, Compartment, Running, number};
use super::allowance::Allowance;
use super::attempt;
use super::epochs::HeadersKey;
use super::keyed::Keyed;
use super::keys::Claim;
use super::lanes::Lane;
use super::lease::Pull;
use super::limited::claims;
use super::members::Member;
use super::orders::{CancelledAfter, Line, Order};
use super::timers::Alarm;
use crate::event::{
    AttemptFailed, Failure, FailureKind, TaskCreated, TaskEvent, TaskReleased, TaskStarted,
};
use crate::id::TaskId;
use crate::seq::StreamSeq;
use crate::task::cancel::{Outline, RequestStage, Stage};
use crate::task::{
    Backoff, ChangedPriority, History, OnRateLimited, OwnPauses, Priority, RetryBounds, RetryOn,
    Success,
};
use crate::time::{Elapsed, Times, Timestamp};

/// State of a task, with the data that is valid in each state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Must not start yet: delayed, or pausing between two attempts.
    Waiting {
        until: Timestamp,
        /// When the pause between two attempts began, since a pause is a length of time. `None` if
        /// `until` is a date that a client chose.
        #[serde(default)]
        from: Option<Timestamp>,
        /// When the pause ends, by this owner's monotonic clock.
        #[serde(skip)]
        wake: Elapsed,
    },
    /// It may start as soon as a slot is free and the limits allow it.
    Ready {
        since: Timestamp,
        /// The same moment as `since`, by this owner's monotonic clock.
        #[serde(skip)]
        from: Elapsed,
    },
    Running {
        attempt: u32,
    },
    /// Ended, but the completion webhook is not delivered yet.
    Ended {
        /// Sequence of the event that ended it.
        seq: StreamSeq,
        /// Deliveries that have failed.
        deliveries: u32,
        /// When the next delivery is due.
        due: Timestamp,
        /// Whether that delivery is in progress or waits for a slot.
        claimed: bool,
        /// When the pause before the delivery began. `None` in older snapshots.
        #[serde(default)]
        from: Option<Timestamp>,
        /// When the pause ends, by this owner's monotonic clock.
        #[serde(skip)]
        wake: Elapsed,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) created: StreamSeq,
    pub(super) lane: Lane,
    pub(super) priority: Priority,
    pub(super) created_at: Timestamp,
    pub(super) not_before: Option<Timestamp>,
    pub(super) timeout_ms: u32,
    pub(super) max_wait_ms: u32,
    pub(super) max_retries: u16,
    pub(super) backoff: Backoff,
    pub(super) retry_on: Option<Box<RetryOn>>,
    pub(super) has_callback: bool,
    pub(super) traceparent: Option<Box<str>>,
    /// Attempts whose start is stored; also the number of the last one.
    pub(super) attempts: u32,
    /// Failed attempts that used up a retry.
    pub(super) failures: u16,
    /// Attempts lost with their worker.
    pub(super) lost: u16,
    /// After this date, the task is not worked on.
    pub(super) deadline: Option<Timestamp>,
    /// Milliseconds after acceptance when the task expires.
    pub(super) expires_in_ms: Option<u64>,
    /// Answers that count as a success; `None`: the platform's rule.
    pub(super) success: Option<Box<Success>>,
    /// Pauses between deliveries of its completion webhook, in seconds; empty: the platform's.
    pub(super) webhook_pauses: Box<[u32]>,
    pub(super) last_failure: Option<Box<Failure>>,
    pub(super) phase: Phase,
    /// Whether the task carries sealed headers. After the other fields, since older snapshots do
    /// not have it.
    #[serde(default)]
    pub(super) sealed: bool,
    /// Size of the creation in the log. Unknown in older snapshots, and counted as 0.
    #[serde(default)]
    pub(super) bytes: u32,
    /// Sequence of the latest request: the creation or a restatement.
    #[serde(default)]
    pub(super) stored: StreamSeq,
    /// The part of the past that clients are shown; `None` before the first attempt.
    #[serde(default)]
    pub(super) history: Option<Box<History>>,
    /// Whether a restatement waits for the log.
    #[serde(skip)]
    pub(super) restating: bool,
    /// Where the running call reads the request, if the task was restated since the call began.
    #[serde(skip)]
    pub(super) read_from: Option<StreamSeq>,
    /// Failed attempts in a row that used up no retry. Missing in older snapshots.
    #[serde(default)]
    pub(super) uncounted: u32,
    /// Hashes of the team, the target's host and the webhook's host, which determine whose slots a
    /// call uses. 0 in older snapshots, so that their tasks share one compartment.
    #[serde(default)]
    pub(super) team: u64,
    #[serde(default)]
    pub(super) target: u64,
    #[serde(default)]
    pub(super) receiver: u64,
    /// When cancellation was requested during an attempt; no further attempt follows. Missing in
    /// older snapshots.
    #[serde(default)]
    pub(super) cancel_requested: Option<Timestamp>,
    /// Pauses before retries that the task lists itself. Missing in older snapshots.
    #[serde(default)]
    pub(super) retry_pauses: OwnPauses,
    /// Hash of its fairness key; 0 without one, as in older snapshots.
    #[serde(default)]
    pub(super) fairness: u64,
    /// Its ordering key. Missing in older snapshots.
    #[serde(default)]
    pub(super) order: Option<Box<Order>>,
    /// The failed task because of which it is to be cancelled. Missing in older snapshots.
    #[serde(default)]
    pub(super) cancelled_after: Option<Box<CancelledAfter>>,
    /// Bounds of pauses and retries. Missing in older snapshots.
    #[serde(default)]
    pub(super) retry_bounds: RetryBounds,
    /// Which key its sealed headers need.
    #[serde(default)]
    pub(super) key: HeadersKey,
    /// How many tasks of its fairness key start in a turn; 0 in older snapshots, which means one.
    #[serde(default)]
    pub(super) weight: u8,
    /// Whether its last attempt was started to find out how its host does. Missing in older
    /// snapshots.
    #[serde(default)]
    pub(super) probes: bool,
    /// A key by which not every task runs. Missing in older snapshots.
    #[serde(default)]
    pub(super) keyed: Option<Box<Keyed>>,
    /// The limits that it shares with others; `None` without any, as in older snapshots.
    #[serde(default)]
    pub(super) limits: Option<Box<[Claim]>>,
    /// The last change of its priority. Missing in older snapshots.
    #[serde(default)]
    pub(super) changed_priority: Option<Box<ChangedPriority>>,
    /// Of a task that workers claim: what it has besides. Missing in older snapshots.
    #[serde(default)]
    pub(super) pull: Option<Box<Pull>>,
    /// Whether it has failed, and those behind it by its ordering key wait. Missing in older
    /// snapshots.
    #[serde(default)]
    pub(super) blocks: bool,
    /// Of an ended task: whether nothing is left to be done about its webhook. Missing in older
    /// snapshots.
    #[serde(default)]
    pub(super) delivered: bool,
    /// Of one that blocks: the task that does it again. Missing in older snapshots.
    #[serde(default)]
    pub(super) heir: Option<TaskId>,
    /// What follows from an answer that says that it is called too often. Missing in older snapshots.
    #[serde(default)]
    pub(super) on_rate_limited: Option<OnRateLimited>,
    /// Of a member of a workflow that has not ended: what it waits for. Missing in older snapshots.
    #[serde(default)]
    pub(super) member: Option<Box<Member>>,
    /// Whether a request to cancel waits for the log.
    #[serde(skip)]
    pub(super) requesting_cancel: bool,
    /// Whether a decision about the task waits for the log.
    #[serde(skip)]
    pub(super) busy: bool,
    #[serde(skip)]
    pub(super) allowance: Allowance,
    /// How long retries may begin.
    #[serde(skip)]
    pub(super) retries_until: Allowance,
}

impl Open {
    pub(super) fn new(
        seq: StreamSeq,
        lane: Lane,
        traceparent: Option<&str>,
        created: &TaskCreated,
    ) -> Self {
        let keyed = Keyed::of(created, None);
        Self {
            created: seq,
            lane,
            priority: created.priority,
            created_at: created.at,
            not_before: created.not_before,
            timeout_ms: created.timeout_ms,
            max_wait_ms: created.max_wait_ms,
            max_retries: created.max_retries,
            backoff: created.backoff,
            retry_on: created.retry_on.clone().map(Box::new),
            has_callback: created.on_complete_url.is_some(),
            traceparent: traceparent.map(Into::into),
            attempts: 0,
            failures: 0,
            lost: 0,
            deadline: created.deadline,
            expires_in_ms: created.expires_in_ms,
            success: created.success.clone().map(Box::new),
            webhook_pauses: created.webhook_pauses.clone().into(),
            last_failure: None,
            phase: match (
                keyed.as_deref().and_then(Keyed::first_phase),
                created.not_before,
            ) {
                (Some(phase), _) => phase,
                (None, Some(until)) => Phase::Waiting {
                    until,
                    from: None,
                    wake: Elapsed::default(),
                },
                (None, None) => Phase::Ready {
                    since: created.at,
                    from: Elapsed::default(),
                },
            },
            sealed: created.sealed.is_some(),
            bytes: created.stored_bytes(),
            stored: seq,
            history: None,
            restating: false,
            read_from: None,
            uncounted: 0,
            team: Compartment::team(&created.team),
            target: Compartment::host(&created.url),
            receiver: created
                .on_complete_url
                .as_deref()
                .map_or(0, Compartment::host),
            cancel_requested: None,
            retry_pauses: created.retry_pauses.clone(),
            fairness: created
                .fairness_key
                .as_deref()
                .map_or(0, |key| number("fairness", key)),
            order: created.ordering.as_ref().map(|ordering| {
                Box::new(Order {
                    line: Line::of(&created.team, &created.queue, &ordering.key),
                    on_failure: ordering.on_failure,
                    place: None,
                    needed: None,
                    again: created.replay_of,
                })
            }),
            cancelled_after: None,
            retry_bounds: created.retry_bounds,
            key: HeadersKey::of(created),
            weight: created.fairness_weight.unwrap_or(1),
            probes: false,
            keyed,
            limits: claims(created),
            changed_priority: None,
            pull: Pull::of(created),
            blocks: false,
            delivered: false,
            heir: None,
            on_rate_limited: created.on_rate_limited,
            member: Member::of(created),
            requesting_cancel: false,
            busy: false,
            allowance: Allowance::Endless,
            retries_until: Allowance::Endless,
        }
    }

    /// The part of the state on which cancelling the task depends.
    pub(super) fn outline(&self) -> Outline {
        Outline {
            stage: match self.phase {
                Phase::Waiting { .. } | Phase::Ready { .. } => Stage::Idle,
                Phase::Running { attempt } => Stage::Running { attempt },
                Phase::Ended { .. } => Stage::Ended,
            },
            is_being_decided: self.busy,
            request: match (self.cancel_requested, self.requesting_cancel) {
                (Some(_), _) => RequestStage::Stored,
                (None, true) => RequestStage::Pending,
                (None, false) => RequestStage::None,
            },
        }
    }

    /// Whether the task must be cancelled as soon as no attempt is running.
    pub(super) fn is_to_be_cancelled(&self) -> bool {
        (self.cancel_requested.is_some()
            || self.cancelled_after.is_some()
            || self.forsaken().is_some()
            || self.instead().is_some())
            && matches!(self.phase, Phase::Waiting { .. } | Phase::Ready { .. })
    }

    /// Converts the dates in the log to the clock of an owner that takes over.
    pub(super) fn place(&mut self, now: Times) {
        self.allowance = Allowance::of(self.expires_in(), self.created_at, now);
        self.retries_until = Allowance::of(self.retry_bounds.max_age(), self.created_at, now);
        self.place_window(now);
        self.place_lease(now);
        match &mut self.phase {
            Phase::Waiting { until, from, wake } => {
                if let Some(from) = *from {
                    *wake = now.end_of(from, until.since(from));
                }
            }
            Phase::Ready { since, from } => *from = now.place(*since),
            Phase::Ended {
                due, from, wake, ..
            } => {
                let from = from.unwrap_or(now.wall);
                *wake = now.end_of(from, due.since(from));
            }
            Phase::Running { .. } => {}
        }
    }

    /// Starts the clock of a task that was just accepted. The time of acceptance is by this owner's
    /// clock, since the clocks of gateways and owners may differ.
    pub(super) fn begin(&mut self, now: Times) {
        self.place(now);
        if let Some(length) = self.expires_in() {
            self.allowance = Allowance::Until(now.elapsed.plus(length));
        }
        if let Some(length) = self.retry_bounds.max_age() {
            self.retries_until = Allowance::Until(now.elapsed.plus(length));
        }
        self.open_window(now.elapsed);
    }

    /// The timers that the state of the task needs.
    pub(super) fn alarms(&self) -> impl Iterator<Item = Alarm> + use<> {
        let wake = match self.phase {
            _ if self.is_to_be_cancelled() || self.is_to_be_cut() || self.is_to_yield() => {
                Some(Alarm::Length(Elapsed::default()))
            }
            _ if self.is_unfit() => Some(Alarm::Length(Elapsed::default())),
            Phase::Ended { .. } if self.delivered => None,
            Phase::Waiting {
                until, from: None, ..
            } => Some(Alarm::Date(until)),
            Phase::Waiting { wake, .. }
            | Phase::Ended {
                claimed: false,
                wake,
                ..
            } => Some(Alarm::Length(wake)),
            Phase::Running { .. } => self.lease_alarm().map(Alarm::Length),
            Phase::Ready { .. } | Phase::Ended { .. } => None,
        };
        // A task that waits for its time or for a slot can still expire, or become too old for a
        // retry. A running attempt has its own limit, which is never later.
        let waits = matches!(self.phase, Phase::Waiting { .. } | Phase::Ready { .. })
            && !self.is_to_be_cancelled();
        let of = |allowance: Allowance, holds: bool| match allowance {
            Allowance::Until(end) if holds => Some(end),
            _ => None,
        };
        let life = of(self.allowance, waits);
        let age = of(self.retries_until, waits && self.failures > 0);
        let end = life.into_iter().chain(age).min().map(Alarm::Length);
        let deadline = self.deadline.filter(|_| waits).map(Alarm::Date);
        wake.into_iter().chain(end).chain(deadline)
    }

    /// Whether the delay or pause before the next attempt has passed.
    pub(super) fn has_waited(&self, now: Times) -> bool {
        match self.phase {
            Phase::Waiting {
                until, from: None, ..
            } => until <= now.wall,
            Phase::Waiting { wake, .. } | Phase::Ended { wake, .. } => wake <= now.elapsed,
            Phase::Ready { .. } => true,
            Phase::Running { .. } => false,
        }
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in_ms.map(Duration::from_millis)
    }

    /// Number of the next delivery, if the task has ended.
    pub(super) fn next_delivery(&self) -> Option<u32> {
        match self.phase {
            Phase::Ended { deliveries, .. } => Some(deliveries + 1),
            _ => None,
        }
    }

    /// Whose slots its attempts use.
    pub(super) fn compartment(&self) -> Compartment {
        Compartment {
            team: self.team,
            host: self.target,
        }
    }

    /// Whose slots its webhook deliveries use.
    pub(super) fn webhook_compartment(&self) -> Compartment {
        Compartment {
            team: self.team,
            host: self.receiver,
        }
    }

    /// Whether the task must end instead of making another attempt: it has passed its deadline,
    /// expired, or waits for a retry for which it is too old.
    pub(super) fn is_overdue(&self, now: Times) -> bool {
        let waits = matches!(self.phase, Phase::Waiting { .. } | Phase::Ready { .. });
        self.has_expired(now)
            || (waits && self.failures > 0 && self.is_too_old_to_retry(now.elapsed))
    }

    /// Whether the task has passed its deadline or expired.
    pub(super) fn has_expired(&self, now: Times) -> bool {
        if matches!(self.phase, Phase::Ended { .. }) {
            return false;
        }
        self.is_past_deadline(now) || self.allowance.is_over(now.elapsed)
    }

    /// Whether the task is older at that reading than a retry may be.
    pub(super) fn is_too_old_to_retry(&self, at: Elapsed) -> bool {
        self.retries_until.is_over(at)
    }

    /// Whether the task has passed its deadline. A date chosen by a client follows the wall clock,
    /// even if that jumps.
    pub(super) fn is_past_deadline(&self, now: Times) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now.wall)
    }

    /// Time limit of an attempt that starts now, which never exceeds the time that the task has
    /// left.
    pub(super) fn limit(&self, now: Times) -> Duration {
        let limit = Duration::from_millis(self.timeout_ms.min(self.max_wait_ms).into());
        self.time_left(now).map_or(limit, |left| limit.min(left))
    }

    /// Time until its deadline or the end of its `expiresIn`; `None` if it has neither.
    pub(super) fn time_left(&self, now: Times) -> Option<Duration> {
        let length = match self.allowance {
            Allowance::Until(end) if end > now.elapsed => Some(end.since(now.elapsed)),
            // One more attempt is not cut short by what was over before.
            Allowance::Until(_) | Allowance::Endless | Allowance::OneMore => None,
        };
        let date = self.deadline.map(|deadline| deadline.since(now.wall));
        length.into_iter().chain(date).min()
    }

    /// Applies the start of an attempt. `at` is when it started, by this owner's clock; `None` in a
    /// replay.
    pub(super) fn started(&mut self, event: &TaskStarted, at: Option<Elapsed>) {
        self.attempts = event.attempt;
        self.probes = event.probe;
        self.phase = Phase::Running {
            attempt: event.attempt,
        };
        self.claimed(event, at);
        let Some(at) = at else { return };
        self.allowance = self.allowance.after_start(at);
        self.retries_until = self.retries_until.after_start(at);
    }

    /// Whether the event ends the running attempt.
    pub(super) fn is_ended_by(&self, event: &TaskEvent) -> bool {
        let Phase::Running { attempt } = self.phase else {
            return false;
        };
        !matches!(event, TaskEvent::Started(_))
            && attempt::call_of(event) == Some(Running::attempt(event.id(), attempt))
    }

    /// The call of a started attempt.
    pub(super) fn call(&self, started: &TaskStarted, waited: Duration) -> Call {
        Call {
            task: started.id,
            created: self.stored,
            attempt: started.attempt,
            limit: started
                .lease_until
                .since(started.at)
                .saturating_sub(LEASE_SLACK),
            waited,
            traceparent: self.traceparent.as_deref().map(Into::into),
            given: self.given().to_vec(),
        }
    }

    /// Applies a failed attempt that is retried; `at` as for [`Open::started`].
    pub(super) fn failed(&mut self, event: &AttemptFailed, at: Option<Elapsed>) {
        let is_lost = event.failure.kind == FailureKind::WorkerLost;
        self.lost = self.lost.saturating_add(u16::from(is_lost));
        if event.counted {
            self.failures = self.failures.saturating_add(1);
            // A further loss keeps counting towards the limit, or most losses would be free again.
            if !is_lost {
                self.uncounted = 0;
            }
        } else {
            self.uncounted = self.uncounted.saturating_add(1);
        }
        self.last_failure = Some(Box::new(event.failure.clone()));
        self.drop_lease();
        let pause = event.retry_at.since(event.at);
        self.phase = Phase::Waiting {
            until: event.retry_at,
            from: Some(event.at),
            wake: at.map_or_else(Elapsed::default, |at| at.plus(pause)),
        };
    }

    /// Applies an attempt that was cut short on purpose.
    pub(super) fn released(&mut self, event: &TaskReleased, at: Option<Elapsed>) {
        self.uncounted = 0;
        self.drop_lease();
        self.phase = Phase::Ready {
            since: event.at,
            from: at.unwrap_or_default(),
        };
    }
}

#[cfg(test)]
mod tests;
