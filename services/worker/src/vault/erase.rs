//! Erasing the keys of headers that were sealed for one task, once the task has ended.
//!
//! The owner of a partition hands over the names of ended tasks and never waits. What a crash or a full queue swallows is found by a
//! sweep over all keys of the partition, after each takeover and every so often: a key whose task is not open any more goes. Of a key
//! that is young its task may not be in the log yet, so those are left alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use waybill_domain::id::TaskId;
use waybill_domain::partition::Partition;
use waybill_log::subject::TaskFilter;
use waybill_log::{KeyName, KeysOf, Log, ReadError, Stream, StreamSeq, VaultKeys};

use crate::clock::Clock;

/// Names that wait to be erased; further ones are found by the sweep.
const MAX_WAITING: usize = 10_000;
/// Keys erased at a time. Erasing and storing wait for one another in the server: with sixteen, a third fewer tasks with credentials of
/// their own get through.
const MAX_AT_A_TIME: usize = 2;
/// Keys in one page of a sweep.
const PAGE: usize = 500;
/// At the stop nobody waits longer; the next owner sweeps.
const LAST_ERASURES: Duration = Duration::from_secs(3);

/// When keys are swept.
#[derive(Debug, Clone, Copy)]
pub struct SweepPace {
    /// After a takeover.
    pub first: Duration,
    /// Between two sweeps.
    pub every: Duration,
    /// How old a key is at least that is taken away by a sweep: far older than the creation of a task can take.
    pub older_than: Duration,
}

impl Default for SweepPace {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(2),
            every: Duration::from_secs(600),
            older_than: Duration::from_secs(600),
        }
    }
}

/// Where names are handed over.
#[derive(Debug, Clone)]
pub(super) struct Erasures(mpsc::Sender<KeyName>);

impl Erasures {
    pub(super) fn new() -> (Self, mpsc::Receiver<KeyName>) {
        let (sender, waiting) = mpsc::channel(MAX_WAITING);
        (Self(sender), waiting)
    }

    pub(super) fn erase_later(&self, name: KeyName) {
        if let Err(error) = self.0.try_send(name) {
            tracing::debug!(%error, "a task's key is left to the sweep");
        }
    }
}

/// Erases until stopped, and then what is left.
pub(super) async fn erase(
    keys: Arc<dyn VaultKeys>,
    mut waiting: mpsc::Receiver<KeyName>,
    stop: CancellationToken,
) {
    let mut erasing = JoinSet::new();
    loop {
        let name = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            name = waiting.recv() => name,
        };
        let Some(name) = name else { break };
        begin(&mut erasing, &keys, name).await;
    }
    waiting.close();
    let rest = async {
        while let Some(name) = waiting.recv().await {
            begin(&mut erasing, &keys, name).await;
        }
        while erasing.join_next().await.is_some() {}
    };
    if tokio::time::timeout(LAST_ERASURES, rest).await.is_err() {
        tracing::warn!(
            "keys of ended tasks were not erased before the stop; the next owner does it"
        );
    }
}

async fn begin(erasing: &mut JoinSet<()>, keys: &Arc<dyn VaultKeys>, name: KeyName) {
    while erasing.len() >= MAX_AT_A_TIME {
        erasing.join_next().await;
    }
    while erasing.try_join_next().is_some() {}
    let keys = Arc::clone(keys);
    erasing.spawn(async move {
        match keys.erase(&name).await {
            Ok(erased) => metrics::counter!("waybill_vault_keys_erased_total").increment(erased),
            Err(error) => tracing::warn!(%name, %error, "a task's key is erased by the next sweep"),
        }
    });
}

/// Keys of a partition that may be of tasks that have ended.
#[derive(Debug)]
pub(crate) struct Page {
    /// How far the partition's creations must be read before anybody may say that a task is not open.
    pub(crate) known_at: StreamSeq,
    /// Old enough.
    pub(crate) keys: Vec<(TaskId, KeyName)>,
}

/// The sweeps over one partition, as long as it is kept.
#[derive(Debug)]
pub(crate) struct Sweep {
    pages: mpsc::Receiver<Page>,
    _task: AbortOnDropHandle<()>,
}

impl Sweep {
    pub(super) fn start(sweeper: Sweeper) -> Self {
        // One: the next page is read when the last one is taken.
        let (sender, pages) = mpsc::channel(1);
        Self {
            pages,
            _task: AbortOnDropHandle::new(tokio::spawn(sweeper.run(sender))),
        }
    }

    /// The next page. Pending while there is none. Cancellation safe.
    pub(crate) async fn next(&mut self) -> Page {
        match self.pages.recv().await {
            Some(page) => page,
            None => std::future::pending().await,
        }
    }
}

/// Reads the keys of one partition.
pub(super) struct Sweeper {
    pub(super) partition: Partition,
    pub(super) log: Arc<dyn Log>,
    pub(super) keys: Arc<dyn VaultKeys>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pace: SweepPace,
}

impl Sweeper {
    async fn run(self, pages: mpsc::Sender<Page>) {
        let mut pause = self.pace.first;
        loop {
            tokio::time::sleep(pause).await;
            pause = self.pace.every;
            match self.sweep(&pages).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(partition = %self.partition, %error, "keys of ended tasks are looked for later");
                }
            }
        }
    }

    /// Once over all keys. `false`: nobody wants to know any more.
    async fn sweep(&self, pages: &mpsc::Sender<Page>) -> Result<bool, ReadError> {
        let created = TaskFilter::created(self.partition).to_string();
        let of = KeysOf::Tasks(self.partition);
        let mut after = StreamSeq(0);
        loop {
            let now = self.clock.now();
            let listed = self.keys.list(&of, after, PAGE).await?;
            // A page may be short of what is no name of a key: only an empty one is the last.
            let Some(last) = listed.last() else {
                return Ok(true);
            };
            after = last.key.seq;
            let keys: Vec<_> = listed
                .into_iter()
                .filter(|listed| now.since(listed.key.at) >= self.pace.older_than)
                .filter_map(|listed| match &listed.name {
                    KeyName::Task { task, .. } => Some((*task, listed.name)),
                    KeyName::Token { .. } => None,
                })
                .collect();
            if !keys.is_empty() {
                // After the list: whatever task is old enough to have a key here stands before it.
                let last = self.log.last(Stream::Tasks, &created).await?;
                let known_at = last.map_or(StreamSeq(0), |record| record.seq);
                if pages.send(Page { known_at, keys }).await.is_err() {
                    return Ok(false);
                }
            }
        }
    }
}
