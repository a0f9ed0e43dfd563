//! A tail whose records are judged before they are handed on.

use async_trait::async_trait;
use waybill_domain::trust::Seen;

use super::super::tail::JetStreamTail;
use super::Verifier;
use crate::{ReadError, Record, Tail};

/// Judges what a tail reads, in its order.
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

/// A tail and its judge.
pub(in crate::jetstream) struct VerifiedTail<J> {
    tail: JetStreamTail,
    judge: J,
    stream: &'static str,
    /// Read and not judged yet: a call that is dropped meanwhile loses none of them.
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
        // Counted here, where each record comes by once: commands read the same history again and again.
        let void = self.read.iter().filter(|record| record.void().is_some());
        let void = u64::try_from(void.count()).unwrap_or(u64::MAX);
        metrics::counter!("waybill_log_void_records_total", "stream" => self.stream)
            .increment(void);
        Ok(std::mem::take(&mut self.read))
    }
}
