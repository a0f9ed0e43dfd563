//! The event loop: time, the network between gateways and streams, faults, and the tally of what
//! happened.

use std::collections::BTreeMap;

use super::gateway::Gateway;
use super::random::Random;
use super::server::Server;
use super::{Broken, Conditions};
use crate::access::fence::{BarrierState, FenceRecord, GatewayId, HolderId, MarkRecord, Uptime};
use crate::seq::StreamSeq;

const MILLI: u64 = 1_000;
const SECOND: u64 = 1_000_000;
/// Length of one history, in microseconds.
const LENGTH: u64 = 120 * SECOND;

/// Tally of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) reached: u64,
    pub(super) expired: u64,
    pub(super) gaps: u64,
    pub(super) starts: u64,
    pub(super) violations: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.reached += other.reached;
        self.expired += other.expired;
        self.gaps += other.gaps;
        self.starts += other.starts;
        self.violations += other.violations;
    }
}

/// A message to a gateway, or a timer of its own.
#[derive(Debug, Clone)]
enum Arrival {
    Granted {
        sent: Uptime,
        seq: StreamSeq,
        /// What records asked for when the renewal was sent.
        demanded: StreamSeq,
        /// Where CONTROL ended when it was stored.
        end: StreamSeq,
    },
    Started {
        sent: Uptime,
        seq: StreamSeq,
        /// The last record of FENCE that was read before it was sent.
        read: StreamSeq,
    },
    Revoked {
        seq: StreamSeq,
    },
    Marked {
        sent: Uptime,
        mark: StreamSeq,
        control: StreamSeq,
    },
    Acknowledged {
        by: HolderId,
        applied: StreamSeq,
    },
    ReadFence,
    ReadControl,
    Look,
    Renew,
    Revoke,
    Request,
    /// The second half of a request: the first thing that it checked, and when it arrived.
    Decide(Asked),
    StopServing,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    /// The highest revocation that was answered when the request arrived.
    answered: StreamSeq,
    may: bool,
    knew: StreamSeq,
}

/// A message to the streams.
#[derive(Debug, Clone)]
enum Publish {
    Lease {
        sent: Uptime,
        record: FenceRecord,
        demanded: StreamSeq,
    },
    Start {
        sent: Uptime,
        read: StreamSeq,
    },
    Revocation,
    Mark {
        sent: Uptime,
        record: MarkRecord,
    },
}

#[derive(Debug, Clone)]
enum Event {
    At {
        gateway: usize,
        life: u32,
        what: Arrival,
    },
    Arrives {
        gateway: usize,
        life: u32,
        wanted: Publish,
    },
    Fault,
    Begin(usize),
}

pub(super) struct World {
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    random: Random,
    server: Server,
    gateways: Vec<Gateway>,
    conditions: Conditions,
    /// Up to where revocations on CONTROL have been answered. Each was applied after those before
    /// it.
    answered: StreamSeq,
    tally: Tally,
}

impl World {
    pub(super) fn new(seed: u64, conditions: Conditions) -> Self {
        let mut random = Random::new(seed);
        let gateways = (0..conditions.gateways)
            .map(|_| Gateway::new(conditions, &mut random))
            .collect();
        Self {
            now: 0,
            events: BTreeMap::new(),
            scheduled: 0,
            random,
            server: Server::default(),
            gateways,
            conditions,
            answered: StreamSeq(0),
            tally: Tally::default(),
        }
    }

    pub(super) fn live(mut self) -> Tally {
        for gateway in 0..self.gateways.len() {
            self.schedule(gateway as u64 * SECOND, Event::Begin(gateway));
        }
        self.schedule(5 * SECOND, Event::Fault);
        while let Some(((at, _), event)) = self.events.pop_first() {
            if at > LENGTH {
                break;
            }
            self.now = at;
            self.happen(event);
        }
        self.tally.gaps = self.gateways.iter().map(|gateway| gateway.gaps).sum();
        self.tally
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }

