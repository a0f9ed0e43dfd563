//! What happened in queues lately.

use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::id::{QueueName, TeamId};
use waybill_edge::Edge;
use waybill_edge::error::ApiError;
use waybill_edge::lengths::Seconds;
use waybill_projector::query::{self, GetStats, Position};

use crate::stats::{Figures, Percentiles};

/// How far back that is, in milliseconds.
const WINDOW_MS: u64 = 900_000;

/// What happened in a queue lately.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatistics {
    /// How far back, in seconds. More, and step by step, by `GET /v1/stats`.
    #[schema(value_type = f64, example = 900)]
    window: Seconds,
    /// Tasks created per second.
    #[schema(example = 12.5)]
    accepted_rate: f64,
    /// Tasks ended per second.
    #[schema(example = 12.4)]
    ended_rate: f64,
    /// Attempts failed per second.
    #[schema(example = 0.2)]
    attempts_failed_rate: f64,
    /// Of the tasks that ended in that time and were not cancelled, the share without `ok`, from 0 to 1; `null` of none.
    #[schema(example = 0.01)]
    failed_share: Option<f64>,
    /// How long tasks waited for their first attempt, from their creation or the end of their delay.
    wait: Percentiles,
    /// How long tasks took that ended and were not cancelled, from their creation or the end of their delay.
    total: Percentiles,
}

/// What happened lately, by queue.
pub(super) struct Lately {
    queues: HashMap<String, query::Figures>,
    window_ms: u64,
}

impl Lately {
    /// Of all queues of a team.
    pub(super) async fn of_all(state: &Edge, team: &TeamId) -> Result<Self, ApiError> {
        Self::ask(state, team, Vec::new()).await
    }

    pub(super) async fn of_queue(
        state: &Edge,
        team: &TeamId,
        queue: &QueueName,
    ) -> Result<Self, ApiError> {
        Self::ask(state, team, vec![queue.clone()]).await
    }

    async fn ask(state: &Edge, team: &TeamId, queues: Vec<QueueName>) -> Result<Self, ApiError> {
        let query = GetStats {
            team: team.clone(),
            window_ms: WINDOW_MS,
            step_ms: 60_000,
            queues,
        };
        let min_seq = Position::tasks(state.acknowledged.to(team));
        let found = state.queries.ask(query, min_seq).await?.value;
        let of_queues = found.queues.into_iter();
        Ok(Self {
            queues: of_queues
                .map(|(queue, of)| (queue.as_str().to_owned(), of.sum))
                .collect(),
            window_ms: WINDOW_MS,
        })
    }

    pub(super) fn of(&self, queue: &str) -> QueueStatistics {
        let nothing = query::Figures::default();
        let figures = Figures::from(self.queues.get(queue).unwrap_or(&nothing));
        let ended = figures.ended;
        let over = ended.completed + ended.failed + ended.timeout;
        let failed = over.saturating_sub(figures.succeeded);
        QueueStatistics {
            window: Seconds(self.window_ms),
            accepted_rate: per_second(figures.accepted, self.window_ms),
            ended_rate: per_second(over + ended.cancelled, self.window_ms),
            attempts_failed_rate: per_second(figures.attempts_failed, self.window_ms),
            failed_share: (over > 0).then(|| ratio(failed, over)),
            wait: figures.wait,
            total: figures.total,
        }
    }
}

fn per_second(count: u64, window_ms: u64) -> f64 {
    ratio(count.saturating_mul(1_000), window_ms)
}

/// To three decimals.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn ratio(part: u64, whole: u64) -> f64 {
    (part as f64 / whole as f64 * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_shares_are_of_the_window() {
        let figures = query::Figures {
            accepted: 1_800,
            ended: [80, 15, 5, 800],
            ok: 75,
            failed_attempts: 45,
            ..query::Figures::default()
        };
        let lately = Lately {
            queues: [("mail".to_owned(), figures)].into(),
            window_ms: WINDOW_MS,
        };
        let of = lately.of("mail");
        assert!((of.accepted_rate - 2.0).abs() < 1e-9);
        assert!((of.ended_rate - 1.0).abs() < 1e-9);
        assert!((of.attempts_failed_rate - 0.05).abs() < 1e-9);
        assert_eq!(of.failed_share, Some(0.25));
        assert_eq!(lately.of("other").failed_share, None);
    }
}
