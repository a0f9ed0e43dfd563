//! What a team has used.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::id::{Environment, TeamId};
use waybill_projector::query::Counters;

use crate::auth::Member;
use crate::auth::needs::Viewer;
use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;

/// What a team has used, over both environments.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageObject {
    tasks: ByEnvironment,
}

/// Tasks of each environment.
#[derive(Debug, Serialize, ToSchema)]
pub struct ByEnvironment {
    live: TaskCounts,
    test: TaskCounts,
}

/// Tasks that the log still holds, by how they stand.
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
    /// `false`: there are more queues than are counted, or so many delays have just passed that `pending` and `delayed` are only
    /// right together.
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
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    responses(
        (status = 200, description = "What it has used", body = UsageEnvelope),
        (status = 401, description = "Nobody is signed in", body = ErrorBody),
        (status = 403, description = "Not a team of the caller's", body = ErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "The read model is unavailable; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn get_usage(
    State(state): State<AppState>,
    member: Member<Viewer>,
) -> Result<axum::Json<UsageEnvelope>, ApiError> {
    let test = member.team.in_environment(Environment::Test);
    let (live, test) = tokio::try_join!(counted(&state, &member.team), counted(&state, &test))?;
    Ok(axum::Json(UsageEnvelope {
        usage: UsageObject {
            tasks: ByEnvironment { live, test },
        },
    }))
}

async fn counted(state: &AppState, team: &TeamId) -> Result<TaskCounts, ApiError> {
    let seen = state.acknowledged.to(team);
    Ok(state.queries.counters(team, seen).await?.value.into())
}
