//! Asking a projector.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use waybill_domain::id::{TaskId, TeamId};
use waybill_log::StreamSeq;

use crate::query::{
    ActivityFilter, ActivityPage, ByIdempotencyKey, Counters, GetCounters, GetTask, IdempotentTask,
    ListActivity, ListTasks, Position, Query, Refused, Reply, Request, TaskPage, TaskView, Verdict,
    Verify,
};

/// Within which a query is answered or given up, retries included.
pub const DEADLINE: Duration = Duration::from_secs(3);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// What a client is told when a replica did not say.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A rebuild reads the whole log.
const VERIFY_DEADLINE: Duration = Duration::from_secs(3600);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No replica answers now: 503 with `Retry-After`.
    #[error("the read model is unavailable: {reason}")]
    Unavailable {
        /// For an operator.
        reason: String,
        /// When to try again.
        retry: Duration,
    },
    /// No replica has read what the answer needs, within the deadline: 503 with `Retry-After: 1`.
    #[error("the read model is behind: it has read up to {as_of:?}")]
    Behind {
        /// How far it is.
        as_of: Position,
    },
    /// The question does not do: 400.
    #[error("{message}")]
    Invalid {
        /// Which part, as clients name it.
        field: String,
        /// What was wrong and what would be right.
        message: String,
    },
}

/// An answer and how far it had read the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered<T> {
    /// The answer.
    pub value: T,
    /// As of there.
    pub as_of: Position,
}

/// Asks whichever replica is there. Cheap to clone.
#[derive(Debug, Clone)]
pub struct QueryClient {
    nats: async_nats::Client,
    deadline: Duration,
}

impl QueryClient {
    /// Over an existing connection.
    #[must_use]
    pub fn new(nats: async_nats::Client) -> Self {
        Self {
            nats,
            deadline: DEADLINE,
        }
    }

    /// With another deadline for each query.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// A task with headers, body and answer. `min_seq`: 0, or the sequence in TASKS that must have been read.
    /// `None` is certain: the replica had read everything that was in the log when the question came.
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

    /// The task that this idempotency key made, unless it did so within the server's duplicate window (see [`ByIdempotencyKey`]).
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

    /// How many tasks of a team stand where.
    pub async fn counters(
        &self,
        team: &TeamId,
        min_seq: StreamSeq,
    ) -> Result<Answered<Counters>, QueryError> {
        let query = GetCounters { team: team.clone() };
        self.ask(query, Position::tasks(min_seq)).await
    }

    /// Who did what in a team, newest first. `min_seq`: what must have been read of both logs.
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

    /// Has one replica compare its read model with one made anew. Takes as long as reading the whole log.
    pub async fn verify(&self) -> Result<Answered<Verdict>, QueryError> {
        self.clone()
            .with_deadline(VERIFY_DEADLINE)
            .ask(Verify {}, Position::default())
            .await
    }

    /// Any query. A replica that is behind, busy or gone is asked again, or another one is, until the deadline.
    pub async fn ask<Q: Query>(
        &self,
        query: Q,
        min_seq: Position,
    ) -> Result<Answered<Q::Answer>, QueryError> {
        let give_up = tokio::time::Instant::now() + self.deadline;
        let mut behind = None;
        let mut request = Request {
            min_seq,
            patience_ms: 0,
            query,
        };
        loop {
            let left = give_up.saturating_duration_since(tokio::time::Instant::now());
            // The replica gives up a little earlier, so that its reason arrives.
            request.patience_ms = u32::try_from(left.as_millis() * 4 / 5).unwrap_or(u32::MAX);
            let error = match self.ask_once(&request, left).await {
                Ok(answered) => return Ok(answered),
                Err(error @ QueryError::Invalid { .. }) => return Err(error),
                Err(error) => error,
            };
            let last_try = tokio::time::Instant::now() + PAUSE >= give_up;
            if let QueryError::Behind { .. } = error {
                behind = Some(error);
            } else if last_try {
                // What a replica said tells more than that the time for another try was too short.
                return Err(behind.unwrap_or(error));
            }
            if last_try && let Some(error) = behind {
                return Err(error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask_once<Q: Query>(
        &self,
        request: &Request<Q>,
        timeout: Duration,
    ) -> Result<Answered<Q::Answer>, QueryError> {
        let payload = rmp_serde::to_vec_named(request).map_err(|e| QueryError::Invalid {
            field: "query".into(),
            message: e.to_string(),
        })?;
        let request = async_nats::Request::new()
            .payload(payload.into())
            .timeout(Some(timeout));
        let message = self
            .nats
            .send_request(Q::SUBJECT, request)
            .await
            .map_err(|e| {
                unavailable(match e.kind() {
                    RequestErrorKind::NoResponders => "no projector is running".into(),
                    RequestErrorKind::TimedOut => "no projector answered in time".into(),
                    _ => e.to_string(),
                })
            })?;
        let reply: Reply<Q::Answer> = rmp_serde::from_slice(&message.payload)
            .map_err(|e| unavailable(format!("a projector's reply cannot be read: {e}")))?;
        match reply.outcome {
            Ok(value) => Ok(Answered {
                value,
                as_of: reply.as_of,
            }),
            Err(Refused::Behind) => Err(QueryError::Behind { as_of: reply.as_of }),
            Err(Refused::Unavailable { reason, retry_ms }) => Err(QueryError::Unavailable {
                reason,
                retry: Duration::from_millis(retry_ms.into()),
            }),
            Err(Refused::Invalid { field, message }) => Err(QueryError::Invalid { field, message }),
        }
    }
}

fn unavailable(reason: String) -> QueryError {
    QueryError::Unavailable {
        reason,
        retry: RETRY_AFTER,
    }
}
