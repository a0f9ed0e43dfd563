//! The main loop of a projector: gathers, applies and syncs events, and checks the ends of the
//! streams.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking, unconstrained};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use waybill_log::{
    Bounds, Continuity, Log, Mark, ReadError, Record, Stream, StreamSeq, Tail, Watch, WentBackwards,
};

use waybill_store::StoreError;

use crate::model::{BATCH_EVENTS, ModelError, Projection};
use crate::progress::Progress;
use crate::projector::{ProjectorConfig, ProjectorError};
use crate::query::Position;
use crate::replay::{ReplayError, apply};

/// Limit of records that are gathered before they are applied.
const MAX_GATHERED: usize = 4 * BATCH_EVENTS;
/// Pause after an error of a tail, which is temporary.
const PAUSE: Duration = Duration::from_millis(200);

/// Why the loop ended.
pub(crate) enum Ended {
    /// A stop was requested.
    Shutdown,
    /// It cannot continue, and starting over would not help.
    Fatal(ProjectorError),
    /// The log no longer has what was read of it.
    WentBackwards(WentBackwards),
    /// The store cannot be used: the streams were recreated, or a row is unreadable.
    Useless(String),
    /// The store failed; opening it again shows what is left of it.
    Broken(String),
}

impl From<ReplayError> for Ended {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Model(error) => error.into(),
            // A panic on the blocking thread: the store may be in the middle of a change.
            ReplayError::Ending => Self::Broken("applying events crashed".into()),
            ReplayError::Log(error) => Self::Broken(error.to_string()),
        }
    }
}

impl From<ModelError> for Ended {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Row { .. } => Self::Useless(error.to_string()),
            ModelError::Store(StoreError::Poisoned { why }) => Self::Broken(why),
            // Starting over would lead to the same error.
            ModelError::Store(_) => Self::Fatal(ProjectorError::Model(Arc::new(error))),
        }
    }
}

/// The bounds of both streams at one time.
struct Look {
    /// When the look began: everything in the log by then is at or below `control.last` and
    /// `tasks.last`.
    at: Instant,
    control: Bounds,
    tasks: Bounds,
}

/// The end of the log at a time.
#[derive(Clone, Copy)]
struct Goal {
    at: Instant,
    last: Position,
}

struct Follower<'a> {
    log: &'a Arc<dyn Log>,
    config: &'a ProjectorConfig,
    progress: &'a Progress,
    control: Box<dyn Tail>,
    tasks: Box<dyn Tail>,
    /// `None` while a blocking thread has it.
    projection: Option<Projection>,
    /// The latest look at the ends of the streams.
    latest: Option<Goal>,
    /// The oldest look that is not reached yet. If each new one replaced it, a projector that is
    /// always slightly behind would never reach any.
    goal: Option<Goal>,
    applied_at: Instant,
    dirty: bool,
}

/// Follows both streams until something ends it. Afterwards the store is synced to disk, unless it
/// failed.
pub(crate) async fn follow(
    config: &ProjectorConfig,
    log: &Arc<dyn Log>,
    projection: Projection,
    progress: &Progress,
    ending: &CancellationToken,
) -> Ended {
    let from = projection.applied();
    let mut follower = Follower {
        log,
        config,
        progress,
        control: log.tail(Stream::Control, vec![], from.control.next()),
        tasks: log.tail(Stream::Tasks, vec![], from.tasks.next()),
        projection: Some(projection),
        latest: None,
        goal: None,
        applied_at: Instant::now(),
        dirty: false,
    };
    let (looks, stop_looking, looker) = start_looking(Arc::clone(log), config.bounds_every);
    let ended = follower.run(looks, ending).await;
    drop(stop_looking);
    // The task ends at its next await. If it had panicked, its channel would have closed, which
    // ends the loop.
    let _ = looker.await;
    let synced = follower.sync().await;
    match (ended, synced) {
        (Ended::Shutdown, Err(broken)) => broken,
        (ended, _) => ended,
    }
}

