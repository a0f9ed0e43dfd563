//! `POST /v1/claims`: a worker asks for tasks of its queues, and waits for one.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::id::QueueName;
use waybill_domain::task::pull::{LONGEST_LEASE, MAX_CLAIMED, MAX_CLAIMED_QUEUES, SHORTEST_LEASE};
use waybill_domain::worker::WorkerName;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::lenient::LenientJson;
use waybill_edge::warnings::Handling;

use super::give::{Wanted, give};
use super::object::ClaimList;

/// Longest wait for a task.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Lease of a claim that names none.
const USUAL_LEASE: Duration = Duration::from_secs(60);

/// What a worker asks for.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewClaim {
    /// The queues whose tasks it takes, 1 to 100. Of those that have tasks it gets of each in turn.
    #[schema(required = true, min_items = 1, max_items = 100, example = json!(["images"]))]
    queues: Option<Vec<String>>,
    /// How many tasks at most, 1 to 100.
    #[schema(default = 1, minimum = 1, maximum = 100)]
    max: Option<i64>,
    /// How many seconds to wait for the first task, 0 to 30.
    #[schema(default = 0, minimum = 0, maximum = 30)]
    wait: Option<f64>,
    /// For how many seconds the worker holds a task without a heartbeat, 1 to 3600.
    #[schema(default = 60, minimum = 1, maximum = 3600)]
    lease_seconds: Option<f64>,
    /// The name of the worker, 1 to 100 characters: the same for all of its claims, another one for each worker.
    #[schema(
        required = true,
        min_length = 1,
        max_length = 100,
        example = "resizer-1"
    )]
    worker: Option<String>,
}

