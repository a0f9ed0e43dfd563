//! `GET /v1/dead-letters`: newest first, filtered, by cursor.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_domain::task::{EndReason, Method, Status, cause};
use waybill_projector::query::{ListTasks, MAX_LIMIT, Page, TaskFilter, TaskView};

use super::dead;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksRead;
use waybill_edge::error::ApiError;
use waybill_edge::filters::{LISTS, Searched, given, hide, limit};
use waybill_edge::iso::Iso;
use waybill_edge::lenient::LenientQuery;
use waybill_edge::query::HasLists;
use waybill_edge::warnings::{Handling, Warning};

waybill_edge::with_conditions! {
    /// Which dead letters, and which page of them.
    #[derive(Debug, Default, Deserialize, IntoParams)]
    #[serde(rename_all = "camelCase", default)]
    #[into_params(parameter_in = Query)]
    pub struct DeadLetterParams {
        /// Dead letters on a page, 1 to 100. Default 20.
        #[param(minimum = 1, maximum = 100)]
        limit: Option<i64>,
        /// `nextCursor` of an earlier answer: continues there, whatever was added meanwhile.
        cursor: Option<String>,
        /// `true`: also those that were retried or replayed.
        retried: Option<String>,
    }
}

impl HasLists for DeadLetterParams {
    const LISTS: &'static [&'static str] = &LISTS;
}

/// A page of dead letters.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterList {
    /// The one created last comes first.
    dead_letters: Vec<DeadLetter>,
    /// The position of this page.
    pagination: DeadLetterPagination,
    /// How much was looked at.
    searched: Option<Searched>,
    /// Parameters without effect, at most 20 warnings; absent when there are no warnings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// The position of a page of dead letters.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterPagination {
    limit: u16,
    /// Whether there is more to look at. A page may be short, or empty, and have a next one.
    has_more: bool,
    /// `cursor` of the next page.
    next_cursor: Option<String>,
}

/// A task that failed for good: no attempt was left, or the failure was final.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Id of the task, which `GET /v1/tasks/{id}` shows whole.
    #[schema(example = "task_01kc0q2v9x3d8e5h7j9m1n3p5r0d")]
    id: String,
    /// `failed`, or `timeout` when the last attempt ran into its limit.
    status: Status,
    /// `dead` or `timeout`.
    end_reason: Option<EndReason>,
    /// Name of its queue.
    queue: String,
    /// The URL that was called; `null` where workers claimed the task.
    #[schema(format = "uri")]
    target_url: Option<String>,
    /// Host of that URL, with its port unless that is the scheme's own.
    host: Option<String>,
    /// HTTP method of the call.
    method: Option<Method>,
    /// Words to find it by.
    tags: Vec<String>,
    /// Texts that the client attached.
    metadata: BTreeMap<String, String>,
    /// Attempts made.
    attempts: u32,
    /// HTTP status of the last answer; `null` if there was no answer.
    http_status: Option<u16>,
    /// Why the last attempt failed.
    error: Option<String>,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    created_at: Iso,
    /// When it died.
    #[schema(value_type = Option<String>, format = DateTime)]
    completed_at: Option<Iso>,
    /// Id of the task that it did again.
    replay_of: Option<String>,
    /// Id of the last task that does it again.
    retried_as: Option<String>,
}

impl From<TaskView> for DeadLetter {
    fn from(view: TaskView) -> Self {
        let row = view.row;
        Self {
            id: row.id.to_string(),
            status: view.status,
            end_reason: row.end_reason,
            queue: row.queue.to_string(),
            host: (!row.is_pulled()).then(|| cause::host(&row.url)),
            method: (!row.is_pulled()).then_some(row.method),
            target_url: Some(row.url).filter(|url| !url.is_empty()),
            tags: row.tags,
            metadata: row.metadata,
            attempts: row.attempts.last().map_or(0, |attempt| attempt.number),
            http_status: row.answer.map(|answer| answer.status),
            error: row.error,
            created_at: Iso(row.created_at),
            completed_at: row.completed_at.map(Iso),
            replay_of: row.replay_of.map(|id| id.to_string()),
            retried_as: view.replayed_as.map(|id| id.to_string()),
        }
    }
}

/// List dead letters.
///
/// Tasks that failed for good, the one created last first; expired and cancelled tasks do not count. Those that were tried again are left out
/// unless `retried=true`. Up to 20,000 failed tasks are looked at for a page: `searched` says how many, and `nextCursor` goes on.
#[utoipa::path(
    get,
    path = "/v1/dead-letters",
    operation_id = "tasks.dead_letter.list",
    tag = "dead letters",
    security(("api_key" = ["tasks:read"])),
    params(DeadLetterParams),
    responses(
        (status = 200, description = "A page of dead letters", body = DeadLetterList),
    )
)]
pub(crate) async fn list_dead_letters(
    State(state): State<Edge>,
    caller: Caller<TasksRead>,
    handling: Handling,
    LenientQuery(params, warnings): LenientQuery<DeadLetterParams>,
) -> Result<axum::Json<DeadLetterList>, ApiError> {
    let warnings = warnings.judge(handling)?;
    let limit = limit(params.limit, MAX_LIMIT)?;
    let mut filter = params.filter()?;
    hide(&state, &caller.team, &mut filter);
    let query = ListTasks {
        team: caller.team.clone(),
        filter,
        page: Page {
            limit,
            offset: 0,
            cursor: given(params.cursor.as_deref()).map(str::to_owned),
        },
        detail: false,
    };
    let min_seq = state.acknowledged.to(&caller.team);
    let found = state.queries.list(query, min_seq).await?.value;
    Ok(axum::Json(DeadLetterList {
        dead_letters: found.tasks.into_iter().map(DeadLetter::from).collect(),
        pagination: DeadLetterPagination {
            limit,
            has_more: found.next.is_some(),
            next_cursor: found.next,
        },
        searched: found.searched.map(Searched::from),
        warnings,
    }))
}

impl DeadLetterParams {
    fn filter(&self) -> Result<TaskFilter, ApiError> {
        dead(&self.conditions(), self.retried.as_deref())
    }
}
