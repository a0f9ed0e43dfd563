//! Asking the owners of all partitions at once, about what only they know.

use std::time::Duration;

use async_nats::Request;
use bytes::Bytes;
use futures::future::join_all;
use waybill_domain::command::{OwnerReply, OwnerRequest, subject};
use waybill_domain::partition::PartitionCount;

/// Deadline of one question. What is asked is shown to people, who would rather know in part than
/// wait for a partition that changes hands.
const DEADLINE: Duration = Duration::from_secs(2);

/// The owners of all partitions.
#[derive(Clone)]
pub struct Owners {
    nats: async_nats::Client,
    partitions: PartitionCount,
}

impl std::fmt::Debug for Owners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owners").finish_non_exhaustive()
    }
}

impl Owners {
    #[must_use]
    pub fn new(nats: async_nats::Client, partitions: PartitionCount) -> Self {
        Self { nats, partitions }
    }

    /// How many partitions there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.partitions.get().into()
    }

    /// The answers of all owners that answer in time.
    pub async fn ask_all(&self, request: &OwnerRequest) -> Vec<OwnerReply> {
        let Ok(payload) = rmp_serde::to_vec_named(request) else {
            return Vec::new();
        };
        let payload = Bytes::from(payload);
        let answers = self.partitions.all().map(|partition| {
            let request = Request::new()
                .payload(payload.clone())
                .timeout(Some(DEADLINE));
            async move {
                let answer = self.nats.send_request(subject(partition), request).await;
                match answer {
                    Ok(message) => rmp_serde::from_slice(&message.payload).ok(),
                    // No owner now, or one that does not answer in time.
                    Err(error) => {
                        tracing::debug!(%partition, %error, "the owner of a partition does not answer");
                        None
                    }
                }
            }
        });
        join_all(answers).await.into_iter().flatten().collect()
    }
}
