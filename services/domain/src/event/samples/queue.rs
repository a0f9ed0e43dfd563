//! Events of queues.

use super::{AT, LATER};
use crate::access::team::queues::configure::QueueJobs;
use crate::event::{ControlEvent, QueueDefaultsChanged, QueueLimited, QueuePaused, QueueResumed};
use crate::id::{Environment, QueueName, TeamId};
use crate::rate::StartRate;
use crate::task::queue_defaults::{DefaultPauses, DefaultWindows};
use crate::task::{Backoff, Jitter, OwnPauses, QueueDefaults};

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
            drain: true,
        }),
        ControlEvent::QueueResumed(QueueResumed {
            queue: queue.clone(),
            team: team.clone(),
            environment: Environment::Test,
            at: LATER,
        }),
        ControlEvent::QueueLimited(QueueLimited {
            queue: queue.clone(),
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
            retention_s: Some(86_400),
        }),
        ControlEvent::QueueDefaultsChanged(Box::new(QueueDefaultsChanged {
            queue,
            team: team.clone(),
            environment: Environment::Test,
            defaults: QueueDefaults {
                windows: Some(DefaultWindows {
                    timeout_ms: 20_000,
                    max_wait_ms: 60_000,
                }),
                max_retries: Some(8),
                pauses: Some(DefaultPauses {
                    backoff: Backoff::Linear,
                    own: OwnPauses::default(),
                    min_ms: Some(5_000),
                    max_ms: Some(600_000),
                }),
                jitter: Some(Jitter::FULL),
                max_age_ms: Some(21_600_000),
                job_timeout_s: Some(120),
                no_capture: true,
            },
            at: AT,
            jobs: Some(QueueJobs {
                settings: Some(r#"{"owner":"ops"}"#.into()),
                created_at: AT,
            }),
        })),
    ]
}
