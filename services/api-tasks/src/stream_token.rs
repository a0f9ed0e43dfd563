//! Tokens for event streams: `POST /v1/tasks/{id}/stream-token` and `POST /v1/events/stream-token`, and streams that are opened with one.

use axum::extract::{FromRequestParts, State};
use http::StatusCode;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::id::{QueueName, TaskId, TeamId};
use waybill_domain::signature::derive_stream_key;
use waybill_domain::stream_token::{Opens, StreamKey, StreamToken};
use waybill_domain::task::Status;
use waybill_domain::time::Timestamp;
use waybill_log::StreamSeq;
use waybill_streams::TaskEventType;
use waybill_streams::{EventFilter, StillValid};

use super::lookup;
use crate::parameters::StreamParameters;
use crate::state::TasksApi;
use std::time::Duration;
use waybill_commands::entropy;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, TasksRead};
use waybill_edge::auth::stream::{self, TokenHolder};
use waybill_edge::body::OptionalJson;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::iso::Iso;
use waybill_edge::path::Id;
use waybill_edge::standing::still_valid;

/// Lifetimes that a token can have, in seconds.
const SECONDS: std::ops::RangeInclusive<u32> = 10..=3_600;
/// Lifetime when the request names none.
const USUAL_SECONDS: u32 = 300;
/// Most characters of the filters in one token, which has to fit into a URL.
const MAX_FILTER_CHARS: usize = 2_000;

/// A token for the events of one task.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct TaskStreamTokenRequest {
    /// Seconds until it expires, 10 to 3600. Default 300.
    #[schema(minimum = 10, maximum = 3600)]
    expires_in: Option<u32>,
}

/// A token for the events of a team that pass a filter.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct EventStreamTokenRequest {
    /// Seconds until it expires, 10 to 3600. Default 300.
    #[schema(minimum = 10, maximum = 3600)]
    expires_in: Option<u32>,
    /// Only these queues. Empty: all.
    queue: Vec<String>,
    /// Only these events, such as `task.succeeded`. Empty: all.
    #[schema(value_type = Vec<TaskEventType>)]
    r#type: Vec<String>,
    /// Only events that leave the task in one of these statuses. Empty: all.
    #[schema(value_type = Vec<Status>)]
    status: Vec<String>,
    /// Only events that end a task: with success (`true`) or without (`false`).
    ok: Option<bool>,
}

/// A token, and the stream that it opens.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamTokenAnswer {
    /// For `access_token` in the query string of this one stream. It is shown only once.
    token: String,
    /// The stream that it opens, for `new EventSource(...)`.
    #[schema(format = "uri-reference")]
    url: String,
    /// Until then it opens the stream, and an open stream continues.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Iso,
}

impl std::fmt::Debug for StreamTokenAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamTokenAnswer").finish_non_exhaustive()
    }
}

/// Make a token that opens the event stream of one task, for a browser.
///
/// Short-lived, and good for reading this one stream. It ends early when the credential that made it is revoked, expires or is signed
/// out; one that a key bound to networks made is bound to them.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/stream-token",
    operation_id = "tasks.stream_token.create",
    tag = "events",
    security(("api_key" = ["tasks:read"])),
    params(("id" = String, Path, description = "Id of the task")),
    request_body = Option<TaskStreamTokenRequest>,
    responses(
        (status = 201, description = "The token", body = StreamTokenAnswer),
        (status = 404, description = "No such task", body = ErrorBody),
        (status = 503, description = "Cannot be read now, or this gateway has no master secret; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn make_task_stream_token(
    State(state): State<TasksApi>,
    caller: Caller<TasksRead>,
    Id(id): Id<TaskId>,
    OptionalJson(request): OptionalJson<TaskStreamTokenRequest>,
) -> Result<(StatusCode, axum::Json<StreamTokenAnswer>), ApiError> {
    let until = expiry(request.expires_in)?;
    lookup::find_row(&state, &caller.team, id, StreamSeq(0)).await?;
    let path = format!("/v1/tasks/{id}/events");
    make(&state, &caller, Opens::Task(id), &path, until)
}

/// Make a token that opens the event stream of the team with one filter, for a browser.
///
/// As for a task; the filter is part of the token and cannot be changed by who holds it.
#[utoipa::path(
    post,
    path = "/v1/events/stream-token",
    operation_id = "tasks.stream_token.create_for_filter",
    tag = "events",
    security(("api_key" = ["tasks:read"])),
    request_body = Option<EventStreamTokenRequest>,
    responses(
        (status = 201, description = "The token", body = StreamTokenAnswer),
        (status = 503, description = "This gateway has no master secret", body = ErrorBody),
    )
)]
pub(crate) async fn make_event_stream_token(
    State(state): State<TasksApi>,
    caller: Caller<TasksRead>,
    OptionalJson(request): OptionalJson<EventStreamTokenRequest>,
) -> Result<(StatusCode, axum::Json<StreamTokenAnswer>), ApiError> {
    let until = expiry(request.expires_in)?;
    let (queues, types, statuses) = (request.queue, request.r#type, request.status);
    let ok = request.ok;
    // Refused now rather than when it is used.
    EventFilter::team(caller.team.clone())
        .narrowed(&queues, &types, &statuses)?
        .with_ok(ok)?;
    let lists = [&queues, &types, &statuses].into_iter().flatten();
    let chars: usize = lists.map(String::len).sum();
    if chars > MAX_FILTER_CHARS {
        return Err(ApiError::bad_request(
            ErrorCode::InvalidRequest,
            format!(
                "queue, type and status must have at most {MAX_FILTER_CHARS} characters in all, not {chars}"
            ),
        ));
    }
    let opens = Opens::Events {
        queues,
        types,
        statuses,
        ok,
    };
    make(&state, &caller, opens, "/v1/events", until)
}

fn expiry(seconds: Option<u32>) -> Result<Timestamp, ApiError> {
    let seconds = seconds.unwrap_or(USUAL_SECONDS);
    if !SECONDS.contains(&seconds) {
        let (least, most) = (SECONDS.start(), SECONDS.end());
        let message =
            format!("expiresIn must be between {least} and {most} seconds, not {seconds}");
        return Err(ApiError::bad_field("expiresIn", message));
    }
    Ok(entropy::now().plus(Duration::from_secs(seconds.into())))
}

fn make(
    state: &TasksApi,
    caller: &Caller<TasksRead>,
    opens: Opens,
    path: &str,
    expires_at: Timestamp,
) -> Result<(StatusCode, axum::Json<StreamTokenAnswer>), ApiError> {
    let token = key(state)?.seal(&StreamToken {
        team: caller.team.clone(),
        maker: stream::maker(&caller.principal),
        opens,
        expires_at,
    });
    let answer = StreamTokenAnswer {
        url: format!("{path}?access_token={}", *token),
        token: token.to_string(),
        expires_at: Iso(expires_at),
    };
    Ok((StatusCode::CREATED, axum::Json(answer)))
}

fn key(state: &TasksApi) -> Result<StreamKey, ApiError> {
    let master = state.signing.as_ref().ok_or_else(|| {
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::SigningNotConfigured,
            "This gateway has no master secret, from which stream tokens are signed; set WAYBILL_WEBHOOK_MASTER as for the workers",
        )
    })?;
    Ok(derive_stream_key(master))
}

