//! `GET /api/v1/organizations/usage`: what the plan allows, and what of it is used.
//!
//! Of these only the number of API keys is a limit that is enforced so far; [`Usage`] tells the others as they are.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_commands::entropy;
use waybill_domain::access::plan::jobs::JobsLimits;
use waybill_domain::access::plan::{Plan, PolicyScope};
use waybill_domain::id::{Environment, TeamId};
use waybill_domain::task::JobStatus;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::KeysWrite;
use waybill_edge::error::ApiError;
use waybill_projector::query::{CountJobs, GetStats, Position};

use crate::organizations::no_such_organization;

const DAY_MS: u64 = 86_400_000;
/// Finest step that a day is told in.
const STEP_MS: u64 = 300_000;
/// A rate that is none, as clients read it into 32 bits.
const NO_RATE: u64 = 2_147_483_647;
/// Percentages from which a warning is given.
const WARNS_FREE: u64 = 50;
const WARNS: u64 = 80;

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(get_usage))
}

/// What a plan allows; `null`: unlimited.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsPlanLimits {
    /// `free`, `starter`, `pro` or `enterprise`.
    pub tier: &'static str,
    pub display_name: &'static str,
    pub max_jobs_per_day: Option<u64>,
    pub max_active_jobs: Option<u64>,
    pub max_queues: Option<u64>,
    pub max_workers: Option<u64>,
    pub max_api_keys: Option<u64>,
    pub max_schedules: Option<u64>,
    pub max_workflows: Option<u64>,
    pub max_webhooks: Option<u64>,
    pub max_payload_size_bytes: u64,
    /// Rounded up; 2147483647: none.
    pub rate_limit_requests_per_second: u64,
    pub rate_limit_requests_per_minute: u64,
    pub rate_limit_burst: u64,
    pub job_retention_days: u64,
    pub history_retention_days: u64,
}

impl JobsPlanLimits {
    /// The limits, with the rates of the plan that they belong to.
    pub(crate) fn new(limits: &JobsLimits, plan: &Plan) -> Self {
        let of_team = || {
            plan.policies
                .iter()
                .filter(|of| of.scope == PolicyScope::Team)
        };
        let per_minute =
            of_team().map(|of| of.q().saturating_mul(60) / of.window().as_secs().max(1));
        let per_minute = per_minute.min();
        let burst = of_team().map(|of| of.q()).min();
        Self {
            tier: limits.tier,
            display_name: limits.display_name,
            max_jobs_per_day: limits.max_jobs_per_day,
            max_active_jobs: limits.max_active_jobs,
            max_queues: limits.max_queues,
            max_workers: limits.max_workers,
            max_api_keys: limits.max_api_keys,
            max_schedules: limits.max_schedules,
            max_workflows: limits.max_workflows,
            max_webhooks: limits.max_webhooks,
            max_payload_size_bytes: limits.max_payload_size_bytes,
            rate_limit_requests_per_second: per_minute.map_or(NO_RATE, |rate| rate.div_ceil(60)),
            rate_limit_requests_per_minute: per_minute.unwrap_or(NO_RATE),
            rate_limit_burst: burst.unwrap_or(NO_RATE),
            job_retention_days: limits.job_retention_days,
            history_retention_days: limits.history_retention_days,
        }
    }
}

/// How much of a limit is used.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsUsageItem {
    pub current: u64,
    /// `null`: unlimited.
    pub limit: Option<u64>,
    /// `null` without a limit, or if it is 0.
    pub percentage: Option<f64>,
    /// Whether the plan has none of it.
    pub is_disabled: bool,
}

impl JobsUsageItem {
    fn new(current: u64, limit: Option<u64>) -> Self {
        let percent = |limit: u64| {
            #[expect(clippy::cast_precision_loss, reason = "a percentage")]
            let part = current as f64 * 100.0 / limit as f64;
            (part * 10.0).round() / 10.0
        };
        Self {
            current,
            limit,
            percentage: limit.filter(|limit| *limit > 0).map(percent),
            is_disabled: limit == Some(0),
        }
    }
}

/// What is used.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsUsage {
    /// Tasks of all kinds that were created since midnight in UTC.
    pub jobs_today: JobsUsageItem,
    /// Scheduled, pending and processing ones.
    pub active_jobs: JobsUsageItem,
    pub queues: JobsUsageItem,
    pub workers: JobsUsageItem,
    pub api_keys: JobsUsageItem,
    pub schedules: JobsUsageItem,
    pub workflows: JobsUsageItem,
    pub webhooks: JobsUsageItem,
}

/// A limit that is nearly or wholly used.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsUsageWarning {
    pub resource: &'static str,
    pub message: String,
    /// `warning` or `critical`.
    pub severity: &'static str,
    pub current: u64,
    pub limit: u64,
}

/// What the plan allows, and what of it is used.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsUsageInfo {
    pub plan: &'static str,
    pub plan_display_name: &'static str,
    pub limits: JobsPlanLimits,
    pub usage: JobsUsage,
    pub warnings: Vec<JobsUsageWarning>,
}

