//! A purge during a takeover.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use waybill_domain::id::TaskId;
use waybill_log::memory::MemoryLog;
use waybill_log::{
    Append, AppendError, Appended, Bounds, Log, ReadError, Record, Stream, StreamSeq, Tail,
};
use waybill_worker::SystemClock;
use waybill_worker::payloads::Payloads;
use waybill_worker::takeover::{TakeOverError, Taken, take_over};

use crate::fork::{create, log_of_a_day, partition};

/// A log whose oldest records are purged once a reader has read the first one. As on a server, a
/// reader with a filter skips what was purged and notices nothing.
struct PurgedUnderTheReader {
    log: MemoryLog,
    drops: usize,
    is_due: AtomicBool,
}

struct Unaware {
    log: MemoryLog,
    filters: Vec<String>,
    next: StreamSeq,
    /// Number of records purged after the first batch.
    drops: usize,
}

#[async_trait]
impl Tail for Unaware {
    async fn next_batch(&mut self, _: usize) -> Result<Vec<Record>, ReadError> {
        let first = self.log.core().bounds(Stream::Tasks).first;
        let from = self.next.max(first);
        let mut tail = self.log.tail(Stream::Tasks, self.filters.clone(), from);
        let batch = tail.next_batch(1).await?;
        if let Some(last) = batch.last() {
            self.next = last.seq.next();
        }
        let drops = std::mem::take(&mut self.drops);
        self.log.core().drop_first(Stream::Tasks, drops);
        Ok(batch)
    }
}

#[async_trait]
impl Log for PurgedUnderTheReader {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.log.append(append).await
    }

    fn tail(&self, _: Stream, filters: Vec<String>, from: StreamSeq) -> Box<dyn Tail> {
        let is_due = self.is_due.swap(false, Ordering::SeqCst);
        Box::new(Unaware {
            log: self.log.clone(),
            filters,
            next: from,
            drops: if is_due { self.drops } else { 0 },
        })
    }

    async fn read(&self, stream: Stream, seq: StreamSeq) -> Result<Option<Record>, ReadError> {
        self.log.read(stream, seq).await
    }

    async fn range(
        &self,
        stream: Stream,
        filters: &[String],
        from: StreamSeq,
        to: StreamSeq,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        self.log.range(stream, filters, from, to, limit).await
    }

    async fn last(&self, stream: Stream, filter: &str) -> Result<Option<Record>, ReadError> {
        self.log.last(stream, filter).await
    }

    async fn bounds(&self, stream: Stream) -> Result<Bounds, ReadError> {
        self.log.bounds(stream).await
    }

    async fn purge_tasks(&self, first: StreamSeq) -> Result<u64, ReadError> {
        self.log.purge_tasks(first).await
    }
}

async fn taken(log: &PurgedUnderTheReader) -> Result<Taken, TakeOverError> {
    let payloads = Payloads::new(1_000_000);
    take_over(
        log,
        &log.log,
        &payloads,
        &SystemClock,
        "a",
        partition(),
        None,
    )
    .await
}

#[tokio::test]
async fn what_a_purge_took_while_it_was_read_is_read_anew_and_nothing_half_is_kept() {
    let inner = log_of_a_day();
    let tasks: Vec<TaskId> = vec![
        create(&inner, 1).await,
        create(&inner, 2).await,
        create(&inner, 3).await,
    ];
    let log = PurgedUnderTheReader {
        log: inner,
        drops: 2,
        is_due: AtomicBool::new(true),
    };
    // The first task was read; the second one was purged before it was.
    let gap = taken(&log).await.err().expect("no state of half a log");
    assert!(
        matches!(
            gap,
            TakeOverError::Read(ReadError::Gap {
                from: StreamSeq(1),
                first: StreamSeq(3),
                ..
            })
        ),
        "{gap}"
    );
    let dispatcher = taken(&log).await.expect("taken over").dispatcher;
    let open = tasks.iter().map(|task| dispatcher.is_open(*task));
    assert_eq!(open.collect::<Vec<_>>(), [false, false, true]);
}
