//! The holders of leases, as far as one reader of FENCE can know.
//!
//! It errs on the side of waiting. A holder counts if its lease record arrived here no longer ago
//! than a lease can last, unless the record releases the lease. Time stamps of the server are not
//! used, because the server's clock may be set. For the same reason FENCE may have deleted a record
//! early: while records are missing, any holder may exist.

use std::collections::BTreeMap;
use std::time::Duration;

use super::record::{FenceRecord, HolderId, LeaseKind};
use super::timing::{FenceTiming, Uptime};
use crate::seq::StreamSeq;

/// Limit of holders that are known only by an acknowledgement, before their first record was read.
/// Messages of a stranger must not fill the memory.
const MAX_HOLDERS: usize = 1_000;

/// Built from the records of FENCE and from acknowledgements.
#[derive(Debug, Clone)]
pub struct Holders {
    horizon: Duration,
    read: StreamSeq,
    /// Until then, a holder may exist whose lease record was never read here.
    blind_until: Option<Uptime>,
    known: BTreeMap<HolderId, Holder>,
}

#[derive(Debug, Clone, Copy)]
struct Holder {
    seen: Uptime,
    applied: StreamSeq,
    released: bool,
}

impl Holders {
    /// No holders are known yet. Reading begins at `first`.
    #[must_use]
    pub fn before(first: StreamSeq, now: Uptime, timing: &FenceTiming) -> Self {
        let horizon = timing.horizon();
        Self {
            horizon,
            read: StreamSeq(first.0.saturating_sub(1)),
            blind_until: (first > StreamSeq(1)).then(|| now.plus(horizon)),
            known: BTreeMap::new(),
        }
    }

    /// Applies a record of FENCE; `None` if this version cannot decode it. `now` must be read after
    /// the record arrived.
    pub fn read(&mut self, seq: StreamSeq, record: Option<&FenceRecord>, now: Uptime) {
        if seq > self.read.next() || record.is_none() {
            self.blind_until = Some(now.plus(self.horizon));
        }
        self.read = self.read.max(seq);
        let Some(FenceRecord::Lease(lease)) = record else {
            return;
        };
        let holder = self.known.entry(lease.holder()).or_insert(Holder {
            seen: now,
            applied: StreamSeq(0),
            released: false,
        });
        holder.seen = holder.seen.max(now);
        holder.applied = holder.applied.max(lease.applied);
        // A renewal that was in flight when the lease was released may be stored after the release.
        holder.released |= lease.released;
    }

    /// Advances past a record that no holder has signed. It has no meaning, but it takes up a
    /// sequence.
    pub fn passed(&mut self, seq: StreamSeq, now: Uptime) {
        if seq > self.read.next() {
            self.blind_until = Some(now.plus(self.horizon));
        }
        self.read = self.read.max(seq);
    }

    /// Applies an acknowledgement: `who` has applied FENCE up to `applied`.
    pub fn acknowledged(&mut self, who: &HolderId, applied: StreamSeq, now: Uptime) {
        if let Some(holder) = self.known.get_mut(who) {
            holder.applied = holder.applied.max(applied);
        } else if self.known.len() < MAX_HOLDERS {
            // Its lease record has not been read yet. Counting it early costs a wait at worst.
            let holder = Holder {
                seen: now,
                applied,
                released: false,
            };
            self.known.insert(who.clone(), holder);
        }
    }

    /// Sequence of the last record of FENCE that was read.
    #[must_use]
    pub fn last_read(&self) -> StreamSeq {
        self.read
    }

    /// Until when an unknown holder may exist; `None` when there cannot be one.
    #[must_use]
    pub fn blind_until(&self, now: Uptime) -> Option<Uptime> {
        self.blind_until.filter(|until| now <= *until)
    }

    /// Whether a holder may still decide without having reached `mark`, and until when at the
    /// latest.
    pub fn behind(
        &self,
        mark: StreamSeq,
        now: Uptime,
    ) -> impl Iterator<Item = (&HolderId, Uptime)> {
        self.known.iter().filter_map(move |(who, holder)| {
            let until = holder.seen.plus(self.horizon);
            let counts = !holder.released && holder.applied < mark && now <= until;
            counts.then_some((who, until))
        })
    }

    /// Number of holders of one kind that may hold a lease.
    #[must_use]
    pub fn count(&self, kind: LeaseKind, now: Uptime) -> usize {
        let holds = |holder: &Holder| !holder.released && now <= holder.seen.plus(self.horizon);
        self.known
            .iter()
            .filter(|(who, holder)| who.kind == kind && holds(holder))
            .count()
    }

