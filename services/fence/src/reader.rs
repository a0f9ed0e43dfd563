//! Reads FENCE and hands on what comes, in a task of its own: so the reading is never broken off for something else that happens.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use waybill_domain::access::fence::FenceRecord;
use waybill_log::fence::{NoFenceRecord, fence_record};
use waybill_log::subject::FenceSubject;
use waybill_log::{Fences, Record, StreamSeq};

/// Records handed on at a time.
const MAX_BATCH: usize = 500;
/// Batches read ahead.
const READ_AHEAD: usize = 4;
/// Pause after the log did not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A record of FENCE that came.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) seq: StreamSeq,
    pub(crate) what: What,
}

/// What a record says.
#[derive(Debug)]
pub(crate) enum What {
    Record(FenceRecord),
    /// Nothing that can be read here, so what it asks for is unknown.
    Unknown,
    /// The same, where only workers write: it asks for nothing, but somebody may hold a lease on it.
    UnknownOfWorker,
    /// Not signed by whoever may say it: it asks for nothing, and nobody holds a lease on it.
    Void,
}

/// FENCE from some place on. Dropping it ends the reading.
#[derive(Debug)]
pub(crate) struct Reader {
    came: mpsc::Receiver<Vec<Came>>,
    _task: AbortOnDropHandle<()>,
}

impl Reader {
    /// Reads from `from` (inclusive).
    pub(crate) fn start(fences: &Arc<dyn Fences>, from: StreamSeq) -> Self {
        let (sender, came) = mpsc::channel(READ_AHEAD);
        let task = tokio::spawn(read(Arc::clone(fences), from, sender));
        Self {
            came,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Waits for records. `None`: the reading has died. Cancellation safe.
    pub(crate) async fn next(&mut self) -> Option<Vec<Came>> {
        self.came.recv().await
    }
}

async fn read(fences: Arc<dyn Fences>, from: StreamSeq, sender: mpsc::Sender<Vec<Came>>) {
    let mut tail = fences.records(from);
    loop {
        match tail.next_batch(MAX_BATCH).await {
            Ok(records) => {
                let came = records.iter().map(came).collect();
                if sender.send(came).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "FENCE cannot be read");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

fn came(record: &Record) -> Came {
    let read = fence_record(record);
    if let Err(error) = &read {
        tracing::error!(%error, seq = %record.seq, "a record of FENCE says nothing here");
    }
    Came {
        seq: record.seq,
        what: match read {
            Ok(read) => What::Record(read),
            Err(NoFenceRecord::Void(_)) => What::Void,
            Err(_) if FenceSubject::is_of_workers(&record.subject) => What::UnknownOfWorker,
            Err(_) => What::Unknown,
        },
    }
}
