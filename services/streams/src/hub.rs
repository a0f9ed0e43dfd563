//! One reader of TASKS per gateway, fanned out in memory to everybody who listens.
//!
//! The tail starts with the first listener and ends some time after the last. Its position says how far it has handed events
//! out: a listener that joins at position p gets everything after p live, and reads what is up to p from the log. So what it
//! sees has no gap and no repeat, whichever gateway it asks and however often it comes back.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waybill_domain::id::{TaskId, TeamId};
use waybill_domain::partition::PartitionCount;
use waybill_domain::seq::StreamSeq;
use waybill_domain::task::Status;
use waybill_log::subject::TaskSubject;
use waybill_log::{Bounds, Log, Mark, ReadError, Record, Stream, Tail, Watch, set_aside};

use super::filter::EventFilter;
use super::known_labels::{KEPT_BYTES, KnownLabels};
use super::labels::{LabelSource, Labelled};
use super::roster::{Inbox, Place, Reads, Roster};
use super::slots::{NoRoom, Slot, Slots};
use super::view::Step;
use super::watch::TaskWatch;

/// Records handed out between two looks at whether to stop.
const TAIL_BATCH: usize = 256;
/// How long the tail goes on without listeners, so that a client that comes right back finds it running.
const LINGER: Duration = Duration::from_secs(30);
/// Pause after the log could not be read.
const TAIL_RETRY: Duration = Duration::from_millis(250);

/// How many listeners a gateway serves, and how much it holds for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubLimits {
    /// Open event streams, of all teams together: each costs a connection and, at worst, a full queue.
    pub streams: usize,
    /// Open event streams of one team, so that none takes them all.
    pub streams_per_team: usize,
    /// Requests that wait for a task to change.
    pub watches: usize,
    /// Such requests of one team.
    pub watches_per_team: usize,
    /// Events held for a reader that does not keep up, before it is dropped. They are shared between listeners.
    pub queue: usize,
    /// Pages of history that are read at the same time: a page can hold bodies, so this bounds memory.
    pub page_reads: usize,
    /// Bytes of labels that are kept.
    pub label_bytes: u64,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            streams: 5000,
            streams_per_team: 500,
            watches: 10_000,
            watches_per_team: 2000,
            queue: 256,
            page_reads: 4,
            label_bytes: KEPT_BYTES,
        }
    }
}

/// Why joining failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// There are too many listeners.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The tail could not be started.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
}

/// The fan-out of a gateway.
pub struct Hub {
    pub log: Arc<dyn Log>,
    pub partitions: PartitionCount,
    pub stopping: CancellationToken,
    pub page_reads: Semaphore,
    pub(crate) labels: KnownLabels,
    limits: HubLimits,
    streams: Arc<Slots>,
    watches: Arc<Slots>,
    /// Held for one synchronous step at a time, never across an await.
    fan_out: Mutex<FanOut>,
    /// Held while the tail is being started, so that it is started once.
    starting: tokio::sync::Mutex<()>,
    tails: TaskTracker,
}

#[derive(Default)]
struct FanOut {
    roster: Roster,
    /// How far events have been handed out; `None` while no tail runs.
    position: Option<StreamSeq>,
    /// Which tail runs. One that ends late must not close its successor.
    generation: u64,
    unused_since: Option<Instant>,
}

impl Hub {
    /// Spawns nothing until somebody listens.
    #[must_use]
    pub fn new(
        log: Arc<dyn Log>,
        partitions: PartitionCount,
        labels: Arc<dyn LabelSource>,
        stopping: CancellationToken,
        limits: HubLimits,
    ) -> Arc<Self> {
        metrics::gauge!("waybill_stream_subscribers").set(0);
        Arc::new(Self {
            log,
            partitions,
            stopping,
            page_reads: Semaphore::new(limits.page_reads),
            labels: KnownLabels::new(labels, limits.label_bytes),
            streams: Slots::new(
                limits.streams,
                limits.streams_per_team,
                "waybill_stream_subscribers",
            ),
            watches: Slots::new(
                limits.watches,
                limits.watches_per_team,
                "waybill_task_waiters",
            ),
            limits,
            fan_out: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
            tails: TaskTracker::new(),
        })
    }

    /// Waits until no tail is running. To be called after `stopping` is cancelled.
    pub async fn stopped(&self) {
        self.tails.close();
        self.tails.wait().await;
    }

