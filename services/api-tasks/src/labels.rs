//! What event streams ask the read model: tags and metadata of tasks whose creation they have not seen.

use async_trait::async_trait;
use waybill_domain::id::TaskId;
use waybill_domain::seq::StreamSeq;
use waybill_projector::QueryClient;
use waybill_projector::query::{GetTask, Position};
use waybill_streams::{LabelSource, Labels};

/// The read model as a source of labels.
pub struct ReadModelLabels(pub QueryClient);

#[async_trait]
impl LabelSource for ReadModelLabels {
    async fn labels(&self, task: TaskId) -> Option<Labels> {
        // Whose task it is was checked when its event was chosen for the stream.
        let query = GetTask {
            id: task,
            team: None,
            detail: false,
        };
        // Labels never change, so any place of the log will do at which the task is known.
        match self.0.ask(query, Position::tasks(StreamSeq(0))).await {
            Ok(answered) => {
                let row = answered.value?.row;
                Some(Labels {
                    tags: row.tags,
                    metadata: row.metadata,
                })
            }
            Err(error) => {
                tracing::debug!(%error, %task, "the read model does not tell the labels of a task; its events go out without them");
                None
            }
        }
    }
}
