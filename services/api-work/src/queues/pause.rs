//! `POST /v1/queues/{name}/pause`. By the time of the answer, no worker starts anything of the queue any more.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::access::team::queues::QueueCommand;
use waybill_domain::id::QueueName;
use waybill_domain::time::Timestamp;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesWrite;
use waybill_edge::body::OptionalJson;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use super::Answer;
use super::object::QueueEnvelope;

/// A pause.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PauseQueue {
    /// Why, for people; at most 500 characters.
    #[schema(max_length = 500, example = "The receiver is being moved")]
    pub(crate) reason: Option<String>,
    /// When the pause ends by itself (ISO 8601). Without it, the pause lasts until it is lifted.
    #[schema(format = DateTime, example = "2030-01-31T12:00:00.000Z")]
    pub(crate) until: Option<String>,
}

/// Pause a queue: no attempt of its tasks starts after the answer.
///
/// Attempts that are running go on, and completion webhooks of ended tasks are delivered. Tasks are accepted, wait as `pending`, and still
/// end by their `deadline` or `expiresIn`. Only `resume` or the date of `until` ends a pause; no restart or deployment does.
///
/// Pausing a paused queue states the pause anew: `reason` and `until` are replaced by those of the request, `since` stays. The same request
/// changes nothing. The queue need not have a task yet.
#[utoipa::path(
    post,
    path = "/v1/queues/{name}/pause",
    operation_id = "work.queue.pause",
    tag = "queues",
    security(("api_key" = ["queues:write"])),
    params(
        ("name" = String, Path, description = "Name of the queue"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    request_body = Option<PauseQueue>,
    responses(
        (status = 200, description = "Paused; nothing of it is started any more", body = QueueEnvelope),
        (status = 503, description = "It is uncertain whether every worker knows of the pause; repeat the request", body = ErrorBody),
    )
)]
pub(crate) async fn pause_queue(
    State(state): State<Edge>,
    caller: Caller<QueuesWrite>,
    Id(name): Id<QueueName>,
    OptionalJson(request): OptionalJson<PauseQueue>,
) -> Result<Answer, ApiError> {
    let command = request.command(&caller, &name, false)?;
    super::decide(&state, &caller, name, command).await
}

impl PauseQueue {
    /// The command for it; `drain` if somebody waits for what runs to end.
    pub(super) fn command(
        self,
        caller: &Caller<QueuesWrite>,
        queue: &QueueName,
        drain: bool,
    ) -> Result<QueueCommand, ApiError> {
        Ok(QueueCommand::Pause {
            environment: caller.team.environment(),
            queue: queue.clone(),
            reason: self.reason,
            until: self.until.as_deref().map(until).transpose()?,
            drain,
        })
    }
}

pub(crate) fn until(text: &str) -> Result<Timestamp, ApiError> {
    Timestamp::parse_iso8601(text).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        let message = format!("until must be a time such as 2030-01-31T12:00:00Z, not {shown:?}");
        ApiError::bad_field("until", message)
    })
}
