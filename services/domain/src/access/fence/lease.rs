//! Until when a gateway may decide requests from its copy of CONTROL.

use std::collections::VecDeque;

use super::position::Position;
use super::timing::{FenceTiming, Uptime};
use crate::seq::StreamSeq;

/// Limit of granted leases whose position in FENCE is not applied yet. A gateway that stores leases
/// but reads nothing must stop renewing, since every revocation would wait for it.
const MAX_UNREACHED: usize = 2;

/// The lease of one gateway, from the start of its process to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayLease {
    timing: FenceTiming,
    /// Grants that may be used only once FENCE is applied up to their position.
    granted: VecDeque<Grant>,
    until: Option<Uptime>,
    /// Everything acknowledged before this moment is known to be applied.
    covered: Option<Uptime>,
    start: Option<Start>,
    /// Anything sent before this moment is ignored.
    ignored_before: Option<Uptime>,
    released: bool,
}

/// A renewal stored in FENCE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grant {
    sent: Uptime,
    seq: StreamSeq,
}

/// The start event of this gateway, stored in CONTROL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Start {
    sent: Uptime,
    control: StreamSeq,
}

impl GatewayLease {
    /// A gateway that holds no lease yet.
    #[must_use]
    pub fn new(timing: FenceTiming) -> Self {
        Self {
            timing,
            granted: VecDeque::new(),
            until: None,
            covered: None,
            start: None,
            ignored_before: None,
            released: false,
        }
    }

    /// Whether an event of this gateway must be appended to CONTROL before any lease can be used:
    /// at the start, after a long time without a lease, and after records of FENCE were missed.
    #[must_use]
    pub fn needs_start(&self, now: Uptime) -> bool {
        let is_recent = |since: Uptime| now.since(since) <= self.timing.restart_after;
        !self.covered.is_some_and(is_recent)
            && !self.start.is_some_and(|start| is_recent(start.sent))
    }

    /// Records that CONTROL has stored the start event that was sent at `sent`.
    pub fn started(&mut self, sent: Uptime, control: StreamSeq) {
        if !self.is_ignored(sent) {
            self.start = Some(Start { sent, control });
        }
    }

    /// Whether the start event is applied, so that a lease would be usable. Before that, renewing
    /// would only make others wait for this gateway.
    #[must_use]
    pub fn is_started(&self, position: &Position) -> bool {
        self.covered.is_some()
            || self
                .start
                .is_some_and(|start| start.control <= position.control())
    }

    /// Whether a renewal is useful now: not after a release, nor while too many grants are
    /// unapplied.
    #[must_use]
    pub fn may_renew(&self) -> bool {
        !self.released && self.granted.len() < MAX_UNREACHED
    }

    /// Records that FENCE has stored, at sequence `seq`, the renewal that was sent at `sent` by
    /// this gateway's clock.
    pub fn granted(&mut self, sent: Uptime, seq: StreamSeq) {
        if !self.released && !self.is_ignored(sent) {
            self.granted.push_back(Grant { sent, seq });
        }
    }

    /// Starts to use the grants whose position is applied. Call it after every change of the
    /// position.
    pub fn settle(&mut self, position: &Position, now: Uptime) {
        if let Some(start) = self.start
            && start.control <= position.control()
        {
            self.covered = self.covered.max(Some(start.sent));
            self.start = None;
        }
        let is_covered = self
            .covered
            .is_some_and(|covered| now.since(covered) <= self.timing.restart_after);
        self.granted.retain(|grant| {
            let until = grant.sent.plus(self.timing.usable());
            let reached = grant.seq <= position.applied();
            if reached && is_covered && until > now {
                self.until = self.until.max(Some(until));
            }
            !reached && until > now
        });
        if is_covered {
            self.covered = self.covered.max(self.until);
        }
    }

    /// Until when requests may be decided; `None` if there is no usable lease.
    #[must_use]
    pub fn until(&self) -> Option<Uptime> {
        self.until
    }

    /// Whether requests may be decided at the reading `now`.
    #[must_use]
    pub fn is_usable(&self, now: Uptime) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Ignores everything that was sent before `now`, because the clock cannot be trusted, as after
    /// a pause that it did not measure.
    pub fn drop_all(&mut self, now: Uptime) {
        self.until = None;
        self.granted.clear();
        self.ignored_before = Some(now);
    }

    /// Requires another start before anything is decided: records of FENCE were missed, so it is
    /// unknown what must be applied.
    pub fn missed_records(&mut self, now: Uptime) {
        self.drop_all(now);
        self.covered = None;
        self.start = None;
    }

    /// Releases the lease for good. Announce it to others only afterwards.
    pub fn release(&mut self) {
        self.until = None;
        self.granted.clear();
        self.released = true;
    }

