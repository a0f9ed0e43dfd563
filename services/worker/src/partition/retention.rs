//! How a partition makes old records removable: it restates open tasks, and moves its low-water
//! mark.
//!
//! All of it is background work, a few tasks at a time. A mark that could be stored once stays
//! valid, since everything later is behind it. It is stored in a new fence record under the current
//! fence, and that record becomes the fence.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use metrics::counter;
use tokio::sync::watch;
use tokio::time::Instant;
use waybill_domain::dispatcher::Restatable;
use waybill_domain::event::{TaskCreated, TaskEnd, TaskEvent};
use waybill_log::subject::TaskFilter;
use waybill_log::{
    AppendError, Appended, Log, ReadError, Stream, StreamSeq, TaskRecord, task_record,
};

use super::{Exit, Serving};
use crate::retention::Horizon;
use crate::takeover;

/// Limit of tasks restated at a time: their requests are held in memory until they are stored.
const MAX_RESTATED: usize = 16;
/// Pause after nothing could be done yet, for example because all restatable tasks have pending
/// decisions.
const PAUSE: Duration = Duration::from_millis(200);

/// What a restatement carries, as read from the log.
type Request = (TaskCreated, Option<TaskEnd>);

/// Result of a read for this work.
pub(super) enum Found {
    /// Requests of tasks; `None` if the log no longer has one.
    Requests(Vec<(Restatable, Option<Request>)>),
    /// The last creation in the log, looked up after the end of the log.
    LastCreated {
        last: StreamSeq,
        end: StreamSeq,
    },
    Failed(ReadError),
}

/// The low-water mark of a served partition.
pub(super) struct LowWater {
    horizon: watch::Receiver<Horizon>,
    /// The mark stored with the fence.
    mark: StreamSeq,
    pub(super) reading: Option<BoxFuture<'static, Found>>,
    /// The mark to store when no other append is in flight.
    wanted: Option<StreamSeq>,
    /// The mark that is being stored.
    marking: Option<StreamSeq>,
    again_at: Instant,
}

impl LowWater {
    pub(super) fn new(horizon: watch::Receiver<Horizon>, mark: Option<StreamSeq>) -> Self {
        Self {
            horizon,
            mark: mark.unwrap_or_default(),
            reading: None,
            wanted: None,
            marking: None,
            again_at: Instant::now(),
        }
    }

    /// Waits until the horizon has moved; pending for ever once its sender is gone.
    pub(super) async fn moved(horizon: &mut watch::Receiver<Horizon>) {
        if horizon.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn horizon(&self) -> watch::Receiver<Horizon> {
        self.horizon.clone()
    }

    /// The mark stored with the fence; `None` if there is none yet.
    pub(super) fn stored(&self) -> Option<StreamSeq> {
        (self.mark > StreamSeq(0)).then_some(self.mark)
    }

    /// When this work continues by itself; `None` if it waits for the horizon.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let is_behind = self.mark < self.horizon.borrow().from;
        let waits = self.reading.is_none() && self.wanted.is_none() && self.marking.is_none();
        (is_behind && waits).then_some(self.again_at)
    }

    /// Whether a reader that meets this gap still knows everything about the partition: no record
    /// behind the mark is ever purged.
    pub(super) fn allows(&self, first: StreamSeq) -> bool {
        first <= self.mark.max(StreamSeq(1))
    }
}

