//! The methods, each with the permission that it needs.

use axum::Router;
use tonic::codec::CompressionEncoding;
use tonic_reflection::server::Builder;
use waybill_api_tasks::TasksApi;
use waybill_edge::auth::needs::{JobsRead, JobsWrite, QueuesRead};

use crate::admit::Message::{Streamed, Whole};
use crate::admit::method;
use crate::health::Health;
use crate::open::{Places, bounded};
use crate::pb::queue_service_server::QueueServiceServer;
use crate::pb::worker_service_server::WorkerServiceServer;
use crate::proto::FILES;
use crate::queue::Queues;
use crate::state::GrpcApi;
use crate::worker::Workers;

/// The routes of all services.
pub fn router(api: &TasksApi) -> Router {
    jobs(GrpcApi::new(api.clone()))
        .merge(workers(api))
        .merge(about(api))
        .with_state(api.clone())
}

fn jobs(grpc: GrpcApi) -> Router<TasksApi> {
    let service = QueueServiceServer::new(Queues(grpc));
    let service = service.accept_compressed(CompressionEncoding::Gzip);
    let path = |name: &str| format!("/spooled.v1.QueueService/{name}");
    let mut router = Router::new();
    for name in ["Enqueue", "Dequeue", "Complete", "Fail", "RenewLease"] {
        router = router.route(&path(name), method::<JobsWrite, _>(service.clone(), Whole));
    }
    router
        .route(
            &path("GetJob"),
            method::<JobsRead, _>(service.clone(), Whole),
        )
        .route(
            &path("GetQueueStats"),
            method::<QueuesRead, _>(service.clone(), Whole),
        )
        .route(
            &path("StreamJobs"),
            method::<JobsWrite, _>(service.clone(), Whole),
        )
        .route(
            &path("ProcessJobs"),
            method::<JobsWrite, _>(service, Streamed),
        )
}

fn workers(api: &TasksApi) -> Router<TasksApi> {
    let service = WorkerServiceServer::new(Workers(api.clone()));
    let service = service.accept_compressed(CompressionEncoding::Gzip);
    let mut router = Router::new();
    for name in ["Register", "Heartbeat", "Deregister"] {
        let path = format!("/spooled.v1.WorkerService/{name}");
        router = router.route(&path, method::<JobsWrite, _>(service.clone(), Whole));
    }
    router
}

/// What needs no credential: whether the services work, and what they have.
fn about(api: &TasksApi) -> Router<TasksApi> {
    let places = Places::new(api.stopping.clone());
    let health = Health::new(api.clone()).into_service();
    let router = Router::new().route(
        "/grpc.health.v1.Health/{method}",
        bounded(health, places.clone()),
    );
    let described = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(FILES)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    match (described().build_v1(), described().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => router
            .route(
                "/grpc.reflection.v1.ServerReflection/{method}",
                bounded(v1, places.clone()),
            )
            .route(
                "/grpc.reflection.v1alpha.ServerReflection/{method}",
                bounded(v1alpha, places),
            ),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "the gRPC services cannot be described; clients get no reflection");
            router
        }
    }
}
