//! Decides whether the log still has room for creations: every gateway watches how full TASKS is,
//! and how much of it open tasks still need.
//!
//! Tasks that this gateway has accepted since its last check count at once. Creations of other
//! gateways and the reports of owners arrive about a second late; the margin of [`Room`] covers
//! them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use metrics::gauge;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_domain::room::{OWED_SUBJECT, Owed, OwedByPartition, Room};

use crate::{Bounds, Log, Stream};

/// Time limit of one check of the log.
const LOOK_DEADLINE: Duration = Duration::from_secs(2);
/// Pause before subscribing again to the reports of owners.
const RESUBSCRIBE_PAUSE: Duration = Duration::from_secs(1);
/// How long partitions whose owner has not reported yet count as if they needed no room, since
/// owners may still be starting. After that, all that they store counts as open.
const OWNERS_START: Duration = Duration::from_secs(30);

/// A creation of ordinary size. The log counts as full if it has no room for one.
const ORDINARY: Owed = Owed {
    tasks: 1,
    bytes: 4_096,
};

/// Why creations are refused now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFull {
    /// TASKS has reached its high-water mark.
    HighWater(Room),
    /// The disk that holds the log has too little space left, whatever uses it.
    Disk {
        /// Bytes free.
        free: u64,
        /// Bytes that must stay free for results, revocations and read models.
        kept: u64,
    },
}

impl fmt::Display for LogFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::HighWater(room) => write!(
                f,
                "The log is full: {} of {} are used and {} are kept for open tasks, so creations stop at {}",
                Size(room.used),
                Size(room.limit),
                Size(room.owed),
                Size(room.high_water()),
            ),
            Self::Disk { free, kept } => write!(
                f,
                "The log is full: its disk has {} free, and creations stop below {}",
                Size(free),
                Size(kept),
            ),
        }
    }
}

/// A number of bytes as text for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        for (unit, bytes) in UNITS {
            if self.0 >= bytes {
                let tenths = self.0 % bytes * 10 / bytes;
                return write!(f, "{}.{tenths} {unit}", self.0 / bytes);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

/// Whether the history of ended tasks must be purged before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pressure {
    /// There is room: history is kept for its full age.
    #[default]
    None,
    /// The log or its disk is nearly full: the low-water mark may pass the age limit, down to `min_history`.
    High,
}

/// The known state of the room in TASKS. Its lock is held for a few instructions, never across an
/// await.
#[derive(Debug)]
pub struct RoomWatch {
    partitions: PartitionCount,
    since: Instant,
    state: Mutex<State>,
    pressure: watch::Sender<Pressure>,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    /// `None` before the first check, and for a log without a limit.
    limit: Option<u64>,
    owed: HashMap<Partition, Owed>,
    /// Accepted by this gateway since the last check.
    created: Owed,
    disk: Option<LogFull>,
    was_full: bool,
}

impl RoomWatch {
    /// A watch that refuses nothing until its first check.
    #[must_use]
    pub fn new(partitions: PartitionCount) -> Arc<Self> {
        Arc::new(Self {
            partitions,
            since: Instant::now(),
            state: Mutex::default(),
            pressure: watch::Sender::default(),
        })
    }

    /// Checks that there is room for a creation of that many bytes, and counts it from now on if
    /// there is.
    pub fn admit(&self, bytes: u64) -> Result<(), LogFull> {
        let mut state = self.lock();
        let created = state.created.and(Owed { tasks: 1, bytes });
        self.check_with(&state, created)?;
        state.created = created;
        Ok(())
    }

    /// Checks that there is room for a creation of ordinary size.
    pub fn check(&self) -> Result<(), LogFull> {
        let state = self.lock();
        self.check_with(&state, state.created.and(ORDINARY))
    }

    /// The room in TASKS; `None` while it is unknown, and for a log without a limit.
    #[must_use]
    pub fn room(&self) -> Option<Room> {
        let state = self.lock();
        self.room_of(&state)
    }