    fn to(&mut self, gateway: usize, at: u64, what: Arrival) {
        let life = self.gateways[gateway].life;
        self.schedule(
            at,
            Event::At {
                gateway,
                life,
                what,
            },
        );
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Begin(gateway) => self.begin(gateway),
            Event::Fault => self.fault(),
            Event::Arrives {
                gateway,
                life,
                wanted,
            } => self.arrive(gateway, life, wanted),
            Event::At {
                gateway,
                life,
                what,
            } => {
                let it = &self.gateways[gateway];
                if it.life != life || !it.is_up {
                    return;
                }
                if self.now < it.paused_until {
                    // The gateway is paused: everything waits until it resumes.
                    let at = it.paused_until + self.random.within(0..MILLI);
                    return self.schedule(
                        at,
                        Event::At {
                            gateway,
                            life,
                            what,
                        },
                    );
                }
                self.at(gateway, what);
            }
        }
    }

    fn begin(&mut self, gateway: usize) {
        let first = self.server.first(self.now);
        // The disk may have been restored to any earlier state.
        let control = self.server.control().0;
        let on_disk = StreamSeq(self.random.within(0..control + 1));
        self.gateways[gateway].begin(&mut self.random, self.now, first, on_disk);
        if self.conditions.is_forgetful || self.random.one_in(3) {
            self.gateways[gateway].control_stalled_until =
                self.now + self.random.within(0..20 * SECOND);
        }
        for what in [
            Arrival::ReadFence,
            Arrival::ReadControl,
            Arrival::Renew,
            Arrival::Request,
            Arrival::Revoke,
        ] {
            let at = self.now + self.random.within(0..5 * MILLI);
            self.to(gateway, at, what);
        }
    }

    /// Delay of a message to or from the streams: mostly short, sometimes as long as a client's
    /// time limit.
    fn delay(&mut self) -> u64 {
        match self.random.within(0..20) {
            0 => self.random.within(0..9 * SECOND),
            1 => self.random.within(0..300 * MILLI),
            _ => self.random.within(100..2 * MILLI),
        }
    }

    fn send(&mut self, gateway: usize, wanted: Publish) {
        let it = &self.gateways[gateway];
        if self.now < it.cut_until {
            return;
        }
        let life = it.life;
        let at = self.now + self.delay();
        self.schedule(
            at,
            Event::Arrives {
                gateway,
                life,
                wanted,
            },
        );
    }

    /// The message is stored even if its sender has died meanwhile.
    fn arrive(&mut self, gateway: usize, life: u32, wanted: Publish) {
        let answer = match wanted {
            Publish::Lease {
                sent,
                record,
                demanded,
            } => Arrival::Granted {
                sent,
                seq: self.store(record),
                demanded,
                end: self.server.control(),
            },
            Publish::Start { sent, read } => Arrival::Started {
                sent,
                seq: self.append(),
                read,
            },
            Publish::Revocation => Arrival::Revoked { seq: self.append() },
            Publish::Mark { sent, record } => {
                let control = record.control;
                let mark = self.store(FenceRecord::Mark(record));
                Arrival::Marked {
                    sent,
                    mark,
                    control,
                }
            }
        };
        let delay = self.delay();
        let it = &self.gateways[gateway];
        // Messages to a gateway that receives late arrive when it receives again.
        let at = (self.now + delay).max(it.deaf_until);
        if at >= it.cut_until || self.now >= it.cut_until {
            self.schedule(
                at,
                Event::At {
                    gateway,
                    life,
                    what: answer,
                },
            );
        }
    }

    fn store(&mut self, record: FenceRecord) -> StreamSeq {
        let seq = self.server.store(self.now, record);
        self.notify_readers(&Arrival::ReadFence);
        seq
    }

    fn append(&mut self) -> StreamSeq {
        let seq = self.server.append();
        self.notify_readers(&Arrival::ReadControl);
        seq
    }

    fn notify_readers(&mut self, what: &Arrival) {
        for gateway in 0..self.gateways.len() {
            let at = self.now + self.random.within(100..3 * MILLI);
            self.to(gateway, at, what.clone());
        }
    }

    fn at(&mut self, gateway: usize, what: Arrival) {
        let now = self.now;
        let it = &mut self.gateways[gateway];
        let clock = it.clock(now);
        match what {
            Arrival::Granted {
                sent,
                seq,
                demanded,
                end,
            } => {
                it.looked(end, demanded);
                it.granted(sent, seq, now);
            }
            Arrival::Started { sent, seq, read } => {
                it.is_starting = false;
                it.is_asked_too_much = false;
                it.lease.started(sent, seq);
                it.position.cap(read, seq);
            }
            Arrival::Revoked { seq } => {
                let record = MarkRecord {
                    gateway: it.id.clone(),
                    control: seq,
                };
                self.send(
                    gateway,
                    Publish::Mark {
                        sent: clock,
                        record,
                    },
                );
            }
            Arrival::Marked {
                sent,
                mark,
                control,
            } => it.marked(sent, mark, control, now),
            Arrival::Acknowledged { by, applied } => it.holders.acknowledged(&by, applied, clock),
            Arrival::ReadFence => {
                let stalled = it.fence_stalled_until.max(it.cut_until);
                if now < stalled {
                    return self.to(gateway, stalled, Arrival::ReadFence);
                }
                let from = it.position.last_read().next();
                for (seq, record) in self.server.records(now, from) {
                    it.read(seq, &record, now);
                }
            }
            Arrival::ReadControl => {
                let stalled = it.control_stalled_until.max(it.cut_until);
                if now < stalled {
                    return self.to(gateway, stalled, Arrival::ReadControl);
                }
                it.position.applied_control(self.server.control());
            }
            Arrival::Look => {}
            Arrival::Renew => self.renew(gateway, clock),
            Arrival::Revoke => self.revoke(gateway),
            Arrival::Request => return self.request(gateway),
            Arrival::Decide(asked) => return self.decide(gateway, asked),
            Arrival::StopServing => {
                it.is_up = false;
                return;
            }
        }
        self.settle(gateway);
    }

    fn settle(&mut self, gateway: usize) {
        let now = self.now;
        let it = &mut self.gateways[gateway];
        it.settle(now);
        let acknowledges = it.acknowledges().map(|applied| (it.holder(), applied));
        let (over, look) = it.over(now);
        for (control, state) in over {
            match state {
                BarrierState::Expired => self.tally.expired += 1,
                _ => self.tally.reached += 1,
            }
            self.answered = self.answered.max(control);
        }
        if let Some(at) = look {
            self.to(gateway, at, Arrival::Look);
        }
        let Some((by, applied)) = acknowledges else {
            return;
        };
        for other in 0..self.gateways.len() {
            let cut = self.gateways[gateway]
                .cut_until
                .max(self.gateways[other].cut_until);
            if other != gateway && now >= cut {
                let at = now + self.random.within(100..3 * MILLI);
                self.to(
                    other,
                    at,
                    Arrival::Acknowledged {
                        by: by.clone(),
                        applied,
                    },
                );
            }
        }
    }

    fn renew(&mut self, gateway: usize, clock: Uptime) {
        let it = &mut self.gateways[gateway];
        let mut wanted = Vec::new();
        let needs_start = it.lease.needs_start(clock);
        if needs_start && self.conditions.broken == Broken::NoStart {
            it.lease.started(clock, StreamSeq(0));
        } else if needs_start || it.is_asked_too_much {
            it.is_starting |= needs_start;
            self.tally.starts += 1;
            wanted.push(Publish::Start {
                sent: clock,
                read: it.position.before_append(),
            });
        }
        if !needs_start && it.lease.may_renew() && it.lease.is_started(&it.position) {
            let record = it.lease_record(false);
            wanted.push(Publish::Lease {
                sent: clock,
                record,
                demanded: it.position.demanded(),
            });
        }
        for wanted in wanted {
            self.send(gateway, wanted);
        }
        // A start is repeated soon, a lease in time for its renewal.
        let pause = if self.gateways[gateway].is_starting {
            200 * MILLI
        } else {
            3 * SECOND
        };
        self.to(gateway, self.now + pause, Arrival::Renew);
    }

    fn revoke(&mut self, gateway: usize) {
        self.send(gateway, Publish::Revocation);
        let at = self.now + self.random.within(SECOND..12 * SECOND);
        self.to(gateway, at, Arrival::Revoke);
    }

    fn request(&mut self, gateway: usize) {
        let it = &self.gateways[gateway];
        let asked = Asked {
            answered: self.answered,
            may: it.lease.is_usable(it.clock(self.now)),
            knew: it.position.control(),
        };
        let at = self.now + self.random.within(0..200 * MILLI);
        self.to(gateway, at, Arrival::Decide(asked));
        let at = self.now + self.random.within(0..120 * MILLI);
        self.to(gateway, at, Arrival::Request);
    }

    /// Tries every credential that was revoked on CONTROL before the request arrived.
    fn decide(&mut self, gateway: usize, asked: Asked) {
        let it = &self.gateways[gateway];
        let (may, knows) = if self.conditions.broken == Broken::ReadBeforeLease {
            (it.lease.is_usable(it.clock(self.now)), asked.knew)
        } else {
            (asked.may, it.position.control())
        };
        if !may {
            self.tally.refused += 1;
            return;
        }
        self.tally.accepted += 1;
        if knows < asked.answered {
            self.tally.violations += 1;
        }
    }

    fn fault(&mut self) {
        let at = self.now + self.random.within(SECOND..8 * SECOND);
        self.schedule(at, Event::Fault);
        let gateway =
            usize::try_from(self.random.within(0..self.gateways.len() as u64)).expect("few");
        let long = if self.random.one_in(6) {
            100 * SECOND
        } else {
            30 * SECOND
        };
        let until = self.now + self.random.within(0..long);
        if self.conditions.is_restored && self.random.one_in(2) {
            // Whoever wrote this had read a CONTROL that was longer than this one will ever be.
            let lost = self.server.control().0 + 1_000_000;
            let record = MarkRecord {
                gateway: GatewayId::new(self.random.next()),
                control: StreamSeq(lost),
            };
            self.store(FenceRecord::Mark(record));
            return;
        }
        let kind = if self.conditions.is_forgetful && self.random.one_in(2) {
            7
        } else {
            self.random.within(0..9)
        };
        let it = &mut self.gateways[gateway];
        if !it.is_up {
            return;
        }
        match kind {
            0 => it.cut_until = until,
            1 => it.fence_stalled_until = until,
            2 | 3 => it.control_stalled_until = until,
            4 => {
                (it.fence_stalled_until, it.control_stalled_until) = (until, until);
            }
            5 => it.paused_until = self.now + self.random.within(0..20 * SECOND),
            6 => it.deaf_until = self.now + self.random.within(0..20 * SECOND),
            7 => {
                // The server's clock was set forward, so every record looks expired.
                self.server.forget();
                self.end(gateway, SECOND);
            }
            _ => self.end(gateway, 20 * SECOND),
        }
    }

    /// Stops a gateway, by a crash or by releasing its lease.
    fn end(&mut self, gateway: usize, down: u64) {
        let again = self.now + self.random.within(0..down);
        self.schedule(again, Event::Begin(gateway));
        let it = &mut self.gateways[gateway];
        if self.random.one_in(2) {
            it.is_up = false;
            return;
        }
        if self.conditions.broken == Broken::ReleasedWhileServing {
            let record = it.lease_record(true);
            let stop = self.now + self.random.within(0..2 * SECOND);
            self.send(
                gateway,
                Publish::Lease {
                    sent: Uptime::default(),
                    record,
                    demanded: StreamSeq(0),
                },
            );
            return self.to(gateway, stop.min(again - 1), Arrival::StopServing);
        }
        it.lease.release();
        let record = it.lease_record(true);
        it.is_up = false;
        self.send(
            gateway,
            Publish::Lease {
                sent: Uptime::default(),
                record,
                demanded: StreamSeq(0),
            },
        );
    }
}
