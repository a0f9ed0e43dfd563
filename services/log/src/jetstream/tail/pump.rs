//! Reads a tail in a task of its own, so that a reader that drops a call does not restart the work
//! of the tail.
//!
//! Readers wait for records beside other events, such as timers, and drop the call whenever one of
//! those comes first. A pause before the next attempt, or the creation of a consumer, would then
//! start again each time; with a timer shorter than the pause, the tail would never read again.

use std::collections::VecDeque;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::frame::take_whole;
use crate::{Positions, ReadError, Record, Tail};

/// Batches that are read ahead. The next one is read only when there is room for it.
const READ_AHEAD: usize = 1;
/// Records in one batch.
const BATCH: usize = 1_000;

type Batch = Result<Vec<Record>, ReadError>;

/// The reader's end of the channel. Dropping it ends the task.
pub(in crate::jetstream) struct Pumped {
    batches: mpsc::Receiver<Batch>,
    /// The rest of the last batch.
    rest: VecDeque<Record>,
    positions: Positions,
    /// `None` once its end was seen.
    task: Option<AbortOnDropHandle<()>>,
}

impl Pumped {
    pub(in crate::jetstream) fn new(tail: impl Tail + 'static, positions: Positions) -> Self {
        let (sender, batches) = mpsc::channel(READ_AHEAD);
        let task = tokio::spawn(pump(tail, sender));
        Self {
            batches,
            rest: VecDeque::new(),
            positions,
            task: Some(AbortOnDropHandle::new(task)),
        }
    }
}

async fn pump(mut tail: impl Tail, sender: mpsc::Sender<Batch>) {
    // An error means that the reader is gone.
    while let Ok(room) = sender.reserve().await {
        room.send(tail.next_batch(BATCH).await);
    }
}

#[async_trait]
impl Tail for Pumped {
    async fn next_batch(&mut self, max: usize) -> Batch {
        if self.rest.is_empty() {
            self.rest = match self.batches.recv().await {
                Some(batch) => batch?.into(),
                None => return Err(self.ended().await),
            };
        }
        Ok(take_whole(&mut self.rest, max, self.positions))
    }
}

impl Pumped {
    /// Why nothing comes any more: the process is about to end, or the task has panicked. A panic is the reader's, who would have had it
    /// without the task; an error would be tried again for ever.
    async fn ended(&mut self) -> ReadError {
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
        ReadError::Unavailable {
            reason: "the task that reads the log has ended".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A tail that takes longer for each record than its reader waits.
    struct Slow(u64);

    const PATIENCE: Duration = Duration::from_millis(1);

    #[async_trait]
    impl Tail for Slow {
        async fn next_batch(&mut self, _max: usize) -> Batch {
            tokio::time::sleep(PATIENCE * 20).await;
            self.0 += 1;
            Err(ReadError::Unavailable {
                reason: self.0.to_string(),
            })
        }
    }

    struct Broken;

    #[async_trait]
    impl Tail for Broken {
        async fn next_batch(&mut self, _max: usize) -> Batch {
            panic!("a defect of the reading");
        }
    }

    #[tokio::test]
    async fn a_panic_of_the_reading_is_the_readers() {
        let mut tail = Pumped::new(Broken, Positions::OF_MESSAGES);
        let reading = tokio::spawn(async move { tail.next_batch(1).await.map(|_| ()) });
        let ended = reading.await.expect_err("the reader goes on");
        assert!(ended.is_panic());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_drops_its_calls_gets_everything_in_time() {
        let mut tail = Pumped::new(Slow(0), Positions::OF_MESSAGES);
        let mut read = Vec::new();
        while read.len() < 3 {
            if let Ok(batch) = tokio::time::timeout(PATIENCE, tail.next_batch(1)).await {
                read.push(batch.expect_err("it has no records").to_string());
            }
        }
        let last = read.iter().map(|error| error.chars().last());
        assert!(last.eq(['1', '2', '3'].map(Some)), "{read:?}");
    }
}
