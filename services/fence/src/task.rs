//! The task that runs a fence: it looks how far FENCE is, runs from there on, and ends the lease however it ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use waybill_domain::access::fence::FenceTiming;
use waybill_log::StreamSeq;

use crate::barriers::{Barriers, Call};
use crate::running::Running;
use crate::sending::{self, Sender};
use crate::{Fence, FenceParts};

/// Pause after something that must succeed did not.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Runs one fence.
pub struct FenceTask {
    pub(crate) fence: Arc<Fence>,
    pub(crate) timing: FenceTiming,
    pub(crate) sender: Sender,
    pub(crate) control: watch::Receiver<StreamSeq>,
    pub(crate) calls: mpsc::Receiver<Call>,
    pub(crate) barriers: Barriers,
}

impl FenceTask {
    pub(crate) fn new(fence: Arc<Fence>, parts: FenceParts, calls: mpsc::Receiver<Call>) -> Self {
        Self {
            sender: Sender {
                holder: fence.holder.clone(),
                fences: parts.fences,
                log: parts.log,
                nats: parts.nats,
                within: parts.timing.renewal,
            },
            fence,
            control: parts.control,
            calls,
            barriers: Barriers::default(),
            timing: parts.timing,
        }
    }

    /// Runs until stopped, and gives the lease back. However it ends, nothing is decided here afterwards.
    pub async fn run(self, stop: CancellationToken) {
        let fence = Arc::clone(&self.fence);
        let _guard = Leased(&fence);
        tokio::select! {
            () = stop.cancelled() => {}
            running = self.begin() => running.run(stop.clone()).await,
        }
    }

    /// Looks how far FENCE is, until it says so.
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
                (Err(error), _) => tracing::warn!(%error, "the fence cannot begin"),
                (_, Err(error)) => tracing::warn!(%error, "the fence cannot begin"),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

/// Ends the lease when the task ends in any way.
struct Leased<'a>(&'a Fence);

impl Drop for Leased<'_> {
    fn drop(&mut self) {
        self.0.set_until(None);
    }
}
