//! `StreamJobs`: jobs of a queue as they come, one at a time. The next one is claimed once the last is settled or its lease is over.
//!
//! The stream is pulled by its connection and owns no task: a client that does not read is given nothing, and one that goes away while it
//! waits withdraws its claim.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, stream};
use tonic::Status;
use waybill_api_jobs::calls::{self, JobsClaim};
use waybill_domain::task::ClaimId;
use waybill_streams::Slot;

use crate::state::GrpcApi;
use crate::status::status;
use crate::work::{Worker, claim_of};
use crate::{convert, pb};

/// How long the owner of a partition is asked to wait. It may die meanwhile, so it is asked anew.
const WAIT: Duration = Duration::from_secs(5);
/// Pause before a worker claims again that was given nothing at once, as one that somebody drains.
const PAUSE: Duration = Duration::from_secs(1);

struct Jobs {
    api: GrpcApi,
    caller: Arc<Worker>,
    claim: JobsClaim,
    /// What the client was given last.
    held: Option<ClaimId>,
    has_ended: bool,
    _slot: Slot,
}

/// Opens the stream.
pub(crate) fn open(
    api: &GrpcApi,
    caller: Arc<Worker>,
    given: pb::StreamJobsRequest,
) -> Result<impl Stream<Item = Result<pb::Job, Status>> + Send + use<>, Status> {
    let claim = claim_of(pb::DequeueRequest {
        queue_name: given.queue_name,
        worker_id: given.worker_id,
        lease_duration_secs: given.lease_duration_secs,
        batch_size: 1,
    })?;
    let jobs = Jobs {
        _slot: slot(api, &caller)?,
        api: api.clone(),
        caller,
        claim,
        held: None,
        has_ended: false,
    };
    Ok(stream::unfold(jobs, |mut jobs| async move {
        let next = jobs.next().await?;
        jobs.has_ended = next.is_err();
        Some((next, jobs))
    }))
}

/// A place among the streams of the organisation.
pub(crate) fn slot(api: &GrpcApi, caller: &Worker) -> Result<Slot, Status> {
    let slot = api.streams.take(&caller.team);
    slot.map_err(|full| Status::resource_exhausted(format!("streams limit reached: {full}")))
}

/// The status of a stream whose gateway stops.
pub(crate) fn stopping() -> Status {
    Status::unavailable("This gateway is stopping; call again")
}

/// The status of a stream whose credential has ended.
pub(crate) fn refused() -> Status {
    Status::unauthenticated("Invalid API key")
}

impl Jobs {
    async fn next(&mut self) -> Option<Result<pb::Job, Status>> {
        if self.has_ended {
            return None;
        }
        let (api, caller) = (self.api.clone(), Arc::clone(&self.caller));
        // A claim that is dropped is withdrawn, so nothing is lost whichever comes first.
        let next = tokio::select! {
            biased;
            () = api.stopping.cancelled() => Err(stopping()),
            () = api.until_refused(&caller.principal, &caller.team) => Err(refused()),
            next = self.find() => next,
        };
        Some(next)
    }

    async fn find(&mut self) -> Result<pb::Job, Status> {
        let (api, caller) = (&self.api, &self.caller);
        if let Some(held) = self.held {
            let over = calls::until_over(api, &caller.team, held).await;
            over.map_err(|error| status(&error))?;
            self.held = None;
        }
        loop {
            let begun = Instant::now();
            let given = calls::claim(api, caller, &self.claim, WAIT).await;
            let given = given.map_err(|error| status(&error))?;
            if let Some(job) = given.first() {
                self.held = Some(job.claim);
                let organization = caller.team.base_str();
                return Ok(convert::held(job, organization, &self.claim.worker_id));
            }
            if begun.elapsed() < PAUSE {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
