//! How often devices ask whether somebody has decided (RFC 8628, 3.5).

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use waybill_domain::access::grant::device::{MAX_ASKED, POLL_INTERVAL};
use waybill_domain::id::GrantId;
use waybill_domain::time::Timestamp;

/// A poll that comes so much before its time is no offence: clocks and networks are not exact.
const TOLERANCE: Duration = Duration::from_secs(1);
/// The most that a device is asked to wait between two polls.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// When each device polled last, and how often it may. Each gateway counts by itself, so one that is
/// balanced over several may ask a little more often.
#[derive(Debug, Default)]
pub(crate) struct Polls(Mutex<HashMap<GrantId, Last>>);

#[derive(Debug, Clone, Copy)]
struct Last {
    at: Timestamp,
    interval: Duration,
}

/// How a poll comes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Poll {
    InTime,
    /// Before the interval was over, which is longer from now on.
    TooSoon(Duration),
}

impl Polls {
    pub(crate) fn note(&self, grant: &GrantId, now: Timestamp) -> Poll {
        let mut known = self.0.lock();
        if known.len() >= 2 * MAX_ASKED {
            known.retain(|_, last| now.since(last.at) < LONGEST_INTERVAL);
        }
        let Some(last) = known.get_mut(grant) else {
            let interval = POLL_INTERVAL;
            known.insert(grant.clone(), Last { at: now, interval });
            return Poll::InTime;
        };
        let is_too_soon = now.since(last.at) + TOLERANCE < last.interval;
        last.at = now;
        if is_too_soon {
            // RFC 8628, 3.5: five seconds more, for this and all later polls.
            last.interval = (last.interval + POLL_INTERVAL).min(LONGEST_INTERVAL);
            return Poll::TooSoon(last.interval);
        }
        Poll::InTime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_polls_too_often_is_told_to_wait_longer_each_time() {
        let polls = Polls::default();
        let grant = GrantId::new(Timestamp(1), 1);
        let at = |seconds: i64| polls.note(&grant, Timestamp(seconds * 1000));
        assert_eq!(at(0), Poll::InTime);
        assert_eq!(at(5), Poll::InTime);
        assert_eq!(at(9), Poll::InTime, "a second too early");
        assert_eq!(at(10), Poll::TooSoon(Duration::from_secs(10)));
        assert_eq!(at(15), Poll::TooSoon(Duration::from_secs(15)));
        assert_eq!(at(30), Poll::InTime);
        for second in 31..60 {
            at(second);
        }
        assert_eq!(at(60), Poll::TooSoon(LONGEST_INTERVAL));
        let other = GrantId::new(Timestamp(1), 2);
        assert_eq!(polls.note(&other, Timestamp(60_000)), Poll::InTime);
    }
}
