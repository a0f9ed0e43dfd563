//! A worker as clients see it.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::team::Pause;
use waybill_domain::task::ClaimId;
use waybill_domain::time::Timestamp;
use waybill_domain::worker::{
    HeldClaim, MAX_TOLD_CLAIMS, MISSED_BEATS, Registered, Registration, USUAL_BEAT, WorkerStanding,
};
use waybill_edge::iso::Iso;
use waybill_edge::warnings::Warning;

/// What is known of a worker over all partitions.
#[derive(Debug, Default)]
pub(super) struct Known {
    seen: Option<Timestamp>,
    registered: Option<Registered>,
    waiting: u32,
    held: u32,
    claims: Vec<HeldClaim>,
}

impl Known {
    /// Adds what one partition knows.
    pub(super) fn add(&mut self, of: WorkerStanding) {
        self.seen = self.seen.max(of.seen);
        self.registered = self.registered.take().or(of.registered);
        // A claim of several queues waits at several owners, and is one.
        self.waiting = self.waiting.max(of.waiting);
        self.held += of.held;
        self.claims.extend(of.claims);
    }

    /// Whether anybody has heard of it.
    pub(super) fn is_known(&self) -> bool {
        self.seen.is_some() || self.waiting > 0 || self.held > 0
    }

    fn is_silent(&self, now: Timestamp) -> bool {
        let beat = self.registered.as_ref().map_or(USUAL_BEAT, |known| {
            Duration::from_millis(known.registration.beat_ms.into())
        });
        let has_left = self
            .registered
            .as_ref()
            .is_some_and(|known| known.registration.left);
        let silence = self.seen.map_or(Duration::MAX, |seen| now.since(seen));
        self.waiting == 0 && (has_left || silence > MISSED_BEATS * beat)
    }
}

/// How a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// It was heard of lately, or waits for tasks.
    Active,
    /// Somebody drains it, and it still holds tasks.
    Draining,
    /// Somebody drains it, and it holds nothing.
    Drained,
    /// Three beats did not come (`beatSeconds`; 60 s if it never registered). What it holds comes back when the leases are over.
    Lost,
}

/// A worker that pulls.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerObject {
    /// As it calls itself in its claims.
    #[schema(example = "resizer-1")]
    name: String,
    state: WorkerState,
    /// When it last claimed, sent a heartbeat or another report, or beat; `null`: not since the owners of its partitions changed.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_seen_at: Option<Iso>,
    /// Whether a claim of it waits for a task.
    waiting: bool,
    /// Tasks that it holds.
    held: u32,
    /// What it said about itself; `null`: it only claims.
    registration: Option<WorkerRegistration>,
    /// By whom it is drained, and why; `null`: it is not.
    drain: Option<WorkerDrain>,
    /// The tasks that it holds, at most 100. Absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<Vec<WorkerClaim>>,
}

/// What a worker said about itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerRegistration {
    /// The queues whose tasks it takes; empty: it did not say.
    queues: Vec<String>,
    /// The machine that it runs on.
    host: Option<String>,
    /// What it runs.
    version: Option<String>,
    /// How many tasks it takes at a time.
    max_concurrency: Option<u32>,
    /// Seconds between its beats.
    beat_seconds: f64,
    /// The credential that registered it, such as `key:key_4fG7aB2x`.
    by: String,
    /// Since when it is known; after the owner of its partition changed, its first beat since.
    #[schema(value_type = String, format = DateTime)]
    since: Iso,
}

/// A drain that is in force.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerDrain {
    #[schema(value_type = String, format = DateTime)]
    since: Iso,
    /// When it ends by itself; `null`: only by `resume`.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Iso>,
    reason: Option<String>,
    /// Who stated it last, such as `user:user_01...` or `key:key_4fG7aB2x`.
    by: String,
}

/// A task that a worker holds.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerClaim {
    /// Id of the claim.
    #[schema(example = "claim_01kc0q2v9x3d8e5h7j9m1n3p5r0d_1")]
    id: String,
    /// Id of the task.
    #[schema(example = "task_01kc0q2v9x3d8e5h7j9m1n3p5r0d")]
    task_id: String,
    queue: String,
    /// Number of the attempt, from 1.
    attempt: u32,
    /// When the lease is over without another heartbeat.
    #[schema(value_type = String, format = DateTime)]
    lease_ends_at: Iso,
}

