//! The in-memory log behind a mutex, with waiting readers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use waybill_domain::time::Timestamp;

use super::core::{Clock, MemoryCore};
use crate::frame::{MAX_EVENTS, take_whole};
use crate::{
    Append, AppendError, Appended, Bounds, Lease, LeaseError, Leases, Log, ReadError, Record,
    Snapshots, Stream, StreamSeq, Tail,
};

/// The default of the JetStream log with one replica.
const LEASE_TTL: Duration = Duration::from_secs(6);

/// The in-memory log. Clones share it.
#[derive(Clone)]
pub struct MemoryLog {
    shared: Arc<Shared>,
}

struct Shared {
    /// Locked for one synchronous step at a time, never across an await.
    core: Mutex<MemoryCore>,
    appended: Notify,
}

impl MemoryLog {
    /// An empty log that reads the given clock.
    #[must_use]
    pub fn new(clock: Clock, lease_ttl: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                core: Mutex::new(MemoryCore::new(clock, lease_ttl)),
                appended: Notify::new(),
            }),
        }
    }

    /// The synchronous core, for tests that inspect or change it (for example by
    /// [`MemoryCore::drop_first`]).
    pub fn core(&self) -> MutexGuard<'_, MemoryCore> {
        self.shared.core()
    }
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new(Arc::new(system_time), LEASE_TTL)
    }
}

pub(super) fn system_time() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl Shared {
    fn core(&self) -> MutexGuard<'_, MemoryCore> {
        self.core.lock()
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let appended = self.core().append(append)?;
        self.shared.appended.notify_waiters();
        Ok(appended)
    }

    fn tail(&self, stream: Stream, filters: Vec<String>, from: StreamSeq) -> Box<dyn Tail> {
        Box::new(MemoryTail {
            shared: Arc::clone(&self.shared),
            stream,
            filters,
            next: from,
        })
    }

    async fn read(&self, stream: Stream, seq: StreamSeq) -> Result<Option<Record>, ReadError> {
        Ok(self.core().read(stream, seq).cloned())
    }

    async fn read_message(&self, stream: Stream, seq: StreamSeq) -> Result<Vec<Record>, ReadError> {
        Ok(self.core().read_message(stream, seq).to_vec())
    }

    async fn range(
        &self,
        stream: Stream,
        filters: &[String],
        from: StreamSeq,
        to: StreamSeq,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let core = self.core();
        if let Some(gap) = core.gap(stream, from).filter(|_| from <= to) {
            return Err(gap);
        }
        Ok(core
            .range(stream, filters, from, to)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn last(&self, stream: Stream, filter: &str) -> Result<Option<Record>, ReadError> {
        Ok(self.core().last(stream, filter).cloned())
    }

    async fn bounds(&self, stream: Stream) -> Result<Bounds, ReadError> {
        Ok(self.core().bounds(stream))
    }

    async fn purge_tasks(&self, first: StreamSeq) -> Result<u64, ReadError> {
        Ok(self.core().purge(Stream::Tasks, first))
    }
}

struct MemoryTail {
    shared: Arc<Shared>,
    stream: Stream,
    filters: Vec<String>,
    next: StreamSeq,
}

#[async_trait]
impl Tail for MemoryTail {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        loop {
            // Register before reading, so that an append between the read and the wait is not
            // missed.
            let appended = self.shared.appended.notified();
            tokio::pin!(appended);
            appended.as_mut().enable();
            let (batch, last) = {
                let core = self.shared.core();
                let first = core.bounds(self.stream).first;
                if let Some(gap) = core.gap(self.stream, self.next) {
                    self.next = first;
                    return Err(gap);
                }
                let bounds = core.bounds(self.stream);
                // No more than what may be taken: what was asked for, and the rest of a frame.
                let enough = max.max(1).saturating_add(MAX_EVENTS);
                let mut ready = core
                    .range(self.stream, &self.filters, self.next, StreamSeq(u64::MAX))
                    .take(enough)
                    .cloned()
                    .collect();
                (take_whole(&mut ready, max, bounds.positions), bounds.last)
            };
            if let Some(record) = batch.last() {
                self.next = record.seq.next();
                return Ok(batch);
            }
            self.next = self.next.max(last.next());
            appended.await;
        }
    }
}

#[async_trait]
impl Leases for MemoryLog {
    fn ttl(&self) -> Duration {
        self.core().lease_ttl()
    }

    async fn acquire(&self, name: &str, holder: &str) -> Result<Lease, LeaseError> {
        self.core().acquire(name, holder)
    }

    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.core().renew(lease)
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.core().release(lease)
    }

    async fn holders(&self) -> Result<Vec<(String, String)>, LeaseError> {
        Ok(self.core().holders())
    }
}

#[async_trait]
impl Snapshots for MemoryLog {
    async fn put(&self, name: &str, value: Bytes) -> Result<(), ReadError> {
        self.core().put_snapshot(name, value);
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, ReadError> {
        Ok(self.core().snapshot(name))
    }
}
