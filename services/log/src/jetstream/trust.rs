//! Checks the signatures of records of CONTROL and FENCE when they are read. The rules are in
//! `waybill_domain::trust`; this module supplies their inputs.
//!
//! Every way of reading CONTROL goes through this check, so no reader can omit it. A record that
//! does not count is still passed on, together with the reason, since its position counts;
//! [`crate::control_event`] refuses it. The positions of genuine records are remembered, since the
//! log is append-only and commands read the same history repeatedly.

pub(super) mod establish;
pub(super) mod fence;
pub(super) mod tail;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::try_join_all;
use parking_lot::{Mutex, MutexGuard};
use waybill_domain::audit::Stored;
use waybill_domain::trust::{Genuine, Place, Seen, Trust, Void, verify};

use super::read::Reader;
use crate::{ReadError, Record, StreamSeq};

/// Up to this many signatures are checked on the calling task, since each takes some ten
/// microseconds.
const CHECKED_INLINE: usize = 8;
/// Positions in one page of [`Genuines`]; a page takes 4 KiB.
const PAGE: u64 = 32_768;
const BITS: u64 = 64;

/// Checks records of CONTROL. Clones share the remembered positions.
#[derive(Clone)]
pub(super) struct Verifier {
    trust: Arc<Trust>,
    reader: Reader,
    genuine: Arc<Mutex<Genuines>>,
}

impl Verifier {
    pub(super) fn new(trust: Arc<Trust>, reader: Reader) -> Self {
        Self {
            trust,
            reader,
            genuine: Arc::default(),
        }
    }

    /// Marks the records that do not count. `seen` is the history that was read before them; the
    /// records must be in order.
    ///
    /// # Errors
    /// If the log does not return the records in between. The call can be repeated.
    pub(super) async fn judge(
        &self,
        records: &mut [Record],
        seen: &mut Seen,
    ) -> Result<(), ReadError> {
        if self.trust.keys.is_empty() {
            return Ok(());
        }
        let judged = self.signatures(records).await?;
        for (record, judged) in records.iter_mut().zip(judged) {
            let place = match judged {
                Ok(Genuine::Anywhere) => Ok(None),
                Ok(Genuine::At(place)) => {
                    if seen.is_free(&place, record.seq) || self.is_free(&place).await? {
                        Ok(Some(place))
                    } else {
                        Err(place.moved())
                    }
                }
                Err(void) => Err(void),
            };
            match place {
                Ok(place) => {
                    self.found().insert(record.seq);
                    seen.read(record.seq, &record.subject, place);
                }
                Err(void) => {
                    seen.read(record.seq, &record.subject, None);
                    mark(record, void);
                }
            }
        }
        Ok(())
    }

    /// Checks the signatures of records that are not yet known as genuine, on as many threads as
    /// there are processors.
    async fn signatures(
        &self,
        records: &[Record],
    ) -> Result<Vec<Result<Genuine, Void>>, ReadError> {
        let unknown: Vec<Stored> = {
            let found = self.found();
            let is_unknown = |record: &&Record| !found.contains(record.seq);
            records
                .iter()
                .filter(is_unknown)
                .map(Record::stored)
                .collect()
        };
        let mut checked = check(&self.trust, unknown).await?.into_iter().peekable();
        let known = Ok(Genuine::Anywhere);
        let judged = records.iter().map(|record| {
            checked
                .next_if(|(seq, _)| *seq == record.seq)
                .map_or_else(|| known.clone(), |(_, judged)| judged)
        });
        Ok(judged.collect())
    }

    /// Reads from the log whether the boundary has no event between an event and the one that it
    /// follows.
    async fn is_free(&self, place: &Place) -> Result<bool, ReadError> {
        let Some((from, to)) = place.must_be_free() else {
            return Ok(true);
        };
        let filters = [place.boundary.clone()];
        let between = self.reader.range(&filters, from, to, 1).await?;
        Ok(between.is_empty())
    }

    fn found(&self) -> MutexGuard<'_, Genuines> {
        // A poisoned lock is usable: no operation on the positions can be left half done.
        self.genuine.lock()
    }
}

type Checked = Vec<(StreamSeq, Result<Genuine, Void>)>;

async fn check(trust: &Arc<Trust>, records: Vec<Stored>) -> Result<Checked, ReadError> {
    let each = |trust: &Trust, records: &[Stored]| -> Checked {
        let judged = records
            .iter()
            .map(|record| (record.seq, verify(trust, record)));
        judged.collect()
    };
    if records.len() <= CHECKED_INLINE {
        return Ok(each(trust, &records));
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = records.len().div_ceil(threads);
    let shares = records.chunks(share).map(|share| {
        let (trust, share) = (Arc::clone(trust), share.to_vec());
        tokio::task::spawn_blocking(move || each(&trust, &share))
    });
    let checked = try_join_all(shares).await;
    let checked = checked.map_err(|error| ReadError::Unavailable {
        reason: format!("signatures were not checked: {error}"),
    })?;
    Ok(checked.into_iter().flatten().collect())
}

fn mark(record: &mut Record, void: Void) {
    if let Some(exact) = &mut record.exact {
        Arc::make_mut(exact).void = Some(void);
    }
}

/// The positions of genuine records, one bit each.
#[derive(Default)]
struct Genuines {
    pages: BTreeMap<u64, Vec<u64>>,
}

impl Genuines {
    fn insert(&mut self, seq: StreamSeq) {
        let (page, word, bit) = Self::place(seq);
        let words = usize::try_from(PAGE / BITS).unwrap_or(0);
        let page = self.pages.entry(page).or_insert_with(|| vec![0; words]);
        if let Some(word) = page.get_mut(word) {
            *word |= bit;
        }
    }

    fn contains(&self, seq: StreamSeq) -> bool {
        let (page, word, bit) = Self::place(seq);
        let word = self.pages.get(&page).and_then(|page| page.get(word));
        word.is_some_and(|word| word & bit != 0)
    }

    fn place(seq: StreamSeq) -> (u64, usize, u64) {
        let word = usize::try_from(seq.0 % PAGE / BITS).unwrap_or(0);
        (seq.0 / PAGE, word, 1 << (seq.0 % BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_remembered_each_by_itself() {
        let mut found = Genuines::default();
        for seq in [1, 64, 32_767, 32_768, 1_000_000] {
            assert!(!found.contains(StreamSeq(seq)));
            found.insert(StreamSeq(seq));
            assert!(found.contains(StreamSeq(seq)));
            assert!(!found.contains(StreamSeq(seq + 2)));
        }
    }
}
