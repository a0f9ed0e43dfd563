//! `POST /v1/targets/{host}/open`. By the time of the answer, no worker starts anything at the host any more.

use axum::extract::State;
use waybill_domain::access::team::targets::TargetCommand;
use waybill_domain::health::TargetHost;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesWrite;
use waybill_edge::body::OptionalJson;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use super::object::TargetEnvelope;
use crate::queues::pause::{PauseQueue, until};

/// Open a host: no attempt starts there after the answer, not even to find out how it does.
///
/// Attempts that are running go on. Tasks are accepted, wait as `pending`, use up no retry, and still end by their `deadline` or `expiresIn`.
/// Only `close` or the date of `until` ends it; no restart, deployment or success does. The host needs no rule. Opening a host that was
/// opened states that anew: `reason` and `until` are replaced by those of the request, `since` stays.
#[utoipa::path(
    post,
    path = "/v1/targets/{host}/open",
    operation_id = "work.target.open",
    tag = "targets",
    security(("api_key" = ["queues:write"])),
    params(
        ("host" = String, Path, description = "The host, with its port unless that is 80 or 443"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    request_body = Option<PauseQueue>,
    responses(
        (status = 200, description = "Open; nothing is started there any more", body = TargetEnvelope),
        (status = 400, description = "No host, or an `until` that is past", body = ErrorBody),
        (status = 503, description = "It is uncertain whether every worker knows; repeat the request", body = ErrorBody),
    )
)]
pub(crate) async fn open_target(
    State(state): State<Edge>,
    caller: Caller<QueuesWrite>,
    Id(host): Id<TargetHost>,
    OptionalJson(request): OptionalJson<PauseQueue>,
) -> Result<axum::Json<TargetEnvelope>, ApiError> {
    let command = TargetCommand::Open {
        environment: caller.team.environment(),
        host: host.clone(),
        reason: request.reason,
        until: request.until.as_deref().map(until).transpose()?,
    };
    super::decide(&state, &caller, host, command).await
}
