//! The task that runs a fence: it determines where FENCE stands, runs from there, and ends the
//! lease however it ends. When the log turns out to be another one, it begins as at a start, after
//! the copy of CONTROL was compared with that log.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use waybill_domain::access::fence::FenceTiming;
use waybill_log::StreamSeq;

use crate::barriers::{Barriers, Call};
use crate::running::Running;
use crate::sending::{self, Sender};
use crate::{CopyCheck, Fence, FenceParts};

/// Pause before retrying something that must succeed.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Runs one fence.
pub struct FenceTask {
    pub(crate) fence: Arc<Fence>,
    pub(crate) timing: FenceTiming,
    pub(crate) sender: Sender,
    pub(crate) control: watch::Receiver<StreamSeq>,
    copy: Arc<CopyCheck>,
    pub(crate) calls: mpsc::Receiver<Call>,
    pub(crate) barriers: Barriers,
}

impl FenceTask {
    pub(crate) fn new(fence: Arc<Fence>, parts: FenceParts, calls: mpsc::Receiver<Call>) -> Self {
        Self {
            sender: Sender {
                holder: fence.holder_id(),
                fences: parts.fences,
                log: parts.log,
                nats: parts.nats,
                within: parts.timing.renewal,
            },
            fence,
            control: parts.control,
            copy: parts.copy,
            calls,
            barriers: Barriers::default(),
            timing: parts.timing,
        }
    }

    /// Runs until stopped, and releases the lease. However it ends, nothing is decided here
    /// afterwards.
    pub async fn run(mut self, stop: CancellationToken) {
        let fence = Arc::clone(&self.fence);
        let _guard = Leased(&fence);
        loop {
            // If it is stopped before it has begun, there is no lease to release; `Running::run`
            // handles its own stop.
            let running = tokio::select! {
                () = stop.cancelled() => return,
                running = self.begin() => running,
            };
            let Some(task) = running.run(stop.clone()).await else {
                return;
            };
            self = task;
            // Dropping the wait loses nothing: no lease is held at that time, and the comparison is
            // not this task's.
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.begin_anew() => {}
            }
        }
    }

    /// Waits until the copy of CONTROL was compared with the current log. In the meantime callers
    /// are refused at once, instead of running into their time limit.
    async fn begin_anew(&mut self) {
        self.barriers = Barriers::default();
        // Dropping a call answers its caller with an error.
        let refuse = async { while self.calls.recv().await.is_some() {} };
        // A call that arrives together with the comparison waits in the queue for the next run.
        tokio::select! {
            () = self.copy.compared() => {}
            // No fence is left that could call; then nobody waits for this task either.
            () = refuse => {}
        }
        self.fence.begin_another_run();
        self.sender.holder = self.fence.holder_id();
        tracing::warn!(
            "the copy of CONTROL was compared with the current log; acquiring a new lease"
        );
    }

    /// Reads the bounds of both streams, until that succeeds.
    async fn begin(self) -> Running {
        loop {
            let subscribed = self
                .sender
                .nats
                .subscribe(sending::acknowledgements())
                .await;
            match (self.sender.look().await, subscribed) {
                (Ok((fence, control)), Ok(acknowledgements)) => {
                    return Running::new(self, &fence, &control, acknowledgements);
                }
                (Err(error), _) => {
                    tracing::warn!(%error, "the log cannot be read, so no lease can be taken; retrying");
                }
                (_, Err(error)) => {
                    tracing::warn!(%error, "the subscription to acknowledgements failed, so no lease can be taken; retrying");
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

/// Ends the lease when the task ends in any way, including a panic.
struct Leased<'a>(&'a Fence);

impl Drop for Leased<'_> {
    fn drop(&mut self) {
        self.0.set_until(None);
    }
}