/// Claim tasks that workers pull.
///
/// Tasks without `targetUrl` are not called, but given to whoever claims them. A claim is the start of an attempt: the worker holds the task
/// until it reports its end, or until its lease is over, which counts as a failed attempt and gives the task to others within a second.
/// A claim that finds nothing waits up to `wait` seconds and is woken by the task that it gets; of those that wait, each gets one in turn.
/// Nothing is given of a queue that is paused or has reached its limits, nor to a worker that somebody drains: `draining` tells it.
#[utoipa::path(
    post,
    path = "/v1/claims",
    operation_id = "work.claim.create",
    tag = "claims",
    security(("api_key" = ["jobs:write"])),
    request_body = NewClaim,
    responses(
        (status = 200, description = "The tasks that the worker holds from now on; none if there was nothing to do", body = ClaimList),
        (status = 403, description = "The key is limited to other queues (`access_denied`)", body = ErrorBody),
        (status = 503, description = "The partition of a queue has no owner right now; retry after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn claim(
    State(state): State<Edge>,
    caller: Caller<InQueues<JobsWrite>>,
    handling: Handling,
    LenientJson(request, warnings): LenientJson<NewClaim>,
) -> Result<axum::Json<ClaimList>, ApiError> {
    caller.needs_api()?;
    let warnings = warnings.judge(handling)?;
    let wanted = request.check()?;
    for queue in &wanted.queues {
        caller.may_use(queue)?;
    }
    let given = give(&state, &caller, wanted).await?;
    Ok(axum::Json(ClaimList {
        claims: given.claims,
        draining: given.draining,
        warnings,
    }))
}

impl NewClaim {
    fn check(self) -> Result<Wanted, ApiError> {
        let max = self.max.unwrap_or(1);
        let max = u32::try_from(max).ok().filter(|max| {
            let max = usize::try_from(*max).unwrap_or(usize::MAX);
            (1..=MAX_CLAIMED).contains(&max)
        });
        let max = max.ok_or_else(|| {
            let given = self.max.unwrap_or_default();
            let message = format!("max must be from 1 to {MAX_CLAIMED}, not {given}");
            ApiError::bad_field("max", message)
        })?;
        Ok(Wanted {
            queues: queues(self.queues)?,
            max,
            wait: seconds(
                "wait",
                self.wait,
                Duration::ZERO,
                (Duration::ZERO, LONGEST_WAIT),
            )?,
            lease: seconds(
                "leaseSeconds",
                self.lease_seconds,
                USUAL_LEASE,
                (SHORTEST_LEASE, LONGEST_LEASE),
            )?,
            worker: worker(self.worker.as_deref())?,
        })
    }
}

fn queues(given: Option<Vec<String>>) -> Result<Vec<QueueName>, ApiError> {
    let given = given.unwrap_or_default();
    if given.is_empty() || given.len() > MAX_CLAIMED_QUEUES {
        let message = format!(
            "queues must name 1 to {MAX_CLAIMED_QUEUES} queues, not {}",
            given.len()
        );
        return Err(ApiError::bad_field("queues", message));
    }
    let mut queues = BTreeSet::new();
    for name in given {
        let queue = QueueName::parse(&name).map_err(|_| {
            let message = "queues: a name is 1 to 100 of a-z, A-Z, 0-9, _ and -";
            ApiError::bad_field("queues", message)
        })?;
        queues.insert(queue);
    }
    Ok(queues.into_iter().collect())
}

fn worker(given: Option<&str>) -> Result<WorkerName, ApiError> {
    WorkerName::parse(given.unwrap_or_default())
        .map_err(|error| ApiError::bad_field("worker", format!("worker {error}")))
}

/// A length of time in seconds within bounds.
pub(crate) fn seconds(
    field: &'static str,
    given: Option<f64>,
    usual: Duration,
    (least, most): (Duration, Duration),
) -> Result<Duration, ApiError> {
    let Some(given) = given else {
        return Ok(usual);
    };
    if !(given >= least.as_secs_f64() && given <= most.as_secs_f64()) {
        let message = format!(
            "{field} must be from {} to {} seconds, not {given}",
            least.as_secs(),
            most.as_secs()
        );
        return Err(ApiError::bad_field(field, message));
    }
    Ok(Duration::from_secs_f64(given))
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::worker::MAX_WORKER_CHARS;
    use waybill_edge::body::parse;

    fn refused(json: &str) -> Option<String> {
        let request = parse::<NewClaim>(json.as_bytes()).expect("right types");
        let error = request.check().expect_err(json);
        error.body.field.map(std::borrow::Cow::into_owned)
    }

    #[test]
    fn a_claim_says_what_it_leaves_open_and_names_each_queue_once() {
        let request = br#"{"queues": ["b", "a", "b"], "worker": "w"}"#;
        let wanted = parse::<NewClaim>(request).expect("types").check();
        let wanted = wanted.expect("fine");
        assert_eq!((wanted.max, wanted.wait), (1, Duration::ZERO));
        assert_eq!(wanted.lease, USUAL_LEASE);
        let names: Vec<_> = wanted.queues.iter().map(QueueName::as_str).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn values_out_of_bounds_are_refused_by_name() {
        let long = "x".repeat(MAX_WORKER_CHARS + 1);
        let many = vec!["\"q\""; MAX_CLAIMED_QUEUES + 1].join(",");
        for (json, field) in [
            (r#"{"worker": "w"}"#.to_owned(), "queues"),
            (r#"{"queues": [], "worker": "w"}"#.to_owned(), "queues"),
            (r#"{"queues": ["a b"], "worker": "w"}"#.to_owned(), "queues"),
            (
                format!(r#"{{"queues": [{many}], "worker": "w"}}"#),
                "queues",
            ),
            (r#"{"queues": ["a"]}"#.to_owned(), "worker"),
            (r#"{"queues": ["a"], "worker": ""}"#.to_owned(), "worker"),
            (
                r#"{"queues": ["a"], "worker": "a\nb"}"#.to_owned(),
                "worker",
            ),
            (
                format!(r#"{{"queues": ["a"], "worker": "{long}"}}"#),
                "worker",
            ),
            (
                r#"{"queues": ["a"], "worker": "w", "max": 0}"#.to_owned(),
                "max",
            ),
            (
                r#"{"queues": ["a"], "worker": "w", "max": 101}"#.to_owned(),
                "max",
            ),
            (
                r#"{"queues": ["a"], "worker": "w", "max": -1}"#.to_owned(),
                "max",
            ),
            (
                r#"{"queues": ["a"], "worker": "w", "wait": 30.1}"#.to_owned(),
                "wait",
            ),
            (
                r#"{"queues": ["a"], "worker": "w", "wait": -1}"#.to_owned(),
                "wait",
            ),
            (
                r#"{"queues": ["a"], "worker": "w", "leaseSeconds": 0.5}"#.to_owned(),
                "leaseSeconds",
            ),
            (
                r#"{"queues": ["a"], "worker": "w", "leaseSeconds": 3601}"#.to_owned(),
                "leaseSeconds",
            ),
        ] {
            assert_eq!(refused(&json).as_deref(), Some(field), "{json}");
        }
    }
}
