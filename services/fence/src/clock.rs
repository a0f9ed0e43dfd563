//! The clock that measures leases. It runs on while the machine sleeps, unlike the one of
//! `Instant`.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};
use waybill_domain::access::fence::Uptime;
use waybill_domain::time::Timestamp;

/// Reads `CLOCK_BOOTTIME`.
#[must_use]
pub fn uptime() -> Uptime {
    Uptime(duration(clock_gettime(ClockId::Boottime)))
}

/// The difference between wall clock and uptime. It changes only when the wall clock is set, or
/// when the machine was suspended without either clock noticing and the wall clock was corrected
/// afterwards.
#[must_use]
pub fn wall_offset() -> Duration {
    let wall = duration(clock_gettime(ClockId::Realtime));
    wall.saturating_sub(uptime().0)
}

/// The wall clock, for what people see.
#[must_use]
pub fn wall() -> Timestamp {
    let millis = duration(clock_gettime(ClockId::Realtime)).as_millis();
    Timestamp(i64::try_from(millis).unwrap_or(Timestamp::MAX.0))
}

/// As nanoseconds, to be stored in an atomic; enough for five hundred years.
#[must_use]
pub fn nanos(uptime: Uptime) -> u64 {
    u64::try_from(uptime.0.as_nanos()).unwrap_or(u64::MAX)
}

fn duration(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
