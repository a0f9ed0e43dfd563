//! A running projector: opens the read model, follows both streams and retention, answers queries,
//! and starts over when it must.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use waybill_log::{Log, ReadError, Stream, WentBackwards};
use waybill_store::OpenError;
use waybill_store::loss::{self, Loss};

use crate::follow::{self, Ended};
use crate::model::{self, Incarnations, ModelError, Projection};
use crate::progress::{Progress, Status};
use crate::service::{Service, ServiceConfig};

/// After this many wipes within [`WIPE_WINDOW`], the cause must be elsewhere: the disk, or this
/// program.
const MAX_WIPES: usize = 3;
const WIPE_WINDOW: Duration = Duration::from_secs(3600);
/// Name of this copy in the record of losses, and in metrics.
const COPY: &str = "read model";
/// Pause before retrying a log that does not answer.
const RETRY: Duration = Duration::from_millis(500);

/// Configuration of a projector.
#[derive(Debug, Clone)]
pub struct ProjectorConfig {
    /// Size of the read model's block cache.
    pub cache_bytes: u64,
    /// Interval at which the store is synced. What a power cut loses is read again from the log.
    pub sync_every: Duration,
    /// Interval at which the ends of the streams are checked: for retention, lag and readiness.
    pub bounds_every: Duration,
    /// How long events are gathered while they arrive quickly, so that a task that passes several
    /// steps is written once. A query that waits for them ends it at once.
    pub gather: Duration,
    /// A replica that was not caught up within this time is not ready.
    pub stale_after: Duration,
    /// The query service.
    pub service: ServiceConfig,
}

impl Default for ProjectorConfig {
    fn default() -> Self {
        Self {
            cache_bytes: 32 * 1024 * 1024,
            sync_every: Duration::from_millis(250),
            bounds_every: Duration::from_secs(1),
            gather: Duration::from_millis(20),
            stale_after: Duration::from_secs(30),
            service: ServiceConfig::default(),
        }
    }
}

/// Why a projector stopped for good.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProjectorError {
    /// The store refuses a write.
    #[error(transparent)]
    Model(Arc<ModelError>),
    #[error(transparent)]
    Open(Arc<OpenError>),
    /// The store had to be wiped repeatedly.
    #[error("the read model was wiped {MAX_WIPES} times within an hour; last because {reason}")]
    WipedTooOften { reason: String },
    /// Part of the projector panicked.
    #[error("the projector crashed: {reason}")]
    Crashed { reason: String },
}

/// A running projector. Dropping it ends it without waiting; [`Projector::shutdown`] waits.
pub struct Projector {
    ending: CancellationToken,
    progress: Progress,
    stale_after: Duration,
    running: Option<JoinHandle<Result<(), ProjectorError>>>,
}

impl Projector {
    /// Starts a projector on its own folder. Returns at once; [`Projector::is_ready`] says when it
    /// can answer.
    #[must_use]
    pub fn start(
        config: ProjectorConfig,
        log: Arc<dyn Log>,
        nats: async_nats::Client,
        dir: PathBuf,
    ) -> Self {
        let ending = CancellationToken::new();
        let progress = Progress::new();
        let stale_after = config.stale_after;
        let run = Run {
            config,
            log,
            nats,
            dir,
            ending: ending.clone(),
            progress: progress.clone(),
            wipes: Vec::new(),
        };
        Self {
            ending,
            progress,
            stale_after,
            running: Some(tokio::spawn(run.run())),
        }
    }

    #[must_use]
    pub fn status(&self) -> Status {
        self.progress.status()
    }

    /// The status and its changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.progress.subscribe()
    }

    /// Whether it has recently read everything in the log.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status().is_fresh(self.stale_after)
    }

    /// Waits until it stops: because it cannot continue, or after [`Projector::shutdown`] was
    /// called elsewhere.
    pub async fn stopped(&mut self) -> Result<(), ProjectorError> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let outcome = running.await;
        self.running = None;
        match outcome {
            Ok(outcome) => outcome,
            Err(error) => Err(ProjectorError::Crashed {
                reason: error.to_string(),
            }),
        }
    }

    /// Finishes its current work, syncs the store, and ends.
    pub async fn shutdown(mut self) -> Result<(), ProjectorError> {
        self.ending.cancel();
        self.stopped().await
    }
}

impl Drop for Projector {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

/// The life of one projector.
struct Run {
    config: ProjectorConfig,
    log: Arc<dyn Log>,
    nats: async_nats::Client,
    dir: PathBuf,
    ending: CancellationToken,
    progress: Progress,
    wipes: Vec<Instant>,
}

impl Run {
    async fn run(mut self) -> Result<(), ProjectorError> {
        let dir = self.dir.clone();
        let earlier = tokio::task::spawn_blocking(move || loss::newest(&dir, COPY)).await;
        // Stays set until an operator has removed the file with the loss.
        let stands = matches!(earlier, Ok(Some(_)));
        metrics::gauge!("waybill_log_went_backwards", "copy" => COPY)
            .set(f64::from(u8::from(stands)));
        let outcome = self.follow_until_ended().await;
        if let Err(error) = &outcome {
            tracing::error!(%error, "the projector has stopped for good; queries are answered by other replicas only");
            self.progress
                .update(|status| status.fault = Some(error.to_string()));
        }
        outcome
    }

