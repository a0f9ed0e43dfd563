//! Events of workers that pull.

use super::{AT, LATER};
use crate::event::{ControlEvent, WorkerDrained, WorkerResumed};
use crate::id::{Environment, TeamId};
use crate::worker::WorkerName;

pub(super) fn events(team: &TeamId) -> Vec<ControlEvent> {
    let Ok(worker) = WorkerName::parse("resizer-1") else {
        return Vec::new();
    };
    let environment = Environment::Live;
    vec![
        ControlEvent::WorkerDrained(WorkerDrained {
            worker: worker.clone(),
            team: team.clone(),
            environment,
            reason: Some("It gets a new disk".into()),
            until: Some(LATER),
            drained_by: "key:key_4fG7aB2x".into(),
            at: AT,
        }),
        ControlEvent::WorkerResumed(WorkerResumed {
            worker,
            team: team.clone(),
            environment,
            at: LATER,
        }),
    ]
}
