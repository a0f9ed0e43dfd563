//! Captures in memory, for tests.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use waybill_domain::id::{TaskId, TeamId};

use crate::ReadError;
use crate::capture::{Capture, Captures};

/// Captures in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryCaptures(Arc<Mutex<Vec<Capture>>>);

#[async_trait]
impl Captures for MemoryCaptures {
    async fn capture(&self, capture: Capture) {
        self.0.lock().push(capture);
    }

    async fn captures(&self, team: &TeamId, task: TaskId) -> Result<Vec<Capture>, ReadError> {
        let all = self.0.lock();
        let mine = all
            .iter()
            .filter(|capture| capture.call.team == *team && capture.call.task == task);
        Ok(mine.cloned().collect())
    }
}
