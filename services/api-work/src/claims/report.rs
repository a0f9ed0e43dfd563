//! `POST /v1/claims/{id}/complete`, `/fail`, `/heartbeat`, `/progress` and `/release`: what a worker reports about a task that it holds.

use std::time::Duration;

use axum::extract::State;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_domain::access::plan::Plan;
use waybill_domain::command::WorkerReport;
use waybill_domain::task::ClaimId;
use waybill_domain::task::pull::{LONGEST_LEASE, MAX_MESSAGE_CHARS, SHORTEST_LEASE};
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::claims::as_answer;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::lenient::OptionalLenientJson;
use waybill_edge::path::Id;
use waybill_edge::warnings::{Handling, Warnings};

use super::claim::seconds;
use super::object::ReportEnvelope;
use super::settle::settle;

/// A finished task.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompleteClaim {
    /// What came of it: any JSON, as large as the plan stores of an answer (`maxAnswerBytes`). It is the body of the task's `result`.
    #[schema(value_type = Option<Object>)]
    pub(super) result: Option<Box<RawValue>>,
}

/// A failed task.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailClaim {
    /// Why, for people: 1 to 2048 characters.
    #[schema(
        required = true,
        min_length = 1,
        max_length = 2048,
        example = "the file is no picture"
    )]
    pub(super) error: Option<String>,
    /// Whether it may be tried again, while it has retries left. `false` ends it.
    #[schema(default = true)]
    pub(super) retry: Option<bool>,
}

/// A sign of life.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// For how many seconds from now on the worker holds the task, 1 to 3600; as before if it is left out.
    #[schema(minimum = 1, maximum = 3600)]
    pub(super) lease_seconds: Option<f64>,
}

/// How far a worker has come, which is a sign of life too.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportProgress {
    /// 0 to 100.
    #[schema(required = true, minimum = 0, maximum = 100)]
    pub(super) percent: Option<i64>,
    /// What it is doing, at most 2048 characters.
    #[schema(max_length = 2048)]
    pub(super) message: Option<String>,
    /// As of a heartbeat.
    #[schema(minimum = 1, maximum = 3600)]
    pub(super) lease_seconds: Option<f64>,
}

/// A task that is given back.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct ReleaseClaim {}

impl CompleteClaim {
    pub(super) fn check(self, plan: &Plan) -> Result<WorkerReport, ApiError> {
        let result = as_answer(self.result, plan)?;
        Ok(WorkerReport::Complete { result })
    }
}

impl FailClaim {
    pub(super) fn check(self) -> Result<WorkerReport, ApiError> {
        let message = self.error.unwrap_or_default();
        let length = message.chars().count();
        if !(1..=MAX_MESSAGE_CHARS).contains(&length) {
            let message =
                format!("error must be 1 to {MAX_MESSAGE_CHARS} characters, not {length}");
            return Err(ApiError::bad_field("error", message));
        }
        Ok(WorkerReport::Fail {
            message,
            retry: self.retry.unwrap_or(true),
        })
    }
}

fn lease(given: Option<f64>) -> Result<Option<u32>, ApiError> {
    let bounds = (SHORTEST_LEASE, LONGEST_LEASE);
    let length = seconds("leaseSeconds", given, Duration::ZERO, bounds)?;
    let millis = u32::try_from(length.as_millis()).unwrap_or(u32::MAX);
    Ok(given.map(|_| millis))
}

impl Heartbeat {
    pub(super) fn check(&self) -> Result<WorkerReport, ApiError> {
        Ok(WorkerReport::Progress {
            lease_ms: lease(self.lease_seconds)?,
            percent: None,
            message: None,
        })
    }
}

