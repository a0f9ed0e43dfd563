//! Checks the signatures of records of FENCE.
//!
//! FENCE keeps records for an hour, and they do not name their predecessors. A replayed copy of a
//! genuine record could make a holder that has stopped look alive, so each record has a number that
//! only grows during the life of its holder.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use waybill_domain::trust::{Message, SIGNATURE, Trust, Void};

use super::mark;
use super::tail::Judge;
use crate::subject::FenceSubject;
use crate::{ReadError, Record};

/// The header with the number of the record, counted by its writer.
pub(in crate::jetstream) const COUNT: &str = "Wb-Count";
/// Limit of the holders whose numbers are remembered. Only genuine records take room.
const MAX_HOLDERS: usize = 10_000;

/// The parts of a record of FENCE that its signature covers.
pub(in crate::jetstream) fn fence_parts<'a>(
    subject: &'a str,
    headers: &'a [(String, String)],
    payload: &'a [u8],
) -> Vec<&'a [u8]> {
    let headers = headers.iter().filter(|(name, _)| name != SIGNATURE);
    let headers = headers.flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    std::iter::once(subject.as_bytes())
        .chain(headers)
        .chain(std::iter::once(payload))
        .collect()
}

pub(in crate::jetstream) struct FenceVerifier {
    trust: Arc<Trust>,
    /// The highest number so far, by subject.
    counts: HashMap<String, u64>,
}

impl FenceVerifier {
    pub(in crate::jetstream) fn new(trust: Arc<Trust>) -> Self {
        Self {
            trust,
            counts: HashMap::new(),
        }
    }

    fn check(&mut self, record: &Record) -> Result<(), Void> {
        let headers = record
            .exact
            .as_ref()
            .map_or(&[][..], |exact| &exact.headers);
        let only = |name| {
            let mut values = headers.iter().filter(|(header, _)| header == name);
            let value = values.next().map(|(_, value)| value.as_str());
            if values.next().is_some() {
                return Err(Void::Malformed(name));
            }
            Ok(value)
        };
        let signature = only(SIGNATURE)?;
        let signed = fence_parts(&record.subject, headers, &record.payload);
        let of_worker = FenceSubject::is_of_workers(&record.subject);
        self.trust
            .check_message(Message::Fence, &signed, signature, of_worker)?;
        if signature.is_none() || !self.trust.is_in_force() {
            return Ok(());
        }
        let count = only(COUNT)?.and_then(|text| text.parse().ok());
        let count: u64 = count.ok_or(Void::Malformed(COUNT))?;
        if self.counts.len() >= MAX_HOLDERS {
            self.counts.clear();
        }
        let last = self.counts.entry(record.subject.clone()).or_default();
        if count <= *last {
            return Err(Void::Repeated);
        }
        *last = count;
        Ok(())
    }
}

#[async_trait]
impl Judge for FenceVerifier {
    async fn judge(&mut self, records: &mut [Record]) -> Result<(), ReadError> {
        for record in records {
            if let Err(void) = self.check(record) {
                mark(record, void);
            }
        }
        Ok(())
    }
}
