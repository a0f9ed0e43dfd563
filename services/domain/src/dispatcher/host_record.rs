//! What the events of a partition say about a host.

use serde::{Deserialize, Serialize};

use crate::event::{Failure, FailureKind, TaskEvent};
use crate::health::{HealthRule, WINDOW};
use crate::time::Timestamp;

/// What one attempt says about its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// The host answered, be it to refuse this very request.
    Well,
    /// The host did not answer as one that works.
    Ill {
        kind: FailureKind,
        /// The status, if it answered at all.
        status: Option<u16>,
    },
}

impl Reading {
    /// What an event says about the host that its attempt called; `None` if it says nothing, since
    /// the reason lies elsewhere: with the worker, the vault, the request or whoever cancelled it.
    ///
    /// A host is ill if it cannot be reached, breaks off, is too slow, or answers 429 or 5xx. Other
    /// answers are those of a host that works, whatever they mean to the task.
    #[must_use]
    pub fn of(event: &TaskEvent) -> Option<Self> {
        match event {
            TaskEvent::Succeeded(_) => Some(Self::Well),
            TaskEvent::AttemptFailed(e) => {
                Self::of_failure(&e.failure, e.answer.as_ref().map(|answer| answer.status))
            }
            TaskEvent::Dead(e) => {
                Self::of_failure(&e.failure, e.answer.as_ref().map(|answer| answer.status))
            }
            // The attempt failed, and there was no time left for another one.
            TaskEvent::Expired(e) if e.attempt.is_some() => Self::of_failure(&e.failure, None),
            _ => None,
        }
    }

    fn of_failure(failure: &Failure, status: Option<u16>) -> Option<Self> {
        let kind = failure.kind;
        match kind {
            FailureKind::HttpStatus => Some(match status? {
                status if status == 429 || status >= 500 => Self::Ill {
                    kind,
                    status: Some(status),
                },
                _ => Self::Well,
            }),
            FailureKind::Timeout
            | FailureKind::Dns
            | FailureKind::Connect
            | FailureKind::Tls
            | FailureKind::Closed
            | FailureKind::Protocol => Some(Self::Ill { kind, status }),
            FailureKind::BlockedAddress
            | FailureKind::WorkerLost
            | FailureKind::WorkerFault
            | FailureKind::InvalidRequest
            | FailureKind::Vault
            | FailureKind::VaultIntegrity
            | FailureKind::VaultAway
            | FailureKind::Reported
            | FailureKind::LeaseExpired => None,
        }
    }
}

/// The latest attempts at a host, from a failure on. A host that works has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// The latest outcomes, one bit for each and the last one lowest; 1 is a failure.
    outcomes: u64,
    /// How many of them there are, up to [`WINDOW`].
    seen: u32,
    /// Failures since the last attempt that did not fail.
    pub in_a_row: u32,
    /// When the first of the last failures in a row happened.
    pub since: Timestamp,
    /// When the last failure happened.
    pub last: Timestamp,
    /// Probes that failed since an attempt last succeeded.
    pub probes: u16,
    /// Kind of the last failure.
    pub kind: FailureKind,
    /// The status of the last failure, if there was an answer.
    pub status: Option<u16>,
}

impl HostRecord {
    /// The record after another attempt, which ended `at`; `None` if there is nothing to remember.
    #[must_use]
    pub fn after(
        former: Option<Self>,
        reading: Reading,
        probe: bool,
        at: Timestamp,
    ) -> Option<Self> {
        match (reading, former) {
            (Reading::Well, None) => None,
            // One that was sent to find out.
            (Reading::Well, Some(_)) if probe => None,
            (Reading::Well, Some(record)) => {
                let record = Self {
                    outcomes: record.outcomes << 1,
                    seen: (record.seen + 1).min(WINDOW),
                    in_a_row: 0,
                    probes: 0,
                    ..record
                };
                (record.outcomes != 0).then_some(record)
            }
            (Reading::Ill { kind, status }, former) => {
                let before = former.map_or((0, 0, 0, 0), |of| {
                    (of.outcomes, of.seen, of.in_a_row, of.probes)
                });
                let (outcomes, seen, in_a_row, probes) = before;
                let in_row_since = former.filter(|of| of.in_a_row > 0);
                Some(Self {
                    outcomes: outcomes << 1 | 1,
                    seen: (seen + 1).min(WINDOW),
                    in_a_row: in_a_row.saturating_add(1),
                    since: in_row_since.map_or(at, |of| of.since),
                    last: at,
                    probes: probes.saturating_add(probe.into()),
                    kind,
                    status,
                })
            }
        }
    }

    /// Whether the host is ill by that rule.
    #[must_use]
    pub fn is_ill(&self, rule: &HealthRule) -> bool {
        let in_a_row = rule.in_a_row.is_some_and(|most| self.in_a_row >= most);
        in_a_row
            || rule.share.is_some_and(|share| {
                let of = u32::from(share.of);
                self.seen >= of && self.failed_of(of) * 100 >= u32::from(share.percent) * of
            })
    }

