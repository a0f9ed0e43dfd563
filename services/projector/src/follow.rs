//! The run loop of a projector: gather, apply, sync, and keep an eye on the ends of the streams.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking, unconstrained};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use waybill_log::{Bounds, Log, ReadError, Record, Stream, StreamSeq, Tail};

use waybill_store::StoreError;

use crate::model::{BATCH_EVENTS, ModelError, Projection};
use crate::progress::Progress;
use crate::projector::{ProjectorConfig, ProjectorError};
use crate::query::Position;
use crate::replay::{ReplayError, apply};

/// Records gathered before they are applied, whatever else is to be waited for.
const MAX_GATHERED: usize = 4 * BATCH_EVENTS;
/// Looks at a stream that is shorter than what was read of it, one after the other, before that is believed: a leader that has just been
/// elected may still be applying what it holds.
const REGRESSIONS: u32 = 5;
/// And for so long: seen right after an election, for more than a second.
const REGRESSED_FOR: Duration = Duration::from_secs(5);
/// After an error of a tail, which is passing.
const PAUSE: Duration = Duration::from_millis(200);

/// Why the loop ended.
pub(crate) enum Ended {
    /// It was asked to.
    Shutdown,
    /// It cannot go on, and starting over would not help.
    Fatal(ProjectorError),
    /// What the store holds is of no use: the streams were made anew, or a row cannot be read.
    Useless(String),
    /// The store failed; opening it again shows what is left of it.
    Broken(String),
}

impl From<ReplayError> for Ended {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Model(error) => error.into(),
            // A panic on the blocking thread: the store may be half way through something.
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
            // The same would happen again.
            ModelError::Store(_) => Self::Fatal(ProjectorError::Model(Arc::new(error))),
        }
    }
}

/// A look at the ends of both streams.
struct Look {
    /// When it began: what was in the log by then is below `control.last` and `tasks.last`.
    at: Instant,
    control: Bounds,
    tasks: Bounds,
}

/// What the log held at a time.
#[derive(Clone, Copy)]
struct Goal {
    at: Instant,
    last: Position,
}

struct Follower<'a> {
    config: &'a ProjectorConfig,
    progress: &'a Progress,
    control: Box<dyn Tail>,
    tasks: Box<dyn Tail>,
    /// `None` while a blocking thread has it.
    projection: Option<Projection>,
    /// The latest look at the streams' ends.
    latest: Option<Goal>,
    /// The oldest one that was not reached yet. Replacing it by every new one, a projector that is always a little behind would never
    /// reach any.
    goal: Option<Goal>,
    regressions: u32,
    /// Since when each look has found the end of a stream behind what was read.
    regressed_since: Option<Instant>,
    applied_at: Instant,
    dirty: bool,
}

