//! The events of tasks, in any order.

use std::error::Error;

use waybill_domain::actor::Actor;
use waybill_domain::event::{
    Answer, BodyEncoding, TaskCreated, TaskEvent, TaskStarted, TaskSucceeded,
};
use waybill_domain::id::{QueueName, TaskId, TeamId};
use waybill_domain::partition::Partition;
use waybill_domain::task::{Backoff, Method, OwnPauses, Priority, RetryBounds};
use waybill_domain::time::Timestamp;
use waybill_log::subject::TaskSubject;
use waybill_log::{Record, StreamSeq};

const QUEUES: u64 = 16;

/// Generates numbered records.
#[derive(Default)]
pub(crate) struct Source {
    pub(crate) seq: u64,
}

impl Source {
    /// The creation (0), start (1) or success (2) of a task.
    pub(crate) fn record(&mut self, number: u64, kind: u8) -> Result<Record, Box<dyn Error>> {
        self.seq += 1;
        let partition = Partition::new(u16::try_from(number % QUEUES)?).ok_or("a partition")?;
        let at = Timestamp(1_700_000_000_000 + i64::try_from(self.seq)?);
        let created_at = Timestamp(1_700_000_000_000 + i64::try_from(number)?);
        let id = TaskId::new(created_at, u128::from(number), partition);
        let team = TeamId::new(Timestamp(1), 1);
        let queue = QueueName::parse(&format!("queue-{}", number % QUEUES))?;
        let event = match kind {
            0 => TaskEvent::Created(Box::new(TaskCreated {
                success: None,
                deadline: None,
                expires_in_ms: None,
                tags: Vec::new(),
                metadata: std::collections::BTreeMap::new(),
                webhook_pauses: Vec::new(),
                max_answer_bytes: None,
                body_encoding: waybill_domain::event::BodyEncoding::Text,
                id,
                team: team.clone(),
                queue: queue.clone(),
                url: format!("http://127.0.0.1:9000/hooks/{number}"),
                method: Method::Post,
                headers: vec![("content-type".into(), "application/json".into())],
                body: Some("x".repeat(512)),
                timeout_ms: 30_000,
                max_wait_ms: 30_000,
                not_before: None,
                max_retries: 3,
                backoff: Backoff::Exponential,
                retry_pauses: OwnPauses::default(),
                fairness_key: None,
                fairness_weight: None,
                ordering: None,
                retry_bounds: RetryBounds::default(),
                replay_of: None,
                once: None,
                limits: Vec::new(),
                schedule: None,
                on_rate_limited: None,
                member: None,
                job: None,
                no_capture: false,
                retry_on: None,
                priority: Priority::DEFAULT,
                follow_redirects: false,
                on_complete_url: None,
                idempotency_key: None,
                fingerprint: None,
                resolve: waybill_domain::vault::Resolve::default(),
                sealed: None,
                at,
                created_by: None,
            })),
            1 => TaskEvent::Started(TaskStarted {
                id,
                attempt: 1,
                at,
                lease_until: at,
                probe: false,
                claim: None,
                waits: Vec::new(),
            }),
            _ => TaskEvent::Succeeded(TaskSucceeded {
                ok: None,
                id,
                attempt: 1,
                at,
                answer: Answer {
                    status: 200,
                    headers: vec![("content-type".into(), "text/plain".into())],
                    body: "ok".into(),
                    encoding: BodyEncoding::Text,
                    body_bytes: 2,
                    duration_ms: 3,
                    header_bytes: None,
                },
            }),
        };
        Ok(Record {
            seq: StreamSeq(self.seq),
            follows: StreamSeq(self.seq - 1),
            time: at,
            subject: TaskSubject::event(partition, &team, &queue, event.kind()).to_string(),
            event: event.name().into(),
            actor: match kind {
                0 => "key:key_4fG7aB2x".into(),
                _ => Actor::worker().to_string(),
            },
            traceparent: None,
            origin: None,
            msg_id: None,
            exact: None,
            payload: event.encode().into(),
        })
    }
}
