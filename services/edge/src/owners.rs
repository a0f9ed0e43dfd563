//! Asking the owners of all partitions: what spans partitions is known to them only.
//!
//! The futures are boxed, since the compiler copies the body of an asynchronous function into each crate that awaits it.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use tokio::time::{Instant, timeout};
use waybill_domain::command::{self, OwnerReply, OwnerRequest};
use waybill_domain::id::TaskId;
use waybill_domain::partition::{Partition, PartitionCount};

use crate::error::{ApiError, ErrorCode};

/// Deadline of one request to all owners.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Deadline of one request to the owner that decides: its answer may wait for the log.
const DECISION_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause before an owner is asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the answers of those owners are waited for that answer at all: people who are shown them
/// would rather know in part than wait for a partition that changes hands.
const IN_PART: Duration = Duration::from_secs(2);

/// The owners that run in this process, if a worker does: they are asked without encoding, and without the way over NATS.
pub trait NearOwners: fmt::Debug + Send + Sync {
    /// Asks the owner of a partition. `None` if that is not in this process now. The answer has no time limit.
    fn ask(
        &self,
        partition: Partition,
        request: &OwnerRequest,
    ) -> Option<BoxFuture<'static, OwnerReply>>;
}

/// Sends requests to owners.
#[derive(Debug, Clone)]
pub struct Owners {
    pub nats: async_nats::Client,
    /// `None`: no worker runs in this process.
    pub near: Option<Arc<dyn NearOwners>>,
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
    pub fn ask_all<'a>(
        &'a self,
        request: &'a OwnerRequest,
    ) -> BoxFuture<'a, Result<Vec<OwnerReply>, ApiError>> {
        let asked = self.ask_each(request, self.patience);
        Box::pin(async move { asked.await.into_iter().collect() })
    }

    /// The answers of all owners that answer within two seconds.
    pub fn ask_any<'a>(&'a self, request: &'a OwnerRequest) -> BoxFuture<'a, Vec<OwnerReply>> {
        let asked = self.ask_each(request, IN_PART);
        Box::pin(async move { asked.await.into_iter().flatten().collect() })
    }

    async fn ask_each(
        &self,
        request: &OwnerRequest,
        patience: Duration,
    ) -> Vec<Result<OwnerReply, ApiError>> {
        let (request, deadline) = (Asked::new(request), Instant::now() + patience);
        let asked = self.partitions.all().map(async |partition| {
            let times = (REQUEST_TIMEOUT, deadline);
            let asked = self.ask(partition, &request, times);
            asked.await?.ok_or_else(no_owner)
        });
        join_all(asked).await
    }

    /// Asks the owner of one partition once. `None`: it has none now, or that does not answer within `timeout`.
    pub fn ask_one<'a>(
        &'a self,
        partition: Partition,
        request: &'a OwnerRequest,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Option<OwnerReply>, ApiError>> {
        Box::pin(async move {
            let request = Asked::new(request);
            self.ask_once(partition, &request, timeout).await
        })
    }

    /// Sends several requests to the owner of one partition at once, at most [`MAX_SEVERAL`](command::MAX_SEVERAL), and asks
    /// again for each one that it did not answer definitely, as [`Self::ask_until_answered`] does. The answers are in their order.
    pub fn ask_several(
        &self,
        partition: Partition,
        requests: Vec<OwnerRequest>,
    ) -> BoxFuture<'_, Vec<Result<Option<OwnerReply>, ApiError>>> {
        Box::pin(async move {
            let all = OwnerRequest::Several(requests);
            let asked = self.ask_one(partition, &all, DECISION_TIMEOUT).await;
            let OwnerRequest::Several(requests) = all else {
                return Vec::new();
            };
            // A worker of before knows no such request, and asks to try again.
            let told = match asked {
                Ok(Some(OwnerReply::Several(told))) if told.len() == requests.len() => told,
                _ => vec![OwnerReply::TryAgain; requests.len()],
            };
            join_all(
                requests
                    .iter()
                    .zip(told)
                    .map(async |(request, told)| match told {
                        OwnerReply::TryAgain => self.ask_until_answered(partition, request).await,
                        told => Ok(Some(told)),
                    }),
            )
            .await
        })
    }

    /// Asks the owner of one partition until it answers definitely. `None`: it did not within the gateway's patience. A partition that changes
    /// hands has an owner again within seconds, and a client should not wait for many of them. Asking twice must be harmless.
    pub fn ask_until_answered<'a>(
        &'a self,
        partition: Partition,
        request: &'a OwnerRequest,
    ) -> BoxFuture<'a, Result<Option<OwnerReply>, ApiError>> {
        let deadline = Instant::now() + self.patience;
        Box::pin(async move {
            let request = Asked::new(request);
            let times = (DECISION_TIMEOUT, deadline);
            self.ask(partition, &request, times).await
        })
    }

    /// The definite answer of the owner of a task.
    ///
    /// # Errors
    /// 503 if it does not answer within the gateway's patience.
    pub fn ask_about<'a>(
        &'a self,
        task: TaskId,
        request: &'a OwnerRequest,
    ) -> BoxFuture<'a, Result<OwnerReply, ApiError>> {
        let asked = self.ask_until_answered(task.partition(), request);
        Box::pin(async move { asked.await?.ok_or_else(no_owner) })
    }

    /// Asks the owner of a partition until it answers definitely, each time for so long, or until a deadline.
    async fn ask(
        &self,
        partition: Partition,
        request: &Asked<'_>,
        (timeout, deadline): (Duration, Instant),
    ) -> Result<Option<OwnerReply>, ApiError> {
        loop {
            match self.ask_once(partition, request, timeout).await? {
                Some(OwnerReply::TryAgain) | None => {}
                Some(reply) => return Ok(Some(reply)),
            }
            if Instant::now() + PAUSE >= deadline {
                return Ok(None);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// `None`: there is no owner now, or it does not answer in time.
    async fn ask_once(
        &self,
        partition: Partition,
        request: &Asked<'_>,
        limit: Duration,
    ) -> Result<Option<OwnerReply>, ApiError> {
        if let Some(near) = &self.near
            && let Some(reply) = near.ask(partition, request.request)
        {
            return Ok(timeout(limit, reply).await.ok());
        }
        let message = async_nats::Request::new()
            .payload(request.encoded())
            .timeout(Some(limit));
        match self
            .nats
            .send_request(command::subject(partition), message)
            .await
        {
            Ok(message) => OwnerReply::decode(&message.payload)
                .map(Some)
                .map_err(|error| ApiError::internal(&error)),
            Err(error) => {
                tracing::debug!(%partition, %error, "the owner of a partition does not answer");
                Ok(None)
            }
        }
    }
}

/// A request that is encoded once, if it is at all.
struct Asked<'a> {
    request: &'a OwnerRequest,
    encoded: OnceLock<Bytes>,
}

impl<'a> Asked<'a> {
    fn new(request: &'a OwnerRequest) -> Self {
        Self {
            request,
            encoded: OnceLock::new(),
        }
    }

    fn encoded(&self) -> Bytes {
        let encode = || Bytes::from(self.request.encode());
        self.encoded.get_or_init(encode).clone()
    }
}

/// 503: the partition changes hands.
#[must_use]
pub fn no_owner() -> ApiError {
    ApiError::unavailable(
        ErrorCode::OwnerUnavailable,
        "The worker of a partition is changing; try again later",
    )
}
