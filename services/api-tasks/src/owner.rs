//! Asking the owner of a task's partition: only it knows what runs, and only it may append.

use std::time::Duration;

use async_nats::Request;
use bytes::Bytes;
use tokio::time::Instant;
use waybill_domain::command::{self, OwnerReply, OwnerRequest};
use waybill_domain::id::TaskId;

use crate::state::TasksApi;
use waybill_edge::error::{ApiError, ErrorCode};

/// Deadline of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause before the owner is asked again.
const PAUSE: Duration = Duration::from_millis(150);

/// Asks until somebody answers definitely or the gateway's patience ends: a partition that changes hands has an owner again within seconds,
/// and a client should not wait for many of them. Asking twice must be harmless.
pub(crate) async fn ask_owner(
    state: &TasksApi,
    id: TaskId,
    request: &OwnerRequest,
) -> Result<OwnerReply, ApiError> {
    let payload =
        Bytes::from(rmp_serde::to_vec_named(request).map_err(|e| ApiError::internal(&e))?);
    let deadline = Instant::now() + state.config.patience();
    loop {
        let request = Request::new()
            .payload(payload.clone())
            .timeout(Some(REQUEST_TIMEOUT));
        let subject = command::subject(id.partition());
        match state.nats.send_request(subject, request).await {
            Ok(message) => match rmp_serde::from_slice(&message.payload) {
                Ok(OwnerReply::TryAgain) => {}
                Ok(reply) => return Ok(reply),
                Err(error) => return Err(ApiError::internal(&error)),
            },
            // No owner now, or one that does not answer in time.
            Err(error) => tracing::debug!(%error, "the owner of the partition does not answer"),
        }
        if Instant::now() + PAUSE >= deadline {
            return Err(no_owner());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

pub(crate) fn no_owner() -> ApiError {
    ApiError::unavailable(
        ErrorCode::OwnerUnavailable,
        "The task's worker is changing; try again later",
    )
}
