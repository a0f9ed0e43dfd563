//! The running calls of one partition. They outlive a dispatcher that had to be discarded: the next
//! one adopts them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use metrics::{counter, histogram};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::Instant;
use tracing::Instrument;
use waybill_domain::dispatcher::{Call, CallKind, Delivery, Running};
use waybill_domain::event::{Failure, FailureKind, TaskCreated, TaskEnd, TaskEvent};
use waybill_domain::flow::Given;
use waybill_domain::task::retry::Outcome;
use waybill_domain::time::Timestamp;
use waybill_domain::trace::TraceParent;
use waybill_domain::workflow::places;
use waybill_log::{
    CapturedCall, CapturedKind, Log, ReadError, Stream, StreamSeq, TaskRecord, task_record,
};

use crate::attempt::{self, Signer};
use crate::bulkhead::Slot;
use crate::callout::answer::KEPT_BODY_BYTES;
use crate::callout::{self, Callouts, FailReason, Request};
use crate::captured::Capturing;
use crate::clock::Clock;
use crate::payloads::{Found, Payloads};
use crate::vault::{Carried, Prepared, Vault, VaultFailure, needs_vault};
use crate::webhook;

/// Pause before reading an event back is retried.
const READ_PAUSE: Duration = Duration::from_millis(200);

/// Makes calls: [`Callouts`] in production, a fake in simulations.
#[async_trait]
pub trait Target: Send + Sync + 'static {
    /// Makes one call, within the limits of the request.
    async fn call(&self, request: Request) -> callout::Outcome;
}

#[async_trait]
impl Target for Callouts {
    async fn call(&self, request: Request) -> callout::Outcome {
        Self::call(self, request).await
    }
}

/// Makes the calls of a worker; shared by all of its partitions.
pub struct CallExecutor {
    /// To read back events that are not in `payloads`.
    pub log: Arc<dyn Log>,
    /// The HTTP client.
    pub target: Arc<dyn Target>,
    pub signer: Signer,
    /// Recent events, so that most of them need not be read back.
    pub payloads: Payloads,
    pub clock: Arc<dyn Clock>,
    /// Access to the credentials that tasks refer to. `None`: tasks with references wait.
    pub vault: Option<Arc<Vault>>,
    /// Where is kept what calls send and are answered. `None`: nowhere.
    pub captures: Option<Capturing>,
}

/// A call that has ended.
#[derive(Debug)]
pub struct EndedCall {
    pub running: Running,
    /// `None` if it was cut short on purpose, by [`Calls::release`] or [`Calls::cut_off`].
    pub outcome: Option<Outcome>,
}

/// All calls of a partition.
#[derive(Debug, Default)]
pub struct Calls {
    set: JoinSet<Outcome>,
    running: HashMap<Id, RunningCall>,
    handover: Handover,
    /// Whether calls that end without an outcome were cut short on purpose.
    released: bool,
    /// Until when calls may continue while the partition is being given up. It outlives a
    /// dispatcher, since each new one would start the time again.
    drain_until: Option<Instant>,
}

/// A running call.
#[derive(Debug)]
struct RunningCall {
    running: Running,
    handle: AbortHandle,
    /// Whether the call was cut off because its task is being cancelled.
    is_cut_off: bool,
}

/// What one dispatcher leaves for the next in this process.
#[derive(Debug, Default)]
pub struct Handover {
    /// The fence of the former dispatcher.
    pub fence: StreamSeq,
    /// Starts and ends of calls that may not have been stored.
    pub unstored: Vec<TaskEvent>,
    /// Slots that were reserved for calls about to start.
    pub promised: HashMap<Running, Slot>,
}

impl Calls {
    /// The running calls.
    #[must_use]
    pub fn running(&self) -> HashSet<Running> {
        self.running.values().map(|made| made.running).collect()
    }

    /// Stores what the next dispatcher takes over.
    pub fn hand_over(&mut self, handover: Handover) {
        self.handover = handover;
    }

    /// The fence under which something was handed over.
    #[must_use]
    pub fn handed_over_since(&self) -> Option<StreamSeq> {
        (!self.handover.unstored.is_empty()).then_some(self.handover.fence)
    }

