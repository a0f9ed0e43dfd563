//! `POST /v1/listeners`: somebody listens.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_commands::entropy;
use waybill_domain::access::team::listeners::{
    LONGEST_LEASE, ListenerCommand, SHORTEST_LEASE, USUAL_LEASE,
};
use waybill_domain::health::TargetHost;
use waybill_domain::id::{ListenerId, QueueName};
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};

use super::object::ListenerEnvelope;
use crate::claims::claim::seconds;

/// What is listened to.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OpenListener {
    /// Queues, at most 100.
    #[schema(max_items = 100, example = json!(["images"]))]
    queues: Option<Vec<String>>,
    /// Hosts that tasks call, with their port unless it is 80 or 443; at most 100.
    #[schema(max_items = 100, example = json!(["laptop.example.com"]))]
    hosts: Option<Vec<String>>,
    /// Length of the lease, 10 to 3600.
    #[schema(default = 60, minimum = 10, maximum = 3600)]
    lease_seconds: Option<f64>,
}

/// Listen to queues or hosts of the test environment: from now on their tasks start only while a listener holds a lease for them.
///
/// Renew the lease while you listen, at half its time, say. When it is over the tasks wait, with `blockedBy.kind` `waiting_for_listener`; no
/// attempt is made and no retry used, but `deadline` and `expiresIn` count. Of several listeners for one queue or host one lease is enough. A
/// task waits for its queue and for its host. Listeners whose lease is over are replaced by a new one that listens to all that they did.
#[utoipa::path(
    post,
    path = "/v1/listeners",
    operation_id = "work.listener.open",
    tag = "listeners",
    security(("api_key" = ["jobs:write"])),
    params(
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, which must be `test`"),
    ),
    request_body = OpenListener,
    responses(
        (status = 201, description = "It holds its lease", body = ListenerEnvelope),
        (status = 400, description = "A field is wrong, there are as many listeners as may be, or the environment is `live`", body = ErrorBody),
        (status = 403, description = "The key is limited to other queues (`access_denied`)", body = ErrorBody),
        (status = 503, description = "It is uncertain whether every worker knows of it; repeat the request", body = ErrorBody),
    )
)]
pub(crate) async fn open_listener(
    State(state): State<Edge>,
    caller: Caller<InQueues<JobsWrite>>,
    Json(request): Json<OpenListener>,
) -> Result<(StatusCode, axum::Json<ListenerEnvelope>), ApiError> {
    super::in_test(&caller)?;
    let queues = queues(request.queues)?;
    let hosts = hosts(request.hosts)?;
    for queue in &queues {
        caller.may_use(queue)?;
    }
    if caller.only_queues().is_some() && !hosts.is_empty() {
        return Err(ApiError::limited_to_queues());
    }
    let listener = ListenerId::new(entropy::now(), entropy::random_u128());
    let command = ListenerCommand::Open {
        listener: listener.clone(),
        queues,
        hosts,
        lease: lease(request.lease_seconds)?,
    };
    let opened = super::decide(&state, &caller, &listener, command).await?;
    let opened = opened.ok_or_else(|| ApiError::internal(&"a listener that was opened"))?;
    Ok((StatusCode::CREATED, opened))
}

pub(super) fn lease(given: Option<f64>) -> Result<Duration, ApiError> {
    let bounds = (SHORTEST_LEASE, LONGEST_LEASE);
    seconds("leaseSeconds", given, USUAL_LEASE, bounds)
}

fn queues(given: Option<Vec<String>>) -> Result<Vec<QueueName>, ApiError> {
    let given = given.unwrap_or_default();
    let parsed = given.iter().map(|name| QueueName::parse(name));
    let queues: Result<BTreeSet<_>, _> = parsed.collect();
    let queues = queues.map_err(|_| {
        let message = "queues: a name is 1 to 100 of a-z, A-Z, 0-9, _ and -";
        ApiError::bad_field("queues", message)
    })?;
    Ok(queues.into_iter().collect())
}

fn hosts(given: Option<Vec<String>>) -> Result<Vec<TargetHost>, ApiError> {
    let given = given.unwrap_or_default();
    let parsed = given.iter().map(|name| TargetHost::parse(name));
    let hosts: Result<BTreeSet<_>, _> = parsed.collect();
    let hosts =
        hosts.map_err(|error| ApiError::bad_field("hosts", format!("hosts: a host {error}")))?;
    Ok(hosts.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listened_to_is_sorted_and_named_once() {
        let given = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let read = queues(given(&["b", "a", "b"])).expect("names");
        let names: Vec<_> = read.iter().map(QueueName::as_str).collect();
        assert_eq!(names, ["a", "b"]);
        let read = hosts(given(&["A.example:443", "a.example"])).expect("hosts");
        assert_eq!(read.len(), 1);
        let refused = queues(given(&["a b"])).expect_err("no name");
        assert_eq!(refused.body.field.as_deref(), Some("queues"));
        let refused = hosts(given(&["http://a.example/"])).expect_err("no host");
        assert_eq!(refused.body.field.as_deref(), Some("hosts"));
        let refused = lease(Some(9.9)).expect_err("too short");
        assert_eq!(refused.body.field.as_deref(), Some("leaseSeconds"));
    }
}
