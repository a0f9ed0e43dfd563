//! What time it is for schedules.
//!
//! By this machine's clock, for as long as that goes with the time that passes. When it was set, and at the beginning, it is compared with that of
//! the log's server, which counts if the two differ. So a clock that runs ahead fires nothing early, and one that is set back holds nothing.

use std::time::{Duration, Instant};

use waybill_commands::entropy;
use waybill_domain::time::Timestamp;
use waybill_log::{Log, ReadError, Stream};

/// How far clocks may differ, in milliseconds.
const TOLERATED_MS: i64 = 2_000;
/// How long a difference is believed in.
const COMPARED_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Clock {
    last: Option<(Timestamp, Instant)>,
    compared: Option<Instant>,
    /// How far this machine's clock is ahead, in milliseconds.
    ahead: i64,
}

impl Clock {
    pub(super) async fn now(&mut self, log: &dyn Log) -> Result<Timestamp, ReadError> {
        let (wall, at) = (entropy::now(), Instant::now());
        let was_set = self
            .last
            .is_none_or(|(last, then)| was_set(last, wall, at.duration_since(then)));
        let is_doubted = self.ahead != 0
            && self
                .compared
                .is_none_or(|then| at.duration_since(then) >= COMPARED_EVERY);
        if was_set || is_doubted {
            let server = log.bounds(Stream::Control).await?.now;
            self.ahead = ahead(wall, server);
            self.compared = Some(at);
            if self.ahead != 0 {
                tracing::warn!(
                    ahead_ms = self.ahead,
                    "this machine's clock differs from that of the log's server, by which schedules are run"
                );
            }
        }
        self.last = Some((wall, at));
        Ok(Timestamp(wall.0 - self.ahead))
    }
}

fn was_set(last: Timestamp, wall: Timestamp, passed: Duration) -> bool {
    let passed = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
    (wall.0 - last.0).saturating_sub(passed).abs() > TOLERATED_MS
}

fn ahead(wall: Timestamp, server: Timestamp) -> i64 {
    let ahead = wall.0 - server.0;
    if ahead.abs() > TOLERATED_MS { ahead } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_seen_and_small_differences_do_not_matter() {
        let second = Duration::from_secs(1);
        for (wall, set) in [
            (1_000, false),
            (2_900, false),
            (3_001, true),
            (-1_001, true),
            (3_600_000, true),
        ] {
            assert_eq!(
                was_set(Timestamp(0), Timestamp(wall), second),
                set,
                "{wall}"
            );
        }
        assert_eq!(ahead(Timestamp(5_000), Timestamp(3_500)), 0);
        assert_eq!(ahead(Timestamp(5_000), Timestamp(1_000)), 4_000);
        assert_eq!(ahead(Timestamp(1_000), Timestamp(5_000)), -4_000);
    }
}
