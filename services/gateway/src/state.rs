//! The state of the gateway's own handlers, and what each API is given.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRef;
use waybill_api_account::AccountApi;
use waybill_api_activity::ActivityApi;
use waybill_api_tasks::TasksApi;
use waybill_edge::Edge;
use waybill_log::RoomWatch;

use crate::health::Health;

/// The state of the gateway's own routes. Clones share it.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// The parts of [`AppState`].
pub struct Shared {
    /// What all APIs share.
    pub edge: Edge,
    /// What the tasks API is given.
    pub tasks_api: TasksApi,
    /// What the account API is given.
    pub account_api: AccountApi,
    /// What the activity API is given.
    pub activity_api: ActivityApi,
    /// Whether the log still takes creations.
    pub room: Arc<RoomWatch>,
    /// Whether requests should come here.
    pub health: Arc<Health>,
}

impl AppState {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Deref for Shared {
    type Target = Edge;

    fn deref(&self) -> &Edge {
        &self.edge
    }
}

impl FromRef<AppState> for Edge {
    fn from_ref(state: &AppState) -> Self {
        state.edge.clone()
    }
}
