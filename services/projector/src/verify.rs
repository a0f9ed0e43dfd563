//! Verifies a read model: compares it, tree by tree, with one that is rebuilt beside it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use waybill_log::{Log, ReadError, Stream, StreamSeq};
use waybill_store::{OpenError, Store, StoreError};

use crate::model::{self, Incarnations, ModelError, Projection};
use crate::query::{Position, TreeVerdict, Verdict};
use crate::replay::{ReplayError, patient_bounds, replay};

/// How often a comparison starts over because retention has moved.
const MAX_TRIES: u32 = 5;
/// Pause before starting over: the live model follows retention within about this time.
const PAUSE: Duration = Duration::from_secs(1);
/// Cache of the temporary store, which needs only a small one.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// Why a comparison has no result.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The log could not be replayed into the second model.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// One of the models could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The second model could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The folder of the second model could not be created.
    #[error("no folder for the second read model: {0}")]
    // Not `#[from]`, which would make it the source: a reply has a single text, which must include
    // the reason.
    Folder(std::io::Error),
    /// Retention purged events faster than they could be compared.
    #[error("retention moved on {MAX_TRIES} times during the comparison; try again")]
    RetentionMoved,
    /// The live model belongs to another log.
    #[error("the streams were made anew; the read model will be rebuilt")]
    OtherLog,
}

impl From<std::io::Error> for VerifyError {
    fn from(error: std::io::Error) -> Self {
        Self::Folder(error)
    }
}

impl From<ModelError> for VerifyError {
    fn from(error: ModelError) -> Self {
        Self::Replay(error.into())
    }
}

impl From<ReadError> for VerifyError {
    fn from(error: ReadError) -> Self {
        Self::Replay(error.into())
    }
}

/// The state of a model at one moment.
struct Dump {
    at: Position,
    incarnations: [Option<String>; 2],
    floor: StreamSeq,
    digests: Vec<(&'static str, String)>,
}

/// Compares a live model with one rebuilt in the folder `scratch`, which is emptied before and
/// removed afterwards. The live model may keep changing.
pub async fn verify(
    live: &Store,
    log: &Arc<dyn Log>,
    scratch: &Path,
) -> Result<Verdict, VerifyError> {
    for _ in 0..MAX_TRIES {
        let Some(live) = dump(live.clone()).await? else {
            // In the middle of a sweep.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let control = patient_bounds(log, Stream::Control).await?;
        let tasks = patient_bounds(log, Stream::Tasks).await?;
        let incarnations = Incarnations::new(&control, &tasks);
        for (stream, of_live) in [Stream::Control, Stream::Tasks]
            .into_iter()
            .zip(&live.incarnations)
        {
            if of_live
                .as_ref()
                .is_some_and(|of_live| *of_live != incarnations.of(stream).to_string())
            {
                return Err(VerifyError::OtherLog);
            }
        }
        if tasks.first > live.floor {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let started = Instant::now();
        let folder = Scratch::make(scratch)?;
        let rebuilt = rebuild_beside(log, &folder, incarnations, &live).await?;
        drop(folder);
        // Records that were purged during the replay are missing from the second model only.
        if patient_bounds(log, Stream::Tasks).await?.first > live.floor {
            continue;
        }
        let trees = live.digests.into_iter().zip(rebuilt.digests);
        let verdict = Verdict {
            at: live.at,
            floor: live.floor,
            trees: trees
                .map(|((tree, live), (_, rebuilt))| TreeVerdict {
                    tree: tree.to_owned(),
                    live,
                    rebuilt,
                })
                .collect(),
            rebuild_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        return Ok(verdict);
    }
    Err(VerifyError::RetentionMoved)
}

async fn rebuild_beside(
    log: &Arc<dyn Log>,
    folder: &Scratch,
    incarnations: Incarnations,
    live: &Dump,
) -> Result<Dump, VerifyError> {
    let dir = folder.0.clone();
    let opened = blocking(move || Ok(model::open(&dir, CACHE_BYTES)?)).await?;
    let mut projection = Projection::resume(opened.store, incarnations)?;
    projection.sweep(live.floor)?;
    let projection = replay(log, projection, live.at).await?;
    match dump(projection.store().clone()).await? {
        Some(dump) => Ok(dump),
        None => Err(VerifyError::RetentionMoved),
    }
}

/// Reads a whole model; `None` in the middle of a sweep.
async fn dump(store: Store) -> Result<Option<Dump>, VerifyError> {
    blocking(move || {
        let view = store.view()?;
        if model::is_sweeping(&view)? {
            return Ok(None);
        }
        let checkpoints = view.checkpoints()?;
        let seq = |stream: Stream| StreamSeq(checkpoints.get(stream.name()).map_or(0, |at| at.seq));
        let incarnation = |stream: Stream| {
            checkpoints
                .get(stream.name())
                .map(|at| at.incarnation.clone())
        };
        Ok(Some(Dump {
            at: Position {
                control: seq(Stream::Control),
                tasks: seq(Stream::Tasks),
            },
            incarnations: [incarnation(Stream::Control), incarnation(Stream::Tasks)],
            floor: model::floor(&view)?,
            digests: model::digests(&view)?,
        }))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VerifyError> + Send + 'static,
) -> Result<T, VerifyError> {
    spawn_blocking(work)
        .await
        .map_err(|_| VerifyError::Replay(ReplayError::Ending))?
}

/// A folder that is removed when dropped.
struct Scratch(std::path::PathBuf);

impl Scratch {
    /// Creates the folder. One left over from a killed process is emptied.
    fn make(folder: &Path) -> std::io::Result<Self> {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::create_dir_all(folder)?;
        Ok(Self(folder.to_owned()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "a scratch folder stays behind");
        }
    }
}
