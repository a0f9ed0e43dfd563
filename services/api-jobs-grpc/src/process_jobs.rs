//! `ProcessJobs`: a worker that claims and reports on one stream. Every request is answered, in their order; what is refused is answered
//! too, and ends nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use tonic::{Code, Status, Streaming};
use waybill_api_jobs::calls::{self, HeldJob};
use waybill_streams::Slot;

use crate::pb::process_request::Request as Asked;
use crate::pb::process_response::Response as Said;
use crate::state::GrpcApi;
use crate::status::status;
use crate::stream_jobs::{refused, slot, stopping};
use crate::work::{Worker, claim_of, complete, fail, renew};
use crate::{convert, pb};

/// What a client is still to be sent.
enum Answer {
    /// A job, and the worker that holds it.
    Job(Box<HeldJob>, String),
    Other(Box<Said>),
}

impl Answer {
    fn other(said: Said) -> Self {
        Self::Other(Box::new(said))
    }
}

struct Process {
    api: GrpcApi,
    caller: Arc<Worker>,
    requests: Streaming<pb::ProcessRequest>,
    /// Answers of one request: at most as many as a claim gives jobs.
    unsent: VecDeque<Answer>,
    has_ended: bool,
    _slot: Slot,
}

/// Opens the stream.
pub(crate) fn open(
    api: &GrpcApi,
    caller: Arc<Worker>,
    requests: Streaming<pb::ProcessRequest>,
) -> Result<impl Stream<Item = Result<pb::ProcessResponse, Status>> + Send + use<>, Status> {
    let process = Process {
        _slot: slot(api, &caller)?,
        api: api.clone(),
        caller,
        requests,
        unsent: VecDeque::new(),
        has_ended: false,
    };
    Ok(stream::unfold(process, |mut process| async move {
        let next = process.next().await?;
        Some((next, process))
    }))
}

impl Process {
    async fn next(&mut self) -> Option<Result<pb::ProcessResponse, Status>> {
        loop {
            if let Some(answer) = self.unsent.pop_front() {
                let said = match answer {
                    Answer::Job(held, worker) => {
                        let organization = self.caller.team.base_str();
                        Said::Job(convert::held(&held, organization, &worker))
                    }
                    Answer::Other(said) => *said,
                };
                return Some(Ok(pb::ProcessResponse {
                    response: Some(said),
                }));
            }
            if self.has_ended {
                return None;
            }
            // Whichever comes first, no request is half done: one that has begun is answered below.
            let request = tokio::select! {
                biased;
                () = self.api.stopping.cancelled() => Err(stopping()),
                () = self.api.until_refused(&self.caller.principal, &self.caller.team) => {
                    self.has_ended = true;
                    self.unsent.push_back(Answer::other(in_band(&refused())));
                    continue;
                }
                request = self.requests.message() => request,
            };
            match request {
                Ok(Some(request)) => self.answer(request).await,
                Ok(None) => self.has_ended = true,
                Err(status) => {
                    self.has_ended = true;
                    return Some(Err(status));
                }
            }
        }
    }

    async fn answer(&mut self, request: pb::ProcessRequest) {
        let answered = match self.charge().await {
            Ok(()) => self.ask(request).await,
            Err(status) => Err(status),
        };
        match answered {
            Ok(answers) => self.unsent.extend(answers),
            Err(status) => self.unsent.push_back(Answer::other(in_band(&status))),
        }
    }

    /// Each request on the stream costs as much as a call.
    async fn charge(&self) -> Result<(), Status> {
        let caller = &self.caller;
        let slot = &caller.context().limits;
        let id = caller.principal.id();
        let taken = self.api.limiter.take(slot, &caller.team, id, &caller.plan);
        taken.await.map_err(|refusal| status(&refusal.into()))
    }

    async fn ask(&self, request: pb::ProcessRequest) -> Result<Vec<Answer>, Status> {
        let (api, caller) = (&self.api, &self.caller);
        let said = match request.request {
            None => Said::Error(pb::ErrorResponse {
                code: "INVALID_REQUEST".to_owned(),
                message: "The request is empty".to_owned(),
            }),
            Some(Asked::Dequeue(given)) => return self.dequeue(given).await,
            Some(Asked::Complete(given)) => Said::Complete(complete(api, caller, given).await?),
            Some(Asked::Fail(given)) => Said::Fail(fail(api, caller, given).await?),
            Some(Asked::RenewLease(given)) => Said::RenewLease(renew(api, caller, given).await?),
        };
        Ok(vec![Answer::other(said)])
    }

    async fn dequeue(&self, given: pb::DequeueRequest) -> Result<Vec<Answer>, Status> {
        let claim = claim_of(given)?;
        let held = calls::claim(&self.api, &self.caller, &claim, Duration::ZERO).await;
        let held = held.map_err(|error| status(&error))?;
        if held.is_empty() {
            return Ok(vec![Answer::other(Said::Error(pb::ErrorResponse {
                code: "NO_JOBS".to_owned(),
                message: "No jobs available".to_owned(),
            }))]);
        }
        let jobs = held.into_iter();
        let jobs = jobs.map(|job| Answer::Job(Box::new(job), claim.worker_id.clone()));
        Ok(jobs.collect())
    }
}

impl Drop for Process {
    /// The client went away: what it was not sent goes back to the queue, and uses up no retry.
    fn drop(&mut self) {
        for answer in std::mem::take(&mut self.unsent) {
            let Answer::Job(held, worker) = answer else {
                continue;
            };
            let (api, caller) = (self.api.clone(), Arc::clone(&self.caller));
            self.api.tasks.spawn(async move {
                // Otherwise it goes back when its lease is over.
                let _ = calls::release(&api, &caller, &worker, &held).await;
            });
        }
    }
}

/// A status within the stream.
fn in_band(status: &Status) -> Said {
    let message = status.message();
    let is_lease = message == "Lease expired" || message.contains("does not match the job's");
    let code = match status.code() {
        Code::FailedPrecondition if is_lease => "LEASE_EXPIRED",
        Code::FailedPrecondition => "CONFLICT",
        Code::NotFound => "NOT_FOUND",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::ResourceExhausted => "RATE_LIMIT_EXCEEDED",
        Code::Unavailable => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    Said::Error(pb::ErrorResponse {
        code: code.to_owned(),
        message: message.to_owned(),
    })
}
