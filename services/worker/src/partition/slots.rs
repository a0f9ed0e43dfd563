//! Slots for calls: those that are free are offered to the dispatcher, and kept until the call has
//! begun.

use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::Semaphore;
use waybill_domain::dispatcher::{Admission, CallKind, Running};
use waybill_domain::id::TaskId;

use super::{Serving, SlotWait};
use crate::bulkhead::{Refusal, Slot, Spare};

/// Takes, keeps or gives up a place in the queue for slots.
fn wait_for(wait: &mut Option<SlotWait>, wanted: bool, slots: impl FnOnce() -> Arc<Semaphore>) {
    if !wanted {
        *wait = None;
    } else if wait.is_none() {
        *wait = Some(slots().acquire_owned().boxed());
    }
}

impl Serving<'_> {
    /// Offers free slots to the dispatcher.
    pub(super) fn fill(&mut self) {
        // Read before any slot is asked for, so that nothing given back from here on is missed.
        let given_back = self.parts.bulkhead.given_back();
        let parts = self.parts;
        let bulkhead = &parts.bulkhead;
        let (promised, spare) = (&mut self.promised, &mut self.spare);
        let (mut wants_general, mut wants_reserve) = (false, false);
        let mut is_refused = false;
        let mut actions = Vec::new();
        let now = self.parts.executor.clock.times();
        let mut admit = |wanted| match bulkhead.admit(&wanted, spare) {
            Ok(slot) => {
                promised.insert(wanted.running, slot);
                Admission::Yes
            }
            Err(refusal) => {
                wants_general |= matches!(refusal, Refusal::NoGeneralSlot | Refusal::NoSlot);
                wants_reserve |= refusal == Refusal::NoSlot;
                is_refused = true;
                refusal.into()
            }
        };
        self.dispatcher.fill_where(&mut admit, now, &mut actions);
        self.dispatcher.serve_claims(now, &mut actions);
        // Unused slots are returned for other partitions.
        self.spare = Spare::default();
        self.carry_out(actions);
        self.freed = is_refused.then(|| bulkhead.freed(given_back));
        wait_for(&mut self.slot_wait, wants_general, || bulkhead.general());
        wait_for(&mut self.reserve_wait, wants_reserve, || bulkhead.reserve());
    }

    pub(super) fn stop_waiting(&mut self) {
        self.spare = Spare::default();
        (self.slot_wait, self.reserve_wait) = (None, None);
        self.freed = None;
    }

    /// The slot reserved for a call that begins now.
    pub(super) fn slot(&mut self, task: TaskId, number: u32, kind: CallKind) -> Option<Slot> {
        let running = Running { task, number, kind };
        let slot = self.promised.remove(&running);
        debug_assert!(slot.is_some(), "every call has been promised a slot");
        slot
    }
}
