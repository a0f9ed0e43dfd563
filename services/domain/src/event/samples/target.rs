//! Events of targets.

use super::{AT, LATER};
use crate::event::{ControlEvent, TargetClosed, TargetHealthSet, TargetOpened};
use crate::health::{FailureShare, HealthRule, TargetHost};
use crate::id::{Environment, TeamId};

pub(super) fn events(team: &TeamId) -> Vec<ControlEvent> {
    let Ok(host) = TargetHost::parse("api.example.com") else {
        return Vec::new();
    };
    let environment = Environment::Live;
    vec![
        ControlEvent::TargetHealthSet(TargetHealthSet {
            host: host.clone(),
            team: team.clone(),
            environment,
            rule: Some(HealthRule {
                in_a_row: Some(5),
                share: Some(FailureShare {
                    percent: 50,
                    of: 20,
                }),
                pause_ms: 30_000,
                max_pause_ms: 600_000,
                disable_after_ms: Some(432_000_000),
            }),
            at: AT,
        }),
        ControlEvent::TargetOpened(TargetOpened {
            host: host.clone(),
            team: team.clone(),
            environment,
            reason: Some("It is being moved".into()),
            until: Some(LATER),
            opened_by: "key:key_4fG7aB2x".into(),
            at: AT,
        }),
        ControlEvent::TargetClosed(TargetClosed {
            host,
            team: team.clone(),
            environment,
            at: LATER,
        }),
    ]
}