    /// Drops holders whose leases have certainly ended.
    pub fn forget(&mut self, now: Uptime) {
        let horizon = self.horizon;
        self.known
            .retain(|_, holder| now <= holder.seen.plus(horizon));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::fence::record::{GatewayId, LeaseRecord};

    fn at(seconds: u64) -> Uptime {
        Uptime(Duration::from_secs(seconds))
    }

    fn a_holder(kind: LeaseKind, id: u64) -> HolderId {
        HolderId::new(kind, GatewayId::new(id))
    }

    fn gateway(id: u64) -> HolderId {
        a_holder(LeaseKind::Gateway, id)
    }

    fn lease(gateway: u64, applied: u64, released: bool) -> FenceRecord {
        lease_of(LeaseKind::Gateway, gateway, applied, released)
    }

    fn lease_of(kind: LeaseKind, id: u64, applied: u64, released: bool) -> FenceRecord {
        FenceRecord::Lease(LeaseRecord {
            gateway: GatewayId::new(id),
            kind,
            applied: StreamSeq(applied),
            control: StreamSeq(0),
            released,
        })
    }

    fn holders() -> Holders {
        Holders::before(StreamSeq(1), at(0), &FenceTiming::default())
    }

    fn count_behind(holders: &Holders, mark: u64, now: u64) -> usize {
        holders.behind(StreamSeq(mark), at(now)).count()
    }

    #[test]
    fn a_renewal_is_no_acknowledgement_but_what_it_says_is() {
        let mut holders = holders();
        holders.read(StreamSeq(1), Some(&lease(1, 0, false)), at(0));
        holders.read(StreamSeq(2), Some(&lease(1, 4, false)), at(1));
        assert_eq!(count_behind(&holders, 5, 1), 1);
        holders.read(StreamSeq(3), Some(&lease(1, 5, false)), at(2));
        assert_eq!(count_behind(&holders, 5, 2), 0);
        holders.acknowledged(&gateway(1), StreamSeq(9), at(2));
        assert_eq!(count_behind(&holders, 9, 2), 0);
    }

    #[test]
    fn a_holder_counts_as_long_as_a_lease_may_last_from_when_its_record_came() {
        let mut holders = holders();
        holders.read(StreamSeq(1), Some(&lease(1, 0, false)), at(100));
        assert_eq!(count_behind(&holders, 2, 112), 1);
        assert_eq!(count_behind(&holders, 2, 113), 0);
        holders.forget(at(113));
        assert!(holders.known.is_empty());
    }

    #[test]
    fn who_gave_back_is_not_waited_for_even_if_a_renewal_comes_behind() {
        let mut holders = holders();
        holders.read(StreamSeq(1), Some(&lease(1, 0, false)), at(0));
        holders.read(StreamSeq(2), Some(&lease(1, 0, true)), at(1));
        holders.read(StreamSeq(3), Some(&lease(1, 0, false)), at(2));
        assert_eq!(count_behind(&holders, 9, 2), 0);
    }

    #[test]
    fn a_worker_is_waited_for_and_does_not_count_as_a_gateway() {
        let mut holders = holders();
        holders.read(StreamSeq(1), Some(&lease(1, 0, false)), at(0));
        let worker = lease_of(LeaseKind::Worker, 2, 0, false);
        holders.read(StreamSeq(2), Some(&worker), at(0));
        assert_eq!(count_behind(&holders, 3, 1), 2);
        assert_eq!(holders.count(LeaseKind::Gateway, at(1)), 1);
        assert_eq!(holders.count(LeaseKind::Worker, at(1)), 1);
        holders.acknowledged(&gateway(1), StreamSeq(3), at(1));
        assert_eq!(count_behind(&holders, 3, 1), 1);
        holders.acknowledged(&a_holder(LeaseKind::Worker, 2), StreamSeq(3), at(1));
        assert_eq!(count_behind(&holders, 3, 1), 0);
    }

    #[test]
    fn a_worker_by_the_id_of_a_gateway_says_nothing_in_its_name() {
        let mut holders = holders();
        holders.read(StreamSeq(1), Some(&lease(1, 0, false)), at(0));
        let liar = lease_of(LeaseKind::Worker, 1, 99, true);
        holders.read(StreamSeq(2), Some(&liar), at(0));
        holders.acknowledged(&a_holder(LeaseKind::Worker, 1), StreamSeq(99), at(0));
        assert_eq!(count_behind(&holders, 3, 1), 1);
    }

    #[test]
    fn where_records_are_missing_anybody_may_hold_a_lease() {
        let until = Some(at(5).plus(FenceTiming::default().horizon()));
        let mut holders = holders();
        holders.read(StreamSeq(1), Some(&lease(1, 0, false)), at(0));
        assert_eq!(holders.blind_until(at(0)), None);
        holders.read(StreamSeq(3), Some(&lease(1, 0, false)), at(5));
        assert_eq!(holders.blind_until(at(6)), until);
        assert_eq!(holders.blind_until(at(18)), None);
        let later = Holders::before(StreamSeq(9), at(5), &FenceTiming::default());
        assert_eq!(later.blind_until(at(6)), until);
    }

    #[test]
    fn strangers_take_bounded_memory() {
        let mut holders = holders();
        for stranger in 0..2 * MAX_HOLDERS as u64 {
            holders.acknowledged(&gateway(stranger), StreamSeq(1), at(0));
        }
        assert_eq!(holders.count(LeaseKind::Gateway, at(0)), MAX_HOLDERS);
    }
}
