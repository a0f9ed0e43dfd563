//! The clocks of a worker.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use waybill_domain::time::{Elapsed, Times, Timestamp};

/// Reads two clocks: the wall clock, and one that never jumps.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock: for dates, never for lengths of time.
    fn now(&self) -> Timestamp;

    /// The monotonic clock.
    fn elapsed(&self) -> Elapsed;

    /// Both clocks, read one right after the other.
    fn times(&self) -> Times {
        Times {
            elapsed: self.elapsed(),
            wall: self.now(),
        }
    }
}

/// Origin of the monotonic clock: the first use in this process.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The clocks of the machine.
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
