//! `PUT /v1/workers/{name}`: a worker describes itself, and beats.

use std::collections::BTreeSet;

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_commands::entropy;
use waybill_domain::id::QueueName;
use waybill_domain::task::pull::MAX_CLAIMED_QUEUES;
use waybill_domain::worker::{
    LONGEST_BEAT, MAX_HOST_CHARS, MAX_TAKEN, MAX_VERSION_CHARS, Registration, SHORTEST_BEAT,
    USUAL_BEAT, WorkerName, is_plain,
};
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::lenient::OptionalLenientJson;
use waybill_edge::path::Id;
use waybill_edge::warnings::Handling;
use waybill_edge::workers::{beat, drain_of};

use super::object::{WorkerEnvelope, WorkerObject};
use crate::claims::claim::seconds;

/// What a worker says about itself.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisterWorker {
    /// The queues whose tasks it takes, at most 100. They are shown; which tasks it gets, its claims say.
    #[schema(max_items = 100, example = json!(["images"]))]
    queues: Option<Vec<String>>,
    /// The machine that it runs on, 1 to 255 characters.
    #[schema(min_length = 1, max_length = 255, example = "worker-7.internal")]
    host: Option<String>,
    /// What it runs, 1 to 50 characters.
    #[schema(min_length = 1, max_length = 50, example = "2.4.1")]
    version: Option<String>,
    /// How many tasks it takes at a time, 1 to 10000.
    #[schema(minimum = 1, maximum = 10000)]
    max_concurrency: Option<i64>,
    /// How often it sends this request, 5 to 300. After three beats that did not come it counts as lost.
    #[schema(default = 60, minimum = 5, maximum = 300)]
    beat_seconds: Option<f64>,
}

/// Register a worker, or tell that it is alive.
///
/// Sent again every `beatSeconds`, as a whole; each request replaces what the former said. A worker that claims or sends heartbeats about
/// its tasks is alive as well, so a worker need not register: it is what people see of it, and a way to hear of a drain while it works.
/// Nothing of this is stored: after the owner of its partition has changed, a worker is known again with its next beat or claim.
#[utoipa::path(
    put,
    path = "/v1/workers/{name}",
    operation_id = "work.worker.register",
    tag = "workers",
    security(("api_key" = ["jobs:write"])),
    params(
        ("name" = String, Path, description = "Name of the worker, as in its claims"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    request_body = Option<RegisterWorker>,
    responses(
        (status = 200, description = "The worker as it stands; `drain` tells whether it is to stop", body = WorkerEnvelope),
        (status = 403, description = "The key is limited to other queues (`access_denied`)", body = ErrorBody),
        (status = 503, description = "A partition has no owner right now; repeat the request after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn register_worker(
    State(state): State<Edge>,
    caller: Caller<InQueues<JobsWrite>>,
    Id(name): Id<WorkerName>,
    handling: Handling,
    OptionalLenientJson(request, warnings): OptionalLenientJson<RegisterWorker>,
) -> Result<axum::Json<WorkerEnvelope>, ApiError> {
    caller.needs_api()?;
    let warnings = warnings.judge(handling)?;
    let registration = request.check(caller.actor().to_string())?;
    for queue in &registration.queues {
        caller.may_use(queue)?;
    }
    beat(&state, &caller, &name, registration).await?;
    let (mut known, _) = super::known(&state, &caller, Some(&name)).await?;
    let known = known.remove(name.as_str()).unwrap_or_default();
    let drain = drain_of(&state, &caller, &name);
    let mut worker = WorkerObject::new(name.as_str(), known, drain.as_ref(), entropy::now());
    if caller.only_queues().is_some() {
        // Others with its name may hold tasks of queues that it is kept from.
        worker = worker.without_claims();
    }
    Ok(axum::Json(WorkerEnvelope { worker, warnings }))
}

impl RegisterWorker {
    fn check(self, by: String) -> Result<Registration, ApiError> {
        let bounds = (SHORTEST_BEAT, LONGEST_BEAT);
        let beat = seconds("beatSeconds", self.beat_seconds, USUAL_BEAT, bounds)?;
        let concurrency = self.max_concurrency.map(|given| {
            let taken = u32::try_from(given).ok();
            taken
                .filter(|taken| (1..=MAX_TAKEN).contains(taken))
                .ok_or_else(|| {
                    let message =
                        format!("maxConcurrency must be from 1 to {MAX_TAKEN}, not {given}");
                    ApiError::bad_field("maxConcurrency", message)
                })
        });
        Ok(Registration {
            queues: queues(self.queues)?,
            host: text("host", self.host, MAX_HOST_CHARS)?,
            version: text("version", self.version, MAX_VERSION_CHARS)?,
            concurrency: concurrency.transpose()?,
            beat_ms: u32::try_from(beat.as_millis()).unwrap_or(u32::MAX),
            by,
            kind: None,
            metadata: None,
            status: None,
            left: false,
        })
    }
}

fn queues(given: Option<Vec<String>>) -> Result<Vec<QueueName>, ApiError> {
    let given = given.unwrap_or_default();
    if given.len() > MAX_CLAIMED_QUEUES {
        let message = format!(
            "queues must name at most {MAX_CLAIMED_QUEUES} queues, not {}",
            given.len()
        );
        return Err(ApiError::bad_field("queues", message));
    }
    let parsed = given.iter().map(|name| QueueName::parse(name));
    let queues: Result<BTreeSet<QueueName>, _> = parsed.collect();
    let queues = queues.map_err(|_| {
        let message = "queues: a name is 1 to 100 of a-z, A-Z, 0-9, _ and -";
        ApiError::bad_field("queues", message)
    })?;
    Ok(queues.into_iter().collect())
}

fn text(
    field: &'static str,
    given: Option<String>,
    most: usize,
) -> Result<Option<String>, ApiError> {
    if given.as_ref().is_some_and(|text| !is_plain(text, most)) {
        let message = format!("{field} must be 1 to {most} characters without control characters");
        return Err(ApiError::bad_field(field, message));
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_edge::body::parse;

    #[test]
    fn a_worker_may_say_nothing_and_values_out_of_bounds_are_refused_by_name() {
        let plain = RegisterWorker::default().check("key:key_4fG7aB2x".into());
        let plain = plain.expect("fine");
        assert_eq!((plain.beat_ms, plain.queues.len()), (60_000, 0));
        let long = "x".repeat(256);
        for (json, field) in [
            (r#"{"queues": ["a b"]}"#.to_owned(), "queues"),
            (format!(r#"{{"queues": {:?}}}"#, vec!["q"; 101]), "queues"),
            (r#"{"host": ""}"#.to_owned(), "host"),
            (format!(r#"{{"host": "{long}"}}"#), "host"),
            (r#"{"version": "1\n2"}"#.to_owned(), "version"),
            (r#"{"maxConcurrency": 0}"#.to_owned(), "maxConcurrency"),
            (r#"{"maxConcurrency": 10001}"#.to_owned(), "maxConcurrency"),
            (r#"{"beatSeconds": 4.9}"#.to_owned(), "beatSeconds"),
            (r#"{"beatSeconds": 301}"#.to_owned(), "beatSeconds"),
        ] {
            let request = parse::<RegisterWorker>(json.as_bytes()).expect("right types");
            let error = request.check(String::new()).expect_err(&json);
            assert_eq!(error.body.field.as_deref(), Some(field), "{json}");
        }
    }
}
