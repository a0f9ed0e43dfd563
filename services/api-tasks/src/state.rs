//! What the handlers of this API share.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRef;
use waybill_domain::partition::PartitionCount;
use waybill_edge::Edge;
use waybill_log::RoomWatch;
use waybill_streams::Hub;

use waybill_edge::queue_names::QueueNames;

/// The state of the tasks API. Clones share it.
#[derive(Clone)]
pub struct TasksApi(Arc<TasksApiParts>);

/// The parts of a [`TasksApi`].
pub struct TasksApiParts {
    /// What all APIs share.
    pub edge: Edge,
    /// For requests to owners of partitions.
    pub nats: async_nats::Client,
    /// How many partitions the log has.
    pub partitions: PartitionCount,
    /// Whether the log still takes creations.
    pub room: Arc<RoomWatch>,
    pub hub: Arc<Hub>,
    /// Counts the queues that teams name.
    pub queues: QueueNames,
}

impl TasksApi {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: TasksApiParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for TasksApi {
    type Target = TasksApiParts;

    fn deref(&self) -> &TasksApiParts {
        &self.0
    }
}

impl Deref for TasksApiParts {
    type Target = Edge;

    fn deref(&self) -> &Edge {
        &self.edge
    }
}

impl FromRef<TasksApi> for Edge {
    fn from_ref(api: &TasksApi) -> Self {
        api.edge.clone()
    }
}
