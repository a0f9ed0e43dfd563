//! `GET /v1/activity/{seq}/proof`: proof that one event is part of the team's activity, exactly as it is shown.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use waybill_domain::audit::Hash;
use waybill_domain::audit::export::Line;
use waybill_log::{Stream, StreamSeq};
use waybill_projector::query::{Position, ProveInclusion};

use super::signed_for;
use super::{checkpoint, unproven};
use crate::state::ActivityApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::ActivityRead;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;
use waybill_edge::query::Query;

/// The checkpoint that the proof is about.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProofParams {
    /// Events of a checkpoint that you have: its second line. Without it: those of a checkpoint made now, which comes along.
    size: Option<u64>,
}

/// An inclusion proof, to be checked as in RFC 9162, 2.1.3.2. Hashes are in hex.
#[derive(Debug, Serialize, ToSchema)]
pub struct InclusionProof {
    /// The event's position in the log.
    seq: u64,
    /// Which event of the team it is, counted from 0.
    index: u64,
    /// Events of the team that the proof is about.
    size: u64,
    /// The leaf: the hash of everything that was stored of the event.
    #[schema(value_type = String)]
    leaf: Hash,
    /// Siblings from the leaf up to the root.
    #[schema(value_type = Vec<String>)]
    path: Vec<Hash>,
    /// Root of the tree: that of the checkpoint.
    #[schema(value_type = String)]
    root: Hash,
    /// Incarnation of the log: when its stream was created, in nanoseconds since 1970. Part of the leaf.
    stream: String,
    /// The event as in an export: the leaf can be computed from it.
    #[schema(value_type = Object)]
    event: Box<RawValue>,
    /// The signed checkpoint, when `size` was not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
}

/// Prove that an event is part of the team's activity.
#[utoipa::path(
    get,
    path = "/v1/activity/{seq}/proof",
    operation_id = "activity.event.prove",
    tag = "activity",
    security(("api_key" = ["activity:read"])),
    params(("seq" = String, Path, description = "Position of the event in the log CONTROL"), ProofParams),
    responses(
        (status = 200, description = "The proof", body = InclusionProof),
        (status = 400, description = "`seq` or `size` is not a number, or `size` does not reach the event or is beyond the events of the team", body = ErrorBody),
        (status = 404, description = "No such event of this team", body = ErrorBody),
    )
)]
pub(crate) async fn prove_event(
    State(state): State<ActivityApi>,
    caller: Caller<ActivityRead>,
    Id(seq): Id<StreamSeq>,
    Query(params): Query<ProofParams>,
) -> Result<axum::Json<InclusionProof>, ApiError> {
    let team = signed_for(&caller)?;
    let (size, control, stream, note) = match params.size {
        Some(size) => {
            // Whatever the checkpoint covers was in the log before this.
            let bounds = state.log.bounds(Stream::Control).await?;
            (size, bounds.last, bounds.incarnation, None)
        }
        None => {
            let fresh = checkpoint::fresh(&state, &team).await?;
            let said = fresh.checkpoint;
            (said.size, said.last_seq, said.stream, Some(fresh.note))
        }
    };
    let query = ProveInclusion {
        team: Some(team.clone()),
        seq,
        size,
    };
    let read = Position {
        control,
        ..Position::default()
    };
    let proven = state.queries.ask(query, read).await.map_err(unproven)?;
    // An event of another team gets the same answer as one that does not exist.
    let no_such = || ApiError::not_found("The team's activity has no such event");
    let proven = proven.value.ok_or_else(no_such)?;
    let record = state.log.read(Stream::Control, seq).await?;
    let stored = record.ok_or_else(no_such)?.stored();
    if stored.leaf(stream) != proven.leaf {
        let changed = format!("event {seq} of CONTROL is not the one that was read before");
        return Err(ApiError::internal(&changed));
    }
    let event = RawValue::from_string(Line::event(stored).write());
    Ok(axum::Json(InclusionProof {
        seq: seq.0,
        index: proven.index,
        size,
        leaf: proven.leaf,
        path: proven.path,
        root: proven.root,
        stream: stream.to_string(),
        event: event.map_err(|error| ApiError::internal(&error))?,
        checkpoint: note,
    }))
}