    async fn follow_until_ended(&mut self) -> Result<(), ProjectorError> {
        loop {
            let Some(projection) = self.open().await? else {
                return Ok(());
            };
            let store = projection.store().clone();
            let service = Service::start(
                &self.config.service,
                self.nats.clone(),
                Arc::clone(&self.log),
                store.clone(),
                self.progress.clone(),
                self.dir.clone(),
            );
            let ended = follow::follow(
                &self.config,
                &self.log,
                projection,
                &self.progress,
                &self.ending,
            )
            .await;
            service.stop().await;
            match ended {
                Ended::Shutdown => return Ok(()),
                Ended::Fatal(error) => return Err(error),
                Ended::Useless(reason) => store.condemn(&reason),
                Ended::WentBackwards(backwards) => self.give_up(&store, backwards).await,
                Ended::Broken(reason) => {
                    tracing::error!(%reason, "the read model's store failed; opening it again");
                }
            }
            self.progress.update(|status| status.caught_up_at = None);
            // The last handle, so that the folder can be opened again.
            drop(store);
            let pause = tokio::time::sleep(RETRY);
            if self.ending.run_until_cancelled(pause).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Opens the model, and checks that the log still has what it was made from; otherwise starts
    /// over. `None` if the process ends meanwhile.
    async fn open(&mut self) -> Result<Option<Projection>, ProjectorError> {
        loop {
            let Some(projection) = self.open_model().await? else {
                return Ok(None);
            };
            let ending = self.ending.clone();
            let comparing = follow::compare(Arc::clone(&self.log), projection.marks());
            match ending.run_until_cancelled(comparing).await {
                None => return Ok(None),
                Some(None) => return Ok(Some(projection)),
                Some(Some(backwards)) => self.give_up(projection.store(), backwards).await,
            }
        }
    }

    /// Discards a model whose log went backwards: the loss is logged and written to a file, and the
    /// next open starts over.
    async fn give_up(&self, store: &waybill_store::Store, backwards: WentBackwards) {
        tracing::error!(
            %backwards,
            "the log no longer has what this projector has read of it, as after a restore from a backup; the read model is rebuilt"
        );
        metrics::gauge!("waybill_log_went_backwards", "copy" => COPY).set(1.0);
        metrics::counter!("waybill_log_went_backwards_total", "copy" => COPY).increment(1);
        let loss = Loss {
            at: crate::service::now().to_string(),
            copy: COPY.into(),
            stream: backwards.stream.name().into(),
            read: backwards.read.0,
            last: backwards.last.0,
            common: None,
            lost: Vec::new(),
            more: 0,
        };
        let dir = self.dir.clone();
        let written = tokio::task::spawn_blocking(move || loss::write_down(&dir, &loss)).await;
        if !matches!(written, Ok(Ok(_))) {
            tracing::error!(
                "the file that records that the log went backwards could not be written; only this log has it"
            );
        }
        store.condemn(&backwards.to_string());
    }

    /// Opens the model, whatever log it was made from; `None` if the process ends meanwhile.
    async fn open_model(&mut self) -> Result<Option<Projection>, ProjectorError> {
        let Some((control, tasks)) = self.both_bounds().await else {
            return Ok(None);
        };
        let incarnations = Incarnations::new(&control, &tasks);
        let (dir, cache_bytes) = (self.dir.clone(), self.config.cache_bytes);
        let work = move || open_store(&dir, cache_bytes, &incarnations);
        let (projection, wiped) = tokio::task::spawn_blocking(work).await.map_err(|error| {
            ProjectorError::Crashed {
                reason: error.to_string(),
            }
        })??;
        if let Some(reason) = wiped {
            self.count_wipe(reason)?;
        }
        self.progress.update(|status| {
            status.applied = projection.applied();
            status.floor = projection.floor();
        });
        Ok(Some(projection))
    }

    fn count_wipe(&mut self, reason: String) -> Result<(), ProjectorError> {
        tracing::warn!(%reason, "the read model was wiped and is rebuilt from the log");
        metrics::counter!("waybill_projector_rebuilds_total").increment(1);
        self.wipes.retain(|at| at.elapsed() < WIPE_WINDOW);
        self.wipes.push(Instant::now());
        if self.wipes.len() > MAX_WIPES {
            return Err(ProjectorError::WipedTooOften { reason });
        }
        Ok(())
    }

    async fn both_bounds(&self) -> Option<(waybill_log::Bounds, waybill_log::Bounds)> {
        let ask = async {
            loop {
                let both = async {
                    let control = self.log.bounds(Stream::Control).await?;
                    let tasks = self.log.bounds(Stream::Tasks).await?;
                    Ok::<_, ReadError>((control, tasks))
                };
                match both.await {
                    Ok(both) => return both,
                    Err(error) => {
                        tracing::warn!(%error, "the log does not answer; the read model cannot be opened until it does");
                    }
                }
                tokio::time::sleep(RETRY).await;
            }
        };
        // Asking changes nothing, so it can be abandoned.
        tokio::select! {
            () = self.ending.cancelled() => None,
            both = ask => Some(both),
        }
    }
}

/// Opens the store to continue with these streams. Returns why it was wiped, if it was.
fn open_store(
    dir: &std::path::Path,
    cache_bytes: u64,
    incarnations: &Incarnations,
) -> Result<(Projection, Option<String>), ProjectorError> {
    let mut wiped = None;
    let mut tries = 0;
    loop {
        tries += 1;
        let opened =
            model::open(dir, cache_bytes).map_err(|e| ProjectorError::Open(Arc::new(e)))?;
        if let waybill_store::OpenReason::Wiped(reason) = &opened.reason {
            wiped = Some(reason.to_string());
        }
        let error = match Projection::resume(opened.store, incarnations.clone()) {
            Ok(projection) => return Ok((projection, wiped)),
            Err(error) => error,
        };
        // What was found wrong is wiped by the next open. If it is found wrong again and again,
        // there is another cause.
        if tries == MAX_WIPES {
            return Err(ProjectorError::Model(Arc::new(error)));
        }
    }
}
