//! Whether the services work, for whoever balances load: `grpc.health.v1`.

use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use waybill_api_tasks::TasksApi;

/// What can be asked about. The empty name is the whole server.
const SERVICES: [&str; 3] = ["", "spooled.v1.QueueService", "spooled.v1.WorkerService"];

/// Answers from what the gateway knows of itself.
pub(crate) struct Health(TasksApi);

impl Health {
    pub(crate) fn new(api: TasksApi) -> Self {
        Self(api)
    }

    pub(crate) fn into_service(self) -> HealthServer<Self> {
        HealthServer::new(self)
    }

    /// It serves while it may decide who may do what, and until it stops.
    fn now(&self) -> HealthCheckResponse {
        let serves = !self.0.stopping.is_cancelled() && self.0.fence.may_decide().is_ok();
        answer(serves)
    }
}

fn answer(serves: bool) -> HealthCheckResponse {
    let status = if serves {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    HealthCheckResponse {
        status: status.into(),
    }
}

fn known(request: &Request<HealthCheckRequest>) -> Result<(), Status> {
    if SERVICES.contains(&request.get_ref().service.as_str()) {
        Ok(())
    } else {
        Err(Status::not_found("unknown service"))
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        known(&request)?;
        Ok(Response::new(self.now()))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        known(&request)?;
        let stopping = self.0.stopping.clone();
        let last = async move {
            stopping.cancelled().await;
            Ok(answer(false))
        };
        let told = stream::iter([Ok(self.now())]).chain(stream::once(last));
        Ok(Response::new(Box::pin(told)))
    }
}
