//! Events of limit keys.

use super::{AT, LATER};
use crate::event::{ControlEvent, LimitPaused, LimitResumed, LimitSet};
use crate::id::{Environment, LimitKey, TeamId};
use crate::rate::StartRate;

pub(super) fn events(team: &TeamId) -> Vec<ControlEvent> {
    let Ok(key) = LimitKey::parse("customer:17") else {
        return Vec::new();
    };
    let environment = Environment::Live;
    vec![
        ControlEvent::LimitSet(LimitSet {
            key: key.clone(),
            team: team.clone(),
            environment,
            concurrency: Some(2),
            rate: Some(StartRate {
                limit: 10,
                per_ms: 1_000,
                burst: 1,
            }),
            at: AT,
        }),
        ControlEvent::LimitPaused(LimitPaused {
            key: key.clone(),
            team: team.clone(),
            environment,
            reason: Some("They have asked for it".into()),
            until: Some(LATER),
            paused_by: "key:key_4fG7aB2x".into(),
            at: AT,
        }),
        ControlEvent::LimitResumed(LimitResumed {
            key,
            team: team.clone(),
            environment,
            at: LATER,
        }),
    ]
}
