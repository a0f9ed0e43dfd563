//! `POST /v1/limits/{key}/pause`. By the time of the answer, no worker starts anything with the key any more.

use axum::extract::State;
use waybill_domain::access::team::limits::LimitCommand;
use waybill_domain::id::LimitKey;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesWrite;
use waybill_edge::body::OptionalJson;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use super::Answer;
use super::object::LimitEnvelope;
use crate::queues::pause::{PauseQueue, until};

/// Pause a limit: no attempt of a task with its key starts after the answer.
///
/// Attempts that are running go on. Tasks are accepted, wait as `pending`, and still end by their `deadline` or `expiresIn`. Only `resume`
/// or the date of `until` ends a pause; no restart or deployment does. Pausing a paused limit states the pause anew.
#[utoipa::path(
    post,
    path = "/v1/limits/{key}/pause",
    operation_id = "work.limit.pause",
    tag = "limits",
    security(("api_key" = ["queues:write"])),
    params(
        ("key" = String, Path, description = "Key of the limit"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    request_body = Option<PauseQueue>,
    responses(
        (status = 200, description = "Paused; nothing with the key is started any more", body = LimitEnvelope),
        (status = 503, description = "It is uncertain whether every worker knows of the pause; repeat the request", body = ErrorBody),
    )
)]
pub(crate) async fn pause_limit(
    State(state): State<Edge>,
    caller: Caller<QueuesWrite>,
    Id(key): Id<LimitKey>,
    OptionalJson(request): OptionalJson<PauseQueue>,
) -> Result<Answer, ApiError> {
    let command = LimitCommand::Pause {
        environment: caller.team.environment(),
        key: key.clone(),
        reason: request.reason,
        until: request.until.as_deref().map(until).transpose()?,
    };
    super::decide(&state, &caller, key, command).await
}
