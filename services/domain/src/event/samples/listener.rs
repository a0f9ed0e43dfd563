//! Events of listeners.

use super::{AT, LATER};
use crate::event::{
    ControlEvent, ListenerOpened, ListenerReleased, ListenerRemoved, ListenerRenewed,
};
use crate::health::TargetHost;
use crate::id::{ListenerId, QueueName, TeamId};

pub(super) fn events(team: &TeamId) -> Vec<ControlEvent> {
    let (Ok(queue), Ok(host)) = (
        QueueName::parse("images"),
        TargetHost::parse("laptop.example.com"),
    ) else {
        return Vec::new();
    };
    let listener = ListenerId::new(AT, 15);
    vec![
        ControlEvent::ListenerOpened(ListenerOpened {
            listener: listener.clone(),
            team: team.clone(),
            queues: vec![queue],
            hosts: vec![host],
            until: LATER,
            opened_by: "key:key_4fG7aB2x".into(),
            at: AT,
        }),
        ControlEvent::ListenerRenewed(ListenerRenewed {
            listener: listener.clone(),
            team: team.clone(),
            until: LATER,
            at: AT,
        }),
        ControlEvent::ListenerReleased(ListenerReleased {
            listener: listener.clone(),
            team: team.clone(),
            at: LATER,
        }),
        ControlEvent::ListenerRemoved(ListenerRemoved {
            listener,
            team: team.clone(),
            replaced_by: Some(ListenerId::new(LATER, 16)),
            at: LATER,
        }),
    ]
}
