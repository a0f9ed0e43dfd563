//! What the services share.

use std::ops::Deref;
use std::sync::Arc;

use waybill_api_tasks::TasksApi;
use waybill_streams::Slots;

/// Streams of jobs that stay open: of all organisations, and of one.
const STREAMS: usize = 5_000;
const STREAMS_OF_ONE: usize = 100;

/// What the services share.
#[derive(Clone)]
pub(crate) struct GrpcApi {
    api: TasksApi,
    /// Counts streams that are open.
    pub(crate) streams: Arc<Slots>,
}

impl GrpcApi {
    pub(crate) fn new(api: TasksApi) -> Self {
        Self {
            streams: Slots::new(STREAMS, STREAMS_OF_ONE, "waybill_grpc_streams"),
            api,
        }
    }
}

impl Deref for GrpcApi {
    type Target = TasksApi;

    fn deref(&self) -> &TasksApi {
        &self.api
    }
}