impl WorkerObject {
    pub(super) fn new(name: &str, known: Known, drain: Option<&Pause>, now: Timestamp) -> Self {
        let state = match drain {
            Some(_) if known.held > 0 => WorkerState::Draining,
            Some(_) => WorkerState::Drained,
            None if known.is_silent(now) => WorkerState::Lost,
            None => WorkerState::Active,
        };
        let mut claims = known.claims;
        claims.sort_unstable();
        claims.truncate(MAX_TOLD_CLAIMS);
        Self {
            name: name.to_owned(),
            state,
            last_seen_at: known.seen.map(Iso),
            waiting: known.waiting > 0,
            held: known.held,
            registration: known.registered.map(WorkerRegistration::new),
            drain: drain.map(|drain| WorkerDrain {
                since: Iso(drain.since),
                until: drain.until.map(Iso),
                reason: drain.reason.clone(),
                by: drain.by.clone(),
            }),
            claims: Some(claims.iter().map(WorkerClaim::new).collect()),
        }
    }

    /// As in a list, where what workers hold was not asked for.
    pub(super) fn without_claims(mut self) -> Self {
        self.claims = None;
        self
    }
}

impl WorkerRegistration {
    fn new(registered: Registered) -> Self {
        let Registered {
            since,
            registration,
        } = registered;
        let Registration {
            queues,
            host,
            version,
            concurrency,
            beat_ms,
            by,
            // The jobs API tells of these.
            kind: _,
            metadata: _,
            status: _,
            left: _,
        } = registration;
        Self {
            queues: queues.iter().map(ToString::to_string).collect(),
            host,
            version,
            max_concurrency: concurrency,
            beat_seconds: f64::from(beat_ms) / 1000.0,
            by,
            since: Iso(since),
        }
    }
}

impl WorkerClaim {
    fn new(held: &HeldClaim) -> Self {
        let claim = ClaimId {
            task: held.task,
            attempt: held.attempt,
        };
        Self {
            id: claim.to_string(),
            task_id: held.task.to_string(),
            queue: held.queue.to_string(),
            attempt: held.attempt,
            lease_ends_at: Iso(held.until),
        }
    }
}

/// `{"worker": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkerEnvelope {
    pub(super) worker: WorkerObject,
    /// The parts of the request that have no effect. Absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) warnings: Vec<Warning>,
}

/// `{"workers": [...]}`
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkerList {
    /// By name: those that were heard of within the last hour, hold tasks or are drained.
    pub(super) workers: Vec<WorkerObject>,
    /// Whether there are more than are shown: about 600 KB of each partition.
    pub(super) truncated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(seen: Option<i64>, waiting: u32, held: u32) -> WorkerStanding {
        WorkerStanding {
            name: "w".into(),
            seen: seen.map(Timestamp),
            registered: None,
            waiting,
            held,
            claims: Vec::new(),
        }
    }

    fn known(of: impl IntoIterator<Item = WorkerStanding>) -> Known {
        let mut known = Known::default();
        of.into_iter().for_each(|standing| known.add(standing));
        known
    }

    fn state(known: Known, drain: bool, now: i64) -> WorkerState {
        let pause = Pause {
            since: Timestamp(1),
            until: None,
            reason: None,
            by: "key:key_4fG7aB2x".into(),
            drain: true,
        };
        WorkerObject::new("w", known, drain.then_some(&pause), Timestamp(now)).state
    }

    #[test]
    fn what_partitions_know_adds_up() {
        let known = known([
            standing(Some(5), 1, 2),
            standing(None, 1, 3),
            standing(Some(9), 0, 0),
        ]);
        assert_eq!(
            (known.seen, known.waiting, known.held),
            (Some(Timestamp(9)), 1, 5)
        );
    }

    #[test]
    fn a_worker_is_lost_after_three_beats_unless_a_claim_of_it_waits() {
        let late = i64::try_from((MISSED_BEATS * USUAL_BEAT).as_millis()).expect("small") + 2;
        let silent = |waiting| known([standing(Some(1), waiting, 1)]);
        assert_eq!(state(silent(0), false, late), WorkerState::Lost);
        assert_eq!(state(silent(0), false, late - 1), WorkerState::Active);
        assert_eq!(state(silent(1), false, late), WorkerState::Active);
        assert_eq!(state(silent(0), true, late), WorkerState::Draining);
        let idle = known([standing(Some(1), 0, 0)]);
        assert_eq!(state(idle, true, 2), WorkerState::Drained);
    }
}