    /// Whether the host has failed for so long that it is not probed any more.
    #[must_use]
    pub fn is_disabled(&self, rule: &HealthRule) -> bool {
        let lasts = self.last.since(self.since).as_millis();
        let too_long = rule
            .disable_after_ms
            .is_some_and(|most| lasts >= most.into());
        too_long && self.in_a_row > 0 && self.is_ill(rule)
    }

    /// What is left of it once somebody has said that failures until then count no more. How many there
    /// were since is not known, but for the last one.
    #[must_use]
    pub fn cleared(self, until: Timestamp) -> Option<Self> {
        if self.last <= until {
            return None;
        }
        if self.since > until {
            return Some(self);
        }
        Some(Self {
            outcomes: 1,
            seen: 1,
            in_a_row: self.in_a_row.min(1),
            since: self.last,
            probes: 0,
            ..self
        })
    }

    /// How many of so many latest attempts have failed.
    #[must_use]
    pub fn failed_of(&self, latest: u32) -> u32 {
        let beyond = WINDOW.saturating_sub(latest.min(WINDOW));
        self.outcomes.checked_shl(beyond).unwrap_or(0).count_ones()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::FailureShare;
    use proptest::prelude::*;

    const ILL: Reading = Reading::Ill {
        kind: FailureKind::Connect,
        status: None,
    };

    fn rule(in_a_row: Option<u32>, share: Option<(u8, u8)>) -> HealthRule {
        HealthRule {
            in_a_row,
            share: share.map(|(percent, of)| FailureShare { percent, of }),
            pause_ms: 1_000,
            max_pause_ms: 1_000,
            disable_after_ms: None,
        }
    }

    proptest! {
        #[test]
        fn a_record_is_the_rule_over_all_attempts(
            failures in proptest::collection::vec(any::<bool>(), 0..200),
            in_a_row in 1..6_u32,
            percent in 1..=100_u8,
            of in 2..=64_u8,
        ) {
            let mut record = None;
            let mut all: Vec<bool> = Vec::new();
            for (at, failed) in (0..).zip(failures) {
                let reading = if failed { ILL } else { Reading::Well };
                record = HostRecord::after(record, reading, false, Timestamp(at));
                all.push(failed);
                // Attempts before the first failure that is remembered are not known.
                let from = all.iter().position(|failed| *failed).unwrap_or(all.len());
                let known = all[from..].len().min(64);
                let latest = all.iter().rev().take(known);
                if latest.clone().all(|failed| !failed) {
                    all.clear();
                    prop_assert_eq!(record, None);
                    continue;
                }
                let row = all.iter().rev().take_while(|failed| **failed).count();
                let window = all.iter().rev().take(of.into());
                let failed = window.filter(|failed| **failed).count();
                let has_all = known >= usize::from(of);
                let told = record.expect("a failure is remembered");
                prop_assert_eq!(told.is_ill(&rule(Some(in_a_row), None)), row >= in_a_row as usize);
                prop_assert_eq!(
                    told.is_ill(&rule(None, Some((percent, of)))),
                    has_all && failed * 100 >= usize::from(percent) * usize::from(of)
                );
            }
        }
    }

    #[test]
    fn a_host_that_only_fails_is_disabled_in_time_and_until_it_is_cleared() {
        let rule = HealthRule {
            disable_after_ms: Some(10),
            ..rule(Some(2), None)
        };
        let fails = |former, at| HostRecord::after(former, ILL, true, Timestamp(at));
        let is_disabled =
            |record: Option<HostRecord>| record.is_some_and(|of| of.is_disabled(&rule));
        let first = fails(None, 5);
        let second = fails(first, 14);
        assert!(!is_disabled(second), "9 ms");
        let third = fails(second, 15);
        assert!(is_disabled(third), "10 ms");
        let without = HealthRule {
            disable_after_ms: None,
            ..rule
        };
        assert!(!third.is_some_and(|of| of.is_disabled(&without)));
        let well = HostRecord::after(third, Reading::Well, false, Timestamp(16));
        assert!(!is_disabled(well), "it has answered");
        let cleared = |until| third.and_then(|of| of.cleared(Timestamp(until)));
        assert_eq!((cleared(4), cleared(15)), (third, None));
        let left = cleared(9).expect("two failures came later");
        assert_eq!((left.in_a_row, left.probes, left.failed_of(64)), (1, 0, 1));
        assert!(!left.is_ill(&rule));
    }

    #[test]
    fn a_probe_that_succeeds_wipes_the_slate_and_one_that_fails_counts() {
        let failed = |former, probe| HostRecord::after(former, ILL, probe, Timestamp(5));
        let record = failed(failed(failed(None, false), true), true);
        assert_eq!(record.map(|record| record.probes), Some(2));
        let late = HostRecord::after(record, Reading::Well, false, Timestamp(6));
        let late = late.expect("two failures are remembered");
        assert_eq!((late.in_a_row, late.probes, late.failed_of(4)), (0, 0, 3));
        assert_eq!(
            HostRecord::after(record, Reading::Well, true, Timestamp(6)),
            None
        );
    }
}
