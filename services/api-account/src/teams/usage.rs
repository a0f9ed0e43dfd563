//! What a team has used.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::id::{Environment, TeamId};
use waybill_projector::query::Counters;

use crate::state::AccountApi;
use waybill_edge::auth::Member;
use waybill_edge::auth::needs::Viewer;
use waybill_edge::error::ApiError;
use waybill_edge::iso::Iso;
use waybill_edge::usage::{KeyUse, TeamTotals, team_totals};

/// What a team has used, by environment.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageObject {
    live: UsageOfEnvironment,
    test: UsageOfEnvironment,
}

/// What a team has used in one environment.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageOfEnvironment {
    requests: Requests,
    tasks: TaskCounts,
}

/// Admitted requests, up to about a minute ago.
#[derive(Debug, Serialize, ToSchema)]
pub struct Requests {
    /// Oldest first; days without any are left out.
    days: Vec<RequestsOf>,
    /// Oldest first; months without any are left out.
    months: Vec<RequestsOf>,
    /// By key, oldest first; keys that were never used too.
    keys: Vec<RequestsWith>,
}

/// Requests of a time.
#[derive(Debug, Serialize, ToSchema)]
pub struct RequestsOf {
    /// The day or month, in UTC.
    #[schema(example = "2026-11-21")]
    period: String,
    count: u64,
}

/// Requests with a key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestsWith {
    key_id: String,
    count: u64,
    /// Absent when no use is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Iso>,
}

impl From<TeamTotals> for Requests {
    fn from(totals: TeamTotals) -> Self {
        let of = |times: Vec<(String, u64)>| {
            let times = times.into_iter();
            times
                .map(|(period, count)| RequestsOf { period, count })
                .collect()
        };
        let with = |used: KeyUse| RequestsWith {
            key_id: used.key.to_string(),
            count: used.count,
            last_used_at: used.last.map(|last| Iso(last.at)),
        };
        Self {
            days: of(totals.days),
            months: of(totals.months),
            keys: totals.keys.into_iter().map(with).collect(),
        }
    }
}

/// Tasks that the log still holds, by status.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct TaskCounts {
    total: u64,
    pending: u64,
    delayed: u64,
    processing: u64,
    completed: u64,
    failed: u64,
    timeout: u64,
    cancelled: u64,
    /// `false`: there are more queues than are counted, or so many delays have just passed that only the sum of `pending` and `delayed` is
    /// right.
    exact: bool,
}

impl From<Counters> for TaskCounts {
    fn from(counters: Counters) -> Self {
        let exact = counters.exact && !counters.truncated;
        let mut counts = Self {
            exact,
            ..Self::default()
        };
        for queue in counters.queues {
            counts.pending += queue.pending;
            counts.delayed += queue.delayed;
            counts.processing += queue.processing;
            counts.completed += queue.completed;
            counts.failed += queue.failed;
            counts.timeout += queue.timeout;
            counts.cancelled += queue.cancelled;
        }
        counts.total = counts.pending
            + counts.delayed
            + counts.processing
            + counts.completed
            + counts.failed
            + counts.timeout
            + counts.cancelled;
        counts
    }
}

/// `{"usage": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageEnvelope {
    usage: UsageObject,
}

/// Read what the team has used.
#[utoipa::path(
    get,
    path = "/teams/{teamId}/usage",
    operation_id = "teams.usage.get",
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    responses(
        (status = 200, description = "What it has used", body = UsageEnvelope),
    )
)]
pub(crate) async fn get_usage(
    State(state): State<AccountApi>,
    member: Member<Viewer>,
) -> Result<axum::Json<UsageEnvelope>, ApiError> {
    let test = member.team.in_environment(Environment::Test);
    let (live, test) = tokio::try_join!(used(&state, &member.team), used(&state, &test))?;
    Ok(axum::Json(UsageEnvelope {
        usage: UsageObject { live, test },
    }))
}

async fn used(state: &AccountApi, team: &TeamId) -> Result<UsageOfEnvironment, ApiError> {
    let counted = async {
        let seen = state.acknowledged.to(team);
        let counters = state.queries.counters(team, seen).await;
        counters.map_err(ApiError::from)
    };
    let (totals, counters) = tokio::try_join!(team_totals(state, team), counted)?;
    Ok(UsageOfEnvironment {
        requests: totals.into(),
        tasks: counters.value.into(),
    })
}
