//! `GET /api/v1/jobs/status?ids=`: how up to a hundred jobs stand.

use axum::extract::State;
use axum::response::Response;
use futures::StreamExt;
use futures::stream;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_api_tasks::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsRead};
use waybill_edge::error::{ApiError, ErrorCode};
use waybill_edge::iso::Iso;
use waybill_edge::lenient::LenientQuery;
use waybill_edge::query::HasLists;

use crate::body::Ignored;
use crate::find;
use crate::models::job::created_at;
use crate::models::status::JobsStatus;

/// Most ids of one request.
const MAX_IDS: usize = 100;
/// Jobs that are looked up at the same time.
const AT_A_TIME: usize = 16;

/// Which jobs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct JobsStatusParams {
    /// Up to 100 ids with commas between them.
    ids: String,
}

impl HasLists for JobsStatusParams {
    const LISTS: &'static [&'static str] = &["ids"];
}

/// How one job stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsStanding {
    pub id: String,
    pub status: JobsStatus,
    pub queue_name: String,
    pub retry_count: u16,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Iso,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Iso>,
}

/// Tell how several jobs stand. Unknown ids are left out.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/status",
    operation_id = "jobs.job.statuses",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(JobsStatusParams),
    responses((status = 200, description = "Those that there are, in the order of the request", body = Vec<JobsStanding>))
)]
pub(crate) async fn job_statuses(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsRead>>,
    LenientQuery(params, warnings): LenientQuery<JobsStatusParams>,
) -> Result<Response, ApiError> {
    let ids = params.ids.split(',').map(str::trim);
    let ids: Vec<String> = ids.filter(|id| !id.is_empty()).map(str::to_owned).collect();
    if ids.len() > MAX_IDS {
        let text = "Maximum 100 job IDs allowed per request";
        return Err(ApiError::bad_request(ErrorCode::BadRequest, text));
    }
    let (state, caller) = (&state, &caller);
    let mut found = stream::iter(ids)
        .map(|id| async move { find::row(state, caller, &id).await })
        .buffered(AT_A_TIME);
    let mut standings = Vec::new();
    while let Some(found) = found.next().await {
        match found {
            Ok(found) => standings.push(JobsStanding {
                id: found.row().job_root().uuid_text(),
                status: found.status.into(),
                queue_name: found.row().queue.to_string(),
                retry_count: found.row().retry_count,
                created_at: created_at(found.row()),
                completed_at: found.row().completed_at.map(Iso),
            }),
            Err(error) if error.status == StatusCode::NOT_FOUND => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Ignored::of(warnings).answer(StatusCode::OK, standings))
}