impl Follower<'_> {
    async fn run(&mut self, mut looks: mpsc::Receiver<Look>, ending: &CancellationToken) -> Ended {
        let mut sync = interval(self.config.sync_every);
        sync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watches =
            [Stream::Control, Stream::Tasks].map(|stream| Watch::new(Arc::clone(self.log), stream));
        loop {
            let marks = self.marks();
            let [control, tasks] = &mut watches;
            // Biased: the stop first, then what readiness depends on, then new records.
            // Cancellation safe: tails and channels keep what was not taken.
            let step = tokio::select! {
                biased;
                () = ending.cancelled() => return Ended::Shutdown,
                look = looks.recv() => match look {
                    Some(look) => self.looked(look).await,
                    None => Err(Ended::Broken("the task that checks the ends of the streams has ended".into())),
                },
                _ = sync.tick(), if self.dirty => self.sync().await,
                backwards = control.went_backwards(marks[0]) => Err(Ended::WentBackwards(backwards)),
                backwards = tasks.went_backwards(marks[1]) => Err(Ended::WentBackwards(backwards)),
                records = self.control.next_batch(MAX_GATHERED) => self.came(Stream::Control, records).await,
                records = self.tasks.next_batch(MAX_GATHERED) => self.came(Stream::Tasks, records).await,
            };
            if let Err(ended) = step {
                return ended;
            }
        }
    }

    /// The last records read of CONTROL and TASKS.
    fn marks(&self) -> [Option<Mark>; 2] {
        let marks = self.projection.as_ref().map(Projection::marks);
        marks.map_or([None; 2], |marks| marks.map(|(_, mark)| mark))
    }

    async fn came(
        &mut self,
        stream: Stream,
        records: Result<Vec<Record>, ReadError>,
    ) -> Result<(), Ended> {
        match records {
            Ok(records) => {
                let gathered = self.gather(stream, records).await;
                self.apply(gathered).await
            }
            // Everything read before the gap is too old as well, so the model starts over from what
            // is left.
            Err(ReadError::Gap { first, .. }) if stream == Stream::Tasks => {
                self.follow_retention(StreamSeq(0), first).await
            }
            Err(error) => {
                tracing::warn!(%error, stream = stream.name(), "reading the log failed, so the read model may fall behind; retrying");
                tokio::time::sleep(PAUSE).await;
                Ok(())
            }
        }
    }

    /// While events arrive quickly, waits briefly for more, unless a query is waiting for them.
    async fn gather(&mut self, stream: Stream, records: Vec<Record>) -> Vec<(Stream, Vec<Record>)> {
        let until = self.applied_at + self.config.gather;
        let busy = Instant::now() < until;
        if busy && records.len() < MAX_GATHERED {
            // Neither branch holds records. A query that asks while no one waits here is remembered,
            // and ends the next wait at once.
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.progress.wanted() => {}
            }
        }
        let mut control = Vec::new();
        let mut tasks = Vec::new();
        match stream {
            Stream::Control => control = records,
            Stream::Tasks => tasks = records,
        }
        drain(&mut self.control, &mut control);
        drain(&mut self.tasks, &mut tasks);
        vec![(Stream::Control, control), (Stream::Tasks, tasks)]
    }

    async fn apply(&mut self, batches: Vec<(Stream, Vec<Record>)>) -> Result<(), Ended> {
        let Some(projection) = self.projection.take() else {
            return Err(Ended::Broken("applying events crashed".into()));
        };
        for (stream, records) in &batches {
            metrics::counter!("waybill_projector_events_total", "stream" => stream.name())
                .increment(records.len() as u64);
        }
        let projection = apply(projection, batches).await?;
        self.applied_at = Instant::now();
        self.dirty = true;
        self.tell(&projection);
        self.projection = Some(projection);
        Ok(())
    }

    /// Publishes how far the model has read.
    fn tell(&mut self, projection: &Projection) {
        let applied = projection.applied();
        let mut caught_up = None;
        while let Some(goal) = self.goal
            && applied.covers(goal.last)
        {
            caught_up = Some(goal.at);
            self.goal = self.latest.filter(|latest| latest.at > goal.at);
        }
        self.progress.update(|status| {
            status.applied = applied;
            status.floor = projection.floor();
            status.quarantined = projection.quarantined();
            if let Some(latest) = self.latest {
                status.last = latest.last;
            }
            status.caught_up_at = caught_up.max(status.caught_up_at);
        });
    }

    /// Compares the model's position with the ends of the streams, and follows retention.
    async fn looked(&mut self, look: Look) -> Result<(), Ended> {
        let Some(projection) = self.projection.take() else {
            return Err(Ended::Broken("applying events crashed".into()));
        };
        // A reader may have found an error that the writer has not.
        if let Some(why) = projection.store().poisoned() {
            return Err(Ended::Broken(why));
        }
        let mut is_behind = false;
        for (stream, bounds) in [(Stream::Control, look.control), (Stream::Tasks, look.tasks)] {
            let applied = projection.applied().of(stream);
            if bounds.incarnation != projection.incarnations().of(stream) {
                return Err(Ended::WentBackwards(WentBackwards {
                    stream,
                    read: applied,
                    last: bounds.last,
                    is_another: true,
                }));
            }
            // Exact when nothing arrives; otherwise the end of the stream has moved since the look.
            let lag = bounds.positions.messages_between(applied, bounds.last);
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            metrics::gauge!("waybill_projector_lag_records", "stream" => stream.name())
                .set(lag as f64);
            // The look began before the last apply, so more may be applied than it saw, but only
            // newer records.
            if bounds.last < applied && look.at > self.applied_at {
                is_behind = true;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("waybill_projector_quarantined_events")
            .set(projection.quarantined() as f64);
        // An empty stream has its first sequence after its end: everything is gone.
        let gone = StreamSeq(look.control.first.0.saturating_sub(1));
        if gone > projection.applied().control {
            tracing::error!(first = %look.control.first, "CONTROL, which is kept for ever, has lost its beginning; restore it from a backup");
        }
        self.projection = Some(projection);
        self.follow_retention(gone, look.tasks.first).await?;
        // An end before what was read is that of a lagging leader, or the log went backwards: the
        // comparison decides.
        if !is_behind {
            self.latest = Some(Goal {
                at: look.at,
                last: Position {
                    control: look.control.last,
                    tasks: look.tasks.last,
                },
            });
            self.goal = self.goal.or(self.latest);
        }
        let Some(projection) = self.projection.take() else {
            return Err(Ended::Broken("sweeping crashed".into()));
        };
        self.tell(&projection);
        self.projection = Some(projection);
        Ok(())
    }

    /// Removes from the model what the streams no longer have: everything of CONTROL up to `gone`,
    /// and of TASKS before `first`.
    async fn follow_retention(&mut self, gone: StreamSeq, first: StreamSeq) -> Result<(), Ended> {
        let Some(mut projection) = self.projection.take() else {
            return Err(Ended::Broken("applying events crashed".into()));
        };
        let work = move || {
            projection.skip_to(Stream::Control, gone)?;
            let swept = projection.sweep(first)?;
            Ok::<_, ModelError>((projection, swept))
        };
        let (projection, swept) = spawn_blocking(work)
            .await
            .map_err(|_| Ended::Broken("sweeping crashed".into()))??;
        if swept > 0 {
            tracing::info!(tasks = swept, floor = %first, "removed tasks from the read model that retention has purged from the log");
            metrics::counter!("waybill_projector_swept_tasks_total").increment(swept);
            self.dirty = true;
        }
        self.projection = Some(projection);
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), Ended> {
        let Some(projection) = &self.projection else {
            return Ok(());
        };
        let store = projection.store().clone();
        let synced = spawn_blocking(move || store.sync()).await;
        self.dirty = false;
        match synced {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Ended::Broken(error.to_string())),
            Err(_) => Err(Ended::Broken("syncing crashed".into())),
        }
    }
}

