//! `WorkerService`: workers that register, give signs of life and leave.

use http::StatusCode;
use tonic::{Request, Response, Status};
use waybill_api_jobs::calls::{self, JobsRegisterWorker, JobsWorkerBeat};
use waybill_api_tasks::TasksApi;
use waybill_edge::auth::needs::JobsWrite;
use waybill_edge::error::ApiError;

use crate::admit::caller;
use crate::convert::{counted, object, said};
use crate::pb;
use crate::status::status;

/// Seconds of the lease that a worker should ask for.
const LEASE_SECS: i32 = 300;
/// Most jobs that a worker takes at a time: who says more takes so many.
const MOST_CONCURRENCY: i32 = 100;

/// The service.
#[derive(Clone)]
pub(crate) struct Workers(pub(crate) TasksApi);

#[tonic::async_trait]
impl pb::worker_service_server::WorkerService for Workers {
    async fn register(
        &self,
        request: Request<pb::RegisterWorkerRequest>,
    ) -> Result<Response<pb::RegisterWorkerResponse>, Status> {
        let caller = caller::<JobsWrite, _>(&request)?;
        let given = request.into_inner();
        let concurrency = given.max_concurrency.clamp(0, MOST_CONCURRENCY);
        let worker = JobsRegisterWorker {
            queue_name: Some(given.queue_name),
            queue_names: None,
            hostname: given.hostname,
            worker_id: given.worker_id.and_then(said),
            worker_type: said(given.worker_type),
            max_concurrency: counted(concurrency),
            metadata: object(given.metadata)?,
            version: said(given.version),
        };
        let registered = calls::register(&self.0, &caller, worker).await;
        let registered = registered.map_err(|error| status(&error))?;
        let interval = i32::try_from(registered.heartbeat_interval_secs);
        Ok(Response::new(pb::RegisterWorkerResponse {
            worker_id: registered.id,
            lease_duration_secs: LEASE_SECS,
            heartbeat_interval_secs: interval.unwrap_or(i32::MAX),
        }))
    }

    async fn heartbeat(
        &self,
        request: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<pb::HeartbeatResponse>, Status> {
        let caller = caller::<JobsWrite, _>(&request)?;
        let given = request.into_inner();
        let beat = JobsWorkerBeat {
            current_jobs: given.current_jobs.into(),
            status: said(given.status),
            metadata: object(given.metadata)?,
        };
        let heard = calls::hear(&self.0, &caller, &given.worker_id, beat).await;
        let heard = unless_unknown(heard)?;
        Ok(Response::new(pb::HeartbeatResponse {
            acknowledged: heard.is_some(),
            should_drain: heard.is_some_and(|heard| heard.should_drain),
        }))
    }

    async fn deregister(
        &self,
        request: Request<pb::DeregisterRequest>,
    ) -> Result<Response<pb::DeregisterResponse>, Status> {
        let caller = caller::<JobsWrite, _>(&request)?;
        let worker = request.into_inner().worker_id;
        let left = calls::deregister(&self.0, &caller, &worker).await;
        let success = unless_unknown(left)?.is_some();
        Ok(Response::new(pb::DeregisterResponse { success }))
    }
}

/// An unknown worker is no error here.
fn unless_unknown<T>(answer: Result<T, ApiError>) -> Result<Option<T>, Status> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.status == StatusCode::NOT_FOUND => Ok(None),
        Err(error) => Err(status(&error)),
    }
}
