//! Tags and metadata of the task that an event is about.
//!
//! They stand in the creation alone: in each event of a task up to four kilobytes would be stored once more. So they are put into events
//! on their way to subscribers. A gateway knows them of tasks whose creation went through its hub, keeps those of the tasks that it saw last,
//! and asks the read model once about each other one. Where that cannot tell, an event goes out without them and says so:
//! subscribers need the log alone, as before.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::time::Instant;
use waybill_domain::id::TaskId;

use super::labels::{LabelSource, Labelled, Labels};
use super::view::Step;

/// Bytes of labels that a gateway keeps by default: of a few ten thousand tasks that have some, of a hundred thousand that have none.
pub(crate) const KEPT_BYTES: u64 = 16 * 1024 * 1024;
/// Tasks for which the cache makes itself ready.
const EXPECTED_TASKS: usize = 16_384;
/// What an entry takes beside its texts.
const ENTRY_BYTES: u64 = 128;
/// Questions under way at a time, for one page or batch of events.
const AT_ONCE: usize = 16;
/// What one page or batch waits for answers, all together: those who listen to other tasks wait, too.
const PATIENCE: Duration = Duration::from_secs(1);
/// After which a source that did not answer is asked again.
const REST: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct ByBytes;

impl Weighter<TaskId, Arc<Labels>> for ByBytes {
    fn weight(&self, _: &TaskId, labels: &Arc<Labels>) -> u64 {
        ENTRY_BYTES + labels.bytes()
    }
}

/// The labels that a gateway knows, and whom it asks about others.
pub(crate) struct KnownLabels {
    source: Arc<dyn LabelSource>,
    kept: Cache<TaskId, Arc<Labels>, ByBytes>,
    began: Instant,
    /// Milliseconds since `began` before which the source is not asked.
    rests_until: AtomicU64,
}

impl KnownLabels {
    pub(crate) fn new(source: Arc<dyn LabelSource>, kept_bytes: u64) -> Self {
        Self {
            source,
            kept: Cache::with_weighter(EXPECTED_TASKS, kept_bytes, ByBytes),
            began: Instant::now(),
            rests_until: AtomicU64::new(0),
        }
    }

    /// Completes all of those events of which nobody has asked yet, in place.
    pub(crate) async fn complete(&self, steps: &mut [&mut Step]) {
        let mut wanted: Vec<TaskId> = Vec::new();
        for step in &mut *steps {
            if let Some(labels) = step.created_with() {
                let labels = labels.shared();
                self.kept.insert(step.task, Arc::clone(&labels));
                step.label(Labelled::Known(labels));
            } else if step.labelled() == &Labelled::Unasked {
                match self.kept.get(&step.task) {
                    Some(labels) => step.label(Labelled::Known(labels)),
                    None => wanted.push(step.task),
                }
            }
        }
        if wanted.is_empty() {
            return;
        }
        wanted.sort_unstable();
        wanted.dedup();
        let found = self.ask(wanted).await;
        for step in steps {
            if step.labelled() == &Labelled::Unasked {
                let known = found.get(&step.task).cloned();
                step.label(known.map_or(Labelled::Unavailable, Labelled::Known));
            }
        }
    }

    async fn ask(&self, tasks: Vec<TaskId>) -> HashMap<TaskId, Arc<Labels>> {
        let mut found = HashMap::new();
        // Relaxed: whoever does not see it yet asks once more.
        if self.millis() < self.rests_until.load(Ordering::Relaxed) {
            return found;
        }
        let count = tasks.len();
        let mut answers = futures::stream::iter(tasks)
            .map(|task| async move { (task, self.source.labels(task).await) })
            .buffer_unordered(AT_ONCE);
        let all = async {
            while let Some((task, labels)) = answers.next().await {
                let Some(labels) = labels else { continue };
                let labels = labels.shared();
                self.kept.insert(task, Arc::clone(&labels));
                found.insert(task, labels);
            }
        };
        // Given up in the middle, what was answered counts.
        let in_time = tokio::time::timeout(PATIENCE, all).await.is_ok();
        if !in_time || found.is_empty() {
            metrics::counter!("waybill_stream_labels_unavailable_total")
                .increment((count - found.len()) as u64);
            let rest = self.millis() + u64::try_from(REST.as_millis()).unwrap_or(u64::MAX);
            self.rests_until.store(rest, Ordering::Relaxed);
        }
        found
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
