//! `PUT /v1/queues/{name}`: the settings of a queue.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::access::team::queues::{QueueCommand, RETENTION_S};
use waybill_domain::id::QueueName;
use waybill_domain::limit::MAX_RATE_MS;
use waybill_domain::rate::StartRate;
use waybill_domain::task::Limits;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesWrite;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::lengths::Length;
use waybill_edge::path::Id;

use super::Answer;
use super::defaults::QueueDefaultsWanted;
use super::object::QueueEnvelope;
use crate::tag::IfMatch;

/// All settings of a queue; what is left out is no limit, the weight 1, the platform's default, and no retention of its own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LimitQueue {
    /// Most attempts at a time.
    #[schema(minimum = 1, maximum = 1_000_000, example = 5)]
    concurrency: Option<u32>,
    /// Most starts in a time.
    rate: Option<LimitRate>,
    /// How many of its tasks start in a turn of the queue, among those of the team in the same partition.
    #[schema(minimum = 1, maximum = 100, default = 1, example = 3)]
    weight: Option<u8>,
    /// What creations in the queue mean where they leave something open.
    defaults: Option<QueueDefaultsWanted>,
    /// How long after its end a task of the queue is shown, from an hour to 366 days: a length such as `"7d"`, or a number of seconds. Older
    /// ones are left out of lists and are not found by their id. Without it, as long as the log has them.
    #[schema(value_type = Option<String>, example = "7d")]
    retention: Option<Length>,
}

/// How many tasks may start in a time. Each attempt counts, also a retry.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LimitRate {
    /// Starts in each `per`, evenly spaced.
    #[schema(required = true, minimum = 1, maximum = 1_000_000, example = 100)]
    limit: Option<u32>,
    /// A length such as `"1m"`, or a number of seconds: from a second to a day.
    #[schema(required = true, value_type = String, example = "1m")]
    per: Option<Length>,
    /// How many unused starts may be made up for at once. Default 1.
    #[schema(minimum = 1, maximum = 1_000_000, default = 1)]
    burst: Option<u32>,
}

/// Set the limits, the weight and the defaults of a queue. They replace all former ones; `{}` removes them.
///
/// With `If-Match`, only if the settings are those of which a `GET` or `PUT` answered that `ETag`; else 412, and nothing is changed. To change
/// one of them, read all, and write them back with it.
///
/// Defaults count for tasks that are created after the answer, and become part of them: later changes do not change a task. A creation that is
/// repeated with its idempotency key is the same request, whatever the defaults are by then.
///
/// After the answer, no task of the queue starts beyond `concurrency` or faster than `rate`: in any time `w`, at most
/// `burst` + `limit` × `w` / `per` attempts start. Tasks beyond that wait as `pending` and use up no retry. Attempts that are running, or
/// about to, when the limits are set go on, so a lower concurrency holds as they end. A rate begins with nothing to make up for, also when
/// another worker takes the queue over.
#[utoipa::path(
    put,
    path = "/v1/queues/{name}",
    operation_id = "work.queue.limit",
    tag = "queues",
    security(("api_key" = ["queues:write"])),
    params(
        ("name" = String, Path, description = "Name of the queue"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("If-Match" = Option<String>, Header, description = "`ETag` of the settings that are to be replaced"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    request_body = LimitQueue,
    responses(
        (status = 200, description = "The settings hold", body = QueueEnvelope, headers(("ETag" = String, description = "Stands for these settings"))),
        (status = 412, description = "The settings are others than those that `If-Match` names", body = ErrorBody),
        (status = 503, description = "It is uncertain whether every worker knows of the limits; repeat the request", body = ErrorBody),
    )
)]
pub(crate) async fn limit_queue(
    State(state): State<Edge>,
    caller: Caller<QueuesWrite>,
    Id(name): Id<QueueName>,
    IfMatch(only_if): IfMatch,
    Json(request): Json<LimitQueue>,
) -> Result<Answer, ApiError> {
    let limits = Limits {
        max_wait: caller.plan.max_wait,
        max_delay: state.config.max_delay,
    };
    let defaults = request.defaults.unwrap_or_default().check(&limits)?;
    let command = QueueCommand::Limit {
        environment: caller.team.environment(),
        queue: name.clone(),
        concurrency: request.concurrency,
        rate: request.rate.map(rate).transpose()?,
        weight: request.weight,
        defaults: Box::new(defaults),
        only_if,
        retention_s: request.retention.as_ref().map(retention).transpose()?,
    };
    super::decide(&state, &caller, name, command).await
}

/// In whole seconds.
fn retention(given: &Length) -> Result<u32, ApiError> {
    let longest = std::time::Duration::from_secs((*RETENTION_S.end()).into());
    let length = given.0.read("retention", longest)?;
    Ok(u32::try_from(length.as_secs()).unwrap_or(u32::MAX))
}

pub(crate) fn rate(given: LimitRate) -> Result<StartRate, ApiError> {
    let missing = |field: &'static str| {
        ApiError::bad_field(field, format!("{field} is required with a rate"))
    };
    let limit = given.limit.ok_or_else(|| missing("rate.limit"))?;
    let per = given.per.ok_or_else(|| missing("rate.per"))?;
    let longest = std::time::Duration::from_millis(MAX_RATE_MS.into());
    let per = per.0.read("rate.per", longest)?;
    Ok(StartRate {
        limit,
        per_ms: u32::try_from(per.as_millis()).unwrap_or(MAX_RATE_MS),
        burst: given.burst.unwrap_or(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<StartRate, String> {
        let given: LimitRate = serde_json::from_str(text).map_err(|error| error.to_string())?;
        rate(given).map_err(|error| error.body.error.to_string())
    }

    #[test]
    fn a_rate_has_a_limit_and_a_time() {
        let read_as = |limit, per_ms, burst| {
            Ok(StartRate {
                limit,
                per_ms,
                burst,
            })
        };
        assert_eq!(
            read(r#"{"limit": 100, "per": "1m"}"#),
            read_as(100, 60_000, 1)
        );
        assert_eq!(
            read(r#"{"limit": 1, "per": 1.5, "burst": 3}"#),
            read_as(1, 1_500, 3)
        );
        for (text, wanted) in [
            (r#"{"per": "1m"}"#, "rate.limit is required"),
            (r#"{"limit": 1}"#, "rate.per is required"),
            (r#"{"limit": 1, "per": "2d"}"#, "rate.per must be"),
            (
                r#"{"limit": 1, "per": "soon"}"#,
                "rate.per must be a length",
            ),
        ] {
            let refused = read(text).expect_err(text);
            assert!(refused.starts_with(wanted), "{refused}");
        }
    }
}