/// Follows both streams until something ends it. The store is in sync with the disk afterwards, unless it failed.
pub(crate) async fn follow(
    config: &ProjectorConfig,
    log: &Arc<dyn Log>,
    projection: Projection,
    progress: &Progress,
    ending: &CancellationToken,
) -> Ended {
    let from = projection.applied();
    let mut follower = Follower {
        config,
        progress,
        control: log.tail(Stream::Control, vec![], from.control.next()),
        tasks: log.tail(Stream::Tasks, vec![], from.tasks.next()),
        projection: Some(projection),
        latest: None,
        goal: None,
        regressions: 0,
        regressed_since: None,
        applied_at: Instant::now(),
        dirty: false,
    };
    let (looks, stop_looking, looker) = start_looking(Arc::clone(log), config.bounds_every);
    let ended = follower.run(looks, ending).await;
    drop(stop_looking);
    // It ends at the next await; its own panic would have closed the channel, which ends the loop.
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
        loop {
            let step = tokio::select! {
                biased;
                () = ending.cancelled() => return Ended::Shutdown,
                look = looks.recv() => match look {
                    Some(look) => self.looked(look).await,
                    None => Err(Ended::Broken("nobody looks at the streams' ends".into())),
                },
                _ = sync.tick(), if self.dirty => self.sync().await,
                records = self.control.next_batch(MAX_GATHERED) => self.came(Stream::Control, records).await,
                records = self.tasks.next_batch(MAX_GATHERED) => self.came(Stream::Tasks, records).await,
            };
            if let Err(ended) = step {
                return ended;
            }
        }
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
            // What was read before it is as far behind as if it had never been read: the model begins anew at what is left.
            Err(ReadError::Gap { first, .. }) if stream == Stream::Tasks => {
                self.follow_retention(StreamSeq(0), first).await
            }
            Err(error) => {
                tracing::warn!(%error, stream = stream.name(), "reading the log failed; it is tried again");
                tokio::time::sleep(PAUSE).await;
                Ok(())
            }
        }
    }

    /// While events come fast, waits a little for more, unless a query wants them now.
    async fn gather(&mut self, stream: Stream, records: Vec<Record>) -> Vec<(Stream, Vec<Record>)> {
        let until = self.applied_at + self.config.gather;
        let busy = Instant::now() < until;
        if busy && records.len() < MAX_GATHERED {
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

    /// Says how far it is.
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

    /// Compares what was read with the ends of the streams, and follows retention.
    async fn looked(&mut self, look: Look) -> Result<(), Ended> {
        let Some(projection) = self.projection.take() else {
            return Err(Ended::Broken("applying events crashed".into()));
        };
        // A reader may have met what the writer has not.
        if let Some(why) = projection.store().poisoned() {
            return Err(Ended::Broken(why));
        }
        let mut regressed = None;
        for (stream, bounds) in [(Stream::Control, look.control), (Stream::Tasks, look.tasks)] {
            if bounds.incarnation.to_string() != projection.incarnations().of(stream) {
                return Err(Ended::Useless(format!("{} was made anew", stream.name())));
            }
            let applied = projection.applied().of(stream);
            // Exact when nothing comes in; while it does, the end of the stream has moved on since the look.
            let lag = bounds.last.0.saturating_sub(applied.0);
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            metrics::gauge!("waybill_projector_lag_records", "stream" => stream.name())
                .set(lag as f64);
            // Read after the look began, more may have been applied than it saw, but only what came later.
            if bounds.last < applied && look.at > self.applied_at {
                regressed = Some((stream, bounds.last, applied));
            }
        }
        self.regressions = match regressed {
            Some(_) => self.regressions + 1,
            None => 0,
        };
        self.regressed_since = regressed.map(|_| self.regressed_since.unwrap_or_else(Instant::now));
        if let Some((stream, last, checkpoint)) = regressed
            && self.regressions >= REGRESSIONS
            && self
                .regressed_since
                .is_some_and(|since| since.elapsed() >= REGRESSED_FOR)
        {
            return Err(Ended::Fatal(ProjectorError::LogRegressed {
                stream,
                last,
                checkpoint,
            }));
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("waybill_projector_quarantined_events")
            .set(projection.quarantined() as f64);
        // An empty stream has its first sequence behind its end: all of it is gone.
        let gone = StreamSeq(look.control.first.0.saturating_sub(1));
        if gone > projection.applied().control {
            tracing::error!(first = %look.control.first, "CONTROL, which is kept for ever, has lost its beginning");
        }
        self.projection = Some(projection);
        self.follow_retention(gone, look.tasks.first).await?;
        if self.regressions == 0 {
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

    /// Takes out of the model what the streams no longer hold: of CONTROL up to `gone`, of TASKS everything before `first`.
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
            tracing::info!(tasks = swept, floor = %first, "retention was followed");
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

/// Takes what has come already. An error waits for the next proper call.
fn drain(tail: &mut Box<dyn Tail>, into: &mut Vec<Record>) {
    while into.len() < MAX_GATHERED {
        // Unconstrained, since a spent budget would look as if there were nothing.
        match unconstrained(tail.next_batch(MAX_GATHERED - into.len())).now_or_never() {
            Some(Ok(more)) => into.extend(more),
            Some(Err(_)) | None => break,
        }
    }
}

/// Looks at the streams' ends from a task of its own, as the log may take seconds to say that it is away.
fn start_looking(
    log: Arc<dyn Log>,
    every: Duration,
) -> (mpsc::Receiver<Look>, DropGuard, JoinHandle<()>) {
    // One look is as good as the latest one.
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
                Err(error) => tracing::warn!(%error, "the streams' ends are unknown"),
            }
        }
    };
    let looker = tokio::spawn(async move {
        ended.run_until_cancelled(looking).await;
    });
    (receive, ending.drop_guard(), looker)
}
