//! Rebuilds a read model while no projector runs on it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use waybill_log::{Log, Stream};
use waybill_store::{OpenError, StoreError};

use crate::model::{self, Incarnations, ModelError, Projection};
use crate::query::Position;
use crate::replay::{ReplayError, patient_bounds, replay};

/// A projector that runs on the model will not end soon, so there is no use in waiting longer for
/// its lock.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// Why a model could not be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The store could not be opened, for example because a projector runs on it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log could not be replayed into the model.
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl From<StoreError> for RebuildError {
    fn from(error: StoreError) -> Self {
        Self::Replay(ModelError::from(error).into())
    }
}

/// Result of a rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// Position up to which the log was read.
    pub at: Position,
    pub took: Duration,
}

/// Wipes the read model in a folder and rebuilds it from the log, up to the current end. Refuses
/// while a projector runs on it.
pub async fn rebuild(
    log: &Arc<dyn Log>,
    dir: &Path,
    cache_bytes: u64,
) -> Result<Rebuilt, RebuildError> {
    let started = Instant::now();
    let control = patient_bounds(log, Stream::Control)
        .await
        .map_err(ReplayError::from)?;
    let tasks = patient_bounds(log, Stream::Tasks)
        .await
        .map_err(ReplayError::from)?;
    let dir = dir.to_owned();
    let store = blocking(move || {
        let options = model::options(cache_bytes).lock_wait(LOCK_WAIT);
        let opened = options.open(&dir)?;
        opened.store.condemn("a rebuild was asked for");
        drop(opened);
        Ok(options.open(&dir)?.store)
    })
    .await?;
    let incarnations = Incarnations::new(&control, &tasks);
    let mut projection = Projection::resume(store, incarnations).map_err(ReplayError::from)?;
    projection.sweep(tasks.first).map_err(ReplayError::from)?;
    let to = Position {
        control: control.last,
        tasks: tasks.last,
    };
    let projection = replay(log, projection, to).await?;
    let at = projection.applied();
    blocking(move || Ok(projection.store().sync()?)).await?;
    Ok(Rebuilt {
        at,
        took: started.elapsed(),
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RebuildError> + Send + 'static,
) -> Result<T, RebuildError> {
    spawn_blocking(work)
        .await
        .map_err(|_| RebuildError::Replay(ReplayError::Ending))?
}
