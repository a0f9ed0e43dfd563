//! One gateway: the state machines of production, driven by the world.

use std::time::Duration;

use super::random::Random;
use super::{Broken, Conditions};
use crate::access::fence::{
    Barrier, BarrierState, FenceRecord, FenceTiming, GatewayId, GatewayLease, HolderId, Holders,
    LeaseKind, LeaseRecord, Position, Uptime,
};
use crate::seq::StreamSeq;

/// A revocation whose mark is stored, and the wait for it.
#[derive(Debug)]
pub(super) struct Open {
    barrier: Barrier,
    pub(super) control: StreamSeq,
}

#[derive(Debug)]
pub(super) struct Gateway {
    conditions: Conditions,
    /// Number of restarts. Messages to a former run are lost.
    pub(super) life: u32,
    pub(super) is_up: bool,
    pub(super) id: GatewayId,
    clock_began: u64,
    clock_ppm: u64,
    pub(super) position: Position,
    pub(super) lease: GatewayLease,
    pub(super) holders: Holders,
    pub(super) open: Vec<Open>,
    pub(super) gaps: u64,
    pub(super) is_starting: bool,
    pub(super) is_asked_too_much: bool,
    /// The last mark that was read, and how far it was acknowledged.
    last_mark: StreamSeq,
    acknowledged: StreamSeq,
    // Faults last until these moments of real time.
    pub(super) cut_until: u64,
    pub(super) fence_stalled_until: u64,
    pub(super) control_stalled_until: u64,
    pub(super) paused_until: u64,
    pub(super) deaf_until: u64,
}

impl Gateway {
    pub(super) fn new(conditions: Conditions, random: &mut Random) -> Self {
        let timing = conditions.timing();
        let drift = u64::from(conditions.drift_ppm);
        Self {
            conditions,
            life: 0,
            is_up: false,
            id: GatewayId::new(random.next()),
            clock_began: random.within(0..1_000_000_000),
            clock_ppm: if random.one_in(2) {
                1_000_000 + drift
            } else {
                1_000_000 - drift
            },
            position: Position::before(StreamSeq(1)),
            lease: GatewayLease::new(timing),
            holders: Holders::before(StreamSeq(1), Uptime::default(), &timing),
            open: Vec::new(),
            gaps: 0,
            is_starting: false,
            is_asked_too_much: false,
            last_mark: StreamSeq(0),
            acknowledged: StreamSeq(0),
            cut_until: 0,
            fence_stalled_until: 0,
            control_stalled_until: 0,
            paused_until: 0,
            deaf_until: 0,
        }
    }

    /// Restarts the gateway, with CONTROL applied as far as its disk has it and FENCE from its
    /// first record.
    pub(super) fn begin(
        &mut self,
        random: &mut Random,
        now: u64,
        first: StreamSeq,
        on_disk: StreamSeq,
    ) {
        let timing = self.conditions.timing();
        self.life += 1;
        self.is_up = true;
        self.id = GatewayId::new(random.next());
        self.position = Position::before(first);
        self.position.applied_control(on_disk);
        self.lease = GatewayLease::new(timing);
        self.open.clear();
        self.is_starting = false;
        self.is_asked_too_much = false;
        self.last_mark = StreamSeq(0);
        self.acknowledged = StreamSeq(0);
        self.clock_began = random.within(0..1_000_000_000);
        self.holders = Holders::before(first, self.clock(now), &self.revokers_timing());
    }

    fn is(&self, broken: Broken) -> bool {
        self.conditions.broken == broken
    }

    pub(super) fn revokers_timing(&self) -> FenceTiming {
        let timing = self.conditions.timing();
        if self.is(Broken::HalfTheWait) {
            FenceTiming {
                lease: timing.lease / 2,
                ..timing
            }
        } else {
            timing
        }
    }

    /// Reading of the gateway's own clock at a moment of real time in microseconds.
    pub(super) fn clock(&self, now: u64) -> Uptime {
        let micros = u128::from(now) * u128::from(self.clock_ppm) / 1_000_000;
        let micros = u64::try_from(micros).expect("a history is short");
        Uptime(Duration::from_micros(self.clock_began + micros))
    }

