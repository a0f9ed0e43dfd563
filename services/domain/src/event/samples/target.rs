//! Events of targets.

use super::AT;
use crate::event::{ControlEvent, TargetHealthSet};
use crate::health::{FailureShare, HealthRule, TargetHost};
use crate::id::{Environment, TeamId};

pub(super) fn events(team: &TeamId) -> Vec<ControlEvent> {
    let host = TargetHost::parse("api.example.com");
    host.into_iter()
        .map(|host| {
            ControlEvent::TargetHealthSet(TargetHealthSet {
                host,
                team: team.clone(),
                environment: Environment::Live,
                rule: Some(HealthRule {
                    in_a_row: Some(5),
                    share: Some(FailureShare {
                        percent: 50,
                        of: 20,
                    }),
                    pause_ms: 30_000,
                    max_pause_ms: 600_000,
                }),
                at: AT,
            })
        })
        .collect()
}
