//! Where a shell gets the time from.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use waybill_domain::time::{Elapsed, Times, Timestamp};

/// Tells the time, by two clocks.
pub trait Clock: Send + Sync + 'static {
    /// Now, by the wall clock: for dates, never for lengths.
    fn now(&self) -> Timestamp;

    /// Now, by a clock that never jumps.
    fn elapsed(&self) -> Elapsed;

    /// Now, by both.
    fn times(&self) -> Times {
        Times {
            elapsed: self.elapsed(),
            wall: self.now(),
        }
    }
}

/// From where the machine's monotonic clock is counted: the process's first look at it.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(0).plus(since)
    }

    fn elapsed(&self) -> Elapsed {
        Elapsed::default().plus(BEGINNING.elapsed())
    }
}
