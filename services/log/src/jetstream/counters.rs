//! Counters on the stream LIMITS: `Nats-Incr` adds on the server, and the acknowledgement carries the new total (ADR-49).

use std::sync::Arc;

use async_nats::header::HeaderMap;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::api::{Api, ApiError};
use super::config::StreamsConfig;
use super::provision;
use crate::CounterAway;
use crate::counter::{COUNTER_TIMEOUT, CounterName};

const STREAM: &str = "LIMITS";
const INCREMENT: &str = "Nats-Incr";

#[derive(Clone)]
pub(super) struct CounterStore {
    api: Api,
    streams: StreamsConfig,
    /// Held by the call that recreates the stream, so that only one does.
    remaking: Arc<Semaphore>,
}

impl CounterStore {
    pub(super) fn new(api: &Api, streams: &StreamsConfig) -> Self {
        let timeout = api.timeout().min(COUNTER_TIMEOUT);
        Self {
            api: Api::new(api.client().clone(), timeout),
            streams: streams.clone(),
            remaking: Arc::new(Semaphore::new(1)),
        }
    }

    pub(super) async fn add(&self, counter: CounterName<'_>, by: i64) -> Result<i64, CounterAway> {
        // The client would keep a request for a lost connection and send it later, when nobody
        // waits for it any more.
        if self.api.client().connection_state() != async_nats::connection::State::Connected {
            return Err(away("no connection"));
        }
        let mut headers = HeaderMap::new();
        headers.insert(INCREMENT, format!("{by:+}"));
        let subject = counter.to_string();
        match self.api.publish(&subject, headers, Bytes::new()).await {
            Ok(ack) => {
                total(&ack).ok_or_else(|| away(format!("no total in the acknowledgement {ack}")))
            }
            Err(error) => {
                if matches!(error, ApiError::Away(_)) {
                    self.remake().await;
                }
                Err(away(error.to_string()))
            }
        }
    }

    /// Recreates the stream if it is missing: a stream in memory with one replica is lost when its
    /// server restarts, and then nothing answers on its subjects.
    async fn remake(&self) {
        let Ok(_permit) = self.remaking.try_acquire() else {
            return;
        };
        if let Err(error) = provision::remake(&self.api, &self.streams, STREAM).await {
            tracing::warn!(%error, "recreating the stream LIMITS failed; rate limits go on without shared counters");
        }
    }
}

/// The total is a string, since the server counts with integers of any size.
fn total(ack: &Value) -> Option<i64> {
    ack.get("val")?.as_str()?.parse().ok()
}

fn away(reason: impl Into<String>) -> CounterAway {
    CounterAway {
        reason: reason.into(),
    }
}