    fn is_ignored(&self, sent: Uptime) -> bool {
        self.ignored_before.is_some_and(|before| sent <= before)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Uptime {
        Uptime(Duration::from_secs(seconds))
    }

    /// Everything of FENCE up to `fence` and of CONTROL up to `control` is applied.
    fn position(fence: u64, control: u64) -> Position {
        let mut position = Position::before(StreamSeq(fence + 1));
        position.applied_control(StreamSeq(control));
        position
    }

    /// A gateway that has started at second 0 with CONTROL at 10.
    fn a_lease() -> GatewayLease {
        let mut lease = GatewayLease::new(FenceTiming::default());
        assert!(lease.needs_start(at(0)));
        lease.started(at(0), StreamSeq(10));
        assert!(!lease.needs_start(at(0)));
        lease
    }

    #[test]
    fn a_lease_is_unusable_before_its_own_place_is_reached() {
        let mut lease = a_lease();
        lease.granted(at(1), StreamSeq(5));
        lease.settle(&position(4, 10), at(2));
        assert!(!lease.is_usable(at(2)));
        lease.settle(&position(5, 10), at(3));
        assert!(lease.is_usable(at(3)));
    }

    #[test]
    fn a_lease_runs_from_when_it_was_asked_for() {
        let mut lease = a_lease();
        lease.granted(at(1), StreamSeq(5));
        lease.settle(&position(5, 10), at(9));
        assert!(lease.is_usable(at(12)));
        assert!(!lease.is_usable(at(13)));
        assert_eq!(
            lease.until(),
            Some(at(1).plus(FenceTiming::default().usable()))
        );
    }

    #[test]
    fn an_answer_that_comes_too_late_grants_nothing() {
        let mut lease = a_lease();
        lease.granted(at(1), StreamSeq(5));
        lease.settle(&position(5, 10), at(13));
        assert!(!lease.is_usable(at(13)));
        assert!(lease.may_renew());
    }

    #[test]
    fn an_older_grant_does_not_shorten_a_lease() {
        let mut lease = a_lease();
        lease.granted(at(4), StreamSeq(6));
        lease.granted(at(1), StreamSeq(5));
        lease.settle(&position(6, 10), at(5));
        assert_eq!(
            lease.until(),
            Some(at(4).plus(FenceTiming::default().usable()))
        );
    }

    #[test]
    fn a_gateway_serves_only_once_it_has_applied_its_own_start() {
        let mut lease = a_lease();
        lease.granted(at(1), StreamSeq(5));
        lease.settle(&position(5, 9), at(2));
        assert!(!lease.is_usable(at(2)));
        lease.granted(at(3), StreamSeq(6));
        lease.settle(&position(6, 10), at(4));
        assert!(lease.is_usable(at(4)));
    }

    #[test]
    fn after_long_without_a_lease_a_gateway_starts_anew() {
        let mut lease = a_lease();
        lease.granted(at(1), StreamSeq(5));
        lease.settle(&position(5, 10), at(2));
        assert!(!lease.needs_start(at(1_800)));
        let late = at(1_900);
        assert!(lease.needs_start(late));
        lease.granted(late, StreamSeq(7));
        lease.settle(&position(7, 10), late);
        assert!(!lease.is_usable(late));
        lease.started(late, StreamSeq(11));
        lease.granted(late, StreamSeq(8));
        lease.settle(&position(8, 11), late);
        assert!(lease.is_usable(late));
    }

    #[test]
    fn missed_records_need_a_start_that_was_sent_after_they_were_missed() {
        let mut lease = a_lease();
        lease.granted(at(1), StreamSeq(5));
        lease.settle(&position(5, 10), at(2));
        lease.missed_records(at(3));
        assert!(!lease.is_usable(at(3)));
        lease.started(at(2), StreamSeq(11));
        assert!(lease.needs_start(at(4)));
        lease.started(at(4), StreamSeq(12));
        lease.granted(at(4), StreamSeq(9));
        lease.settle(&position(9, 12), at(5));
        assert!(lease.is_usable(at(5)));
    }

    #[test]
    fn what_was_sent_before_a_jump_of_the_clock_grants_nothing() {
        let mut lease = a_lease();
        lease.granted(at(1), StreamSeq(5));
        lease.settle(&position(5, 10), at(2));
        lease.drop_all(at(3));
        lease.granted(at(3), StreamSeq(6));
        lease.settle(&position(9, 10), at(4));
        assert!(!lease.is_usable(at(4)));
        lease.granted(at(4), StreamSeq(7));
        lease.settle(&position(9, 10), at(5));
        assert!(lease.is_usable(at(5)));
    }

    #[test]
    fn who_reads_nothing_stops_renewing() {
        let mut lease = a_lease();
        for (second, seq) in [(1, 5), (4, 6)] {
            assert!(lease.may_renew());
            lease.granted(at(second), StreamSeq(seq));
        }
        assert!(!lease.may_renew());
        lease.settle(&position(4, 10), at(20));
        assert!(lease.may_renew());
    }

    #[test]
    fn what_was_given_back_does_not_come_back() {
        let mut lease = a_lease();
        lease.granted(at(1), StreamSeq(5));
        lease.settle(&position(5, 10), at(2));
        lease.release();
        assert!(!lease.is_usable(at(2)) && !lease.may_renew());
        lease.granted(at(2), StreamSeq(6));
        lease.settle(&position(6, 10), at(3));
        assert!(!lease.is_usable(at(3)));
    }
}
