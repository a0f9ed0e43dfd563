//! Waiting until a worker holds a job no more.

use std::time::Duration;

use waybill_api_tasks::TasksApi;
use waybill_domain::id::TeamId;
use waybill_domain::task::{ClaimId, Status};
use waybill_edge::error::ApiError;
use waybill_projector::query::{GetTask, Position};

/// Pause before a job is watched again that could not be watched.
const PAUSE: Duration = Duration::from_millis(250);

/// Waits until the claim of a job has ended: by a report, because its lease is over, or with the job. Cancel safe.
///
/// # Errors
/// If the job cannot be read.
pub async fn until_over(state: &TasksApi, team: &TeamId, claim: ClaimId) -> Result<(), ApiError> {
    loop {
        let Ok(mut watch) = state.hub.watch(team, claim.task).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // What has happened until then stands in the row, and what happens later is told.
        let query = GetTask {
            id: claim.task,
            team: Some(team.clone()),
            detail: false,
        };
        let found = state.queries.ask(query, Position::tasks(watch.since()));
        let is_held = found.await?.value.is_some_and(|view| {
            let last = view.row.attempts.last();
            last.is_some_and(|last| last.number <= claim.attempt)
                && view.row.status == Status::Processing
        });
        if !is_held {
            return Ok(());
        }
        while let Some((_, status)) = watch.next().await {
            if status.is_some_and(|status| status != Status::Processing) {
                return Ok(());
            }
        }
    }
}
