//! Notices a partition that stands still although it could go on, so that it is given away.
//!
//! Nothing of this should ever happen: it is a guard against defects, such as an append that is
//! never answered or a task that is ready and never served. So it knows nothing of the reasons. The
//! loop of a partition tells each time it goes round whether there was anything to do and how much
//! it has done so far ([`Pulse`]), and the worker looks at that from outside ([`Watch`]), so that a
//! loop that hangs is noticed as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// How long due work may stand, with free slots, before its partition is given away.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Most time that counts between two looks. A process that stood still has not seen that anything
/// stands.
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// How much a partition has done so far; any change is progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Done {
    /// Events that were stored.
    pub(crate) stored: u64,
    /// Calls that are being made or about to.
    pub(crate) calls: usize,
}

/// What the loop of a partition tells about itself.
#[derive(Debug, Default)]
pub struct Pulse {
    is_served: AtomicBool,
    /// Changes when the loop goes round and was not kept from doing something.
    moved: AtomicU64,
    last: Mutex<(bool, Done)>,
}

impl Pulse {
    /// The loop has gone round. `due` tells whether it has something to do that nothing known keeps
    /// it from doing.
    pub(crate) fn beat(&self, due: bool, done: Done) {
        let last = std::mem::replace(&mut *self.last.lock(), (due, done));
        if !due || last != (due, done) {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The loop runs until the guard is dropped; nothing is expected of it otherwise.
    pub(crate) fn serve(self: &Arc<Self>) -> Beating {
        self.moved.fetch_add(1, Ordering::Relaxed);
        self.is_served.store(true, Ordering::Relaxed);
        Beating(Arc::clone(self))
    }
}

/// While it lives, the loop of a partition is expected to go round.
#[derive(Debug)]
pub(crate) struct Beating(Arc<Pulse>);

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.is_served.store(false, Ordering::Relaxed);
    }
}

/// How long a partition has stood still, as seen from outside.
#[derive(Debug)]
pub(crate) struct Watch {
    pulse: Arc<Pulse>,
    seen: u64,
    stands: Duration,
}

impl Watch {
    pub(crate) fn new(pulse: Arc<Pulse>) -> Self {
        Self {
            pulse,
            seen: 0,
            stands: Duration::ZERO,
        }
    }

    /// Looks again, some time after the last look. Returns for how long the partition has stood.
    pub(crate) fn look(&mut self, since_last: Duration) -> Duration {
        let moved = self.pulse.moved.load(Ordering::Relaxed);
        if moved != self.seen || !self.pulse.is_served.load(Ordering::Relaxed) {
            (self.seen, self.stands) = (moved, Duration::ZERO);
        } else {
            self.stands += since_last.min(LONGEST_LOOK);
        }
        self.stands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn done(stored: u64, calls: usize) -> Done {
        Done { stored, calls }
    }

    /// Looks and beats each second, and returns how long it stands then.
    fn stands_after(watch: &mut Watch, seconds: u32, mut beat: impl FnMut(&Pulse)) -> Duration {
        let pulse = Arc::clone(&watch.pulse);
        let looks = (0..seconds).map(|_| {
            beat(&pulse);
            watch.look(SECOND)
        });
        looks.last().unwrap_or_default()
    }

    #[test]
    fn due_work_that_stands_is_noticed_and_work_that_moves_or_waits_is_not() {
        let pulse = Arc::<Pulse>::default();
        let mut watch = Watch::new(Arc::clone(&pulse));
        assert_eq!(
            stands_after(&mut watch, 99, |_| {}),
            Duration::ZERO,
            "not served"
        );
        let serving = pulse.serve();
        let idle = |pulse: &Pulse| pulse.beat(false, done(3, 1));
        assert_eq!(stands_after(&mut watch, 99, idle), Duration::ZERO);
        let mut stored = 0;
        let busy = |pulse: &Pulse| {
            stored += 1;
            pulse.beat(true, done(stored, 1));
        };
        assert_eq!(stands_after(&mut watch, 99, busy), Duration::ZERO);
        let stuck = |pulse: &Pulse| pulse.beat(true, done(3, 1));
        assert_eq!(stands_after(&mut watch, 41, stuck), 40 * SECOND);
        // One call that begins is progress.
        let begins = |pulse: &Pulse| pulse.beat(true, done(3, 2));
        assert_eq!(stands_after(&mut watch, 11, begins), 10 * SECOND);
        drop(serving);
        assert_eq!(watch.look(SECOND), Duration::ZERO);
    }

    #[test]
    fn a_loop_that_hangs_is_noticed_and_a_process_that_stood_still_is_not() {
        let pulse = Arc::<Pulse>::default();
        let mut watch = Watch::new(Arc::clone(&pulse));
        let _serving = pulse.serve();
        assert_eq!(stands_after(&mut watch, 31, |_| {}), PATIENCE);
        pulse.beat(false, done(0, 0));
        watch.look(SECOND);
        assert_eq!(watch.look(Duration::from_secs(3_600)), LONGEST_LOOK);
    }
}
