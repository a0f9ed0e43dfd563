//! `GET /v1/stats`: what happened to the tasks of a team in a time, step by step.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_domain::id::{Environment, QueueName};
use waybill_domain::task::Length;
use waybill_domain::time::Timestamp;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesRead;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::lengths::Seconds;
use waybill_edge::lenient::LenientQuery;
use waybill_edge::query::HasLists;
use waybill_edge::warnings::{Handling, Warning};
use waybill_projector::query::{self, GetStats, Position};

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
/// The longest time that figures are kept for.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(720 * 3_600);

/// The routes about figures.
pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(get_stats))
}

/// Which time, in which steps, and of which queues.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct StatsParams {
    /// How far back, as a length (`15m`) or a number of seconds: up to 30 days, a multiple of `step`. Default 1h.
    #[param(example = "1h")]
    window: Option<String>,
    /// Length of a step: a multiple of 10s with a window of up to 2 hours, of 1m with one of up to 2 days, of 1h with a longer one. At most
    /// 2,000 steps in one answer, those of all series together. Default: 10s for a window of up to 2 hours, 1m up to 12 hours, 5m up to 2
    /// days, 1h beyond, or the whole window if it is no multiple of that.
    #[param(example = "10s")]
    step: Option<String>,
    /// The steps of these queues as well, up to 20, separated by commas or as several parameters. Without it, `queues` has the figures of each
    /// queue, without steps.
    queue: Option<String>,
}

impl HasLists for StatsParams {
    const LISTS: &'static [&'static str] = &["queue"];
}

/// What happened to tasks in a time.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatsAnswer {
    #[schema(value_type = Environment)]
    environment: &'static str,
    /// Seconds.
    #[schema(value_type = f64, example = 3600)]
    window: Seconds,
    /// Seconds.
    #[schema(value_type = f64, example = 10)]
    step: Seconds,
    /// Beginning of the first step.
    #[schema(value_type = String, format = DateTime)]
    from: Iso,
    /// End of the last step, which is under way.
    #[schema(value_type = String, format = DateTime)]
    to: Iso,
    /// Of all queues.
    all: Series,
    /// By name: the queues asked for, or those in which something happened.
    queues: Vec<QueueSeries>,
    /// Whether queues are missing or have too low figures, since more than 1,000 had tasks or there was too much to add up; those asked for by
    /// `queue` are exact.
    truncated: bool,
    /// Parameters without effect, at most 20 warnings; absent when there are no warnings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// Figures of a time, and of each step of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Series {
    #[serde(flatten)]
    sum: Figures,
    /// Oldest first.
    steps: Vec<StepFigures>,
}

/// Figures of a queue.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueSeries {
    #[schema(example = "mail")]
    queue: String,
    #[serde(flatten)]
    sum: Figures,
    /// Oldest first; absent unless `queue` asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<StepFigures>>,
}

/// Figures of a step.
#[derive(Debug, Serialize, ToSchema)]
pub struct StepFigures {
    /// Beginning of the step.
    #[schema(value_type = String, format = DateTime)]
    at: Iso,
    #[serde(flatten)]
    figures: Figures,
}

/// What happened in a time: exact counts.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Tasks created.
    pub(crate) accepted: u64,
    /// Tasks that ended, by status.
    pub(crate) ended: EndedTasks,
    /// Of those: the ones with `ok`.
    pub(crate) succeeded: u64,
    /// Attempts that failed, also those that are followed by a retry.
    pub(crate) attempts_failed: u64,
    /// Of tasks whose first attempt began: how long they waited for it, from their creation or the end of their delay.
    pub(crate) wait: Percentiles,
    /// Of tasks that ended and were not cancelled: how long they took, from their creation or the end of their delay.
    pub(crate) total: Percentiles,
}

/// Tasks that ended.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[expect(missing_docs, reason = "a field for each status")]
pub struct EndedTasks {
    pub completed: u64,
    pub failed: u64,
    pub timeout: u64,
    pub cancelled: u64,
}

/// Lengths of time in seconds that 50, 95 and 99 of 100 do not exceed, each within 3.2 % of the true one; `null` of none.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[expect(missing_docs, reason = "named by what they are")]
pub struct Percentiles {
    #[schema(value_type = Option<f64>, example = 0.012)]
    pub p50: Option<Seconds>,
    #[schema(value_type = Option<f64>, example = 0.4)]
    pub p95: Option<Seconds>,
    #[schema(value_type = Option<f64>, example = 1.2)]
    pub p99: Option<Seconds>,
}

impl From<query::Lengths> for Percentiles {
    fn from(lengths: query::Lengths) -> Self {
        Self {
            p50: lengths.p50.map(Seconds),
            p95: lengths.p95.map(Seconds),
            p99: lengths.p99.map(Seconds),
        }
    }
}

impl From<&query::Figures> for Figures {
    fn from(figures: &query::Figures) -> Self {
        let [completed, failed, timeout, cancelled] = figures.ended;
        Self {
            accepted: figures.accepted,
            ended: EndedTasks {
                completed,
                failed,
                timeout,
                cancelled,
            },
            succeeded: figures.ok,
            attempts_failed: figures.failed_attempts,
            wait: figures.wait.into(),
            total: figures.total.into(),
        }
    }
}

