//! A queue as clients see it.

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::team::Pause;
use waybill_domain::access::team::Queue;
use waybill_domain::id::{Environment, QueueName};
use waybill_domain::rate::StartRate;
use waybill_domain::time::Timestamp;
use waybill_edge::iso::Iso;
use waybill_edge::lengths::Seconds;
use waybill_projector::query::QueueCounts;

use super::defaults::QueueDefaultsObject;
use super::statistics::{Lately, QueueStatistics};

/// A queue: what holds its tasks back, and how many it has.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueObject {
    #[schema(example = "mail")]
    name: String,
    /// `live` or `test`: queues of one environment are others than those of the other.
    #[schema(value_type = Environment)]
    environment: &'static str,
    state: QueueState,
    /// The pause, while the queue is paused, drains or is drained.
    pause: Option<QueuePause>,
    /// Most attempts at a time; `null`: no limit.
    concurrency: Option<u32>,
    /// Most starts in a time; `null`: no limit.
    rate: Option<QueueRate>,
    /// How many of its tasks start in a turn of the queue.
    weight: u8,
    /// What creations in the queue mean where they leave something open; `null`: the platform's defaults.
    defaults: Option<QueueDefaultsObject>,
    /// Its tasks by status, as far as the log still has them. Absent in answers to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = QueueTaskCounts)]
    counts: Option<QueueTaskCounts>,
    /// When the pending task that waits longest was created, or its delay was over; `null`: none is pending. Absent in answers to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest_pending_since: Option<Option<Iso>>,
    /// What happened lately. Absent in answers to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    statistics: Option<QueueStatistics>,
    /// Seconds after its end for which a task is shown in lists and found by its id; `null`: as long as the log has it.
    #[schema(value_type = Option<f64>)]
    retention: Option<Seconds>,
}

/// Whether tasks of a queue are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueueState {
    /// They are, as slots and limits allow.
    Active,
    /// None is started.
    Paused,
    /// None is started, and some run that are waited for.
    Draining,
    /// None is started, and those that ran have ended.
    Drained,
}

/// A pause that is in force.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueuePause {
    #[schema(value_type = String, format = DateTime)]
    since: Iso,
    /// When it ends by itself; `null`: only by being lifted.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Iso>,
    reason: Option<String>,
    /// Who stated it last, such as `user:user_01...` or `key:key_4fG7aB2x`.
    by: String,
}

/// How many tasks may start in a time.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueRate {
    /// Starts in each `per`.
    limit: u32,
    /// Seconds.
    #[schema(value_type = f64)]
    per: Seconds,
    /// How many unused starts may be made up for at once.
    burst: u32,
}

/// Tasks of a queue by status.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "a field for each status")]
pub struct QueueTaskCounts {
    pub pending: u64,
    pub delayed: u64,
    pub processing: u64,
    pub completed: u64,
    pub failed: u64,
    pub timeout: u64,
    pub cancelled: u64,
}

impl QueueObject {
    pub(super) fn new(
        name: &QueueName,
        environment: Environment,
        queue: Option<&Queue>,
        now: Timestamp,
    ) -> Self {
        let pause = queue.and_then(|queue| queue.paused(now));
        Self {
            name: name.as_str().to_owned(),
            environment: environment.as_str(),
            state: match pause {
                Some(pause) if pause.drain => QueueState::Draining,
                Some(_) => QueueState::Paused,
                None => QueueState::Active,
            },
            pause: pause.map(QueuePause::new),
            concurrency: queue.and_then(|queue| queue.concurrency),
            rate: queue.and_then(|queue| queue.rate).map(QueueRate::new),
            weight: queue.and_then(|queue| queue.weight).unwrap_or(1),
            defaults: queue.and_then(|queue| QueueDefaultsObject::of(&queue.defaults)),
            counts: None,
            oldest_pending_since: None,
            statistics: None,
            retention: queue
                .and_then(|queue| queue.retention_s)
                .map(|length| Seconds(u64::from(length) * 1_000)),
        }
    }

    /// Adds how many tasks the queue has; `None`: no task is known.
    pub(super) fn counted(mut self, counts: Option<&QueueCounts>) -> Self {
        let of = |count: fn(&QueueCounts) -> u64| counts.map_or(0, count);
        self.counts = Some(QueueTaskCounts {
            pending: of(|counts| counts.pending),
            delayed: of(|counts| counts.delayed),
            processing: of(|counts| counts.processing),
            completed: of(|counts| counts.completed),
            failed: of(|counts| counts.failed),
            timeout: of(|counts| counts.timeout),
            cancelled: of(|counts| counts.cancelled),
        });
        if self.state == QueueState::Draining && of(|counts| counts.processing) == 0 {
            self.state = QueueState::Drained;
        }
        let waiting_since = counts.and_then(|counts| counts.waiting_since);
        self.oldest_pending_since = Some(waiting_since.map(Iso));
        self
    }

    pub(super) fn is(&self, state: QueueState) -> bool {
        self.state == state
    }

    /// Adds what happened in the queue lately.
    pub(super) fn with_statistics(mut self, lately: &Lately) -> Self {
        self.statistics = Some(lately.of(&self.name));
        self
    }
}

impl QueuePause {
    fn new(pause: &Pause) -> Self {
        Self {
            since: Iso(pause.since),
            until: pause.until.map(Iso),
            reason: pause.reason.clone(),
            by: pause.by.clone(),
        }
    }
}

impl QueueRate {
    fn new(rate: StartRate) -> Self {
        Self {
            limit: rate.limit,
            per: Seconds(rate.per_ms.into()),
            burst: rate.burst,
        }
    }
}

/// `{"queue": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueEnvelope {
    pub(super) queue: QueueObject,
}

/// `{"queues": [...]}`
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueList {
    /// By name: the queues that have tasks, are paused or have settings.
    pub(super) queues: Vec<QueueObject>,
    /// Whether there are more queues with tasks than the first 1,000, which are shown.
    pub(super) truncated: bool,
    /// `false`: so many delays have passed that only the sums of `delayed` and `pending` are exact.
    pub(super) exact: bool,
}
