//! Tags and metadata of a task, and who knows them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use waybill_domain::id::TaskId;

/// What a client gave a task to find it by, and to correlate its events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    pub tags: Vec<String>,
    pub metadata: BTreeMap<String, String>,
}

impl Labels {
    /// Shared by the many tasks that have none.
    pub(crate) fn shared(self) -> Arc<Self> {
        static NONE: LazyLock<Arc<Labels>> = LazyLock::new(Arc::default);
        if self == Self::default() {
            Arc::clone(&NONE)
        } else {
            Arc::new(self)
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        let tags = self.tags.iter().map(|tag| tag.len() + 24).sum::<usize>();
        let metadata = self.metadata.iter().map(|(k, v)| k.len() + v.len() + 48);
        (tags + metadata.sum::<usize>()) as u64
    }
}

/// Knows the labels of tasks that are open or were of late: the read model.
#[async_trait]
pub trait LabelSource: Send + Sync + 'static {
    /// The labels of a task; `None` when it does not know the task, or does not answer.
    async fn labels(&self, task: TaskId) -> Option<Labels>;
}

/// What is known of the labels that belong to an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Labelled {
    /// Nobody has asked yet.
    Unasked,
    Known(Arc<Labels>),
    /// Whoever knows them did not answer.
    Unavailable,
}
