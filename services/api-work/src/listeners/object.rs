//! A listener as clients see it.

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::team::listeners::Listener;
use waybill_domain::id::ListenerId;
use waybill_domain::time::Timestamp;
use waybill_edge::iso::Iso;

/// Whether a listener listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListenerState {
    /// It holds its lease: tasks start.
    Listening,
    /// Its lease is over: tasks wait, unless another listener holds one for the same.
    Lapsed,
    /// Its lease was given back, with the same effect.
    Released,
}

/// Somebody who listens to queues or hosts of the test environment.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerObject {
    #[schema(example = "lsn_01kc0q2v9x3d8e5h7j9m1n3p5r")]
    id: String,
    state: ListenerState,
    queues: Vec<String>,
    /// Hosts with their port, unless it is 80 or 443.
    hosts: Vec<String>,
    /// When the lease is over, or was; `null`: it was given back.
    #[schema(value_type = Option<String>, format = DateTime)]
    lease_ends_at: Option<Iso>,
    /// Who opened it: `user:` or `key:` and an id.
    opened_by: String,
    #[schema(value_type = String, format = DateTime)]
    opened_at: Iso,
}

impl ListenerObject {
    pub(super) fn new(id: &ListenerId, listener: &Listener, now: Timestamp) -> Self {
        let state = match listener.until {
            None => ListenerState::Released,
            Some(_) if listener.is_held(now) => ListenerState::Listening,
            Some(_) => ListenerState::Lapsed,
        };
        Self {
            id: id.to_string(),
            state,
            queues: listener.queues.iter().map(ToString::to_string).collect(),
            hosts: listener.hosts.iter().map(ToString::to_string).collect(),
            lease_ends_at: listener.until.map(Iso),
            opened_by: listener.by.clone(),
            opened_at: Iso(listener.since),
        }
    }
}

/// `{"listener": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct ListenerEnvelope {
    pub(super) listener: ListenerObject,
}

/// `{"listeners": [...]}`
#[derive(Debug, Serialize, ToSchema)]
pub struct ListenerList {
    /// Oldest first; at most 100.
    pub(super) listeners: Vec<ListenerObject>,
}
