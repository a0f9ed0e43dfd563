//! A tail that checks the signatures of its records before it returns them.

use async_trait::async_trait;
use waybill_domain::trust::Seen;

use super::super::tail::JetStreamTail;
use super::Verifier;
use crate::{ReadError, Record, Tail};

/// Checks the records of a tail, in order.
#[async_trait]
pub(in crate::jetstream) trait Judge: Send {
    async fn judge(&mut self, records: &mut [Record]) -> Result<(), ReadError>;
}

pub(in crate::jetstream) struct ControlVerifier {
    verifier: Verifier,
    seen: Seen,
}

impl ControlVerifier {
    pub(in crate::jetstream) fn new(verifier: Verifier, seen: Seen) -> Self {
        Self { verifier, seen }
    }
}

#[async_trait]
impl Judge for ControlVerifier {
    async fn judge(&mut self, records: &mut [Record]) -> Result<(), ReadError> {
        self.verifier.judge(records, &mut self.seen).await
    }
}

/// A tail with a check of its records.
pub(in crate::jetstream) struct VerifiedTail<J> {
    tail: JetStreamTail,
    judge: J,
    stream: &'static str,
    /// Records that are read but not yet checked. They survive a call that is dropped meanwhile.
    read: Vec<Record>,
}

impl<J: Judge> VerifiedTail<J> {
    pub(in crate::jetstream) fn new(stream: &'static str, tail: JetStreamTail, judge: J) -> Self {
        Self {
            tail,
            judge,
            stream,
            read: Vec::new(),
        }
    }
}

#[async_trait]
impl<J: Judge> Tail for VerifiedTail<J> {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        if self.read.is_empty() {
            self.read = self.tail.next_batch(max).await?;
        }
        self.judge.judge(&mut self.read).await?;
        // Counted here because each record passes here only once, while commands read the same
        // history repeatedly.
        let void = self.read.iter().filter(|record| record.void().is_some());
        let void = u64::try_from(void.count()).unwrap_or(u64::MAX);
        metrics::counter!("waybill_log_void_records_total", "stream" => self.stream)
            .increment(void);
        Ok(std::mem::take(&mut self.read))
    }
}