    /// Takes what the former dispatcher handed over.
    pub fn take_handover(&mut self) -> Handover {
        std::mem::take(&mut self.handover)
    }

    /// Whether a call is running, or has ended, whose outcome the log does not have.
    #[must_use]
    pub fn has_unrecorded_outcomes(&self) -> bool {
        !self.is_empty() || !self.handover.unstored.is_empty()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Starts an attempt. Its slot is free again when the attempt has ended.
    pub fn attempt(&mut self, executor: Arc<CallExecutor>, call: Call, slot: Option<Slot>) {
        let running = Running {
            task: call.task,
            number: call.attempt,
            kind: CallKind::Attempt,
        };
        let parent = call.traceparent.as_deref().and_then(TraceParent::parse);
        let trace = TraceParent::of_call(parent.as_ref(), call.task, call.attempt);
        let span = tracing::info_span!(
            "attempt",
            task = %call.task,
            attempt = call.attempt,
            trace_id = trace.trace_id(),
            span_id = trace.span_id(),
            parent_id = parent.as_ref().map(TraceParent::span_id),
        );
        let made = async move { executor.attempt(call, trace).await };
        self.make(running, slot, made.instrument(span));
    }

    /// Starts a delivery of a completion webhook.
    pub fn deliver(&mut self, executor: Arc<CallExecutor>, delivery: Delivery, slot: Option<Slot>) {
        let running = Running {
            task: delivery.task,
            number: delivery.number,
            kind: CallKind::Delivery,
        };
        let parent = delivery.traceparent.as_deref().and_then(TraceParent::parse);
        let step = webhook::step(delivery.number);
        let trace = TraceParent::of_call(parent.as_ref(), delivery.task, step);
        let span = tracing::info_span!(
            "delivery",
            task = %delivery.task,
            number = delivery.number,
            trace_id = trace.trace_id(),
            span_id = trace.span_id(),
            parent_id = parent.as_ref().map(TraceParent::span_id),
        );
        let made = async move { executor.deliver(delivery, trace).await };
        self.make(running, slot, made.instrument(span));
    }

    fn make(
        &mut self,
        running: Running,
        slot: Option<Slot>,
        call: impl Future<Output = Outcome> + Send + 'static,
    ) {
        let handle = self.set.spawn(async move {
            let outcome = call.await;
            if let Some(slot) = slot {
                slot.ended(&outcome);
            }
            outcome
        });
        let made = RunningCall {
            running,
            handle: handle.clone(),
            is_cut_off: false,
        };
        self.running.insert(handle.id(), made);
    }

    /// The next call that ends; `None` if none is running. Cancellation safe.
    pub async fn ended(&mut self) -> Option<EndedCall> {
        let joined = self.set.join_next_with_id().await?;
        self.take(joined)
    }

    /// A call that has already ended, if any.
    pub fn try_ended(&mut self) -> Option<EndedCall> {
        let joined = self.set.try_join_next_with_id()?;
        self.take(joined)
    }

    /// Aborts all calls. Running ones end as lost.
    pub fn abort(&mut self) {
        self.set.abort_all();
    }

    /// Starts giving the partition up; returns until when calls may continue.
    pub fn drain(&mut self, limit: Duration) -> Instant {
        *self
            .drain_until
            .get_or_insert_with(|| Instant::now() + limit)
    }

    /// Stops giving the partition up.
    pub fn stay(&mut self) {
        self.drain_until = None;
    }

    /// Cuts all calls short because the worker stops. A call that has not ended by itself by then
    /// ends without an outcome.
    pub fn release(&mut self) {
        self.released = true;
        self.set.abort_all();
    }

    /// Cuts one call off. If it has already ended by itself, that outcome counts; otherwise it ends
    /// without one.
    pub fn cut_off(&mut self, call: Running) {
        if let Some(made) = self.running.values_mut().find(|made| made.running == call) {
            made.is_cut_off = true;
            made.handle.abort();
        }
    }

    fn take(&mut self, joined: Result<(Id, Outcome), tokio::task::JoinError>) -> Option<EndedCall> {
        let id = match &joined {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let made = self.running.remove(&id)?;
        let outcome = match joined {
            Ok((_, outcome)) => Some(outcome),
            Err(error) if error.is_cancelled() && (self.released || made.is_cut_off) => None,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(
                        "a call panicked; its attempt counts as lost with its worker and is repeated"
                    );
                }
                Some(Outcome::Failed(lost()))
            }
        };
        Some(EndedCall {
            running: made.running,
            outcome,
        })
    }
}

