//! The client of the query service.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use bytes::Bytes;
use futures::future::BoxFuture;
use waybill_domain::id::{QueueName, TaskId, TeamId};
use waybill_log::StreamSeq;

use crate::query::{
    ActivityFilter, ActivityPage, ByIdempotencyKey, Counters, GetCounters, GetTask, IdempotentTask,
    ListActivity, ListTasks, Position, Query, QueueCounts, Refused, Request, TaskPage, TaskView,
    Verdict, Verify,
};

/// Time limit of a query, including retries.
pub const DEADLINE: Duration = Duration::from_secs(3);
/// Time limit of the first try, after which another replica is asked: one that hangs or is cut off
/// must not use up the whole time. Each further try gets twice as long, so that a slow answer has
/// its time.
const FIRST_TRY: Duration = Duration::from_secs(1);
/// Pause between tries.
const PAUSE: Duration = Duration::from_millis(50);
/// `Retry-After` if no replica has named one.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Time limit of a verification, which reads the whole log.
const VERIFY_DEADLINE: Duration = Duration::from_secs(3600);

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No replica can answer now: 503 with `Retry-After`.
    #[error("the read model is unavailable: {reason}")]
    Unavailable {
        /// The reason, for operators.
        reason: String,
        /// When to retry.
        retry: Duration,
    },
    /// No replica has read what the answer needs within the time limit: 503 with `Retry-After: 1`.
    #[error("the read model is behind: it has read up to {as_of:?}")]
    Behind {
        /// How far the replica has read.
        as_of: Position,
    },
    /// The query is invalid: 400.
    #[error("{message}")]
    Invalid {
        /// The invalid field, as clients name it.
        field: String,
        /// What was wrong, and what would be right.
        message: String,
    },
}

/// An answer, and how far the replica had read the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered<T> {
    pub value: T,
    /// Position up to which the replica had read.
    pub as_of: Position,
}

/// Queries any available replica. Cheap to clone.
#[derive(Debug, Clone)]
pub struct QueryClient {
    nats: async_nats::Client,
    deadline: Duration,
    first_try: Duration,
}

impl QueryClient {
    /// Uses an existing connection.
    #[must_use]
    pub fn new(nats: async_nats::Client) -> Self {
        Self {
            nats,
            deadline: DEADLINE,
            first_try: FIRST_TRY,
        }
    }

    /// The same client with another time limit per query.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// A task with headers, body and answer. `min_seq` is the sequence in TASKS that must have been
    /// read, or 0. `None` is certain: the replica had read everything that was in the log when the
    /// query arrived.
    pub async fn task(
        &self,
        team: Option<&TeamId>,
        id: TaskId,
        min_seq: StreamSeq,
    ) -> Result<Answered<Option<TaskView>>, QueryError> {
        let query = GetTask {
            id,
            team: team.cloned(),
            detail: true,
        };
        self.ask(query, Position::tasks(min_seq)).await
    }

    /// Tasks of a team, newest first. `min_seq` as in [`Self::task`].
    pub async fn list(
        &self,
        query: ListTasks,
        min_seq: StreamSeq,
    ) -> Result<Answered<TaskPage>, QueryError> {
        self.ask(query, Position::tasks(min_seq)).await
    }

    /// The task that was created with this idempotency key, unless it was within the server's
    /// duplicate window (see [`ByIdempotencyKey`]).
    pub async fn by_idempotency_key(
        &self,
        team: &TeamId,
        key: &str,
    ) -> Result<Option<IdempotentTask>, QueryError> {
        let query = ByIdempotencyKey {
            team: team.clone(),
            key: key.into(),
        };
        Ok(self.ask(query, Position::default()).await?.value)
    }

    /// Number of tasks of a team by status.
    pub async fn counters(
        &self,
        team: &TeamId,
        min_seq: StreamSeq,
    ) -> Result<Answered<Counters>, QueryError> {
        let query = GetCounters {
            team: team.clone(),
            queue: None,
        };
        self.ask(query, Position::tasks(min_seq)).await
    }

    /// Number of tasks of one queue by status; `None` if it has none.
    pub async fn queue_counters(
        &self,
        team: &TeamId,
        queue: &QueueName,
        min_seq: StreamSeq,
    ) -> Result<Option<QueueCounts>, QueryError> {
        let query = GetCounters {
            team: team.clone(),
            queue: Some(queue.clone()),
        };
        let counters = self.ask(query, Position::tasks(min_seq)).await?.value;
        let mut found = counters.queues.into_iter();
        Ok(found.find(|counts| counts.queue == *queue))
    }

