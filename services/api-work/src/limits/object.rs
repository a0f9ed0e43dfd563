//! A limit as clients see it.

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::team::Limit;
use waybill_domain::access::team::Pause;
use waybill_domain::actor::Actor;
use waybill_domain::id::{Environment, LimitKey};
use waybill_domain::limit::{KeyPause, KeyStanding, LimitBounds};
use waybill_domain::rate::StartRate;
use waybill_domain::seq::StreamSeq;
use waybill_domain::time::Timestamp;
use waybill_edge::iso::Iso;
use waybill_edge::lengths::Seconds;

/// A limit that tasks share by its key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitObject {
    #[schema(example = "customer:17")]
    key: String,
    /// `live` or `test`: limits of one environment are others than those of the other.
    #[schema(value_type = Environment)]
    environment: &'static str,
    /// Whether it was set with `PUT`, which beats what tasks say.
    pinned: bool,
    /// Most attempts at a time; `null`: no limit, as far as tasks that run or wait say.
    concurrency: Option<u32>,
    /// Most starts in a time; `null`: no limit, as far as tasks that run or wait say.
    rate: Option<LimitObjectRate>,
    /// The pause, while the limit is paused.
    pause: Option<LimitPause>,
    /// Attempts that run, or are about to. Absent in answers to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<u64>,
    /// Tasks that are ready and wait for this limit, or for a slot. Absent in answers to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<u64>,
    /// When the next of them may start, if the rate makes them wait.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_start: Option<Iso>,
}

/// How many tasks may start in a time.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitObjectRate {
    /// Starts in each `per`.
    limit: u32,
    /// Seconds.
    #[schema(value_type = f64)]
    per: Seconds,
    /// How many unused starts may be made up for at once.
    burst: u32,
}

/// A pause that is in force.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitPause {
    #[schema(value_type = String, format = DateTime)]
    since: Iso,
    /// When it ends by itself; `null`: only by being lifted.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Iso>,
    reason: Option<String>,
    /// Who stated it last, such as `user:user_01...` or `key:key_4fG7aB2x`.
    by: String,
}

/// How a limit stands over all partitions.
#[derive(Debug, Default)]
pub(super) struct Standing {
    running: u64,
    waiting: u64,
    says: Option<(StreamSeq, LimitBounds)>,
    next_start: Option<Timestamp>,
    /// The pause that a target has asked for.
    paused: Option<KeyPause>,
}

impl Standing {
    /// Adds how it stands in one partition.
    pub(super) fn add(&mut self, of: &KeyStanding) {
        self.running += u64::from(of.running);
        self.waiting += u64::from(of.waiting);
        if self
            .says
            .is_none_or(|(known, _)| of.says.is_some_and(|(seq, _)| seq > known))
        {
            self.says = of.says;
        }
        let is_later = |known: KeyPause| of.paused.is_some_and(|of| of.until > known.until);
        if self.paused.is_none_or(is_later) {
            self.paused = of.paused;
        }
        self.next_start = match (self.next_start, of.next_start) {
            (Some(known), Some(other)) => Some(known.min(other)),
            (known, other) => known.or(other),
        };
    }

    /// Whether any task runs or waits, or a target has paused it.
    pub(super) fn is_in_use(&self) -> bool {
        self.running + self.waiting > 0 || self.paused.is_some()
    }
}

impl LimitObject {
    /// `standing`: `None` if it was not asked for.
    pub(super) fn new(
        key: &LimitKey,
        environment: Environment,
        limit: Option<&Limit>,
        standing: Option<&Standing>,
        now: Timestamp,
    ) -> Self {
        let pin = limit.and_then(|limit| limit.pin);
        let said = standing
            .and_then(|standing| standing.says)
            .map(|(_, said)| said);
        let bounds = pin.or(said).unwrap_or_default();
        let pause = limit.and_then(|limit| limit.paused(now));
        Self {
            key: key.as_str().to_owned(),
            environment: environment.as_str(),
            pinned: pin.is_some(),
            concurrency: bounds.concurrency,
            rate: bounds.rate.map(LimitObjectRate::new),
            pause: pause.map(LimitPause::new).or_else(|| {
                let asked_for = standing.and_then(|standing| standing.paused)?;
                Some(LimitPause::of_target(&asked_for))
            }),
            running: standing.map(|standing| standing.running),
            waiting: standing.map(|standing| standing.waiting),
            next_start: standing.and_then(|standing| standing.next_start).map(Iso),
        }
    }
}

impl LimitObjectRate {
    fn new(rate: StartRate) -> Self {
        Self {
            limit: rate.limit,
            per: Seconds(rate.per_ms.into()),
            burst: rate.burst,
        }
    }
}

impl LimitPause {
    /// One that a target has asked for.
    fn of_target(pause: &KeyPause) -> Self {
        Self {
            since: Iso(pause.since),
            until: Some(Iso(pause.until)),
            reason: Some(format!(
                "HTTP 429 with Retry-After from the target of {}",
                pause.task
            )),
            by: Actor::worker().to_string(),
        }
    }

    fn new(pause: &Pause) -> Self {
        Self {
            since: Iso(pause.since),
            until: pause.until.map(Iso),
            reason: pause.reason.clone(),
            by: pause.by.clone(),
        }
    }
}

/// `{"limit": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct LimitEnvelope {
    pub(super) limit: LimitObject,
}

/// `{"limits": [...]}`
#[derive(Debug, Serialize, ToSchema)]
pub struct LimitList {
    /// By key: those that are set or paused, and those of tasks that run or wait to start.
    pub(super) limits: Vec<LimitObject>,
    /// Whether there are more of the latter than are shown: at most 1,000 of each partition.
    pub(super) truncated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::id::TaskId;
    use waybill_domain::partition::Partition;

    #[test]
    fn standings_add_up_and_the_newest_task_says_what_holds() {
        let of = |seq: u64, concurrency| KeyStanding {
            key: LimitKey::parse("a").expect("a key"),
            running: 1,
            waiting: 2,
            says: Some((
                StreamSeq(seq),
                LimitBounds {
                    concurrency: Some(concurrency),
                    rate: None,
                },
            )),
            next_start: Some(Timestamp(seq.cast_signed())),
            paused: (seq > 6).then(|| KeyPause {
                task: TaskId::new(Timestamp(1), seq.into(), Partition::default()),
                since: Timestamp(1),
                until: Timestamp(seq.cast_signed()),
                left_ms: 1,
            }),
        };
        let mut standing = Standing::default();
        for one in [of(5, 3), of(9, 4), of(7, 5)] {
            standing.add(&one);
        }
        let key = LimitKey::parse("a").expect("a key");
        let shown = LimitObject::new(&key, Environment::Live, None, Some(&standing), Timestamp(1));
        assert_eq!((shown.running, shown.waiting), (Some(3), Some(6)));
        assert_eq!((shown.concurrency, shown.pinned), (Some(4), false));
        assert_eq!(shown.next_start.map(|at| at.0), Some(Timestamp(5)));
        let pause = shown.pause.expect("a target has asked for it");
        assert_eq!(pause.until.map(|at| at.0), Some(Timestamp(9)));
        assert_eq!(pause.by, "system:worker");
    }
}
