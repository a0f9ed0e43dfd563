//! `QueueService`: jobs that are created, worked on and read.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use tonic::{Request, Response, Status, Streaming};
use waybill_api_jobs::calls::{self, JobsCreateJob};
use waybill_commands::entropy;
use waybill_edge::auth::needs::{JobsRead, JobsWrite, QueuesRead};

use crate::admit::caller;
use crate::convert::{self, counted, json, object, rfc3339, said};
use crate::state::GrpcApi;
use crate::status::status;
use crate::work::{complete, dequeue, fail, renew};
use crate::{pb, process_jobs, stream_jobs};

/// Messages that go out for as long as a call is open.
type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
#[derive(Clone)]
pub(crate) struct Queues(pub(crate) GrpcApi);

#[tonic::async_trait]
impl pb::queue_service_server::QueueService for Queues {
    type StreamJobsStream = Outgoing<pb::Job>;
    type ProcessJobsStream = Outgoing<pb::ProcessResponse>;

    async fn enqueue(
        &self,
        request: Request<pb::EnqueueRequest>,
    ) -> Result<Response<pb::EnqueueResponse>, Status> {
        let caller = caller::<JobsWrite, _>(&request)?;
        let given = request.into_inner();
        let job = JobsCreateJob {
            queue_name: given.queue_name,
            payload: json(given.payload.unwrap_or_default())?,
            priority: counted(given.priority),
            max_retries: counted(given.max_retries),
            timeout_seconds: counted(given.timeout_seconds),
            scheduled_at: given.scheduled_at.map(rfc3339),
            expires_at: None,
            idempotency_key: said(given.idempotency_key),
            tags: object(given.tags)?,
            parent_job_id: None,
            completion_webhook: None,
            completion_webhook_secret: None,
        };
        let made = calls::create(&self.0, &caller, job).await;
        let made = made.map_err(|error| status(&error))?;
        Ok(Response::new(pb::EnqueueResponse {
            job_id: made.id,
            created: made.created,
        }))
    }

    async fn dequeue(
        &self,
        request: Request<pb::DequeueRequest>,
    ) -> Result<Response<pb::DequeueResponse>, Status> {
        let caller = caller::<JobsWrite, _>(&request)?;
        let jobs = dequeue(&self.0, &caller, request.into_inner()).await?;
        Ok(Response::new(pb::DequeueResponse { jobs }))
    }

    async fn complete(
        &self,
        request: Request<pb::CompleteRequest>,
    ) -> Result<Response<pb::CompleteResponse>, Status> {
        let caller = caller::<JobsWrite, _>(&request)?;
        let done = complete(&self.0, &caller, request.into_inner()).await?;
        Ok(Response::new(done))
    }

    async fn fail(
        &self,
        request: Request<pb::FailRequest>,
    ) -> Result<Response<pb::FailResponse>, Status> {
        let caller = caller::<JobsWrite, _>(&request)?;
        let failed = fail(&self.0, &caller, request.into_inner()).await?;
        Ok(Response::new(failed))
    }

    async fn renew_lease(
        &self,
        request: Request<pb::RenewLeaseRequest>,
    ) -> Result<Response<pb::RenewLeaseResponse>, Status> {
        let caller = caller::<JobsWrite, _>(&request)?;
        let renewed = renew(&self.0, &caller, request.into_inner()).await?;
        Ok(Response::new(renewed))
    }

    async fn get_job(
        &self,
        request: Request<pb::GetJobRequest>,
    ) -> Result<Response<pb::GetJobResponse>, Status> {
        let caller = caller::<JobsRead, _>(&request)?;
        let found = calls::get(&self.0, &caller, &request.into_inner().job_id).await;
        let found = found.map_err(|error| status(&error))?;
        Ok(Response::new(pb::GetJobResponse {
            job: Some(convert::job(found)),
        }))
    }

    async fn get_queue_stats(
        &self,
        request: Request<pb::GetQueueStatsRequest>,
    ) -> Result<Response<pb::GetQueueStatsResponse>, Status> {
        let caller = caller::<QueuesRead, _>(&request)?;
        let queue_name = request.into_inner().queue_name;
        let counted = calls::count_queue(&self.0, &caller, &queue_name).await;
        let (stats, waits) = counted.map_err(|error| status(&error))?;
        let age = waits.map_or(Duration::ZERO, |since| entropy::now().since(since));
        Ok(Response::new(pb::GetQueueStatsResponse {
            queue_name,
            pending: convert::long(stats.pending),
            scheduled: convert::long(stats.scheduled),
            processing: convert::long(stats.processing),
            completed: convert::long(stats.completed),
            failed: convert::long(stats.failed),
            deadletter: convert::long(stats.deadletter),
            total: convert::long(stats.total),
            max_age_ms: i64::try_from(age.as_millis()).unwrap_or(i64::MAX),
        }))
    }

    async fn stream_jobs(
        &self,
        request: Request<pb::StreamJobsRequest>,
    ) -> Result<Response<Self::StreamJobsStream>, Status> {
        let caller = caller::<JobsWrite, _>(&request)?;
        let jobs = stream_jobs::open(&self.0, caller, request.into_inner())?;
        Ok(Response::new(Box::pin(jobs)))
    }

    async fn process_jobs(
        &self,
        request: Request<Streaming<pb::ProcessRequest>>,
    ) -> Result<Response<Self::ProcessJobsStream>, Status> {
        let caller = caller::<JobsWrite, _>(&request)?;
        let answers = process_jobs::open(&self.0, caller, request.into_inner())?;
        Ok(Response::new(Box::pin(answers)))
    }
}