    /// Who did what in a team, newest first. `min_seq` is what must have been read of both logs.
    pub async fn activity(
        &self,
        team: &TeamId,
        filter: ActivityFilter,
        limit: u16,
        cursor: Option<String>,
        min_seq: Position,
    ) -> Result<Answered<ActivityPage>, QueryError> {
        let query = ListActivity {
            team: Some(team.clone()),
            filter,
            limit,
            cursor,
        };
        self.ask(query, min_seq).await
    }

    /// Makes one replica compare its read model with a rebuilt one. Takes as long as reading the
    /// whole log.
    pub async fn verify(&self) -> Result<Answered<Verdict>, QueryError> {
        // A single try: another replica would only begin from the start.
        let patient = Self {
            nats: self.nats.clone(),
            deadline: VERIFY_DEADLINE,
            first_try: VERIFY_DEADLINE,
        };
        patient.ask(Verify {}, Position::default()).await
    }

    /// Sends any query. If a replica is behind, busy or gone, it or another one is asked again,
    /// until the time limit.
    pub async fn ask<Q: Query>(
        &self,
        query: Q,
        min_seq: Position,
    ) -> Result<Answered<Q::Answer>, QueryError> {
        let give_up = tokio::time::Instant::now() + self.deadline;
        let mut behind = None;
        let mut limit = self.first_try;
        let mut request = Request {
            min_seq,
            patience_ms: 0,
            query,
        };
        loop {
            let left = give_up.saturating_duration_since(tokio::time::Instant::now());
            let left = left.min(limit);
            limit = (limit * 2).min(self.deadline);
            // The replica gives up a little earlier, so that its reason arrives.
            request.patience_ms = u32::try_from(left.as_millis() * 4 / 5).unwrap_or(u32::MAX);
            let reply = self.send(Q::SUBJECT, Q::encode(&request), left).await;
            let error = match reply.and_then(|reply| answer::<Q>(&reply)) {
                Ok(answered) => return Ok(answered),
                Err(error @ QueryError::Invalid { .. }) => return Err(error),
                Err(error) => error,
            };
            let last_try = tokio::time::Instant::now() + PAUSE >= give_up;
            if let QueryError::Behind { .. } = error {
                behind = Some(error);
            } else if last_try {
                // What a replica has said is more informative than the time limit of the last try.
                return Err(behind.unwrap_or(error));
            }
            if last_try && let Some(error) = behind {
                return Err(error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends a request, and returns the reply. Boxed, since the compiler copies the body of an asynchronous
    /// function into each crate that awaits it.
    fn send(
        &self,
        subject: &'static str,
        payload: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Bytes, QueryError>> {
        let request = async_nats::Request::new()
            .payload(payload.into())
            .timeout(Some(timeout));
        Box::pin(async move {
            match self.nats.send_request(subject, request).await {
                Ok(message) => Ok(message.payload),
                Err(error) => Err(unavailable(match error.kind() {
                    RequestErrorKind::NoResponders => "no projector is running".into(),
                    RequestErrorKind::TimedOut => "no projector answered in time".into(),
                    _ => error.to_string(),
                })),
            }
        })
    }
}

fn answer<Q: Query>(reply: &[u8]) -> Result<Answered<Q::Answer>, QueryError> {
    let reply = Q::decode(reply)
        .map_err(|e| unavailable(format!("a projector's reply cannot be read: {e}")))?;
    let as_of = reply.as_of;
    match reply.outcome {
        Ok(value) => Ok(Answered { value, as_of }),
        Err(refused) => Err(refused.into_error(as_of)),
    }
}

fn unavailable(reason: String) -> QueryError {
    QueryError::Unavailable {
        reason,
        retry: RETRY_AFTER,
    }
}

impl Refused {
    fn into_error(self, as_of: Position) -> QueryError {
        match self {
            Self::Behind => QueryError::Behind { as_of },
            Self::Unavailable { reason, retry_ms } => QueryError::Unavailable {
                reason,
                retry: Duration::from_millis(retry_ms.into()),
            },
            Self::Invalid { field, message } => QueryError::Invalid { field, message },
        }
    }
}
