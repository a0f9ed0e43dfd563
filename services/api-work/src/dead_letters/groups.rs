//! `GET /v1/dead-letters/groups`: dead letters by what they have in common.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_projector::query::{DeadGroup, GroupDeadLetters, MAX_GROUPS, Position, TaskFilter};

use super::dead;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksRead;
use waybill_edge::error::ApiError;
use waybill_edge::filters::{LISTS, Searched, hide, limit};
use waybill_edge::iso::Iso;
use waybill_edge::lenient::LenientQuery;
use waybill_edge::query::HasLists;
use waybill_edge::warnings::{Handling, Warning};

waybill_edge::with_conditions! {
    /// Which dead letters, and how many groups of them.
    #[derive(Debug, Default, Deserialize, IntoParams)]
    #[serde(rename_all = "camelCase", default)]
    #[into_params(parameter_in = Query)]
    pub struct DeadLetterGroupParams {
        /// Groups in the answer, 1 to 100. Default 20.
        #[param(minimum = 1, maximum = 100)]
        limit: Option<i64>,
        /// `true`: also dead letters that were retried or replayed.
        retried: Option<String>,
    }
}

impl HasLists for DeadLetterGroupParams {
    const LISTS: &'static [&'static str] = &LISTS;
}

/// Dead letters by their causes.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadLetterGroups {
    /// The most frequent cause first.
    groups: Vec<DeadLetterGroup>,
    /// Dead letters that were counted, in all groups.
    total: u64,
    /// Dead letters of further causes, which are in none of `groups`.
    others: u64,
    /// Whether something was cut: causes (`others`), or older dead letters that were not looked at (`searched`).
    truncated: bool,
    /// How much was looked at.
    searched: Searched,
    /// Parameters without effect, at most 20 warnings; absent when there are no warnings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// Dead letters of one cause.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterGroup {
    /// Host of the target, with its port unless that is the scheme's own.
    #[schema(example = "api.example.com")]
    host: String,
    /// HTTP status of the last answer; `null` if there was no answer.
    http_status: Option<u16>,
    /// The error with `<n>` for numbers, `<id>` for ids, `<text>` for quoted parts and `<url>` for URLs.
    #[schema(example = "Server error: HTTP <n> - Service Unavailable")]
    error: String,
    /// How many there are.
    count: u64,
    /// When the first of them died.
    #[schema(value_type = String, format = DateTime)]
    first_at: Iso,
    /// When the last of them died.
    #[schema(value_type = String, format = DateTime)]
    last_at: Iso,
    /// Id of that one.
    #[schema(example = "task_01kc0q2v9x3d8e5h7j9m1n3p5r0d")]
    example: String,
}

impl From<DeadGroup> for DeadLetterGroup {
    fn from(group: DeadGroup) -> Self {
        Self {
            host: group.cause.host,
            http_status: group.cause.status,
            error: group.cause.error,
            count: group.count,
            first_at: Iso(group.first),
            last_at: Iso(group.last),
            example: group.example.to_string(),
        }
    }
}

/// Group dead letters by their causes.
///
/// A cause is the host that was called, the status of its last answer, and the error without what differs from task to task. Up to 20,000
/// failed tasks are looked at, the ones created last, and up to 1,000 causes are told apart; `truncated` says when there were more.
#[utoipa::path(
    get,
    path = "/v1/dead-letters/groups",
    operation_id = "tasks.dead_letter.group",
    tag = "dead letters",
    security(("api_key" = ["tasks:read"])),
    params(DeadLetterGroupParams),
    responses(
        (status = 200, description = "The groups", body = DeadLetterGroups),
    )
)]
pub(crate) async fn group_dead_letters(
    State(state): State<Edge>,
    caller: Caller<TasksRead>,
    handling: Handling,
    LenientQuery(params, warnings): LenientQuery<DeadLetterGroupParams>,
) -> Result<axum::Json<DeadLetterGroups>, ApiError> {
    let warnings = warnings.judge(handling)?;
    let mut filter = params.filter()?;
    hide(&state, &caller.team, &mut filter);
    let query = GroupDeadLetters {
        team: caller.team.clone(),
        filter,
        limit: limit(params.limit, MAX_GROUPS)?,
    };
    let min_seq = Position::tasks(state.acknowledged.to(&caller.team));
    let found = state.queries.ask(query, min_seq).await?.value;
    Ok(axum::Json(DeadLetterGroups {
        truncated: found.others > 0 || !found.searched.complete,
        groups: found
            .groups
            .into_iter()
            .map(DeadLetterGroup::from)
            .collect(),
        total: found.total,
        others: found.others,
        searched: found.searched.into(),
        warnings,
    }))
}

impl DeadLetterGroupParams {
    fn filter(&self) -> Result<TaskFilter, ApiError> {
        dead(&self.conditions(), self.retried.as_deref())
    }
}
