//! Events of queues.

use super::{AT, LATER};
use crate::event::{ControlEvent, QueueLimited, QueuePaused, QueueResumed};
use crate::id::{Environment, QueueName, TeamId};
use crate::rate::StartRate;

pub(super) fn events(team: &TeamId) -> Vec<ControlEvent> {
    let queue = QueueName::default();
    vec![
        ControlEvent::QueuePaused(QueuePaused {
            queue: queue.clone(),
            team: team.clone(),
            environment: Environment::Test,
            reason: Some("The receiver is being moved".into()),
            until: Some(LATER),
            paused_by: "key:key_4fG7aB2x".into(),
            at: AT,
        }),
        ControlEvent::QueueResumed(QueueResumed {
            queue: queue.clone(),
            team: team.clone(),
            environment: Environment::Test,
            at: LATER,
        }),
        ControlEvent::QueueLimited(QueueLimited {
            queue,
            team: team.clone(),
            environment: Environment::Test,
            concurrency: Some(5),
            rate: Some(StartRate {
                limit: 100,
                per_ms: 60_000,
                burst: 10,
            }),
            weight: Some(3),
            at: AT,
        }),
    ]
}