    /// Takes in the result of a check of TASKS.
    pub fn looked(&self, bounds: &Bounds) {
        let mut state = self.lock();
        state.used = bounds.bytes;
        state.limit = bounds.max_bytes;
        state.created = Owed::default();
        let refused = self.check_with(&state, ORDINARY).err();
        if refused.is_some() != state.was_full {
            state.was_full = refused.is_some();
            match refused {
                Some(full) => tracing::error!("{full}; owners, revocations and reads go on"),
                None => tracing::info!("the log has room again: creations are accepted"),
            }
        }
        let room = self.room_of(&state);
        self.press(&state);
        drop(state);
        gauge!("waybill_log_full").set(if refused.is_some() { 1.0 } else { 0.0 });
        gauge!("waybill_log_high_water_bytes").set(float(room.map_or(0, |room| room.high_water())));
        gauge!("waybill_log_owed_bytes").set(float(room.map_or(0, |room| room.owed)));
    }

    /// A channel that reports each change of the pressure on history.
    #[must_use]
    pub fn pressure(&self) -> watch::Receiver<Pressure> {
        self.pressure.subscribe()
    }

    fn press(&self, state: &State) {
        let room = self.room_of(state);
        let pressure = if state.disk.is_some() || room.is_some_and(|room| room.wants_purge()) {
            Pressure::High
        } else {
            Pressure::None
        };
        self.pressure.send_if_modified(|current| {
            let former = std::mem::replace(current, pressure);
            former != pressure
        });
    }

    /// Takes in an owner's report about its partition.
    pub fn owed(&self, partition: Partition, owed: Owed) {
        if partition.get() < self.partitions.get() {
            self.lock().owed.insert(partition, owed);
        }
    }

    /// Takes in the state of the disk; `None`: it has room.
    pub fn disk(&self, full: Option<LogFull>) {
        let mut state = self.lock();
        state.disk = full;
        self.press(&state);
    }

    fn check_with(&self, state: &State, created: Owed) -> Result<(), LogFull> {
        if let Some(full) = state.disk {
            return Err(full);
        }
        let room = self.room_of(state).map(|room| room.with_created(created));
        match room {
            Some(room) if room.is_full() => Err(LogFull::HighWater(room)),
            _ => Ok(()),
        }
    }

