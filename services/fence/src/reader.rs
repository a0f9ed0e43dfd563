//! Reads FENCE in a task of its own and passes the records on, so that other events never interrupt
//! the reading.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use waybill_domain::access::fence::FenceRecord;
use waybill_log::fence::{NoFenceRecord, fence_record};
use waybill_log::subject::FenceSubject;
use waybill_log::{Fences, Record, StreamSeq};

/// Limit of records in one batch.
const MAX_BATCH: usize = 500;
/// Bound of the channel: batches that are read ahead.
const READ_AHEAD: usize = 4;
/// Pause after the log did not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A position of FENCE that was read.
#[derive(Debug)]
pub(crate) struct FenceUpdate {
    pub(crate) seq: StreamSeq,
    pub(crate) content: Content,
}

/// The record at a position of FENCE.
#[derive(Debug)]
pub(crate) enum Content {
    Record(FenceRecord),
    /// A record that this version cannot decode, so it is unknown what it requires.
    Unknown,
    /// The same, on a subject of workers: it requires nothing, but a worker may hold a lease by it.
    UnknownOfWorker,
    /// Not validly signed: it requires nothing, and nobody holds a lease by it.
    Void,
}

/// Reads FENCE from a given position on. Dropping it stops the reading task.
#[derive(Debug)]
pub(crate) struct Reader {
    updates: mpsc::Receiver<Vec<FenceUpdate>>,
    _task: AbortOnDropHandle<()>,
}

impl Reader {
    /// Starts reading at `from`, inclusive.
    pub(crate) fn start(fences: &Arc<dyn Fences>, from: StreamSeq) -> Self {
        let (sender, updates) = mpsc::channel(READ_AHEAD);
        let task = tokio::spawn(read(Arc::clone(fences), from, sender));
        Self {
            updates,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Waits for records; `None` if the reading task has died. Cancellation safe.
    pub(crate) async fn next(&mut self) -> Option<Vec<FenceUpdate>> {
        self.updates.recv().await
    }
}

async fn read(fences: Arc<dyn Fences>, from: StreamSeq, sender: mpsc::Sender<Vec<FenceUpdate>>) {
    let mut tail = fences.records(from);
    loop {
        match tail.next_batch(MAX_BATCH).await {
            Ok(records) => {
                let updates = records.iter().map(read_update).collect();
                // The fence has ended, and nobody receives any more.
                if sender.send(updates).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "FENCE cannot be read; leases run out unless this succeeds soon");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

fn read_update(record: &Record) -> FenceUpdate {
    let read = fence_record(record);
    if let Err(error) = &read {
        tracing::error!(%error, seq = %record.seq, "a record of FENCE cannot be used; if it may require something, this process starts a new lease");
    }
    FenceUpdate {
        seq: record.seq,
        content: match read {
            Ok(read) => Content::Record(read),
            Err(NoFenceRecord::Void(_)) => Content::Void,
            Err(_) if FenceSubject::is_of_workers(&record.subject) => Content::UnknownOfWorker,
            Err(_) => Content::Unknown,
        },
    }
}
