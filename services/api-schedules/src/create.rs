//! `POST /v1/schedules`: a new schedule.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode};
use waybill_api_tasks::TasksApi;
use waybill_api_tasks::create::REPLAYED;
use waybill_commands::entropy;
use waybill_domain::event::ScheduleSet;
use waybill_domain::id::ScheduleId;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::idempotency::key as request_key;
use waybill_edge::lenient::LenientJson;
use waybill_edge::request::RequestContext;
use waybill_edge::warnings::Handling;

use crate::find;
use crate::object::ScheduleEnvelope;
use crate::request::NewSchedule;
use crate::set::{answer, check, store};

/// Limit of the schedules of a team in one environment.
pub const MAX_SCHEDULES: usize = 10_000;

/// Create a schedule.
///
/// It is due from now on. With an `Idempotency-Key`, repeating the request answers with the same schedule.
#[utoipa::path(
    post,
    path = "/v1/schedules",
    operation_id = "schedules.schedule.create",
    tag = "schedules",
    security(("api_key" = ["tasks:write"])),
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters"),
        ("Prefer" = Option<String>, Header, description = "`handling=strict`: what would be a warning is refused with 400"),
    ),
    request_body = NewSchedule,
    responses(
        (status = 201, description = "The schedule is on disk", body = ScheduleEnvelope, headers(("Idempotency-Replayed" = bool, description = "`true` when an earlier request with the same `Idempotency-Key` had this answer"))),
        (status = 409, description = "The team has 10,000 schedules in this environment", body = ErrorBody),
        (status = 422, description = "The Idempotency-Key belongs to another request", body = ErrorBody),
    )
)]
pub(crate) async fn create_schedule(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    LenientJson(request, unknown): LenientJson<NewSchedule>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let key = request_key(&headers)?;
    let id = match &key {
        // A client may send the same key to both environments.
        Some(key) => ScheduleId::of_text(&format!("{} {key}", caller.team)),
        None => ScheduleId::new(entropy::now(), entropy::random_u128()),
    };
    let directory = state.auth.directory();
    if directory.schedule(&id).is_none() && directory.count_schedules(&caller.team) >= MAX_SCHEDULES
    {
        return Err(ApiError::conflict(
            ErrorCode::Conflict,
            format!("The team has {MAX_SCHEDULES} schedules in this environment; delete one first"),
        ));
    }
    let draft = request.draft(id, &caller.team)?;
    let handling = Handling::of(&headers);
    let warnings = check(&state, &caller, &context, &draft, unknown, handling)?;
    let asked = draft.clone();
    let (schedule, is_new) = match store(&state, &caller, draft, Some(0)).await {
        Ok(after) => (after.state, true),
        Err(error) if key.is_some() && error.status == StatusCode::PRECONDITION_FAILED => {
            let (known, current) = find(&state, &caller.team, &asked.schedule)?;
            if !says_the_same(&asked, &current) {
                return Err(ApiError::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    ErrorCode::IdempotencyMismatch,
                    "The Idempotency-Key was used with another request",
                ));
            }
            ((*known).clone(), false)
        }
        Err(error) => return Err(error),
    };
    let mut response = (StatusCode::CREATED, answer(&schedule, warnings)?).into_response();
    if !is_new {
        let headers = response.headers_mut();
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Whether a request asks for what a schedule says. Versions, times and people do not matter.
fn says_the_same(asked: &ScheduleSet, current: &ScheduleSet) -> bool {
    let name = asked.name.as_deref().map(str::trim);
    let said = ScheduleSet {
        name: name.filter(|name| !name.is_empty()).map(str::to_owned),
        version: current.version,
        zones: current.zones.clone(),
        set_by: current.set_by.clone(),
        at: current.at,
        ..asked.clone()
    };
    said == *current
}
