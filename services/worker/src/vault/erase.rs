//! Erases the keys of sealed headers, once no task needs them.
//!
//! Keys of epochs ([`waybill_domain::vault::epoch`]) are found by a sweep over those of the
//! partition, soon after each takeover and at short intervals: an old enough key that no open task
//! names is erased.
//!
//! Tasks of earlier versions have keys of their own. The owner of a partition queues those of ended
//! tasks and never waits. Keys that are missed because of a crash or a full queue are found by a
//! slower sweep: a key whose task is not open is erased. The task of a young key may not be in the
//! log yet, so young keys are left alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use waybill_domain::dispatcher::Dispatcher;
use waybill_domain::partition::Partition;
use waybill_domain::vault::epoch;
use waybill_log::subject::TaskFilter;
use waybill_log::{KeyName, KeysOf, Log, ReadError, Stream, StreamSeq, VaultKeys};

/// Bound of the queue of keys to erase; the sweep finds what does not fit.
const MAX_WAITING: usize = 10_000;
/// Limit of concurrent erasures. Erasing and storing wait for each other in the server: with
/// sixteen at a time, a third fewer tasks with their own credentials get through.
const MAX_AT_A_TIME: usize = 2;
/// Keys in one page of a sweep.
const PAGE: usize = 500;
/// Time limit at the stop; the next owner sweeps what is left.
const LAST_ERASURES: Duration = Duration::from_secs(3);

/// When keys are swept.
#[derive(Debug, Clone, Copy)]
pub struct SweepPace {
    /// Delay of the first sweep after a takeover.
    pub first: Duration,
    /// Interval between sweeps of keys that tasks have of their own.
    pub every: Duration,
    /// Minimum age of such a key that a sweep erases: far more than the creation of a task can
    /// take.
    pub older_than: Duration,
    /// Interval between sweeps of keys of epochs.
    pub epochs_every: Duration,
    /// Minimum age of the key of an epoch that a sweep erases.
    pub epochs_older_than: Duration,
}

impl Default for SweepPace {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(2),
            every: Duration::from_secs(600),
            older_than: Duration::from_secs(600),
            epochs_every: Duration::from_secs(30),
            epochs_older_than: epoch::SETTLED_AFTER,
        }
    }
}

/// The queue of keys to erase.
#[derive(Debug, Clone)]
pub(super) struct Erasures(mpsc::Sender<KeyName>);

impl Erasures {
    pub(super) fn new() -> (Self, mpsc::Receiver<KeyName>) {
        let (sender, waiting) = mpsc::channel(MAX_WAITING);
        (Self(sender), waiting)
    }

    pub(super) fn erase_later(&self, name: KeyName) {
        if let Err(error) = self.0.try_send(name) {
            tracing::debug!(%error, "the queue of keys to erase is full; a sweep will erase this one");
        }
    }
}

/// Erases queued keys until stopped, and then the remaining ones.
pub(super) async fn erase(
    keys: Arc<dyn VaultKeys>,
    mut waiting: mpsc::Receiver<KeyName>,
    stop: CancellationToken,
) {
    let mut erasing = JoinSet::new();
    loop {
        // Biased: at the stop, the rest is drained below, with a time limit. Receiving is
        // cancellation safe.
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
            "some keys of ended tasks were not erased before the stop; the next owner's sweep erases them"
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
            Err(error) => tracing::warn!(%name, %error, "erasing a vault key that no task needs failed; the next sweep tries again"),
        }
    });
}

/// Keys of a partition that may not be needed any more.
#[derive(Debug)]
pub(crate) struct Page {
    /// The partition's creations must be read up to here before a key can be judged not to be
    /// needed.
    pub(crate) known_at: StreamSeq,
    /// Keys that are old enough to be erased.
    pub(crate) keys: Vec<KeyName>,
}

impl Page {
    /// The keys that no task of the partition needs, as far as its creations are read.
    pub(crate) fn unneeded(self, dispatcher: &Dispatcher) -> impl Iterator<Item = KeyName> {
        let is_needed = |name: &KeyName| match name {
            KeyName::Task { task, .. } => dispatcher.is_open(*task),
            KeyName::Epoch { epoch, .. } => dispatcher.needs_epoch(*epoch),
            KeyName::Token { .. } => true,
        };
        self.keys.into_iter().filter(move |name| !is_needed(name))
    }
}

/// The sweeps over one partition. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Sweep {
    pages: mpsc::Receiver<Page>,
    _task: AbortOnDropHandle<()>,
}

impl Sweep {
    pub(super) fn start(sweeper: Sweeper) -> Self {
        // A bound of one: the next page is read when the last one is taken.
        let (sender, pages) = mpsc::channel(1);
        Self {
            pages,
            _task: AbortOnDropHandle::new(tokio::spawn(sweeper.run(sender))),
        }
    }

    /// The next page; pending while there is none. Cancellation safe.
    pub(crate) async fn next(&mut self) -> Page {
        match self.pages.recv().await {
            Some(page) => page,
            None => std::future::pending().await,
        }
    }
}

/// Lists the keys of one partition.
pub(super) struct Sweeper {
    pub(super) partition: Partition,
    pub(super) log: Arc<dyn Log>,
    pub(super) keys: Arc<dyn VaultKeys>,
    pub(super) pace: SweepPace,
}

impl Sweeper {
    async fn run(self, pages: mpsc::Sender<Page>) {
        let pace = &self.pace;
        let epochs = async {
            let of = KeysOf::Epochs(self.partition);
            let every = pace.epochs_every;
            self.repeat(&of, every, pace.epochs_older_than, &pages)
                .await;
        };
        let own = async {
            let of = KeysOf::Tasks(self.partition);
            self.repeat(&of, pace.every, pace.older_than, &pages).await;
        };
        // Both end only when nobody receives the pages any more.
        tokio::join!(epochs, own);
    }

    async fn repeat(
        &self,
        of: &KeysOf,
        every: Duration,
        older_than: Duration,
        pages: &mpsc::Sender<Page>,
    ) {
        let mut pause = self.pace.first;
        loop {
            tokio::time::sleep(pause).await;
            pause = every;
            match self.sweep(of, older_than, pages).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(partition = %self.partition, %error, "listing vault keys for the sweep failed; the next sweep tries again");
                }
            }
        }
    }

    /// Goes over these keys once. `false` if nobody receives the pages any more.
    async fn sweep(
        &self,
        of: &KeysOf,
        older_than: Duration,
        pages: &mpsc::Sender<Page>,
    ) -> Result<bool, ReadError> {
        let created = TaskFilter::created(self.partition).to_string();
        let mut after = StreamSeq(0);
        // The clock that dated the keys. Read before they are listed, so that a key made meanwhile
        // counts as younger than it is.
        let now = self.log.bounds(Stream::Tasks).await?.now;
        loop {
            let listed = self.keys.list(of, after, PAGE).await?;
            // A page may skip messages whose names are not those of keys, so only an empty page is
            // the end.
            let Some(last) = listed.last() else {
                return Ok(true);
            };
            after = last.key.seq;
            let keys: Vec<_> = listed
                .into_iter()
                .filter(|listed| now.since(listed.key.at) >= older_than)
                .map(|listed| listed.name)
                .collect();
            if !keys.is_empty() {
                // Read after the list: the creation of every task that may need one of these keys is
                // before it.
                let last = self.log.last(Stream::Tasks, &created).await?;
                let known_at = last.map_or(StreamSeq(0), |record| record.seq);
                if pages.send(Page { known_at, keys }).await.is_err() {
                    return Ok(false);
                }
            }
        }
    }
}
