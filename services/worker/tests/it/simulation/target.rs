//! Targets of a simulated history: they answer, fail, are slow, or never answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use tokio::time::{Instant, sleep};
use waybill_domain::dispatcher::CallKind;
use waybill_domain::id::TaskId;
use waybill_domain::task::retry;
use waybill_worker::callout::{Answered, CallFailed, FailReason, Outcome, Phase, Request};
use waybill_worker::calls::Target;

use super::world::Process;

/// Path of the URLs of completion webhooks.
pub(crate) const HOOK: &str = "/hook";

/// All targets, as one process calls them.
pub(crate) struct Targets(pub(crate) Arc<Process>);

enum Fate {
    Answers(u16, Option<u64>, Duration),
    Refuses,
    Hangs,
}

impl Targets {
    fn fate(&self) -> Fate {
        let world = &self.0.world;
        let random = &world.random;
        if world.is_down() {
            return Fate::Refuses;
        }
        if !random.chance(world.faults().targets) {
            return Fate::Answers(200, None, random.millis(0, 40));
        }
        match random.below(9) {
            0 => Fate::Answers(500, None, random.millis(0, 40)),
            1 => Fate::Answers(503, Some(1 + random.below(3)), random.millis(0, 40)),
            2 => Fate::Answers(
                429,
                random.chance(700).then(|| 1 + random.below(4)),
                Duration::ZERO,
            ),
            3 => Fate::Answers(404, None, random.millis(0, 40)),
            4 => Fate::Refuses,
            5 => Fate::Hangs,
            6 => Fate::Answers(200, None, Duration::ZERO),
            _ => Fate::Answers(200, None, random.millis(100, 9_000)),
        }
    }
}

#[async_trait]
impl Target for Targets {
    async fn call(&self, request: Request) -> Outcome {
        self.0.gate().await;
        let world = &self.0.world;
        let header = |name: &str| request.headers.get(name)?.to_str().ok();
        let id = header("waybill-task-id").and_then(|id| TaskId::parse(id).ok());
        let number = header("waybill-attempt").and_then(|number| number.parse().ok());
        let (Some(id), Some(number)) = (id, number) else {
            world
                .ledger()
                .violations
                .push("a call does not say what it is".into());
            return failed(FailReason::InvalidRequest, Duration::ZERO);
        };
        let kind = if request.url.path() == HOOK {
            CallKind::Delivery
        } else {
            CallKind::Attempt
        };
        world.note(|| format!("{} calls {id} {kind:?} {number}", self.0.name));
        world.ledger().called(id, kind, number);
        let began = Instant::now();
        let outcome = match self.fate() {
            Fate::Refuses => failed(FailReason::Connect, Duration::ZERO),
            Fate::Answers(status, retry_after, after) if after < request.total => {
                sleep(after).await;
                answered(status, retry_after, began.elapsed())
            }
            Fate::Answers(..) | Fate::Hangs => {
                sleep(request.total).await;
                failed(FailReason::Timeout(Phase::FirstByte), request.total)
            }
        };
        let as_stored = match outcome.clone() {
            Outcome::Answered(answered) => retry::Outcome::Answered(answered.into_event()),
            Outcome::Failed(failed) => retry::Outcome::Failed(failed.into_event()),
        };
        world.note(|| {
            format!(
                "{} got {as_stored:?} from {id} {kind:?} {number}",
                self.0.name
            )
        });
        world.ledger().answered(id, kind, number, as_stored);
        self.0.gate().await;
        outcome
    }
}

fn answered(status: u16, retry_after: Option<u64>, duration: Duration) -> Outcome {
    Outcome::Answered(Answered {
        status: StatusCode::from_u16(status).unwrap_or_default(),
        headers: retry_after
            .map(|seconds| ("retry-after".to_owned(), seconds.to_string()))
            .into_iter()
            .collect(),
        body: Bytes::new(),
        truncated: false,
        header_bytes: None,
        body_bytes: 0,
        duration,
    })
}

fn failed(reason: FailReason, duration: Duration) -> Outcome {
    Outcome::Failed(CallFailed {
        reason,
        message: Cow::Borrowed("a fault"),
        duration,
    })
}