impl ReportProgress {
    pub(super) fn check(self) -> Result<WorkerReport, ApiError> {
        let percent = self.percent.and_then(|percent| u8::try_from(percent).ok());
        let percent = percent.filter(|percent| *percent <= 100).ok_or_else(|| {
            let message = match self.percent {
                None => "percent is required: 0 to 100".to_owned(),
                Some(given) => format!("percent must be from 0 to 100, not {given}"),
            };
            ApiError::bad_field("percent", message)
        })?;
        let length = self.message.as_ref().map_or(0, |text| text.chars().count());
        if length > MAX_MESSAGE_CHARS {
            let message =
                format!("message must be at most {MAX_MESSAGE_CHARS} characters, not {length}");
            return Err(ApiError::bad_field("message", message));
        }
        Ok(WorkerReport::Progress {
            lease_ms: lease(self.lease_seconds)?,
            percent: Some(percent),
            message: self.message,
        })
    }
}

/// Complete a claimed task.
///
/// A completion that is repeated is answered as the first. One of a claim that the worker has lost is refused with 409 and changes nothing.
#[utoipa::path(
    post,
    path = "/v1/claims/{id}/complete",
    operation_id = "work.claim.complete",
    tag = "claims",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the claim")),
    request_body = Option<CompleteClaim>,
    responses(
        (status = 200, description = "The task has ended as `completed`", body = ReportEnvelope),
        (status = 404, description = "No such claim", body = ErrorBody),
        (status = 409, description = "The worker does not hold the claim (`lease_lost`); nothing was changed", body = ErrorBody),
        (status = 413, description = "The result is larger than the plan stores", body = ErrorBody),
        (status = 503, description = "The partition has no owner right now; repeat the request after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn complete(
    State(state): State<Edge>,
    caller: Caller<InQueues<JobsWrite>>,
    Id(id): Id<ClaimId>,
    handling: Handling,
    OptionalLenientJson(request, warnings): OptionalLenientJson<CompleteClaim>,
) -> Result<axum::Json<ReportEnvelope>, ApiError> {
    let what = request.check(&caller.plan);
    answer(&state, &caller, id, what, (warnings, handling)).await
}

/// Report that a claimed task failed.
///
/// It is tried again after a pause, as its back-off says, while it has retries left; `"retry": false` ends it at once.
#[utoipa::path(
    post,
    path = "/v1/claims/{id}/fail",
    operation_id = "work.claim.fail",
    tag = "claims",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the claim")),
    request_body = FailClaim,
    responses(
        (status = 200, description = "The attempt has failed; `willRetry` tells whether there may be another", body = ReportEnvelope),
        (status = 404, description = "No such claim", body = ErrorBody),
        (status = 409, description = "The worker does not hold the claim (`lease_lost`); nothing was changed", body = ErrorBody),
        (status = 503, description = "The partition has no owner right now; repeat the request after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn fail(
    State(state): State<Edge>,
    caller: Caller<InQueues<JobsWrite>>,
    Id(id): Id<ClaimId>,
    handling: Handling,
    OptionalLenientJson(request, warnings): OptionalLenientJson<FailClaim>,
) -> Result<axum::Json<ReportEnvelope>, ApiError> {
    answer(&state, &caller, id, request.check(), (warnings, handling)).await
}

/// Extend the lease of a claimed task.
#[utoipa::path(
    post,
    path = "/v1/claims/{id}/heartbeat",
    operation_id = "work.claim.heartbeat",
    tag = "claims",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the claim")),
    request_body = Option<Heartbeat>,
    responses(
        (status = 200, description = "The lease begins anew; it never outlasts the task's `deadline` or `expiresIn`", body = ReportEnvelope),
        (status = 404, description = "No such claim", body = ErrorBody),
        (status = 409, description = "The worker does not hold the claim (`lease_lost`): it should stop working on the task", body = ErrorBody),
        (status = 503, description = "The partition has no owner right now; repeat the request after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn heartbeat(
    State(state): State<Edge>,
    caller: Caller<InQueues<JobsWrite>>,
    Id(id): Id<ClaimId>,
    handling: Handling,
    OptionalLenientJson(request, warnings): OptionalLenientJson<Heartbeat>,
) -> Result<axum::Json<ReportEnvelope>, ApiError> {
    answer(&state, &caller, id, request.check(), (warnings, handling)).await
}

/// Tell how far a claimed task has come, which extends its lease too.
#[utoipa::path(
    post,
    path = "/v1/claims/{id}/progress",
    operation_id = "work.claim.progress",
    tag = "claims",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the claim")),
    request_body = ReportProgress,
    responses(
        (status = 200, description = "Stored: the task shows it, and streams tell it as `task.progressed`", body = ReportEnvelope),
        (status = 404, description = "No such claim", body = ErrorBody),
        (status = 409, description = "The worker does not hold the claim (`lease_lost`): it should stop working on the task", body = ErrorBody),
        (status = 503, description = "The partition has no owner right now; repeat the request after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn progress(
    State(state): State<Edge>,
    caller: Caller<InQueues<JobsWrite>>,
    Id(id): Id<ClaimId>,
    handling: Handling,
    OptionalLenientJson(request, warnings): OptionalLenientJson<ReportProgress>,
) -> Result<axum::Json<ReportEnvelope>, ApiError> {
    answer(&state, &caller, id, request.check(), (warnings, handling)).await
}

/// Give a claimed task back, without using up a retry.
#[utoipa::path(
    post,
    path = "/v1/claims/{id}/release",
    operation_id = "work.claim.release",
    tag = "claims",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the claim")),
    request_body = Option<ReleaseClaim>,
    responses(
        (status = 200, description = "The task is offered to others again", body = ReportEnvelope),
        (status = 404, description = "No such claim", body = ErrorBody),
        (status = 409, description = "The worker does not hold the claim (`lease_lost`); nothing was changed", body = ErrorBody),
        (status = 503, description = "The partition has no owner right now; repeat the request after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn release(
    State(state): State<Edge>,
    caller: Caller<InQueues<JobsWrite>>,
    Id(id): Id<ClaimId>,
    handling: Handling,
    OptionalLenientJson(ReleaseClaim {}, warnings): OptionalLenientJson<ReleaseClaim>,
) -> Result<axum::Json<ReportEnvelope>, ApiError> {
    let what = Ok(WorkerReport::Release);
    answer(&state, &caller, id, what, (warnings, handling)).await
}

async fn answer(
    state: &Edge,
    caller: &Caller<InQueues<JobsWrite>>,
    id: ClaimId,
    what: Result<WorkerReport, ApiError>,
    (warnings, handling): (Warnings, Handling),
) -> Result<axum::Json<ReportEnvelope>, ApiError> {
    caller.needs_api()?;
    let warnings = warnings.judge(handling)?;
    let claim = settle(state, caller, id, what?).await?;
    Ok(axum::Json(ReportEnvelope { claim, warnings }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_bounds_are_refused_by_name() {
        let field = |checked: Result<WorkerReport, ApiError>| {
            let error = checked.expect_err("out of bounds");
            error.body.field.map(std::borrow::Cow::into_owned)
        };
        for error in [None, Some(String::new()), Some("x".repeat(2_049))] {
            let request = FailClaim { error, retry: None };
            assert_eq!(field(request.check()).as_deref(), Some("error"));
        }
        for percent in [None, Some(-1), Some(101), Some(300)] {
            let request = ReportProgress {
                percent,
                ..ReportProgress::default()
            };
            assert_eq!(field(request.check()).as_deref(), Some("percent"));
        }
        let request = ReportProgress {
            percent: Some(1),
            message: Some("x".repeat(2_049)),
            lease_seconds: None,
        };
        assert_eq!(field(request.check()).as_deref(), Some("message"));
        for lease_seconds in [0.0, -1.0, 3_601.0, f64::NAN] {
            let request = Heartbeat {
                lease_seconds: Some(lease_seconds),
            };
            assert_eq!(field(request.check()).as_deref(), Some("leaseSeconds"));
        }
    }
}
