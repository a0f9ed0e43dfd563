//! What the handlers of this API share.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRef;
use waybill_edge::Edge;
use waybill_streams::Hub;

use crate::keys::KnownKeys;

/// The state of the activity API. Clones share it.
#[derive(Clone)]
pub struct ActivityApi(Arc<ActivityApiParts>);

/// The parts of a [`ActivityApi`].
pub struct ActivityApiParts {
    /// What all APIs share.
    pub edge: Edge,
    /// Live events of tasks, which say that there is something new.
    pub hub: Arc<Hub>,
    /// The public keys that verify checkpoints of the activity log.
    pub audit_keys: KnownKeys,
}

impl ActivityApi {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: ActivityApiParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for ActivityApi {
    type Target = ActivityApiParts;

    fn deref(&self) -> &ActivityApiParts {
        &self.0
    }
}

impl Deref for ActivityApiParts {
    type Target = Edge;

    fn deref(&self) -> &Edge {
        &self.edge
    }
}

impl FromRef<ActivityApi> for Edge {
    fn from_ref(api: &ActivityApi) -> Self {
        api.edge.clone()
    }
}
