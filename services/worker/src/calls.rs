//! The calls being made for one partition. They outlive a dispatcher that had to be thrown away: the next one adopts them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use metrics::{counter, histogram};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tracing::Instrument;
use waybill_domain::dispatcher::{Call, CallKind, Delivery, Running};
use waybill_domain::event::{Failure, FailureKind, TaskCreated, TaskEvent};
use waybill_domain::task::retry::Outcome;
use waybill_domain::trace::child_of;
use waybill_log::{Log, Stream, StreamSeq};

use crate::attempt::{self, Signer};
use crate::bulkhead::Slot;
use crate::callout::{self, Callouts, FailReason, Request};
use crate::clock::Clock;
use crate::payloads::Payloads;
use crate::vault::{Prepared, Vault, VaultFailure, needs_vault};
use crate::webhook;

/// Pause between two tries to read an event back while the log is away.
const READ_PAUSE: Duration = Duration::from_millis(200);

/// Makes calls. [`Callouts`] in production; a simulation has its own.
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

/// What making a call takes; shared by all partitions of a worker.
pub struct Caller {
    /// Where events are read back from.
    pub log: Arc<dyn Log>,
    /// Who calls.
    pub target: Arc<dyn Target>,
    /// Who signs.
    pub signer: Signer,
    /// Recent events.
    pub payloads: Payloads,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What tasks refer to. `None`: those that do wait.
    pub vault: Option<Arc<Vault>>,
}

/// A call that has ended.
#[derive(Debug)]
pub struct EndedCall {
    /// Which.
    pub running: Running,
    /// How; `None`: it was cut short in order, by [`Calls::release`].
    pub outcome: Option<Outcome>,
}

/// All calls of a partition.
#[derive(Debug, Default)]
pub struct Calls {
    set: JoinSet<Outcome>,
    running: HashMap<Id, Running>,
    kept: Kept,
    /// What is cut short was cut in order.
    released: bool,
    /// Until when calls may go on, while the partition is being given up. It outlives a dispatcher, or each new one would begin to
    /// count anew.
    drain_until: Option<Instant>,
}

/// What one dispatcher leaves to the next in this process.
#[derive(Debug, Default)]
pub struct Kept {
    /// The fence it had.
    pub fence: StreamSeq,
    /// Starts and ends of calls that nobody knows to be stored.
    pub unstored: Vec<TaskEvent>,
    /// The slots promised to those that were to start.
    pub promised: HashMap<Running, Slot>,
}

impl Calls {
    /// The calls being made.
    #[must_use]
    pub fn running(&self) -> HashSet<Running> {
        self.running.values().copied().collect()
    }

    /// Keeps what is to be left to the next dispatcher.
    pub fn keep(&mut self, kept: Kept) {
        self.kept = kept;
    }

    /// The fence under which something was left.
    #[must_use]
    pub fn kept_since(&self) -> Option<StreamSeq> {
        (!self.kept.unstored.is_empty()).then_some(self.kept.fence)
    }

    /// What the former dispatcher left.
    pub fn take_kept(&mut self) -> Kept {
        std::mem::take(&mut self.kept)
    }

    /// Is anything being made, or known, that the log should hear of?
    #[must_use]
    pub fn owes(&self) -> bool {
        !self.is_empty() || !self.kept.unstored.is_empty()
    }

    /// Whether none is being made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// How many are being made.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Begins an attempt. Its slot is free again when it has ended.
    pub fn attempt(&mut self, caller: Arc<Caller>, call: Call, slot: Option<Slot>) {
        let running = Running {
            task: call.task,
            number: call.attempt,
            kind: CallKind::Attempt,
        };
        let trace = child_of(call.traceparent.as_deref(), call.task, call.attempt);
        let span = tracing::info_span!(
            "attempt",
            task = %call.task,
            attempt = call.attempt,
            trace_id = ids(&trace).0,
            span_id = ids(&trace).1,
            parent_id = call.traceparent.as_deref().map(|parent| ids(parent).1),
        );
        let made = async move { caller.attempt(call).await };
        self.make(running, slot, made.instrument(span));
    }

    /// Begins a delivery of a completion webhook.
    pub fn deliver(&mut self, caller: Arc<Caller>, delivery: Delivery, slot: Option<Slot>) {
        let running = Running {
            task: delivery.task,
            number: delivery.number,
            kind: CallKind::Delivery,
        };
        let step = webhook::step(delivery.number);
        let trace = child_of(delivery.traceparent.as_deref(), delivery.task, step);
        let span = tracing::info_span!(
            "delivery",
            task = %delivery.task,
            number = delivery.number,
            trace_id = ids(&trace).0,
            span_id = ids(&trace).1,
            parent_id = delivery.traceparent.as_deref().map(|parent| ids(parent).1),
        );
        let made = async move { caller.deliver(delivery).await };
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
        self.running.insert(handle.id(), running);
    }

