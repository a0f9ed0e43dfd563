//! How far a projector is: told by its run loop, waited for by queries and by whoever asks whether it is ready.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};
use waybill_log::StreamSeq;

use crate::query::Position;

/// A projector at one moment.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// What it has read.
    pub applied: Position,
    /// Last sequences of the streams, as of the last look at them.
    pub last: Position,
    /// Everything that the log held at that time has been read.
    pub caught_up_at: Option<Instant>,
    /// First sequence of TASKS that it still holds.
    pub floor: StreamSeq,
    /// Records of both logs that do not count here.
    pub quarantined: u64,
    /// Why it has stopped for good.
    pub fault: Option<String>,
}

impl Status {
    /// Has, within that time, read everything that the log then held.
    #[must_use]
    pub fn is_fresh(&self, within: Duration) -> bool {
        self.fault.is_none() && self.caught_up_at.is_some_and(|at| at.elapsed() <= within)
    }

    /// Records that it has yet to read, of both streams.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.last
            .tasks
            .0
            .saturating_sub(self.applied.tasks.0)
            .saturating_add(self.last.control.0.saturating_sub(self.applied.control.0))
    }
}

/// The progress of one projector. Clones share it.
#[derive(Clone)]
pub(crate) struct Progress {
    status: watch::Sender<Status>,
    /// A query waits for what has not been applied: the run loop stops gathering.
    wanted: Arc<Notify>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            status: watch::Sender::new(Status::default()),
            wanted: Arc::new(Notify::new()),
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(change);
    }

    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Waits until everything up to there is applied; `false` when it is not by then.
    pub(crate) async fn reach(&self, position: Position, by: Instant) -> bool {
        let mut status = self.status.subscribe();
        if status.borrow_and_update().applied.covers(position) {
            return true;
        }
        loop {
            // Again after each step, as the loop may have begun to gather anew.
            self.wanted.notify_one();
            match timeout_at(by, status.changed()).await {
                Ok(Ok(())) if status.borrow_and_update().applied.covers(position) => return true,
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return false,
            }
        }
    }
}