/// Who opens a stream.
pub(crate) enum StreamReader {
    /// A caller, by a header.
    Caller(Box<Caller<InQueues<TasksRead>>>),
    /// Whoever holds a token, by `?access_token=`.
    Holder(Box<TokenHolder>),
}

impl FromRequestParts<TasksApi> for StreamReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &TasksApi) -> Result<Self, ApiError> {
        match stream::presented(parts)? {
            None => Ok(Self::Caller(Box::new(
                Caller::from_request_parts(parts, state).await?,
            ))),
            Some(token) => {
                let holder = stream::redeem(parts, state, &key(state)?, &token).await?;
                Ok(Self::Holder(Box::new(holder)))
            }
        }
    }
}

impl StreamReader {
    /// Whose events it reads.
    pub(crate) fn team(&self) -> &TeamId {
        match self {
            Self::Caller(caller) => &caller.team,
            Self::Holder(holder) => &holder.token.team,
        }
    }

    /// Whether the credential that opened it is still valid.
    pub(crate) fn still_valid(&self, state: &TasksApi) -> StillValid {
        match self {
            Self::Caller(caller) => still_valid(state, caller),
            Self::Holder(holder) => holder.still_valid(state),
        }
    }

    /// The events of the team that it may read: as `given`, or as its token says, which the holder cannot change.
    pub(crate) fn filter(&self, given: &StreamParameters) -> Result<EventFilter, ApiError> {
        let all = EventFilter::team(self.team().clone());
        let holder = match self {
            Self::Holder(holder) => holder,
            Self::Caller(caller) => {
                let queues = within(&given.queues, caller)?;
                return Ok(all
                    .narrowed(&queues, &given.types, &given.statuses)?
                    .with_ok(given.ok)?);
            }
        };
        let Opens::Events {
            queues,
            types,
            statuses,
            ok,
        } = &holder.token.opens
        else {
            return Err(other_stream());
        };
        let lists = [&given.queues, &given.types, &given.statuses];
        if given.ok.is_some() || !lists.iter().all(|list| list.is_empty()) {
            return Err(ApiError::bad_request(
                ErrorCode::InvalidRequest,
                "queue, type, status and ok are part of the access_token and cannot be given beside it",
            ));
        }
        Ok(all.narrowed(queues, types, statuses)?.with_ok(*ok)?)
    }

    /// Refuses a caller that is limited to other queues. A token is never made by one that is limited.
    pub(crate) fn may_read(&self, queue: &QueueName) -> Result<(), ApiError> {
        match self {
            Self::Caller(caller) => caller.may_use(queue),
            Self::Holder(_) => Ok(()),
        }
    }

    /// Refuses a token of another stream than that of this task.
    pub(crate) fn may_follow(&self, task: waybill_domain::id::TaskId) -> Result<(), ApiError> {
        match self {
            Self::Holder(holder) if holder.token.opens != Opens::Task(task) => Err(other_stream()),
            Self::Holder(_) | Self::Caller(_) => Ok(()),
        }
    }
}

/// The queues whose events a caller reads: as given, within those that it is limited to, or else these.
fn within(given: &[String], caller: &Caller<InQueues<TasksRead>>) -> Result<Vec<String>, ApiError> {
    let Some(only) = caller.only_queues() else {
        return Ok(given.to_vec());
    };
    let names = given.iter().flat_map(|list| list.split(','));
    let mut named = false;
    for name in names.map(str::trim).filter(|name| !name.is_empty()) {
        named = true;
        // What is no name of a queue is refused as such.
        if let Ok(queue) = QueueName::parse(name) {
            caller.may_use(&queue)?;
        }
    }
    Ok(if named {
        given.to_vec()
    } else {
        only.iter().map(ToString::to_string).collect()
    })
}

fn other_stream() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        ErrorCode::Forbidden,
        "This access_token opens another stream",
    )
}