/// Compares what was read of both logs with their contents.
pub(crate) async fn compare(
    log: Arc<dyn Log>,
    marks: [(Stream, Option<Mark>); 2],
) -> Option<WentBackwards> {
    for (stream, mark) in marks {
        if let Some(mark) = mark
            && let Continuity::WentBackwards(backwards) =
                waybill_log::compare(&*log, stream, mark).await
        {
            return Some(backwards);
        }
    }
    None
}

/// Takes what has already arrived. An error is returned by the next regular call.
fn drain(tail: &mut Box<dyn Tail>, into: &mut Vec<Record>) {
    while into.len() < MAX_GATHERED {
        // Unconstrained, since an exhausted cooperative budget would look like an empty tail.
        match unconstrained(tail.next_batch(MAX_GATHERED - into.len())).now_or_never() {
            Some(Ok(more)) => into.extend(more),
            Some(Err(_)) | None => break,
        }
    }
}

/// Checks the ends of the streams in a task of its own, since the log may take seconds to fail.
fn start_looking(
    log: Arc<dyn Log>,
    every: Duration,
) -> (mpsc::Receiver<Look>, DropGuard, JoinHandle<()>) {
    // A bound of one: only the latest look matters.
    let (send, receive) = mpsc::channel(1);
    let ending = CancellationToken::new();
    let ended = ending.clone();
    let looking = async move {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let at = Instant::now();
            let both = async {
                let control = log.bounds(Stream::Control).await?;
                let tasks = log.bounds(Stream::Tasks).await?;
                Ok::<_, ReadError>(Look { at, control, tasks })
            };
            match both.await {
                Ok(look) => {
                    if send.send(look).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "reading the ends of the streams failed; the model may look stale until this succeeds");
                }
            }
        }
    };
    let looker = tokio::spawn(async move {
        ended.run_until_cancelled(looking).await;
    });
    (receive, ending.drop_guard(), looker)
}