impl Serving<'_> {
    /// Continues with restating tasks, or moves the mark, if the horizon has passed it.
    pub(super) fn make_room(&mut self) {
        let horizon = *self.low.horizon.borrow();
        let is_busy = self.low.reading.is_some()
            || self.low.wanted.is_some()
            || self.low.marking.is_some()
            || self.dispatcher.is_restating();
        if is_busy || horizon.from <= self.low.mark || Instant::now() < self.low.again_at {
            return;
        }
        self.low.again_at = Instant::now() + PAUSE;
        let log = Arc::clone(&self.parts.executor.log);
        let old = self.dispatcher.restatable(horizon.from, MAX_RESTATED);
        self.low.reading = Some(if old.is_empty() {
            let filter = TaskFilter::created(self.parts.partition).to_string();
            last_created(log, filter, horizon.last).boxed()
        } else {
            let known = old.into_iter().map(|of| {
                let payload = self.parts.executor.payloads.get(of.stored);
                (of, payload)
            });
            requests(log, known.collect()).boxed()
        });
    }

    /// Handles what was read.
    pub(super) fn found(&mut self, found: Found) {
        match found {
            Found::Requests(requests) => {
                let now = self.parts.executor.clock.times();
                for (of, request) in requests {
                    let Some((created, end)) = request else {
                        // Only age-based retention, from before marks existed, can have removed it.
                        tracing::error!(task = %of.task, seq = %of.stored, "the request of an open task is no longer in the log, so no call can be made for it; the task fails");
                        self.dispatcher.request_lost(of.task, now);
                        continue;
                    };
                    if self.dispatcher.restate(of, created, end, now) {
                        counter!("waybill_tasks_restated_total").increment(1);
                        self.low.again_at = Instant::now();
                    }
                }
            }
            Found::LastCreated { last, end } => {
                let position = self.dispatcher.position();
                // Either all creations up to the looked-up end are read, or only those up to our
                // position.
                let read = if last <= position {
                    position.max(end)
                } else {
                    position
                };
                let mark = match self.dispatcher.oldest_needed() {
                    Some(needed) => needed.min(read.next()),
                    None => read.next(),
                };
                if mark > self.low.mark {
                    self.low.wanted = Some(mark);
                }
            }
            Found::Failed(error) => {
                tracing::warn!(partition = %self.parts.partition, %error, "reading a task that must be restated failed; retrying");
            }
        }
    }

    /// Appends the wanted mark. False if there is none, or if another append is in flight.
    pub(super) fn append_mark(&mut self) -> bool {
        let Some(mark) = self.low.wanted.take() else {
            return false;
        };
        self.low.marking = Some(mark);
        let (partition, fence) = (self.parts.partition, self.fence);
        let executor = &self.parts.executor;
        let worker = &self.parts.worker;
        let append = takeover::owned(partition, worker, executor.clock.now(), Some(mark), fence);
        let log = Arc::clone(&executor.log);
        self.appending = Some(async move { log.append(append).await }.boxed());
        true
    }

    /// Handles the result of an append, if it was one of a mark.
    pub(super) fn marked(
        &mut self,
        result: Result<Appended, AppendError>,
    ) -> Result<Option<Exit>, Result<Appended, AppendError>> {
        let Some(mark) = self.low.marking.take() else {
            return Err(result);
        };
        match result {
            Ok(appended) => {
                self.append_failures = 0;
                if let Some(&fence) = appended.seqs.first() {
                    self.fence = fence;
                    self.dispatcher.let_through(fence);
                    self.low.mark = mark;
                }
                Ok(None)
            }
            Err(AppendError::Conflict { .. }) => {
                tracing::warn!(partition = %self.parts.partition, "another worker owns the partition now; this one stops serving it");
                Ok(Some(Exit::Fenced))
            }
            Err(AppendError::Unknown { reason }) => Ok(Some(Exit::Uncertain(reason))),
            Err(error) => {
                self.low.again_at = Instant::now() + PAUSE * 5;
                tracing::warn!(partition = %self.parts.partition, %error, "storing the low-water mark failed; retrying");
                Ok(None)
            }
        }
    }
}

async fn last_created(log: Arc<dyn Log>, filter: String, end: StreamSeq) -> Found {
    match log.last(Stream::Tasks, &filter).await {
        Ok(record) => Found::LastCreated {
            last: record.map_or(StreamSeq(0), |record| record.seq),
            end,
        },
        Err(error) => Found::Failed(error),
    }
}

async fn requests(log: Arc<dyn Log>, of: Vec<(Restatable, Option<Bytes>)>) -> Found {
    let mut found = Vec::with_capacity(of.len());
    for (of, known) in of {
        match request(log.as_ref(), of, known).await {
            Ok(request) => found.push((of, request)),
            Err(error) => return Found::Failed(error),
        }
    }
    Found::Requests(found)
}

async fn request(
    log: &dyn Log,
    of: Restatable,
    known: Option<Bytes>,
) -> Result<Option<Request>, ReadError> {
    let known = known.and_then(|payload| TaskEvent::decode("task.created.v1", &payload).ok());
    let stored = match known {
        Some(event) => Some(event),
        None => event(log, of.stored).await?,
    };
    let Some(created) = stored.and_then(TaskEvent::into_request) else {
        return Ok(None);
    };
    let Some(ended) = of.ended else {
        return Ok(Some((created, None)));
    };
    let end = event(log, ended).await?.and_then(TaskEvent::into_end);
    Ok(end.map(|end| (created, Some(end))))
}

async fn event(log: &dyn Log, seq: StreamSeq) -> Result<Option<TaskEvent>, ReadError> {
    let Some(record) = log.read(Stream::Tasks, seq).await? else {
        return Ok(None);
    };
    match task_record(&record) {
        Ok(TaskRecord::Event(event)) => Ok(Some(event)),
        // A record that does not count is treated as purged.
        Ok(TaskRecord::Owned(..)) | Err(_) => Ok(None),
    }
}
