//! A running projector: opens the read model, follows both streams and retention, answers queries, and starts over when it must.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use waybill_log::{Log, ReadError, Stream, StreamSeq};
use waybill_store::{OpenError, StoreError};

use crate::follow::{self, Ended};
use crate::model::{self, Incarnations, ModelError, Projection};
use crate::progress::{Progress, Status};
use crate::service::{Service, ServiceConfig};

/// Stores wiped within [`WIPE_WINDOW`] before something else must be wrong: the disk, or this program.
const MAX_WIPES: usize = 3;
const WIPE_WINDOW: Duration = Duration::from_secs(3600);
/// Between two tries to reach a log that is away.
const RETRY: Duration = Duration::from_millis(500);

/// How a projector runs.
#[derive(Debug, Clone)]
pub struct ProjectorConfig {
    /// Memory for the read model's blocks.
    pub cache_bytes: u64,
    /// How often the store is made durable. What a power cut takes is read again from the log.
    pub sync_every: Duration,
    /// How often the ends of the streams are looked at: retention, lag, readiness.
    pub bounds_every: Duration,
    /// How long events are gathered while they come fast, so that a task that passes several steps is written once. A query that waits
    /// for them ends it at once.
    pub gather: Duration,
    /// A replica that was not caught up within that time is not ready.
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
    /// The log is shorter than what was read of it: acknowledged events are gone, and rebuilding would hide it.
    #[error(
        "log_regressed: {} ends at {last}, but was read up to {checkpoint}; restore the log, or remove the read model to accept the loss",
        .stream.name()
    )]
    LogRegressed {
        /// Which stream.
        stream: Stream,
        /// Where it ends.
        last: StreamSeq,
        /// How far it was read.
        checkpoint: StreamSeq,
    },
    /// The store refuses what is to be written.
    #[error(transparent)]
    Model(Arc<ModelError>),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(Arc<OpenError>),
    /// The store had to be wiped again and again.
    #[error("the read model was wiped {MAX_WIPES} times within an hour; last because {reason}")]
    WipedTooOften {
        /// The last reason.
        reason: String,
    },
    /// A part of it panicked.
    #[error("the projector crashed: {reason}")]
    Crashed {
        /// What is known.
        reason: String,
    },
}

/// A running projector. Dropping it ends it without waiting; [`Projector::shutdown`] waits.
pub struct Projector {
    ending: CancellationToken,
    progress: Progress,
    stale_after: Duration,
    running: Option<JoinHandle<Result<(), ProjectorError>>>,
}

impl Projector {
    /// Starts one on a folder of its own. Returns at once: [`Projector::is_ready`] tells when it answers.
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

    /// How far it is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.progress.status()
    }

    /// The status and its changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.progress.subscribe()
    }

    /// Has it lately read all there is?
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status().is_fresh(self.stale_after)
    }

    /// Waits until it stops by itself: because it cannot go on, or after [`Projector::shutdown`] was called elsewhere.
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

    /// Finishes what it is at, makes it durable, and ends.
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

/// One projector's whole life.
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
        let outcome = self.follow_until_ended().await;
        if let Err(error) = &outcome {
            tracing::error!(%error, "the projector has stopped");
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
                Ended::Broken(reason) => {
                    tracing::error!(%reason, "the read model failed: it is opened again");
                }
            }
            self.progress.update(|status| status.caught_up_at = None);
            // The last handle: the folder can be opened again.
            drop(store);
            let pause = tokio::time::sleep(RETRY);
            if self.ending.run_until_cancelled(pause).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Opens the model, wiping what is of another log; `None` when the process ends meanwhile.
    async fn open(&mut self) -> Result<Option<Projection>, ProjectorError> {
        let Some((control, tasks)) = self.both_bounds().await else {
            return Ok(None);
        };
        let incarnations = Incarnations::new(&control, &tasks);
        let (dir, cache_bytes) = (self.dir.clone(), self.config.cache_bytes);
        let work = move || open_for(&dir, cache_bytes, &incarnations);
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
                    Err(error) => tracing::warn!(%error, "the projector waits for the log"),
                }
                tokio::time::sleep(RETRY).await;
            }
        };
        tokio::select! {
            () = self.ending.cancelled() => None,
            both = ask => Some(both),
        }
    }
}

/// Opens the store for these streams. Says why it was wiped, when it was.
fn open_for(
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
        let store = opened.store;
        let other = [Stream::Control, Stream::Tasks].into_iter().find(|stream| {
            let checkpoint = store.checkpoint(stream.name());
            matches!(checkpoint, Ok(Some(at)) if at.incarnation != incarnations.of(*stream))
        });
        let error = match other {
            Some(stream) => {
                let reason = format!("{} was made anew", stream.name());
                store.condemn(&reason);
                StoreError::Poisoned { why: reason }.into()
            }
            None => match Projection::resume(store, incarnations.clone()) {
                Ok(projection) => return Ok((projection, wiped)),
                Err(error) => error,
            },
        };
        // What was found wrong is wiped by the next open; found wrong again, it is no chance.
        if tries == MAX_WIPES {
            return Err(ProjectorError::Model(Arc::new(error)));
        }
    }
}