    /// Open event streams now.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.taken()
    }

    /// Takes a slot for an event stream.
    pub fn take_slot(&self, team: &TeamId) -> Result<Slot, NoRoom> {
        self.streams.take(team)
    }

    /// Listens to a task until it changes. See [`TaskWatch::since`] for how to miss nothing.
    pub async fn watch(
        self: &Arc<Self>,
        team: &TeamId,
        task: TaskId,
    ) -> Result<TaskWatch, JoinError> {
        let slot = self.watches.take(team)?;
        let filter = EventFilter::task(team.clone(), task, None);
        let live = self.join(Arc::new(filter), Reads::Changes).await?;
        Ok(TaskWatch::new(live, slot))
    }

    /// Waits for the next event of a task, until a deadline. `None`: none came in time, or the hub cannot watch now; query the task again.
    pub async fn wait_for_task(
        self: &Arc<Self>,
        team: &TeamId,
        task: TaskId,
        deadline: Instant,
    ) -> Option<(StreamSeq, Option<Status>)> {
        let wait = async {
            let mut watch = self.watch(team, task).await.ok()?;
            watch.next().await
        };
        tokio::time::timeout_at(deadline, wait).await.ok().flatten()
    }

    fn fan_out(&self) -> MutexGuard<'_, FanOut> {
        self.fan_out.lock()
    }

    /// How far events have been handed out; `None` while no tail runs.
    pub fn position(&self) -> Option<StreamSeq> {
        self.fan_out().position
    }

    /// Puts a listener on the roster, and starts the tail when it is the first.
    pub async fn join(
        self: &Arc<Self>,
        filter: Arc<EventFilter>,
        reads: Reads,
    ) -> Result<Live, JoinError> {
        loop {
            if self.stopping.is_cancelled() {
                return Err(JoinError::Stopping);
            }
            if let Some(live) = self.try_join(&filter, reads) {
                return Ok(live);
            }
            // Lock order: `starting` before `fan_out`. Several callers may have found no tail; all but the first find it running here.
            let _only_one = self.starting.lock().await;
            if self.position().is_none() {
                let bounds = self.log.bounds(Stream::Tasks).await?;
                self.start(&bounds);
            }
        }
    }

    fn try_join(self: &Arc<Self>, filter: &Arc<EventFilter>, reads: Reads) -> Option<Live> {
        let mut fan_out = self.fan_out();
        let since = fan_out.position?;
        fan_out.unused_since = None;
        let filter = Arc::clone(filter);
        let (place, inbox) = fan_out.roster.add(filter, reads, self.limits.queue);
        Some(Live {
            since,
            inbox,
            place,
            hub: Arc::clone(self),
        })
    }

    fn start(self: &Arc<Self>, bounds: &Bounds) {
        let last = bounds.last;
        let tail = self.log.tail(Stream::Tasks, Vec::new(), last.next());
        let generation = {
            let mut fan_out = self.fan_out();
            fan_out.position = Some(last);
            fan_out.unused_since = None;
            fan_out.generation += 1;
            fan_out.generation
        };
        let running = Running {
            hub: Arc::clone(self),
            generation,
            mark: Mark {
                incarnation: bounds.incarnation,
                seq: last,
                fingerprint: None,
            },
        };
        self.tails.spawn(running.hand_out(tail));
    }

    /// Hands records to whoever wants them.
    async fn hand_out(&self, records: &[Record]) {
        let prepared = self.prepare(records).await;
        for (record, mut prepared) in records.iter().zip(prepared) {
            // Somebody may have joined since, for whom nothing was prepared.
            while !self.try_hand_out(record, &mut prepared) {
                let again = self.prepare(std::slice::from_ref(record)).await;
                prepared = again.into_iter().next().flatten();
            }
        }
    }

    /// Decodes what somebody listens to, and completes what somebody shows.
    async fn prepare(&self, records: &[Record]) -> Vec<Option<Prepared>> {
        let listened: Vec<bool> = {
            let fan_out = self.fan_out();
            let has = |record| team_of(record).is_some_and(|team| fan_out.roster.has(team));
            records.iter().map(has).collect()
        };
        let decode = |(record, listened): (&Record, bool)| listened.then(|| Prepared(read(record)));
        let mut all: Vec<_> = records.iter().zip(listened).map(decode).collect();
        let mut shown: Vec<&mut Step> = {
            let fan_out = self.fan_out();
            let steps = records
                .iter()
                .zip(&mut all)
                .filter_map(|(record, prepared)| {
                    let step = prepared.as_mut()?.0.as_mut()?;
                    let shown = fan_out.roster.shows(team_of(record)?, step);
                    shown.then_some(step)
                });
            steps.collect()
        };
        self.labels.complete(&mut shown).await;
        all
    }

    /// Hands one record to whoever wants it, and moves the position past it: one step under the lock, so that a listener that
    /// joins sees either both or neither. `false`: somebody wants it for whom it is not prepared, and nothing was done.
    fn try_hand_out(&self, record: &Record, prepared: &mut Option<Prepared>) -> bool {
        let mut fan_out = self.fan_out();
        let listened = team_of(record).filter(|team| fan_out.roster.has(team));
        if let Some(team) = listened {
            let is_ready = match prepared {
                None => false,
                Some(Prepared(None)) => true,
                Some(Prepared(Some(step))) => {
                    step.labelled() != &Labelled::Unasked || !fan_out.roster.shows(team, step)
                }
            };
            if !is_ready {
                return false;
            }
        }
        if fan_out
            .position
            .is_some_and(|position| record.follows > position)
        {
            // The tail reads everything, so what is missing is gone: retention was faster. Listeners go back to the log, where they
            // find out and say so.
            fan_out.roster.clear();
        }
        if let (Some(team), Some(Prepared(Some(step)))) = (listened, prepared.take()) {
            fan_out.roster.deliver(team, &Arc::new(step));
        }
        fan_out.position = Some(record.seq);
        true
    }

    /// Stops the tail when nobody has listened for a while.
    fn stop_if_unused(&self) -> bool {
        let mut fan_out = self.fan_out();
        if !fan_out.roster.is_empty() {
            fan_out.unused_since = None;
            return false;
        }
        let now = Instant::now();
        let since = *fan_out.unused_since.get_or_insert(now);
        let unused = now.duration_since(since) >= LINGER;
        if unused {
            fan_out.position = None;
        }
        unused
    }
}

