//! Asking the owners of all partitions: what spans partitions is known to them only.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::Instant;
use waybill_domain::command::{self, OwnerReply, OwnerRequest};
use waybill_domain::partition::{Partition, PartitionCount};

use crate::error::{ApiError, ErrorCode};

/// Deadline of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause before an owner is asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the answers of those owners are waited for that answer at all: people who are shown them
/// would rather know in part than wait for a partition that changes hands.
const IN_PART: Duration = Duration::from_secs(2);

/// Sends requests to owners.
#[derive(Debug, Clone)]
pub struct Owners {
    pub nats: async_nats::Client,
    /// How many partitions the log has.
    pub partitions: PartitionCount,
    /// How long an answer is waited for: a partition that changes hands has an owner again within seconds.
    pub patience: Duration,
}

impl Owners {
    /// How many partitions there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.partitions.get().into()
    }

    /// The answers of all owners, or 503 if one of them does not answer.
    pub async fn ask_all(&self, request: &OwnerRequest) -> Result<Vec<OwnerReply>, ApiError> {
        self.ask_each(request, self.patience)
            .await?
            .into_iter()
            .collect()
    }

    /// The answers of all owners that answer within two seconds.
    pub async fn ask_any(&self, request: &OwnerRequest) -> Vec<OwnerReply> {
        let answers = self.ask_each(request, IN_PART).await.unwrap_or_default();
        answers.into_iter().flatten().collect()
    }

    async fn ask_each(
        &self,
        request: &OwnerRequest,
        patience: Duration,
    ) -> Result<Vec<Result<OwnerReply, ApiError>>, ApiError> {
        let payload = rmp_serde::to_vec_named(request).map_err(|e| ApiError::internal(&e))?;
        let (payload, deadline) = (Bytes::from(payload), Instant::now() + patience);
        let asked = self
            .partitions
            .all()
            .map(|partition| self.ask(partition, payload.clone(), deadline));
        Ok(join_all(asked).await)
    }

    async fn ask(
        &self,
        partition: Partition,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<OwnerReply, ApiError> {
        loop {
            let request = async_nats::Request::new()
                .payload(payload.clone())
                .timeout(Some(REQUEST_TIMEOUT));
            let subject = command::subject(partition);
            match self.nats.send_request(subject, request).await {
                Ok(message) => match rmp_serde::from_slice(&message.payload) {
                    Ok(OwnerReply::TryAgain) => {}
                    Ok(reply) => return Ok(reply),
                    Err(error) => return Err(ApiError::internal(&error)),
                },
                // No owner now, or one that does not answer in time.
                Err(error) => {
                    tracing::debug!(%partition, %error, "the owner of a partition does not answer");
                }
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(ApiError::unavailable(
                    ErrorCode::OwnerUnavailable,
                    "The worker of a partition is changing; try again later",
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
