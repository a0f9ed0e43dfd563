//! `GET /v1/activity/consistency`: proof that the team's activity only ever grew at its end.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_domain::audit::Hash;
use waybill_log::Stream;
use waybill_projector::query::{Position, ProveConsistency};

use super::signed_for;
use super::{checkpoint, unproven};
use crate::state::ActivityApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::ActivityRead;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::query::Query;

/// The two sizes between which consistency is proven.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ConsistencyParams {
    /// Events of the older checkpoint: its second line.
    from: u64,
    /// Events of the newer one. Without it: those of a checkpoint made now, which comes along.
    to: Option<u64>,
}

/// A consistency proof, to be checked as in RFC 9162, 2.1.4.2. Hashes are in hex.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsistencyProof {
    /// Events of the older tree.
    from: u64,
    /// Events of the newer tree.
    to: u64,
    /// Root of the older tree: that of the older checkpoint, or the history was forked.
    #[schema(value_type = String)]
    from_root: Hash,
    /// Root of the newer tree.
    #[schema(value_type = String)]
    to_root: Hash,
    /// Hashes that lead from the older root to the newer one, as in RFC 6962.
    #[schema(value_type = Vec<String>)]
    path: Vec<Hash>,
    /// The newer checkpoint, when `to` was not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
}

/// Prove that an older checkpoint still holds.
#[utoipa::path(
    get,
    path = "/v1/activity/consistency",
    operation_id = "activity.consistency.prove",
    tag = "activity",
    security(("api_key" = ["activity:read"])),
    params(ConsistencyParams),
    responses(
        (status = 200, description = "The proof", body = ConsistencyProof),
        (status = 400, description = "A size is missing, is not a number, or is beyond the events of the team", body = ErrorBody),
        (status = 404, description = "The team has no activity yet", body = ErrorBody),
    )
)]
pub(crate) async fn prove_consistency(
    State(state): State<ActivityApi>,
    caller: Caller<ActivityRead>,
    Query(params): Query<ConsistencyParams>,
) -> Result<axum::Json<ConsistencyProof>, ApiError> {
    let team = signed_for(&caller)?;
    let (to, control, note) = match params.to {
        // Whatever the checkpoint covers was in the log before this.
        Some(to) => (to, state.log.bounds(Stream::Control).await?.last, None),
        None => {
            let fresh = checkpoint::fresh(&state, &team).await?;
            let checkpoint = fresh.checkpoint;
            (checkpoint.size, checkpoint.last_seq, Some(fresh.note))
        }
    };
    let query = ProveConsistency {
        team: Some(team.clone()),
        from: params.from,
        to,
    };
    let read = Position {
        control,
        ..Position::default()
    };
    let proven = state
        .queries
        .ask(query, read)
        .await
        .map_err(unproven)?
        .value;
    Ok(axum::Json(ConsistencyProof {
        from: params.from,
        to,
        from_root: proven.from_root,
        to_root: proven.to_root,
        path: proven.path,
        checkpoint: note,
    }))
}
