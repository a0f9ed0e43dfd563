//! Events of operations.

use std::collections::BTreeMap;

use super::{AT, LATER};
use crate::event::{
    BulkAction, ControlEvent, ItemRefused, OperationCancelled, OperationCreated, OperationEnded,
    OperationPaused, OperationProgressed, OperationResumed,
};
use crate::id::{Environment, OperationId, TaskId, TeamId};
use crate::partition::Partition;
use crate::seq::StreamSeq;

pub(super) fn events(team: &TeamId) -> Vec<ControlEvent> {
    let (operation, team) = (OperationId::new(AT, 7), team.clone());
    let environment = Environment::Test;
    let task = TaskId::new(AT, 7, Partition::default());
    let refusals = vec![ItemRefused {
        task,
        code: "request_gone".into(),
        error: "The request of the task is no longer in the log".into(),
    }];
    vec![
        ControlEvent::OperationCreated(Box::new(OperationCreated {
            operation: operation.clone(),
            team: team.clone(),
            environment,
            action: BulkAction::Retry,
            filter: BTreeMap::from([("host".into(), vec!["api.example.com".into()])]),
            tasks: vec![task],
            undoes: Some(OperationId::new(AT, 6)),
            rate: 100,
            reason: Some("The receiver is back".into()),
            matched: 1_234,
            up_to: StreamSeq(48_120),
            created_by: "key:key_4fG7aB2x".into(),
            at: AT,
            // The golden encoding is older.
            priority: None,
        })),
        ControlEvent::OperationPaused(OperationPaused {
            operation: operation.clone(),
            team: team.clone(),
            environment,
            paused_by: "key:key_4fG7aB2x".into(),
            at: AT,
        }),
        ControlEvent::OperationResumed(OperationResumed {
            operation: operation.clone(),
            team: team.clone(),
            environment,
            at: LATER,
        }),
        ControlEvent::OperationCancelled(OperationCancelled {
            operation: operation.clone(),
            team: team.clone(),
            environment,
            cancelled_by: "key:key_4fG7aB2x".into(),
            at: LATER,
        }),
        ControlEvent::OperationProgressed(OperationProgressed {
            operation: operation.clone(),
            team: team.clone(),
            environment,
            cursor: Some("01000001".into()),
            done: 99,
            refused: 1,
            refusals: refusals.clone(),
            at: LATER,
        }),
        ControlEvent::OperationEnded(OperationEnded {
            operation,
            team,
            environment,
            done: 1_233,
            refused: 1,
            refusals,
            at: LATER,
        }),
    ]
}
