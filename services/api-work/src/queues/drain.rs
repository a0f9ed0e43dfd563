//! `POST /v1/queues/{name}/drain`: a pause, and whether what ran has ended.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use utoipa::IntoParams;
use waybill_domain::id::QueueName;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesWrite;
use waybill_edge::body::OptionalJson;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;
use waybill_edge::query::Query;
use waybill_edge::request::RequestContext;

use super::get::look;
use super::object::{QueueEnvelope, QueueState};
use super::pause::PauseQueue;
use super::{Answer, answer};

/// Longest wait, in seconds: below the patience of common proxies.
const MAX_WAIT_SECONDS: u32 = 25;
/// How often it is looked whether what ran has ended.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DrainParams {
    /// Wait up to so many seconds (25 at most) for what runs to end. Default 0.
    #[param(maximum = 25)]
    wait: Option<u32>,
}

/// Drain a queue: pause it, and tell when what runs has ended.
///
/// As after `pause`, no attempt of its tasks starts after the answer; those that run go on. The state of the queue is `draining` while some
/// run, and `drained` from when the last one has ended, also in later reads, until `resume` or `until`. Tasks that fail meanwhile wait for their
/// retry. To drain a paused queue states its pause anew, and a `pause` of a drained one makes it `paused`.
#[utoipa::path(
    post,
    path = "/v1/queues/{name}/drain",
    operation_id = "work.queue.drain",
    tag = "queues",
    security(("api_key" = ["queues:write"])),
    params(
        ("name" = String, Path, description = "Name of the queue"),
        DrainParams,
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    request_body = Option<PauseQueue>,
    responses(
        (status = 200, description = "Nothing of it is started any more; `state` says whether something runs", body = QueueEnvelope),
        (status = 503, description = "It is uncertain whether every worker knows of the pause, or what runs cannot be read; repeat the request", body = ErrorBody),
    )
)]
pub(crate) async fn drain_queue(
    State(state): State<Edge>,
    caller: Caller<QueuesWrite>,
    Extension(context): Extension<RequestContext>,
    Id(name): Id<QueueName>,
    Query(params): Query<DrainParams>,
    OptionalJson(request): OptionalJson<PauseQueue>,
) -> Result<Answer, ApiError> {
    let wait = params.wait.unwrap_or(0);
    if wait > MAX_WAIT_SECONDS {
        let message = format!("wait must be between 0 and {MAX_WAIT_SECONDS} seconds, not {wait}");
        return Err(ApiError::bad_field("wait", message));
    }
    let command = request.command(&caller, &name, true)?;
    // Every worker knows of it by then.
    drop(super::decide(&state, &caller, name.clone(), command).await?);
    context.under_way.give_back();
    let deadline = Instant::now() + Duration::from_secs(wait.into());
    loop {
        let (decided, queue) = look(&state, &caller, &name).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || !queue.is(QueueState::Draining) || state.stopping.is_cancelled() {
            return Ok(answer(decided.as_ref(), QueueEnvelope { queue }));
        }
        sleep(LOOK_EVERY.min(left)).await;
    }
}
