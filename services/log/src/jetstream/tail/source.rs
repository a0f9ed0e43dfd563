//! A consumer of a tail: what was requested of it, and what it says besides messages.

use std::time::Duration;

use async_nats::{StatusCode, Subscriber};
use serde_json::json;

use crate::ReadError;
use crate::jetstream::api::Api;
use crate::jetstream::stored::ReadConnection;

/// Messages requested at once. The next request is sent when half of them have arrived, so that the
/// server never waits.
pub(super) const PULL: usize = 1000;
/// Bytes requested at once. A reader may hold twice that in memory.
const PULL_BYTES: usize = 8 * 1024 * 1024;
/// How long a pull request stays open at the server.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// Interval at which the server sends heartbeats while it has nothing to deliver.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A consumer and the subscription on which its messages arrive.
pub(super) struct Source {
    pub(super) consumer: String,
    pub(super) inbox: String,
    pub(super) messages: Subscriber,
    /// Number of the last delivered message in the consumer's own count.
    pub(super) delivered: u64,
    /// Messages requested and not yet delivered.
    pub(super) outstanding: usize,
}

/// Whether a consumer can be used further.
pub(super) enum Heard {
    /// It can be used further.
    Fine,
    /// It is in doubt, for this reason, and must be replaced.
    Doubtful(&'static str),
}

impl Source {
    pub(super) async fn pull(
        &mut self,
        connection: &ReadConnection,
        api: &Api,
        stream: &str,
    ) -> Result<(), ReadError> {
        let verb = format!("CONSUMER.MSG.NEXT.{stream}.{}", self.consumer);
        let body = json!({
            "batch": PULL,
            "max_bytes": PULL_BYTES,
            "expires": nanoseconds(PULL_EXPIRES),
            "idle_heartbeat": nanoseconds(HEARTBEAT),
        });
        let sent = connection.client.publish_with_reply(
            Api::subject(&verb),
            self.inbox.clone(),
            body.to_string().into(),
        );
        let away = |reason: String| ReadError::Unavailable { reason };
        // Time-limited, since the client's own queue may be full while it is disconnected.
        match tokio::time::timeout(api.timeout(), sent).await {
            Ok(Ok(())) => {
                self.outstanding += PULL;
                Ok(())
            }
            Ok(Err(error)) => Err(away(error.to_string())),
            Err(_) => Err(away("the connection takes no requests".to_owned())),
        }
    }

    pub(super) fn hear_status(
        &mut self,
        status: StatusCode,
        message: &async_nats::Message,
    ) -> Heard {
        /// Status of a pull request that has ended, for example because its bytes are used up.
        const CONFLICT: u16 = 409;
        let header = |name: &str| {
            let headers = message.headers.as_ref()?;
            headers.get_last(name)?.as_str().parse::<usize>().ok()
        };
        let description = message.description.as_deref().unwrap_or_default();
        match status {
            StatusCode::IDLE_HEARTBEAT => {
                // It contains the number of delivered messages. If that is higher than our count,
                // some were lost on the way.
                match header("Nats-Last-Consumer") {
                    Some(said) if said as u64 > self.delivered => Heard::Doubtful("lost messages"),
                    _ => Heard::Fine,
                }
            }
            StatusCode::TIMEOUT => {
                self.pull_ended(header("Nats-Pending-Messages"));
                Heard::Fine
            }
            status if status.as_u16() == CONFLICT && description.contains("MaxBytes") => {
                self.pull_ended(header("Nats-Pending-Messages"));
                Heard::Fine
            }
            StatusCode::NO_RESPONDERS => Heard::Doubtful("the consumer is gone"),
            _ => Heard::Doubtful("the consumer ended"),
        }
    }

    fn pull_ended(&mut self, undelivered: Option<usize>) {
        self.outstanding = match undelivered {
            Some(undelivered) => self.outstanding.saturating_sub(undelivered),
            None => 0,
        };
    }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
