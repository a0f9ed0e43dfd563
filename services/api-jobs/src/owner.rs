//! Asking the owner of a partition until it has answered.

use std::time::Duration;

use tokio::time::Instant;
use waybill_api_tasks::TasksApi;
use waybill_domain::command::{OwnerReply, OwnerRequest};
use waybill_domain::partition::Partition;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::Need;
use waybill_edge::error::ApiError;
use waybill_edge::owners::no_owner;

use crate::find;

/// Pause before the owner is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks until somebody answers definitely, or the gateway's patience ends. Asking twice must be harmless.
pub async fn ask(
    state: &TasksApi,
    partition: Partition,
    request: &OwnerRequest,
) -> Result<OwnerReply, ApiError> {
    let asked = state.owners.ask_until_answered(partition, request);
    asked.await?.ok_or_else(no_owner)
}

/// Asks for a change of a job that waited a moment ago. Whether it was made: one that runs or has ended by now stays as it is.
pub async fn change<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    job: &str,
    asked: (Partition, &OwnerRequest),
) -> Result<bool, ApiError> {
    match ask_open(state, caller, job, asked).await? {
        Some(OwnerReply::Done { seq } | OwnerReply::AlreadyRequested { seq }) => {
            state.acknowledge(&caller.context().position, &caller.team, seq);
            Ok(true)
        }
        Some(OwnerReply::Running) | None => Ok(false),
        Some(_) => Err(no_owner()),
    }
}

/// Asks about a job that was not over a moment ago. `None`: it has ended. An owner that has not read its creation yet is asked again.
async fn ask_open<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    job: &str,
    (partition, request): (Partition, &OwnerRequest),
) -> Result<Option<OwnerReply>, ApiError> {
    let deadline = Instant::now() + state.config.patience();
    loop {
        match ask(state, partition, request).await? {
            OwnerReply::NotOpen => {}
            reply => return Ok(Some(reply)),
        }
        let end = state.end_of_tasks().await?;
        if find::as_of(state, caller, job, end)
            .await?
            .status
            .is_final()
        {
            return Ok(None);
        }
        if Instant::now() + PAUSE >= deadline {
            return Err(no_owner());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