/// Count what happened to the tasks of the environment in the time up to now, step by step.
///
/// Counts are exact, of the tasks that the log still has: steps of 10 seconds are kept for 2 hours, of a minute for 2 days, of an hour for 30
/// days. The last step is under way. Percentiles are read from counts in fixed buckets, which is at most 3.2 % off.
#[utoipa::path(
    get,
    path = "/v1/stats",
    operation_id = "work.stats.get",
    tag = "queues",
    security(("api_key" = ["queues:read"])),
    params(
        StatsParams,
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 200, description = "The figures", body = StatsAnswer),
        (status = 400, description = "A window or step beyond the limits, which the answer names", body = ErrorBody),
        (status = 503, description = "The read model is away or behind; retry after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn get_stats(
    State(state): State<Edge>,
    caller: Caller<QueuesRead>,
    handling: Handling,
    LenientQuery(params, warnings): LenientQuery<StatsParams>,
) -> Result<axum::Json<StatsAnswer>, ApiError> {
    let warnings = warnings.judge(handling)?;
    let (window_ms, step_ms) = params.times()?;
    let query = GetStats {
        team: caller.team.clone(),
        window_ms,
        step_ms,
        queues: params.queues()?,
    };
    let has_steps = !query.queues.is_empty();
    let min_seq = Position::tasks(state.acknowledged.to(&caller.team));
    let found = state.queries.ask(query, min_seq).await?.value;
    let steps = |of: &query::Series| steps(found.from, step_ms, of);
    let queues = found.queues.iter().map(|(queue, of)| QueueSeries {
        queue: queue.as_str().to_owned(),
        sum: (&of.sum).into(),
        steps: has_steps.then(|| steps(of)),
    });
    Ok(axum::Json(StatsAnswer {
        environment: caller.team.environment().as_str(),
        window: Seconds(window_ms),
        step: Seconds(step_ms),
        from: Iso(found.from),
        to: Iso(found.to),
        all: Series {
            sum: (&found.all.sum).into(),
            steps: steps(&found.all),
        },
        queues: queues.collect(),
        truncated: found.truncated,
        warnings,
    }))
}

fn steps(from: Timestamp, step_ms: u64, of: &query::Series) -> Vec<StepFigures> {
    let step = i64::try_from(step_ms).unwrap_or(i64::MAX);
    let starts = (0..).map(|at: i64| from.0.saturating_add(at.saturating_mul(step)));
    let each = starts.zip(&of.steps);
    each.map(|(at, figures)| StepFigures {
        at: Iso(Timestamp(at)),
        figures: figures.into(),
    })
    .collect()
}

impl StatsParams {
    /// Window and step, in milliseconds. What fits together is said by the read model.
    fn times(&self) -> Result<(u64, u64), ApiError> {
        let given = |field, text: Option<&String>| match text {
            Some(text) if !text.is_empty() => length(field, text).map(Some),
            _ => Ok(None),
        };
        let window = given("window", self.window.as_ref())?.unwrap_or(HOUR);
        let step = given("step", self.step.as_ref())?;
        Ok((window, step.unwrap_or_else(|| usual_step(window))))
    }

    fn queues(&self) -> Result<Vec<QueueName>, ApiError> {
        let names = self.queue.as_deref().unwrap_or_default().split(',');
        names
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(|name| {
                QueueName::parse(name)
                    .map_err(|_| ApiError::bad_field("queue", "queue must be the name of a queue"))
            })
            .collect()
    }
}

/// Reads a length: with a unit, or a number of seconds.
fn length(field: &'static str, text: &str) -> Result<u64, ApiError> {
    let length = match text.parse() {
        Ok(seconds) => Length::Seconds(seconds),
        Err(_) => Length::Text(text.to_owned()),
    };
    let length = length.read(field, LONGEST)?;
    Ok(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}

fn usual_step(window: u64) -> u64 {
    let step = match window {
        0..=7_200_000 => 10 * SECOND,
        7_200_001..=43_200_000 => 60 * SECOND,
        43_200_001..=172_800_000 => 300 * SECOND,
        _ => HOUR,
    };
    if window.is_multiple_of(step) {
        step
    } else {
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_a_step_that_suits_it() {
        let times = |window: &str, step: &str| {
            let params = StatsParams {
                window: Some(window.into()),
                step: Some(step.into()),
                queue: None,
            };
            params.times().map_err(|error| error.body.error.to_string())
        };
        assert_eq!(times("", ""), Ok((HOUR, 10 * SECOND)));
        assert_eq!(times("2h", ""), Ok((2 * HOUR, 10 * SECOND)));
        assert_eq!(times("12h", ""), Ok((12 * HOUR, 60 * SECOND)));
        assert_eq!(times("2d", ""), Ok((48 * HOUR, 300 * SECOND)));
        assert_eq!(times("30d", ""), Ok((720 * HOUR, HOUR)));
        assert_eq!(times("3600", "60"), Ok((HOUR, 60 * SECOND)));
        for (window, step, said) in [
            ("31d", "", "window must be more than 0 and at most 30 days"),
            ("soon", "", "window must be a length"),
            ("1h", "-5", "step must be a length"),
            ("0", "", "window must be more than 0"),
        ] {
            let refused = times(window, step).expect_err(window);
            assert!(refused.starts_with(said), "{refused}");
        }
    }

    #[test]
    fn queues_are_told_apart_by_commas() {
        let of = |queue: &str| {
            let params = StatsParams {
                queue: Some(queue.into()),
                ..StatsParams::default()
            };
            params.queues().map(|names| names.len())
        };
        assert_eq!(of("mail, sms,").expect("names"), 2);
        assert!(of("no such name!").is_err());
    }
}