    /// The next call that ends; `None` when none is being made. Cancellation safe.
    pub async fn ended(&mut self) -> Option<EndedCall> {
        let joined = self.set.join_next_with_id().await?;
        self.take(joined)
    }

    /// A call that has ended already.
    pub fn try_ended(&mut self) -> Option<EndedCall> {
        let joined = self.set.try_join_next_with_id()?;
        self.take(joined)
    }

    /// Gives all calls up. Those that were being made end as lost.
    pub fn abort(&mut self) {
        self.set.abort_all();
    }

    /// The partition is being given up: until when calls may go on.
    pub fn drain(&mut self, limit: Duration) -> Instant {
        *self
            .drain_until
            .get_or_insert_with(|| Instant::now() + limit)
    }

    /// The partition is not given up after all.
    pub fn stay(&mut self) {
        self.drain_until = None;
    }

    /// Cuts all calls short because the worker was told to stop. What has not ended by itself meanwhile ends without an outcome.
    pub fn release(&mut self) {
        self.released = true;
        self.set.abort_all();
    }

    fn take(&mut self, joined: Result<(Id, Outcome), tokio::task::JoinError>) -> Option<EndedCall> {
        let (id, outcome) = match joined {
            Ok((id, outcome)) => (id, Some(outcome)),
            Err(error) if error.is_cancelled() && self.released => (error.id(), None),
            Err(error) => {
                if error.is_panic() {
                    tracing::error!("a call panicked");
                }
                (error.id(), Some(Outcome::Failed(lost())))
            }
        };
        let running = self.running.remove(&id)?;
        Some(EndedCall { running, outcome })
    }
}

impl Caller {
    async fn attempt(&self, call: Call) -> Outcome {
        let task = match self.created(call.created).await {
            Ok(task) => task,
            Err(failure) => return Outcome::Failed(failure),
        };
        let prepared = match self.prepared(&task).await {
            Ok(prepared) => prepared,
            Err(failure) => {
                tracing::debug!(%failure, "nothing is sent");
                return Outcome::Failed(failure.into());
            }
        };
        self.signer.ready().await;
        let now = self.clock.now();
        let traceparent = call.traceparent.as_deref();
        match attempt::request(
            &task,
            prepared,
            call.attempt,
            call.limit,
            traceparent,
            &self.signer,
            now,
        ) {
            Ok(request) => self.call(request).await,
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

    async fn deliver(&self, delivery: Delivery) -> Outcome {
        let events = async {
            let task = self.created(delivery.created).await?;
            let ended = self.event(delivery.ended).await?;
            let ended = TaskEvent::from(ended.into_end().ok_or_else(gone)?);
            Ok::<_, Failure>((task, ended))
        };
        let (task, ended) = match events.await {
            Ok(events) => events,
            Err(failure) => return Outcome::Failed(failure),
        };
        self.signer.ready().await;
        let now = self.clock.now();
        let traceparent = delivery.traceparent.as_deref();
        match webhook::request(
            &task,
            ended,
            delivery.retries,
            delivery.number,
            traceparent,
            &self.signer,
            now,
        ) {
            Ok(request) => self.call(request).await,
            Err(failure) => Outcome::Failed(failure),
        }
    }

    async fn call(&self, request: Request) -> Outcome {
        let carried = request.carried.clone();
        let outcome = self.target.call(request).await;
        // Before anybody sees it, this log included.
        let outcome = match carried {
            Some(carried) => carried.scrub(outcome),
            None => outcome,
        };
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
        self.event(seq).await?.into_request().ok_or_else(gone)
    }

    /// An event by its sequence. Waits while the log is away: whatever comes of the call could not be recorded anyway.
    async fn event(&self, seq: StreamSeq) -> Result<TaskEvent, Failure> {
        if let Some(payload) = self.payloads.get(seq)
            && let Some(event) = decode_any(&payload)
        {
            return Ok(event);
        }
        loop {
            match self.log.read(Stream::Tasks, seq).await {
                Ok(Some(record)) => {
                    return TaskEvent::decode(&record.event, &record.payload).map_err(|error| {
                        tracing::error!(%seq, %error, "an event of a task cannot be read");
                        gone()
                    });
                }
                Ok(None) => return Err(gone()),
                Err(error) => {
                    tracing::warn!(%seq, %error, "cannot read an event back yet");
                    tokio::time::sleep(READ_PAUSE).await;
                }
            }
        }
    }
}

/// Only `task.created` is kept in the cache.
fn decode_any(payload: &[u8]) -> Option<TaskEvent> {
    TaskEvent::decode("task.created.v1", payload).ok()
}

/// Trace and span of a `traceparent`.
fn ids(traceparent: &str) -> (&str, &str) {
    let id = |range| traceparent.get(range).unwrap_or_default();
    (id(3..35), id(36..52))
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