impl CallExecutor {
    async fn attempt(&self, call: Call, trace: TraceParent) -> Outcome {
        let task = self.created(call.created).await;
        let task = match task.and_then(|task| filled_in(task, &call.given)) {
            Ok(task) => task,
            Err(failure) => return Outcome::Failed(failure),
        };
        let prepared = match self.prepared(&task).await {
            Ok(prepared) => prepared,
            Err(failure) => {
                tracing::debug!(%failure, "the credentials of the task cannot be put in; nothing is sent");
                return Outcome::Failed(failure.into());
            }
        };
        self.signer.ready().await;
        let now = self.clock.now();
        match attempt::request(
            &task,
            prepared,
            call.attempt,
            call.limit,
            &trace,
            &self.signer,
            now,
        ) {
            Ok(request) => {
                let captured = captured(&task, CapturedKind::Attempt, call.attempt);
                self.call(request, captured, now).await
            }
            Err(failure) => Outcome::Failed(failure),
        }
    }

    async fn prepared<'t>(&self, task: &'t TaskCreated) -> Result<Prepared<'t>, VaultFailure> {
        if !needs_vault(task) {
            return Ok(Prepared::plain(task));
        }
        match &self.vault {
            Some(vault) => vault.prepare(task).await,
            None => Err(VaultFailure::NotConfigured),
        }
    }

    async fn deliver(&self, delivery: Delivery, trace: TraceParent) -> Outcome {
        let events = async {
            let task = self.created(delivery.created).await?;
            let ended = self.ended(delivery.ended).await?;
            Ok::<_, Failure>((task, ended))
        };
        let (task, ended) = match events.await {
            Ok(events) => events,
            Err(failure) => return Outcome::Failed(failure),
        };
        self.signer.ready().await;
        let now = self.clock.now();
        match webhook::request(
            &task,
            ended,
            delivery.retries,
            delivery.number,
            &trace,
            &self.signer,
            now,
        ) {
            Ok(request) => {
                let captured = captured(&task, CapturedKind::Delivery, delivery.number);
                self.call(request, captured, now).await
            }
            Err(failure) => Outcome::Failed(failure),
        }
    }

    /// Makes a call. `captured`: what to keep of it; `None`: nothing.
    async fn call(
        &self,
        request: Request,
        captured: Option<CapturedCall>,
        now: Timestamp,
    ) -> Outcome {
        let (carried, kept) = (request.carried.clone(), request.kept_body);
        let captures = self.captures.as_ref().zip(captured);
        let now = (self.clock.times().elapsed, now);
        let captures = captures
            .and_then(|(captures, call)| Some((captures, captures.begin(call, &request, now)?)));
        let outcome = self.target.call(request).await;
        // Scrubbed before anything sees the answer, including this process's own log.
        let outcome = match carried {
            Some(carried) => match scrubbed(carried, outcome, kept).await {
                Some(outcome) => outcome,
                None => return Outcome::Failed(lost()),
            },
            None => outcome,
        };
        if let Some((captures, sent)) = captures {
            captures.keep(sent.ended(&outcome)).await;
        }
        match outcome {
            callout::Outcome::Answered(answered) => {
                histogram!("waybill_callout_seconds", "outcome" => "answered")
                    .record(answered.duration);
                tracing::debug!(status = answered.status.as_u16(), duration = ?answered.duration, "the target answered");
                Outcome::Answered(answered.into_event())
            }
            callout::Outcome::Failed(failed) => {
                histogram!("waybill_callout_seconds", "outcome" => "failed")
                    .record(failed.duration);
                if let FailReason::Own(fault) = failed.reason {
                    counter!("waybill_worker_faults_total", "fault" => fault.name()).increment(1);
                }
                let duration = failed.duration;
                let failure = failed.into_event();
                tracing::debug!(kind = ?failure.kind, ?duration, "the call failed");
                Outcome::Failed(failure)
            }
        }
    }

    async fn created(&self, seq: StreamSeq) -> Result<TaskCreated, Failure> {
        if let Some(payload) = self.payloads.get(seq)
            && let Some(event) = decode_created(&payload)
        {
            return event.into_request().ok_or_else(gone);
        }
        let event = self.read_back(seq, Kind::Creation).await?;
        event.into_request().ok_or_else(gone)
    }

    async fn ended(&self, seq: StreamSeq) -> Result<TaskEnd, Failure> {
        let event = self.read_back(seq, Kind::End).await?;
        event.into_end().ok_or_else(gone)
    }

    /// Reads the event at a position. Waits while the log does not answer, since the outcome of the
    /// call could not be stored anyway.
    async fn read_back(&self, seq: StreamSeq, kind: Kind) -> Result<TaskEvent, Failure> {
        loop {
            match self.find(seq, kind).await {
                Ok(Some(Found::Kept(payload))) => {
                    return decode_created(&payload).ok_or_else(gone);
                }
                Ok(Some(Found::Stored(record))) => {
                    return match task_record(&record) {
                        Ok(TaskRecord::Event(event)) => Ok(event),
                        Ok(TaskRecord::Owned(..)) => Err(gone()),
                        Err(error) => {
                            tracing::error!(%seq, %error, "an event of a task cannot be decoded; the call fails");
                            Err(gone())
                        }
                    };
                }
                Ok(None) => return Err(gone()),
                Err(error) => {
                    tracing::warn!(%seq, %error, "reading an event of a task failed; the call waits and the read is retried");
                    tokio::time::sleep(READ_PAUSE).await;
                }
            }
        }
    }

    async fn find(&self, seq: StreamSeq, kind: Kind) -> Result<Option<Found>, ReadError> {
        match kind {
            Kind::Creation => self.payloads.read(self.log.as_ref(), seq).await,
            // No creation comes with an end, and the cache keeps nothing else.
            Kind::End => {
                let record = self.log.read(Stream::Tasks, seq).await?;
                Ok(record.map(Found::Stored))
            }
        }
    }
}