/// Tell what of the plan is used.
#[utoipa::path(
    get,
    path = "/api/v1/organizations/usage",
    operation_id = "jobs.organization.usage",
    tag = "jobs",
    security(("api_key" = ["keys:write"])),
    responses((status = 200, description = "The limits and what of them is used", body = JobsUsageInfo))
)]
pub(crate) async fn get_usage(
    State(state): State<Edge>,
    caller: Caller<KeysWrite>,
) -> Result<axum::Json<JobsUsageInfo>, ApiError> {
    Ok(axum::Json(usage(&state, &caller.team).await?))
}

pub(crate) async fn usage(state: &Edge, team: &TeamId) -> Result<JobsUsageInfo, ApiError> {
    let base = team.base();
    let directory = state.auth.directory();
    let limits = directory
        .jobs_limits(&base)
        .ok_or_else(no_such_organization)?;
    let plan = directory.plan_of(&base).ok_or_else(no_such_organization)?;
    let used = counts(state, team).await?;
    let usage = JobsUsage {
        jobs_today: JobsUsageItem::new(used.jobs_today, limits.max_jobs_per_day),
        active_jobs: JobsUsageItem::new(used.active_jobs, limits.max_active_jobs),
        queues: JobsUsageItem::new(used.queues, limits.max_queues),
        workers: JobsUsageItem::new(0, limits.max_workers),
        api_keys: JobsUsageItem::new(used.api_keys, limits.max_api_keys),
        schedules: JobsUsageItem::new(used.schedules, limits.max_schedules),
        workflows: JobsUsageItem::new(0, limits.max_workflows),
        webhooks: JobsUsageItem::new(0, limits.max_webhooks),
    };
    Ok(JobsUsageInfo {
        plan: limits.tier,
        plan_display_name: limits.display_name,
        warnings: warnings(&usage, &limits),
        limits: JobsPlanLimits::new(&limits, &plan),
        usage,
    })
}

/// Numbers of what an organisation has.
pub(crate) struct Counts {
    pub(crate) jobs_today: u64,
    pub(crate) active_jobs: u64,
    pub(crate) queues: u64,
    pub(crate) api_keys: u64,
    pub(crate) schedules: u64,
}

/// What a team has in its environment.
pub(crate) async fn counts(state: &Edge, team: &TeamId) -> Result<Counts, ApiError> {
    let now = entropy::now();
    let directory = state.auth.directory();
    let read = state.acknowledged.to(team);
    let at = Position::tasks(read);
    let jobs = CountJobs {
        team: team.clone(),
        queue: None,
        queues: Vec::new(),
    };
    let jobs = state.queries.ask(jobs, at).await?.value;
    let since_midnight = u64::try_from(now.0).unwrap_or(0) % DAY_MS;
    let lately = GetStats {
        team: team.clone(),
        window_ms: since_midnight.next_multiple_of(STEP_MS).max(STEP_MS),
        step_ms: STEP_MS,
        queues: Vec::new(),
    };
    let lately = state.queries.ask(lately, at).await?.value;
    let counters = state.queries.counters(team, read).await?.value;
    let keys = |team: &waybill_domain::access::team::Team| team.counted_keys(now);
    let keys = directory.with_team(&team.base(), keys).unwrap_or(0);
    let active = [
        JobStatus::Pending,
        JobStatus::Scheduled,
        JobStatus::Processing,
    ];
    Ok(Counts {
        jobs_today: lately.all.sum.accepted,
        active_jobs: active.into_iter().map(|status| jobs.of(status)).sum(),
        queues: counters.queues.len() as u64,
        api_keys: keys as u64,
        schedules: directory.count_schedules(team) as u64,
    })
}

/// The live environment of a team.
pub(crate) fn live(team: &TeamId) -> TeamId {
    team.in_environment(Environment::Live)
}

fn warnings(usage: &JobsUsage, limits: &JobsLimits) -> Vec<JobsUsageWarning> {
    let from = if limits.tier == "free" {
        WARNS_FREE
    } else {
        WARNS
    };
    let of = |resource: &'static str, item: &JobsUsageItem| {
        let limit = item.limit.filter(|limit| *limit > 0)?;
        let percent = item.current.saturating_mul(100) / limit;
        (percent >= from).then(|| JobsUsageWarning {
            resource,
            message: format!(
                "{} of {limit} {} are used",
                item.current,
                resource.replace('_', " ")
            ),
            severity: if percent >= 100 {
                "critical"
            } else {
                "warning"
            },
            current: item.current,
            limit,
        })
    };
    [
        of("jobs_per_day", &usage.jobs_today),
        of("active_jobs", &usage.active_jobs),
        of("queues", &usage.queues),
        of("api_keys", &usage.api_keys),
        of("schedules", &usage.schedules),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_nothing_is_disabled_and_none_has_no_percentage() {
        let off = JobsUsageItem::new(0, Some(0));
        assert_eq!((off.is_disabled, off.percentage), (true, None));
        let open = JobsUsageItem::new(7, None);
        assert_eq!((open.is_disabled, open.percentage), (false, None));
        assert_eq!(JobsUsageItem::new(1, Some(3)).percentage, Some(33.3));
    }
}
