//! `GET /v1/activity/checkpoint`: what the notary has signed of the team's activity, up to this moment.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use waybill_domain::audit::Checkpoint;
use waybill_domain::id::TeamId;
use waybill_projector::QueryError;
use waybill_projector::query::{Position, SignNow};

use super::signed_for;
use crate::state::ActivityApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::ActivityRead;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};

/// A checkpoint, as it was signed and as it is read.
pub(super) struct Fresh {
    /// The signed note.
    pub(super) note: String,
    /// What it says.
    pub(super) checkpoint: Checkpoint,
}

/// A checkpoint of all that the log holds of a team now.
pub(super) async fn fresh(state: &ActivityApi, team: &TeamId) -> Result<Fresh, ApiError> {
    let query = SignNow {
        team: Some(team.base()),
    };
    let signed = state.queries.ask(query, Position::default()).await;
    let note = signed.map_err(|error| unsigned(&error))?.value;
    let note = note.ok_or_else(|| ApiError::not_found("The team has no activity yet"))?;
    let checkpoint = Checkpoint::of_note(&note).map_err(|error| ApiError::internal(&error))?;
    Ok(Fresh { note, checkpoint })
}

pub(super) fn unsigned(error: &QueryError) -> ApiError {
    tracing::warn!(%error, "the projector did not answer a query for an audit checkpoint");
    ApiError::unavailable(
        ErrorCode::NotaryUnavailable,
        "The activity log is not being signed at the moment; try again later",
    )
}

/// The newest checkpoint of the team's activity.
///
/// A signed note (C2SP tlog-checkpoint) that covers everything up to now. Keep it outside of Waybill: with it, `waybill audit verify` finds
/// later whatever was changed in what it covers.
#[utoipa::path(
    get,
    path = "/v1/activity/checkpoint",
    operation_id = "activity.checkpoint.get",
    tag = "activity",
    security(("api_key" = ["activity:read"])),
    responses(
        (status = 200, description = "The signed note", body = String, content_type = "text/plain"),
        (status = 404, description = "The team has no activity yet", body = ErrorBody),
        (status = 503, description = "The notary does not answer; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn get_checkpoint(
    State(state): State<ActivityApi>,
    caller: Caller<ActivityRead>,
) -> Result<Response, ApiError> {
    let team = signed_for(&caller)?;
    Ok(plain(fresh(&state, &team).await?.note))
}

pub(super) fn plain(text: String) -> Response {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    ([(CONTENT_TYPE, plain)], text).into_response()
}