/// What to keep of a call of a task; `None`: its queue wants nothing to be kept.
fn captured(task: &TaskCreated, kind: CapturedKind, number: u32) -> Option<CapturedCall> {
    (!task.no_capture).then(|| CapturedCall {
        team: task.team.clone(),
        task: task.id,
        kind,
        number,
    })
}

/// Which event of a task is read back.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Creation,
    End,
}

/// An outcome without the secrets that the request carried. `None` if they could not be searched
/// for, so nothing of the outcome may be shown.
async fn scrubbed(
    carried: Arc<Carried>,
    outcome: callout::Outcome,
    kept: usize,
) -> Option<callout::Outcome> {
    let is_large = matches!(&outcome, callout::Outcome::Answered(answered) if answered.body.len() > KEPT_BODY_BYTES);
    if !is_large {
        return Some(carried.scrub(outcome, kept));
    }
    // Searching a megabyte takes long enough to delay other calls on this thread.
    let search = tokio::task::spawn_blocking(move || carried.scrub(outcome, kept));
    search.await.ok()
}

/// The cache has only `task.created` events.
fn decode_created(payload: &[u8]) -> Option<TaskEvent> {
    TaskEvent::decode("task.created.v1", payload).ok()
}

fn lost() -> Failure {
    Failure {
        kind: FailureKind::WorkerLost,
        message:
            "The worker broke off during the attempt; the target may or may not have been called"
                .into(),
    }
}

fn gone() -> Failure {
    Failure {
        kind: FailureKind::InvalidRequest,
        message: "The task's request is no longer in the log".into(),
    }
}
/// The request with the results that it takes over. One that cannot be filled in is never sent.
fn filled_in(task: TaskCreated, given: &[Given]) -> Result<TaskCreated, Failure> {
    places::fill_in(task, given).map_err(|message| Failure {
        kind: FailureKind::InvalidRequest,
        message,
    })
}
