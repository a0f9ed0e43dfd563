//! `POST /v1/claims/reports`: up to a hundred reports in one request, each with an outcome of its own.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_domain::access::plan::Plan;
use waybill_domain::command::WorkerReport;
use waybill_domain::task::ClaimId;
use waybill_domain::task::pull::MAX_CLAIMED;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, ErrorCode};
use waybill_edge::lenient::LenientJson;
use waybill_edge::warnings::{Handling, Warning};

use super::object::ReportedClaim;
use super::report::{CompleteClaim, FailClaim, Heartbeat, ReportProgress};
use super::settle::{Sent, settle_many};

/// Reports about claims.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewReports {
    /// 1 to 100.
    #[schema(required = true, min_items = 1, max_items = 100)]
    reports: Option<Vec<NewReport>>,
}

/// One report. Which members it may have besides `id` and `action` depends on the action, as in the request for it alone.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewReport {
    /// Id of the claim.
    #[schema(required = true, example = "claim_01kc0q2v9x3d8e5h7j9m1n3p5r0d_1")]
    id: Option<String>,
    #[schema(required = true, value_type = ReportAction)]
    action: Option<String>,
    /// Of `complete`.
    #[schema(value_type = Option<Object>)]
    result: Option<Box<RawValue>>,
    /// Of `fail`.
    error: Option<String>,
    /// Of `fail`.
    retry: Option<bool>,
    /// Of `progress`.
    percent: Option<i64>,
    /// Of `progress`.
    message: Option<String>,
    /// Of `heartbeat` and `progress`.
    lease_seconds: Option<f64>,
}

/// What is reported.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "the description of the API names them")]
enum ReportAction {
    Complete,
    Fail,
    Heartbeat,
    Progress,
    Release,
}

/// What the reports came to, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReportList {
    results: Vec<ReportResult>,
    /// The parts of the request that have no effect. Absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// What one report came to: `claim`, or `code` and `error`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReportResult {
    /// The HTTP status that the report alone would have been answered with.
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<ReportedClaim>,
    /// Why not, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
    /// Why not, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Report about many claims in one request.
///
/// Each report stands for itself: some may be taken and others not. Repeating the whole request is harmless.
#[utoipa::path(
    post,
    path = "/v1/claims/reports",
    operation_id = "work.claim.report",
    tag = "claims",
    security(("api_key" = ["jobs:write"])),
    request_body = NewReports,
    responses(
        (status = 200, description = "What each of them came to", body = ReportList),
    )
)]
pub(crate) async fn report_many(
    State(state): State<Edge>,
    caller: Caller<InQueues<JobsWrite>>,
    handling: Handling,
    LenientJson(request, warnings): LenientJson<NewReports>,
) -> Result<axum::Json<ReportList>, ApiError> {
    caller.needs_api()?;
    let warnings = warnings.judge(handling)?;
    let reports = request.reports.unwrap_or_default();
    if reports.is_empty() || reports.len() > MAX_CLAIMED {
        let message = format!("reports must be 1 to {MAX_CLAIMED}, not {}", reports.len());
        return Err(ApiError::bad_field("reports", message));
    }
    let checked = reports.into_iter().map(|report| {
        let (claim, what) = report.check(&caller.plan)?;
        Sent::new(&state, &caller, claim, what)
    });
    let settled = settle_many(&state, &caller, checked.collect()).await;
    Ok(axum::Json(ReportList {
        results: settled.into_iter().map(ReportResult::of).collect(),
        warnings,
    }))
}

impl ReportResult {
    fn of(settled: Result<ReportedClaim, ApiError>) -> Self {
        match settled {
            Ok(claim) => Self {
                status: 200,
                claim: Some(claim),
                code: None,
                error: None,
            },
            Err(error) => Self {
                status: error.status.as_u16(),
                claim: None,
                code: Some(error.body.code),
                error: Some(error.body.error.into_owned()),
            },
        }
    }
}

impl NewReport {
    fn check(self, plan: &Plan) -> Result<(ClaimId, WorkerReport), ApiError> {
        let id = self.id.as_deref().unwrap_or_default();
        let claim = ClaimId::parse(id).map_err(|_| ApiError::not_found("Claim not found"))?;
        let action = self.action.as_deref().unwrap_or_default();
        self.only_members_of(action)?;
        let what = match action {
            "complete" => CompleteClaim {
                result: self.result,
            }
            .check(plan),
            "fail" => FailClaim {
                error: self.error,
                retry: self.retry,
            }
            .check(),
            "heartbeat" => Heartbeat {
                lease_seconds: self.lease_seconds,
            }
            .check(),
            "progress" => ReportProgress {
                percent: self.percent,
                message: self.message,
                lease_seconds: self.lease_seconds,
            }
            .check(),
            "release" => Ok(WorkerReport::Release),
            _ => Err(ApiError::bad_field(
                "action",
                "action must be complete, fail, heartbeat, progress or release",
            )),
        };
        Ok((claim, what?))
    }

    /// Refuses a member that another action has: it would have no effect.
    fn only_members_of(&self, action: &str) -> Result<(), ApiError> {
        let members: [(&'static str, bool, &[&str]); 6] = [
            ("result", self.result.is_some(), &["complete"]),
            ("error", self.error.is_some(), &["fail"]),
            ("retry", self.retry.is_some(), &["fail"]),
            ("percent", self.percent.is_some(), &["progress"]),
            ("message", self.message.is_some(), &["progress"]),
            (
                "leaseSeconds",
                self.lease_seconds.is_some(),
                &["heartbeat", "progress"],
            ),
        ];
        let wrong = members
            .into_iter()
            .find(|(_, given, of)| *given && !of.contains(&action));
        match wrong {
            Some((member, _, of)) => Err(ApiError::bad_field(
                member,
                format!("{member} belongs to the action {}", of.join(" or ")),
            )),
            None => Ok(()),
        }
    }
}