    fn room_of(&self, state: &State) -> Option<Room> {
        let said = state
            .owed
            .values()
            .fold(Owed::default(), |sum, owed| sum.and(*owed));
        let count = u64::from(self.partitions.get());
        let silent = count.saturating_sub(state.owed.len() as u64);
        let unsaid = if self.since.elapsed() < OWNERS_START {
            0
        } else {
            state.used / count * silent
        };
        state.limit.map(|limit| Room {
            used: state.used,
            limit,
            owed: said.room().saturating_add(unsaid),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Checks TASKS periodically and listens to the reports of owners, until `stop` is cancelled.
    pub async fn follow(
        self: Arc<Self>,
        log: Arc<dyn Log>,
        nats: async_nats::Client,
        every: Duration,
        stop: CancellationToken,
    ) {
        let look = async {
            let mut ticks = tokio::time::interval(every);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                match tokio::time::timeout(LOOK_DEADLINE, log.bounds(Stream::Tasks)).await {
                    Ok(Ok(bounds)) => self.looked(&bounds),
                    // Logged at debug only: the health check reports a log that does not answer.
                    // The last figures stay in use.
                    Ok(Err(error)) => tracing::debug!(%error, "reading the size of TASKS failed"),
                    Err(_) => tracing::debug!("reading the size of TASKS timed out"),
                }
            }
        };
        let hear = async {
            loop {
                if let Err(error) = self.hear(&nats).await {
                    tracing::warn!(%error, "subscribing to the reports of owners failed; trying again");
                }
                tokio::time::sleep(RESUBSCRIBE_PAUSE).await;
            }
        };
        // Cancelling either of them loses nothing: they only update figures, and the last ones
        // stay.
        tokio::select! {
            () = stop.cancelled() => {}
            () = look => {}
            () = hear => {}
        }
    }

    async fn hear(&self, nats: &async_nats::Client) -> Result<(), async_nats::SubscribeError> {
        let mut said = nats.subscribe(OWED_SUBJECT).await?;
        while let Some(message) = said.next().await {
            match serde_json::from_slice::<OwedByPartition>(&message.payload) {
                Ok(figures) => {
                    for (partition, owed) in figures.partitions {
                        self.owed(partition, owed);
                    }
                }
                Err(error) => tracing::debug!(%error, "ignoring a malformed report of an owner"),
            }
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge of bytes")]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StreamSeq;
    use waybill_domain::time::Timestamp;

    const MIB: u64 = 1 << 20;

    fn looked(watch: &RoomWatch, bytes: u64, max_bytes: Option<u64>) {
        watch.looked(&Bounds {
            messages: 0,
            positions: crate::Positions::OF_MESSAGES,
            first: StreamSeq(1),
            last: StreamSeq(1),
            incarnation: 1,
            bytes,
            max_bytes,
            now: Timestamp(0),
        });
    }

    fn watch() -> Arc<RoomWatch> {
        RoomWatch::new(PartitionCount::new(2).expect("two partitions"))
    }

    #[test]
    fn creations_count_before_the_next_look_and_room_that_is_given_back_is_used() {
        let watch = watch();
        assert_eq!(watch.admit(u64::MAX / 4), Ok(()), "nothing is known yet");
        looked(&watch, 0, Some(100 * MIB));
        let admitted = (0..1_000).take_while(|_| watch.admit(MIB).is_ok()).count();
        // Each takes its own bytes once, and once more to be restated, below 90 of 100 MiB.
        assert_eq!(admitted, 44);
        looked(&watch, 95 * MIB, Some(100 * MIB));
        let full = watch.check().expect_err("over the high-water mark");
        assert_eq!(
            full.to_string(),
            "The log is full: 95.0 MiB of 100.0 MiB are used and 5.5 KiB are kept for open tasks, so creations stop at 89.9 MiB"
        );
        looked(&watch, 40 * MIB, Some(100 * MIB));
        assert_eq!(watch.check(), Ok(()));
    }

    #[test]
    fn what_is_open_lowers_the_mark_and_a_full_disk_refuses_whatever_the_log_says() {
        let watch = watch();
        looked(&watch, 60 * MIB, Some(100 * MIB));
        assert_eq!(watch.check(), Ok(()));
        let owed = |bytes| Owed { tasks: 0, bytes };
        let [first, second] = [0, 1].map(|number| Partition::new(number).expect("a partition"));
        watch.owed(first, owed(20 * MIB));
        watch.owed(second, owed(20 * MIB));
        assert!(watch.check().is_err());
        watch.owed(second, owed(0));
        assert_eq!(watch.check(), Ok(()));
        let disk = LogFull::Disk {
            free: 3,
            kept: 5 * MIB,
        };
        watch.disk(Some(disk));
        assert_eq!(watch.check(), Err(disk));
        watch.disk(None);
        assert_eq!(watch.check(), Ok(()));
    }

    #[test]
    fn history_gives_way_before_creations_are_refused() {
        let watch = watch();
        let mut pressure = watch.pressure();
        looked(&watch, 10 * MIB, Some(100 * MIB));
        assert!(!pressure.has_changed().expect("a sender"));
        // Creations stop at 90 of 100 MiB, and history gives way 5 MiB before.
        looked(&watch, 86 * MIB, Some(100 * MIB));
        assert_eq!(*pressure.borrow_and_update(), Pressure::High);
        assert_eq!(watch.check(), Ok(()));
        looked(&watch, 10 * MIB, Some(100 * MIB));
        assert_eq!(*pressure.borrow_and_update(), Pressure::None);
        watch.disk(Some(LogFull::Disk { free: 1, kept: 2 }));
        assert_eq!(*pressure.borrow_and_update(), Pressure::High);
    }

    #[test]
    fn a_log_without_a_limit_refuses_nothing() {
        let watch = watch();
        looked(&watch, u64::MAX / 2, None);
        assert_eq!(watch.check(), Ok(()));
        assert_eq!(watch.room(), None);
    }
}
