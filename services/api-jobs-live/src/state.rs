//! What the handlers of this API share.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRef;
use waybill_api_tasks::TasksApi;
use waybill_edge::Edge;
use waybill_streams::Slots;

use crate::told::Told;

/// Open WebSockets: of all organisations, and of one.
const SOCKETS: usize = 5_000;
const SOCKETS_OF_ONE: usize = 100;

/// The state of this API. Clones share it.
#[derive(Clone)]
pub struct LiveApi {
    api: TasksApi,
    /// Counts WebSockets from the upgrade to the close.
    pub(crate) sockets: Arc<Slots>,
    /// What was told lately.
    pub(crate) told: Arc<Told>,
}

impl LiveApi {
    #[must_use]
    pub fn new(api: TasksApi) -> Self {
        Self {
            sockets: Slots::new(SOCKETS, SOCKETS_OF_ONE, "waybill_jobs_sockets"),
            told: Arc::new(Told::new(api.clone())),
            api,
        }
    }
}

impl Deref for LiveApi {
    type Target = TasksApi;

    fn deref(&self) -> &TasksApi {
        &self.api
    }
}

impl FromRef<LiveApi> for Edge {
    fn from_ref(state: &LiveApi) -> Self {
        state.api.edge.clone()
    }
}