/// A record that was decoded; nothing, where subscribers are not told of it.
struct Prepared(Option<Step>);

/// Whose task the record is about.
fn team_of(record: &Record) -> Option<&str> {
    match TaskSubject::parse(&record.subject) {
        Some(TaskSubject::Event { team, .. }) => Some(team),
        _ => None,
    }
}

/// Decodes a record for subscribers. One that cannot be read is quarantined and left out: a subscriber could do nothing about it.
pub(crate) fn read(record: &Record) -> Option<Step> {
    Step::read(record).unwrap_or_else(|why| {
        set_aside("hub", Stream::Tasks, record, &why);
        None
    })
}

/// The running tail.
struct Running {
    hub: Arc<Hub>,
    generation: u64,
    /// The record that was handed out last.
    mark: Mark,
}

impl Running {
    async fn hand_out(mut self, mut tail: Box<dyn Tail>) {
        let hub = Arc::clone(&self.hub);
        let mut watch = Watch::new(Arc::clone(&hub.log), Stream::Tasks);
        while !hub.stop_if_unused() {
            // Cancellation safe: a batch that was not handed out yet is read again by the listeners themselves.
            let batch = tokio::select! {
                biased;
                () = hub.stopping.cancelled() => return,
                batch = tokio::time::timeout(LINGER, tail.next_batch(TAIL_BATCH)) => batch,
                backwards = watch.went_backwards(Some(self.mark)) => {
                    tracing::error!(
                        %backwards,
                        "TASKS does not hold what this gateway has read of it, as after a restore from a backup; event streams begin anew"
                    );
                    return;
                }
            };
            match batch {
                Ok(Ok(records)) => {
                    hub.hand_out(&records).await;
                    if let Some(last) = records.last() {
                        self.mark = Mark::of(last, self.mark.incarnation);
                    }
                    // A tail with a backlog is always ready; listeners on the same thread must get their turn.
                    tokio::task::yield_now().await;
                }
                // Listeners go back to the log, where they find out what is missing and say so.
                Ok(Err(ReadError::Gap { .. })) => hub.fan_out().roster.clear(),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the event streams cannot read the log; trying again");
                    // A pause that a stop cuts short: nothing is half done in it.
                    tokio::select! {
                        biased;
                        () = hub.stopping.cancelled() => return,
                        () = tokio::time::sleep(TAIL_RETRY) => {}
                    }
                }
                // Nothing has happened for a while.
                Err(_) => {}
            }
        }
    }
}

impl Drop for Running {
    /// However the tail ends, nobody may go on waiting for it: listeners that are left join again.
    fn drop(&mut self) {
        let mut fan_out = self.hub.fan_out();
        if fan_out.generation == self.generation {
            fan_out.position = None;
            fan_out.roster.clear();
        }
    }
}

/// A listener on the roster. Dropping it takes it off.
pub struct Live {
    /// Everything after this arrives in the inbox.
    pub since: StreamSeq,
    pub inbox: Inbox,
    place: Place,
    hub: Arc<Hub>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.hub.fan_out().roster.remove(&self.place);
    }
}
