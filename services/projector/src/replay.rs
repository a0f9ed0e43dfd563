//! Replays the log into a model, up to a position.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;
use waybill_log::{Bounds, Log, ReadError, Record, Stream, StreamSeq};

use crate::model::{BATCH_EVENTS, ModelError, Projection};
use crate::query::Position;

/// After this long without records, the bounds of the stream are checked for whether any are left.
const QUIET: Duration = Duration::from_secs(5);
/// After this many failed reads in a row, the log counts as unavailable.
const MAX_FAILURES: u32 = 10;
/// Pause between failed reads.
const PAUSE: Duration = Duration::from_millis(500);

/// Why the log could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log does not answer.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The model refused a change.
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("the process is ending")]
    Ending,
}

/// Applies records on a blocking thread.
pub(crate) async fn apply(
    mut projection: Projection,
    batches: Vec<(Stream, Vec<Record>)>,
) -> Result<Projection, ReplayError> {
    let work = move || {
        for (stream, records) in &batches {
            projection.apply(*stream, records)?;
        }
        Ok(projection)
    };
    spawn_blocking(work)
        .await
        .map_err(|_| ReplayError::Ending)?
}

/// Replays both streams up to a position; what retention has purged is skipped.
pub(crate) async fn replay(
    log: &Arc<dyn Log>,
    mut projection: Projection,
    to: Position,
) -> Result<Projection, ReplayError> {
    for stream in [Stream::Control, Stream::Tasks] {
        let to = to.of(stream);
        let mut failures = 0;
        let mut tail = None;
        while projection.applied().of(stream) < to {
            let from = projection.applied().of(stream).next();
            let tail = match &mut tail {
                Some(tail) => tail,
                none => {
                    let first = patient_bounds(log, stream).await?.first;
                    if first > to {
                        projection.skip_to(stream, to)?;
                        continue;
                    }
                    none.insert(log.tail(stream, vec![], from.max(first)))
                }
            };
            match timeout(QUIET, tail.next_batch(BATCH_EVENTS)).await {
                Ok(Ok(mut records)) => {
                    failures = 0;
                    let past = records.last().is_some_and(|record| record.seq > to);
                    records.retain(|record| record.seq <= to);
                    projection = apply(projection, vec![(stream, records)]).await?;
                    if past {
                        projection.skip_to(stream, to)?;
                    }
                }
                // Everything read before the gap is what retention removes.
                Ok(Err(ReadError::Gap { first, .. })) if stream == Stream::Tasks => {
                    projection.sweep(first.min(to.next()))?;
                }
                Ok(Err(error)) => {
                    failures += 1;
                    if failures == MAX_FAILURES {
                        return Err(error.into());
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Err(_) => {
                    let first = patient_bounds(log, stream).await?.first;
                    if first > projection.applied().of(stream).next() {
                        if stream == Stream::Tasks {
                            projection.sweep(first.min(to.next()))?;
                        }
                        projection.skip_to(stream, to.min(StreamSeq(first.0 - 1)))?;
                    }
                }
            }
        }
    }
    Ok(projection)
}

/// Bounds of a stream, with retries while the log does not answer.
pub(crate) async fn patient_bounds(
    log: &Arc<dyn Log>,
    stream: Stream,
) -> Result<Bounds, ReadError> {
    let mut failures = 0;
    loop {
        match log.bounds(stream).await {
            Ok(bounds) => return Ok(bounds),
            Err(error) => {
                failures += 1;
                if failures == MAX_FAILURES {
                    return Err(error);
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
