//! `PUT /v1/limits/{key}`: what a limit allows, whatever tasks say.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::access::team::limits::LimitCommand;
use waybill_domain::id::LimitKey;
use waybill_domain::limit::LimitBounds;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesWrite;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use super::Answer;
use super::object::LimitEnvelope;
use crate::queues::limit::{LimitRate, rate};
use crate::tag::IfMatch;

/// All that a limit allows; what is left out is no limit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SetLimit {
    /// Most attempts at a time.
    #[schema(minimum = 1, maximum = 1_000_000, example = 5)]
    concurrency: Option<u32>,
    /// Most starts in a time.
    rate: Option<LimitRate>,
}

/// Set what a limit allows: it holds whatever tasks say, until it is set again. With `{}`, tasks say it again.
///
/// Attempts that are running go on, so a lower concurrency holds as they end. Partitions take the new limit into account at once, and hold
/// themselves to what others may use of it within a second. With `If-Match`, the limit is set only if its `ETag` is still that one; else 412,
/// and nothing is changed.
#[utoipa::path(
    put,
    path = "/v1/limits/{key}",
    operation_id = "work.limit.set",
    tag = "limits",
    security(("api_key" = ["queues:write"])),
    params(
        ("key" = String, Path, description = "Key of the limit"),
        ("If-Match" = Option<String>, Header, description = "`ETag` of the limit as it was read"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    request_body = SetLimit,
    responses(
        (status = 200, description = "It is set", body = LimitEnvelope),
        (status = 412, description = "What was set is not what `If-Match` names", body = ErrorBody),
        (status = 503, description = "It is uncertain whether every worker knows of it; repeat the request", body = ErrorBody),
    )
)]
pub(crate) async fn set_limit(
    State(state): State<Edge>,
    caller: Caller<QueuesWrite>,
    Id(key): Id<LimitKey>,
    IfMatch(only_if): IfMatch,
    Json(request): Json<SetLimit>,
) -> Result<Answer, ApiError> {
    let bounds = LimitBounds {
        concurrency: request.concurrency,
        rate: request.rate.map(rate).transpose()?,
    };
    let command = LimitCommand::Set {
        environment: caller.team.environment(),
        key: key.clone(),
        bounds,
        only_if,
    };
    super::decide(&state, &caller, key, command).await
}