    /// A moment of real time at or shortly after the gateway's clock reads `until`.
    pub(super) fn real(&self, now: u64, until: Uptime) -> u64 {
        let wait = until.since(self.clock(now)).as_micros();
        let wait = wait * 1_000_000 / u128::from(self.clock_ppm);
        now + u64::try_from(wait).expect("a history is short") + 2
    }

    pub(super) fn granted(&mut self, sent: Uptime, seq: StreamSeq, now: u64) {
        let late = self.is(Broken::LeaseFromAcknowledgement);
        let sent = if late { self.clock(now) } else { sent };
        self.lease.granted(sent, seq);
        self.settle(now);
    }

    /// CONTROL was seen to end at `end` when a renewal was stored, which was sent when the records
    /// that were read by then asked for `demanded`.
    pub(super) fn looked(&mut self, end: StreamSeq, demanded: StreamSeq) {
        if self.is(Broken::CappedByALook) {
            if end < self.position.demanded() {
                let place = self.position.before_append();
                self.position.cap(place, end);
            }
        } else {
            self.is_asked_too_much |= end < demanded;
        }
    }

    pub(super) fn read(&mut self, seq: StreamSeq, record: &FenceRecord, now: u64) {
        let clock = self.clock(now);
        if self.is(Broken::UnnoticedGaps) {
            while self.position.last_read().next() < seq {
                let missed = self.position.last_read().next();
                let _ = self.position.read(missed, StreamSeq(0));
            }
        }
        let unmet = self.is(Broken::AcknowledgedUnapplied);
        let demands = if unmet {
            StreamSeq(0)
        } else {
            record.demands()
        };
        if self.position.read(seq, demands).is_err() {
            self.gaps += 1;
            self.lease.missed_records(clock);
        }
        self.holders.read(seq, Some(record), clock);
        match record {
            FenceRecord::Lease(lease) if self.is(Broken::RenewalAcknowledges) => {
                self.holders.acknowledged(&lease.holder(), seq, clock);
            }
            FenceRecord::Lease(_) => {}
            FenceRecord::Mark(_) => self.last_mark = seq,
        }
    }

    pub(super) fn settle(&mut self, now: u64) {
        let clock = self.clock(now);
        if self.is(Broken::LeaseBeforeApplied) {
            let mut ahead = Position::before(StreamSeq(u64::MAX));
            ahead.applied_control(self.position.control());
            self.lease.settle(&ahead, clock);
        } else {
            self.lease.settle(&self.position, clock);
        }
        let (this, applied) = (self.holder(), self.position.applied());
        self.holders.acknowledged(&this, applied, clock);
        self.holders.forget(clock);
    }

    /// How far the gateway should acknowledge now, if at all.
    pub(super) fn acknowledges(&mut self) -> Option<StreamSeq> {
        let applied = self.position.applied();
        let due = applied > self.acknowledged && self.acknowledged < self.last_mark;
        due.then(|| {
            self.acknowledged = applied;
            applied
        })
    }

    pub(super) fn marked(&mut self, sent: Uptime, mark: StreamSeq, control: StreamSeq, now: u64) {
        let early = self.is(Broken::WaitFromSending);
        let from = if early { sent } else { self.clock(now) };
        let barrier = Barrier::new(mark, from, &self.revokers_timing());
        self.open.push(Open { barrier, control });
    }

    /// Revocations that have ended, how they did, and when to check again.
    pub(super) fn over(&mut self, now: u64) -> (Vec<(StreamSeq, BarrierState)>, Option<u64>) {
        let clock = self.clock(now);
        let (mut over, mut look) = (Vec::new(), None);
        let mut open = std::mem::take(&mut self.open);
        open.retain(|open| match open.barrier.state(&self.holders, clock) {
            BarrierState::Waiting { until } => {
                let at = self.real(now, until);
                look = Some(look.map_or(at, |look: u64| look.min(at)));
                true
            }
            state => {
                over.push((open.control, state));
                false
            }
        });
        self.open = open;
        (over, look)
    }

    pub(super) fn holder(&self) -> HolderId {
        HolderId::new(LeaseKind::Gateway, self.id.clone())
    }

    pub(super) fn lease_record(&self, released: bool) -> FenceRecord {
        FenceRecord::Lease(LeaseRecord {
            gateway: self.id.clone(),
            kind: LeaseKind::Gateway,
            applied: self.position.applied(),
            control: self.position.control(),
            released,
        })
    }
}
