//! Progress of a projector: published by its main loop, awaited by queries, and used for readiness.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};
use waybill_log::StreamSeq;

use crate::query::Position;

/// State of a projector at one moment.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// How far it has read.
    pub applied: Position,
    /// Last sequences of the streams at the last look.
    pub last: Position,
    /// The latest time such that everything in the log by then has been read.
    pub caught_up_at: Option<Instant>,
    /// First sequence of TASKS that the model still has.
    pub floor: StreamSeq,
    /// Number of quarantined records in both logs.
    pub quarantined: u64,
    /// Why it has stopped for good.
    pub fault: Option<String>,
}

impl Status {
    /// Whether, within that time, it has read everything that the log had.
    #[must_use]
    pub fn is_fresh(&self, within: Duration) -> bool {
        self.fault.is_none() && self.caught_up_at.is_some_and(|at| at.elapsed() <= within)
    }
}

/// The progress of one projector. Clones share it.
#[derive(Clone)]
pub(crate) struct Progress {
    status: watch::Sender<Status>,
    /// Notified when a query waits for events, so that the main loop stops gathering.
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

    /// Waits until everything up to `position` is applied; `false` if it is not by then.
    pub(crate) async fn reach(&self, position: Position, by: Instant) -> bool {
        let mut status = self.status.subscribe();
        if status.borrow_and_update().applied.covers(position) {
            return true;
        }
        loop {
            // Notified again after each step, since the loop may have started gathering again.
            self.wanted.notify_one();
            match timeout_at(by, status.changed()).await {
                Ok(Ok(())) if status.borrow_and_update().applied.covers(position) => return true,
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return false,
            }
        }
    }
}
