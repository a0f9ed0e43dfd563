//! `GET /v1/limits/{key}`: one limit.

use axum::extract::State;
use waybill_commands::entropy;
use waybill_domain::id::LimitKey;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesRead;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use super::Answer;
use super::object::{LimitEnvelope, LimitObject};

/// Read a limit: what it allows, whether that was set, how many attempts run and how many tasks wait, and whether it is paused.
///
/// The owners of all partitions are asked. `ETag` stands for what was set, for `If-Match` of a change.
#[utoipa::path(
    get,
    path = "/v1/limits/{key}",
    operation_id = "work.limit.get",
    tag = "limits",
    security(("api_key" = ["queues:read"])),
    params(
        ("key" = String, Path, description = "Key of the limit"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 200, description = "The limit", body = LimitEnvelope),
        (status = 404, description = "No task that runs or waits to start names this key in the caller's environment, and nothing was decided about it", body = ErrorBody),
        (status = 503, description = "A partition has no owner right now; retry after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn get_limit(
    State(state): State<Edge>,
    caller: Caller<QueuesRead>,
    Id(key): Id<LimitKey>,
) -> Result<Answer, ApiError> {
    let standing = super::standings(&state, &caller, Some(&key)).await?;
    let standing = standing.get(&key);
    let decided = super::decided(&state, &caller, &key);
    if decided.is_none() && !standing.is_some_and(super::object::Standing::is_in_use) {
        return Err(ApiError::not_found("Limit not found"));
    }
    let (environment, now) = (caller.team.environment(), entropy::now());
    let none = super::object::Standing::default();
    let standing = standing.unwrap_or(&none);
    let object = LimitObject::new(&key, environment, decided.as_ref(), Some(standing), now);
    Ok(super::answer(decided.as_ref(), object))
}
