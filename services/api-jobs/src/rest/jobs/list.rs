//! `GET /api/v1/jobs`.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;
use waybill_api_tasks::TasksApi;
use waybill_domain::task::JobStatus;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsRead, Need};
use waybill_edge::error::ApiError;
use waybill_edge::filters::hide;
use waybill_edge::lenient::LenientQuery;
use waybill_edge::query::HasLists;
use waybill_projector::query::{
    JobOrder, JobPage, ListJobs, MAX_JOBS, MAX_OFFSET, Position, TaskFilter,
};

use crate::body::Ignored;
use crate::models::status::parse_list;
use crate::models::summary::JobsSummary;
use crate::{permission, rules};

/// Whether another page follows.
pub(crate) const HAS_MORE: HeaderName = HeaderName::from_static("x-has-more");
/// Jobs on a page of a request that does not say how many.
const USUAL_LIMIT: i64 = 50;
/// Longest tag, in characters.
const MAX_TAG_CHARS: usize = 1_024;

/// Which jobs, in which order, and which page of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct JobsListParams {
    /// Only of this queue. `queue` is an alias.
    #[serde(alias = "queue")]
    pub queue_name: Option<String>,
    /// One status, or several with commas between them.
    pub status: Option<String>,
    /// How the id begins, or a part of the queue or of `job_type`; any case.
    pub q: Option<String>,
    pub job_type: Option<String>,
    /// Only created at this time or later (RFC 3339).
    pub created_after: Option<String>,
    /// Only created before this time (RFC 3339).
    pub created_before: Option<String>,
    /// A key of the tags, or an entry of them; up to 1024 characters.
    pub tag: Option<String>,
    /// 1 to 100; 50 without it. What is out of range counts as the nearest.
    pub limit: Option<i64>,
    /// Jobs to skip, up to 10000.
    pub offset: Option<i64>,
    /// `created_at` (without it), `updated_at`, `priority`, `scheduled_at` or `status`. By all but the creation, newest first, the newest
    /// 20,000 tasks are sorted that the other conditions lead to.
    pub order_by: Option<String>,
    /// `desc` (without it) or `asc`.
    pub order_dir: Option<String>,
}

impl HasLists for JobsListParams {
    const LISTS: &'static [&'static str] = &["status"];
}

/// List jobs.
#[utoipa::path(
    get,
    path = "/api/v1/jobs",
    operation_id = "jobs.job.list",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(JobsListParams),
    responses(
        (status = 200, description = "A page of jobs", body = Vec<JobsSummary>, headers(("X-Has-More" = bool, description = "Whether another page follows"))),
    )
)]
pub(crate) async fn list_jobs(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsRead>>,
    LenientQuery(params, warnings): LenientQuery<JobsListParams>,
) -> Result<Response, ApiError> {
    let statuses = match given(params.status.as_deref()) {
        None => Vec::new(),
        Some(text) => parse_list(text).map_err(|word| {
            let known: Vec<_> = JobStatus::ALL
                .iter()
                .map(|status| status.as_str())
                .collect();
            let shown: String = word.chars().take(40).collect();
            let text = format!("must be one of {}, not {shown:?}", known.join(", "));
            rules::broken("status", text, "pattern")
        })?,
    };
    let page = page(&state, &caller, params, statuses).await?;
    Ok(answer(&page, Ignored::of(warnings)))
}

/// A page as the answer to a list.
pub(crate) fn answer(page: &JobPage, ignored: Ignored) -> Response {
    let jobs: Vec<_> = page
        .jobs
        .iter()
        .map(|job| JobsSummary::new(job.status, &job.row))
        .collect();
    let mut response = ignored.answer(StatusCode::OK, jobs);
    let more = if page.has_more { "true" } else { "false" };
    let headers = response.headers_mut();
    headers.insert(HAS_MORE, HeaderValue::from_static(more));
    response
}

/// The page that is asked for, of jobs with these statuses.
pub(crate) async fn page<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    params: JobsListParams,
    statuses: Vec<JobStatus>,
) -> Result<JobPage, ApiError> {
    let queue = given(params.queue_name.as_deref());
    let queue = queue
        .map(|name| rules::queue("queue_name", name))
        .transpose()?;
    if let Some(queue) = &queue {
        permission::named(caller, queue)?;
    }
    if let Some(tag) = &params.tag {
        let length = tag.chars().count();
        if length > MAX_TAG_CHARS {
            let text = format!("must be at most {MAX_TAG_CHARS} characters, not {length}");
            return Err(rules::broken("tag", text, "length"));
        }
    }
    let order = match given(params.order_by.as_deref()) {
        None => JobOrder::default(),
        Some(text) => JobOrder::parse(text).ok_or_else(|| {
            let known = JobOrder::ALL.map(JobOrder::as_str).join(", ");
            rules::broken("order_by", format!("must be one of {known}"), "pattern")
        })?,
    };
    let mut shown = TaskFilter {
        queue: queue.clone(),
        ..TaskFilter::default()
    };
    hide(state, &caller.team, &mut shown);
    let limit = params
        .limit
        .unwrap_or(USUAL_LIMIT)
        .clamp(1, MAX_JOBS.into());
    let offset = params.offset.unwrap_or(0).clamp(0, MAX_OFFSET.into());
    let query = ListJobs {
        team: caller.team.clone(),
        statuses,
        queue,
        queues: caller.only_queues().unwrap_or_default().to_vec(),
        hidden: shown.hidden,
        created_after: rules::time_in_query("created_after", params.created_after.as_deref())?,
        created_before: rules::time_in_query("created_before", params.created_before.as_deref())?,
        q: given(params.q.as_deref()).map(str::to_owned),
        job_type: given(params.job_type.as_deref()).map(str::to_owned),
        tag: given(params.tag.as_deref()).map(str::to_owned),
        order,
        ascending: ascending(params.order_dir.as_deref())?,
        limit: u16::try_from(limit).unwrap_or(MAX_JOBS),
        offset: u32::try_from(offset).unwrap_or(MAX_OFFSET),
    };
    let min_seq = state.acknowledged.to(&caller.team);
    let asked = state.queries.ask(query, Position::tasks(min_seq));
    Ok(asked.await?.value)
}

pub(crate) fn ascending(text: Option<&str>) -> Result<bool, ApiError> {
    match given(text) {
        None | Some("desc") => Ok(false),
        Some("asc") => Ok(true),
        Some(_) => Err(rules::broken("order_dir", "must be asc or desc", "pattern")),
    }
}

/// A parameter that is there and not empty.
fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}
