//! `PUT /v1/targets/{host}/health`: when tasks of a host are held back.

use std::time::Duration;

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::access::team::targets::TargetCommand;
use waybill_domain::health::{FailureShare, HealthRule, MAX_DISABLE_MS, MAX_PAUSE_MS, TargetHost};
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesWrite;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::lengths::Length;
use waybill_edge::path::Id;

use super::object::TargetEnvelope;

/// Pause without one in the request, in milliseconds.
const PAUSE_MS: u32 = 30_000;
/// Longest pause without one in the request, in milliseconds.
const LONGEST_PAUSE_MS: u32 = 600_000;

/// The whole rule of a host; `{}`: none, so that nothing is held back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SetTargetHealth {
    /// So many attempts in a row have failed.
    #[schema(minimum = 1, maximum = 1_000, example = 5)]
    failures_in_a_row: Option<u32>,
    /// Such a share of the latest attempts has failed.
    failure_share: Option<SetFailureShare>,
    /// From the last failure to the first probe, from a second to a day: a length such as `"30s"`, or a number of seconds. Each probe that
    /// fails doubles it.
    #[schema(value_type = Option<String>, default = "30s", example = "30s")]
    pause: Option<Length>,
    /// The longest pause, up to a day.
    #[schema(value_type = Option<String>, default = "10m", example = "10m")]
    max_pause: Option<Length>,
    /// Once every attempt has failed for so long, from an hour to 30 days, the host is not even probed any more, until it is closed by hand.
    /// Without it, it is always probed.
    #[schema(value_type = Option<String>, example = "5d")]
    disable_after: Option<Length>,
}

/// A share of the latest attempts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SetFailureShare {
    /// Failed ones in a hundred.
    #[schema(required = true, minimum = 1, maximum = 100, example = 50)]
    percent: Option<u8>,
    /// The number of latest attempts that are looked at; with fewer there is no share.
    #[schema(required = true, minimum = 2, maximum = 64, example = 20)]
    of: Option<u8>,
}

/// Set when tasks of a host are held back because it fails. It replaces the former rule; `{}` removes it.
///
/// Once the rule is broken the host is open: no attempt starts there, and its tasks wait as `pending`, use up no retry, and still end by
/// their `deadline` or `expiresIn`. After `pause` one of them is tried, the oldest; if that succeeds all others follow, and if it fails the
/// next pause is twice as long, up to `maxPause`. Attempts that are running, or about to, go on.
///
/// Failures are those of a host that is not well: no connection, no answer in time or no valid one, 429 and 5xx. What is remembered of
/// earlier attempts counts at once. Each partition judges by the tasks that it has.
#[utoipa::path(
    put,
    path = "/v1/targets/{host}/health",
    operation_id = "work.target.set",
    tag = "targets",
    security(("api_key" = ["queues:write"])),
    params(
        ("host" = String, Path, description = "The host, with its port unless that is 80 or 443"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    request_body = SetTargetHealth,
    responses(
        (status = 200, description = "The rule holds", body = TargetEnvelope),
        (status = 400, description = "No host, or a rule that is not valid", body = ErrorBody),
        (status = 503, description = "It is uncertain whether every worker knows of the rule; repeat the request", body = ErrorBody),
    )
)]
pub(crate) async fn set_target_health(
    State(state): State<Edge>,
    caller: Caller<QueuesWrite>,
    Id(host): Id<TargetHost>,
    Json(request): Json<SetTargetHealth>,
) -> Result<axum::Json<TargetEnvelope>, ApiError> {
    let rule = request.rule()?;
    let command = TargetCommand::SetHealth {
        environment: caller.team.environment(),
        host: host.clone(),
        rule,
    };
    super::decide(&state, &caller, host, command).await
}

impl SetTargetHealth {
    /// The rule; `None` if the request has nothing.
    fn rule(self) -> Result<Option<HealthRule>, ApiError> {
        let is_empty = self.failures_in_a_row.is_none()
            && self.failure_share.is_none()
            && self.pause.is_none()
            && self.max_pause.is_none()
            && self.disable_after.is_none();
        if is_empty {
            return Ok(None);
        }
        let missing = |field: &'static str| {
            ApiError::bad_field(field, format!("{field} is required with a failureShare"))
        };
        let share = self.failure_share.map(|share| {
            let percent = share.percent;
            let percent = percent.ok_or_else(|| missing("failureShare.percent"))?;
            let of = share.of.ok_or_else(|| missing("failureShare.of"))?;
            Ok::<_, ApiError>(FailureShare { percent, of })
        });
        let pause_ms = millis("pause", self.pause, MAX_PAUSE_MS)?.unwrap_or(PAUSE_MS);
        let longest = millis("maxPause", self.max_pause, MAX_PAUSE_MS)?;
        Ok(Some(HealthRule {
            in_a_row: self.failures_in_a_row,
            share: share.transpose()?,
            pause_ms,
            max_pause_ms: longest.unwrap_or(LONGEST_PAUSE_MS.max(pause_ms)),
            disable_after_ms: millis("disableAfter", self.disable_after, MAX_DISABLE_MS)?,
        }))
    }
}

fn millis(field: &'static str, given: Option<Length>, most: u32) -> Result<Option<u32>, ApiError> {
    let longest = Duration::from_millis(most.into());
    let read = given.map(|length| length.0.read(field, longest));
    let length = read.transpose()?;
    Ok(length.map(|length| u32::try_from(length.as_millis()).unwrap_or(most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<HealthRule>, String> {
        let given: SetTargetHealth =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        given.rule().map_err(|error| error.body.error.to_string())
    }

    #[test]
    fn a_rule_has_pauses_and_nothing_is_no_rule() {
        assert_eq!(read("{}"), Ok(None));
        let rule = HealthRule {
            in_a_row: Some(5),
            share: None,
            pause_ms: 30_000,
            max_pause_ms: 600_000,
            disable_after_ms: None,
        };
        assert_eq!(read(r#"{"failuresInARow": 5}"#), Ok(Some(rule)));
        let share = FailureShare {
            percent: 50,
            of: 20,
        };
        let rule = HealthRule {
            in_a_row: None,
            share: Some(share),
            pause_ms: 3_600_000,
            max_pause_ms: 3_600_000,
            disable_after_ms: Some(432_000_000),
        };
        let text =
            r#"{"failureShare": {"percent": 50, "of": 20}, "pause": "1h", "disableAfter": "5d"}"#;
        assert_eq!(read(text), Ok(Some(rule)));
        for (text, wanted) in [
            (
                r#"{"failureShare": {"of": 2}}"#,
                "failureShare.percent is required",
            ),
            (
                r#"{"failureShare": {"percent": 2}}"#,
                "failureShare.of is required",
            ),
            (r#"{"failuresInARow": 1, "pause": "2d"}"#, "pause must be"),
            (
                r#"{"failuresInARow": 1, "disableAfter": "31d"}"#,
                "disableAfter must be",
            ),
            (r#"{"failures": 1}"#, "unknown field"),
        ] {
            let refused = read(text).expect_err(text);
            assert!(refused.starts_with(wanted), "{refused}");
        }
    }
}
