//! The limits of a task, as clients write and read them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::limit::TaskLimit;
use waybill_domain::rate::StartRate;
use waybill_domain::task;
use waybill_domain::task::request::{LimitRequest, RateRequest};

use crate::lengths::{Length, Seconds};

/// A limit that the task shares with all tasks of the team, in any queue, that name the same key.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateLimit {
    /// 1 to 100 of a-z, A-Z, 0-9, _, -, : and @.
    #[schema(
        required = true,
        min_length = 1,
        max_length = 100,
        pattern = "^[0-9A-Za-z_:@-]{1,100}$",
        example = "customer:17"
    )]
    key: Option<String>,
    /// Most attempts at a time.
    #[schema(minimum = 1, maximum = 1_000_000, example = 2)]
    concurrency: Option<i64>,
    /// Most starts in a time.
    rate: Option<CreateLimitRate>,
}

/// How many tasks may start in a time. Each attempt counts, also a retry.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreateLimitRate {
    /// Starts in each `per`, evenly spaced.
    #[schema(required = true, minimum = 1, maximum = 1_000_000, example = 100)]
    limit: Option<i64>,
    /// A length such as `"1m"`, or a number of seconds: from a second to a day.
    #[schema(required = true, value_type = String, example = "1m")]
    per: Option<Length>,
    /// How many unused starts may be made up for at once. Default 1.
    #[schema(minimum = 1, maximum = 1_000_000, default = 1)]
    burst: Option<i64>,
}

impl From<CreateLimit> for LimitRequest {
    fn from(given: CreateLimit) -> Self {
        Self {
            key: given.key,
            concurrency: given.concurrency,
            rate: given.rate.map(|rate| RateRequest {
                limit: rate.limit,
                per: rate.per.map(|per| per.0),
                burst: rate.burst,
            }),
        }
    }
}

impl From<TaskLimit> for CreateLimit {
    fn from(old: TaskLimit) -> Self {
        Self {
            key: Some(old.key.as_str().to_owned()),
            concurrency: old.concurrency.map(i64::from),
            rate: old.rate.map(|rate| CreateLimitRate {
                limit: Some(rate.limit.into()),
                per: Some(Length(task::Length::Seconds(
                    f64::from(rate.per_ms) / 1000.0,
                ))),
                burst: Some(rate.burst.into()),
            }),
        }
    }
}

/// A limit of a task.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShownLimit {
    key: String,
    /// What the task says about it; `null`: nothing.
    concurrency: Option<u32>,
    /// What the task says about it; `null`: nothing.
    rate: Option<ShownLimitRate>,
}

/// How many tasks may start in a time.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShownLimitRate {
    /// Starts in each `per`.
    limit: u32,
    /// Seconds.
    #[schema(value_type = f64)]
    per: Seconds,
    /// How many unused starts may be made up for at once.
    burst: u32,
}

impl From<StartRate> for ShownLimitRate {
    fn from(rate: StartRate) -> Self {
        Self {
            limit: rate.limit,
            per: Seconds(rate.per_ms.into()),
            burst: rate.burst,
        }
    }
}

impl From<TaskLimit> for ShownLimit {
    fn from(limit: TaskLimit) -> Self {
        Self {
            key: limit.key.as_str().to_owned(),
            concurrency: limit.concurrency,
            rate: limit.rate.map(ShownLimitRate::from),
        }
    }
}
