//! Events of schedules.

use super::{AT, LATER};
use crate::event::{
    ControlEvent, ScheduleDeleted, SchedulePaused, ScheduleResumed, ScheduleSet, ScheduleSettled,
    ScheduledJob, SchedulesReached,
};
use crate::id::{Environment, QueueName, ScheduleId, TeamId};
use crate::recurring::{CatchUp, Outcome, Overlap};

pub(super) fn events(team: &TeamId) -> Vec<ControlEvent> {
    let (schedule, team) = (ScheduleId::new(AT, 7), team.clone());
    let environment = Environment::Live;
    vec![
        ControlEvent::ScheduleSet(Box::new(ScheduleSet {
            schedule: schedule.clone(),
            team: team.clone(),
            environment,
            version: 2,
            name: Some("Morning report".into()),
            when: "cron(0 9 * * MON-FRI)".into(),
            zone: "Europe/Madrid".into(),
            zones: "2026c".into(),
            from: Some(AT),
            until: Some(LATER),
            overlap: Overlap::BufferAll,
            catch_up: CatchUp::All {
                most: 10,
                within_ms: 3_600_000,
            },
            jitter_ms: 30_000,
            task: r#"{"targetUrl":"https://api.example.com/report"}"#.into(),
            set_by: "key:key_4fG7aB2x".into(),
            at: AT,
            job: Some(Box::new(ScheduledJob {
                queue: QueueName::default(),
                description: Some("For the heads of department".into()),
                priority: Some(7),
                max_retries: Some(2),
                timeout_s: Some(60),
                tags: Some(r#"["report"]"#.into()),
                metadata: Some(r#"{"owner":"ops"}"#.into()),
                created_at: AT,
            })),
        })),
        ControlEvent::SchedulePaused(SchedulePaused {
            schedule: schedule.clone(),
            team: team.clone(),
            environment,
            reason: Some("The receiver moves".into()),
            until: Some(LATER),
            paused_by: "key:key_4fG7aB2x".into(),
            at: AT,
        }),
        ControlEvent::ScheduleResumed(ScheduleResumed {
            schedule: schedule.clone(),
            team: team.clone(),
            environment,
            at: LATER,
        }),
        ControlEvent::ScheduleSettled(ScheduleSettled {
            schedule: schedule.clone(),
            team: team.clone(),
            environment,
            version: 2,
            outcome: Outcome::Missed,
            from: AT,
            to: LATER,
            count: 3,
            refused: None,
            at: LATER,
        }),
        ControlEvent::ScheduleDeleted(ScheduleDeleted {
            schedule,
            team,
            environment,
            at: LATER,
        }),
        ControlEvent::SchedulesReached(SchedulesReached { to: AT, at: LATER }),
    ]
}
