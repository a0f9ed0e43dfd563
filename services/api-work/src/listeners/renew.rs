//! `POST /v1/listeners/{id}/renew`: somebody goes on listening.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::access::team::TeamRefusal;
use waybill_domain::access::team::listeners::ListenerCommand;
use waybill_domain::id::ListenerId;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::body::OptionalJson;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use super::object::ListenerEnvelope;

/// For how long.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RenewListener {
    /// Length of the lease from now on, 10 to 3600.
    #[schema(default = 60, minimum = 10, maximum = 3600)]
    lease_seconds: Option<f64>,
}

/// Hold the lease of a listener for so long from now on. One whose lease is over holds it again, and its tasks go on.
#[utoipa::path(
    post,
    path = "/v1/listeners/{id}/renew",
    operation_id = "work.listener.renew",
    tag = "listeners",
    security(("api_key" = ["jobs:write"])),
    params(
        ("id" = String, Path, description = "Id of the listener"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, which must be `test`"),
    ),
    request_body = Option<RenewListener>,
    responses(
        (status = 200, description = "It holds its lease", body = ListenerEnvelope),
        (status = 404, description = "The team has no such listener, or another one took its place: open a new one", body = ErrorBody),
        (status = 503, description = "It is uncertain whether every worker knows of it; repeat the request", body = ErrorBody),
    )
)]
pub(crate) async fn renew_listener(
    State(state): State<Edge>,
    caller: Caller<InQueues<JobsWrite>>,
    Id(listener): Id<ListenerId>,
    OptionalJson(request): OptionalJson<RenewListener>,
) -> Result<axum::Json<ListenerEnvelope>, ApiError> {
    let command = ListenerCommand::Renew {
        listener: listener.clone(),
        lease: super::open::lease(request.lease_seconds)?,
    };
    let renewed = super::decide(&state, &caller, &listener, command).await?;
    renewed.ok_or_else(|| TeamRefusal::NoSuchListener.into())
}
