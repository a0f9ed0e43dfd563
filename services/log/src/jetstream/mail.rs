//! The stream MAIL on JetStream: a work queue with one durable consumer, from which every gateway pulls one letter at a time.
//!
//! The server counts how often it has delivered a letter, delivers it again after a pause that a gateway asks for, and does so too when
//! nobody has said anything about it for [`HOLD`]. An acknowledgement removes it from the stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::StatusCode;
use async_nats::header::HeaderMap;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};
use waybill_domain::audit::checkpoint::millis;

use super::Parts;
use super::api::{Api, ApiError, Refusal, code, first_answer};
use super::stored::ReadConnection;
use super::wire::{self, Delivery};
use crate::mail::{HOLD, QueuedLetter, SUBJECT, check_length};
use crate::{AppendError, ReadError};

const STREAM: &str = "MAIL";
/// All gateways share it: a letter is for whichever is free.
const CONSUMER: &str = "gateways";
/// The server says that it is there, while there is no letter.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Two heartbeats missed: the request was lost, or the consumer is gone.
const SILENCE: Duration = Duration::from_secs(5);
/// Deliveries of one letter. Retries of a whole day at the longest pause come to 300; a message that ends the connection on which it arrives
/// (`stored.rs`) must not do so for ever.
const MAX_DELIVERIES: u32 = 400;
/// Letters that may be held or postponed at a time: as many as the stream takes, so that those for a mail server that is away for a
/// while hold up no others.
const MAX_HELD: u32 = 20_000;

const ACKNOWLEDGE: &str = "+ACK";
const IN_PROGRESS: &str = "+WPI";
const GIVE_BACK: &str = "-NAK";

#[derive(Clone)]
pub(super) struct MailStore {
    api: Api,
    /// Letters arrive on it.
    connection: ReadConnection,
    /// Of this process; with the count behind it no two letters have one message id.
    identity: Arc<str>,
    posted: Arc<AtomicU64>,
    /// Whether this process has made sure that there is a consumer.
    has_consumer: Arc<AtomicBool>,
}

impl MailStore {
    pub(super) fn new(parts: &Parts) -> Self {
        Self {
            api: parts.api.clone(),
            connection: parts.readers.clone(),
            identity: parts.identity.as_str().into(),
            posted: Arc::default(),
            has_consumer: Arc::default(),
        }
    }

    pub(super) async fn post(&self, letter: Bytes) -> Result<(), AppendError> {
        check_length(&letter)?;
        // What is handed to a lost connection might be stored when it is back, long after everybody has given up.
        if self.api.client().connection_state() != async_nats::connection::State::Connected {
            let reason = "no connection".to_owned();
            return Err(AppendError::Unavailable { reason });
        }
        let mut headers = HeaderMap::new();
        let count = self.posted.fetch_add(1, Ordering::Relaxed);
        wire::set_msg_id(&mut headers, &format!("{}.{STREAM}.{count}", self.identity));
        let publish = || self.api.publish(SUBJECT, headers.clone(), letter.clone());
        let published = if self.connection.is_replicated {
            // What was sent before an election is lost with its leader. The message id makes another try harmless.
            let answered = first_answer(publish, |answer| match answer {
                Ok(_) => false,
                Err(ApiError::Refused(refusal)) => may_pass(refusal),
                Err(ApiError::Away(_)) => true,
            });
            let in_time = tokio::time::timeout(self.api.timeout(), answered).await;
            in_time.unwrap_or_else(|_| Err(ApiError::Away("no answer in time".to_owned())))
        } else {
            publish().await
        };
        match published {
            Ok(ack) if ack["stream"] == STREAM => Ok(()),
            Ok(_) => Err(AppendError::Unknown {
                reason: "the acknowledgement is not that of MAIL".to_owned(),
            }),
            Err(error) => Err(not_posted(error)),
        }
    }

    pub(super) async fn take(&self, within: Duration) -> Result<Option<QueuedLetter>, ReadError> {
        if !self.has_consumer.load(Ordering::Relaxed) {
            let made = self.make_consumer().await;
            // Roles with accounts of their own may not make it, and find that of the start that made the streams.
            if self.connection.may_create_consumers() {
                made?;
            }
            self.has_consumer.store(true, Ordering::Relaxed);
        }
        let pulled = self.connection.unless_lost(self.pull(within)).await;
        let taken = pulled.unwrap_or_else(|| Err(unavailable("the connection was lost")));
        if taken.is_err() {
            // It may be gone, as after a restore of the server.
            self.has_consumer.store(false, Ordering::Relaxed);
        }
        taken
    }

    /// Makes the consumer, unless it is there already.
    pub(super) async fn make_consumer(&self) -> Result<(), ReadError> {
        let body = json!({
            "stream_name": STREAM,
            "config": {
                "name": CONSUMER,
                "durable_name": CONSUMER,
                "deliver_policy": "all",
                "ack_policy": "explicit",
                "ack_wait": nanoseconds(HOLD),
                "max_deliver": MAX_DELIVERIES,
                "max_ack_pending": MAX_HELD,
                "replay_policy": "instant",
            },
        });
        let verb = format!("CONSUMER.CREATE.{STREAM}.{CONSUMER}");
        Ok(self.api.ask(&verb, &body).await.map(drop)?)
    }

    async fn pull(&self, within: Duration) -> Result<Option<QueuedLetter>, ReadError> {
        let client = &self.connection.client;
        let inbox = client.new_inbox();
        let mut messages = client.subscribe(inbox.clone()).await.map_err(unavailable)?;
        let mut body = json!({ "batch": 1, "expires": nanoseconds(within) });
        // The server wants at least two of them within the time.
        let has_heartbeats = within > HEARTBEAT * 2;
        let patience = if has_heartbeats {
            body["idle_heartbeat"] = nanoseconds(HEARTBEAT).into();
            SILENCE
        } else {
            within + self.api.timeout()
        };
        let verb = format!("CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}");
        let sent = client.publish_with_reply(Api::subject(&verb), inbox, body.to_string().into());
        // While disconnected, the client's own queue may be full.
        let sent = tokio::time::timeout(self.api.timeout(), sent).await;
        sent.map_err(unavailable)?.map_err(unavailable)?;
        loop {
            let message = tokio::time::timeout(patience, messages.next()).await;
            let message = message
                .map_err(|_| unavailable(format!("no sign of the consumer within {patience:?}")))?
                .ok_or_else(|| unavailable("the subscription ended"))?;
            match heard(message)? {
                Heard::Letter(letter) => return Ok(Some(letter)),
                Heard::Nothing => return Ok(None),
                Heard::Heartbeat => {}
            }
        }
    }

    pub(super) async fn finish(&self, letter: &QueuedLetter) -> Result<(), ReadError> {
        self.say(letter, ACKNOWLEDGE.to_owned()).await
    }

    pub(super) async fn postpone(
        &self,
        letter: &QueuedLetter,
        pause: Duration,
    ) -> Result<(), ReadError> {
        let said = if pause.is_zero() {
            GIVE_BACK.to_owned()
        } else {
            format!("{GIVE_BACK} {}", json!({ "delay": nanoseconds(pause) }))
        };
        self.say(letter, said).await
    }

    pub(super) async fn extend(&self, letter: &QueuedLetter) -> Result<(), ReadError> {
        self.say(letter, IN_PROGRESS.to_owned()).await
    }

    /// Says what becomes of a letter, and waits until the server has heard it.
    async fn say(&self, letter: &QueuedLetter, what: String) -> Result<(), ReadError> {
        Ok(self
            .api
            .exchange(&letter.hold, what.into())
            .await
            .map(drop)?)
    }

    pub(super) async fn waiting(&self) -> Result<u64, ReadError> {
        let verb = format!("STREAM.INFO.{STREAM}");
        let info = self.api.ask(&verb, &Value::Null).await?;
        Ok(info["state"]["messages"].as_u64().unwrap_or(0))
    }
}

/// What came in answer to a pull.
enum Heard {
    Letter(QueuedLetter),
    /// The time of the pull is over.
    Nothing,
    Heartbeat,
}

fn heard(message: async_nats::Message) -> Result<Heard, ReadError> {
    // What has its place in the consumer is a stored message, whatever its own status says.
    let place = message.reply.as_ref().map(ToString::to_string);
    let delivery = place.as_deref().and_then(Delivery::parse);
    if let (Some(hold), Some(delivery)) = (place, delivery) {
        return Ok(Heard::Letter(QueuedLetter {
            seq: delivery.stream_seq,
            attempt: delivery.attempt,
            at: millis(delivery.time_ns),
            value: message.payload,
            hold,
        }));
    }
    match message.status {
        Some(StatusCode::IDLE_HEARTBEAT) => Ok(Heard::Heartbeat),
        Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => Ok(Heard::Nothing),
        Some(status) => Err(unavailable(format!("consumer: status {status}"))),
        None => Err(unavailable("a message without its place in the stream")),
    }
}

fn may_pass(refusal: &Refusal) -> bool {
    !refusal.says_full()
        && (refusal.code == UNAVAILABLE
            || matches!(
                refusal.err_code,
                code::DUPLICATE_IN_FLIGHT | code::TOO_MANY_REQUESTS
            ))
}

/// JetStream's own "try again".
const UNAVAILABLE: u64 = 503;

fn not_posted(error: ApiError) -> AppendError {
    match error {
        ApiError::Away(reason) => AppendError::Unknown { reason },
        ApiError::Refused(refusal) => {
            let reason = refusal.to_string();
            if refusal.says_full() {
                AppendError::Full { reason }
            } else if may_pass(&refusal) {
                AppendError::Unavailable { reason }
            } else {
                AppendError::Rejected { reason }
            }
        }
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "as it is, it maps errors: `map_err(unavailable)`"
)]
fn unavailable(reason: impl ToString) -> ReadError {
    ReadError::Unavailable {
        reason: reason.to_string(),
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u64, err_code: u64, description: &str) -> AppendError {
        not_posted(ApiError::Refused(Refusal {
            code,
            err_code,
            description: description.to_owned(),
        }))
    }

    #[test]
    fn refusals_are_sorted_by_what_whoever_asks_is_told() {
        for full in ["maximum messages exceeded", "maximum bytes exceeded"] {
            let refused = refused(503, code::STORE_FAILED, full);
            assert!(matches!(refused, AppendError::Full { .. }), "{refused:?}");
        }
        let resources = refused(503, code::INSUFFICIENT_RESOURCES, "insufficient resources");
        assert!(matches!(resources, AppendError::Full { .. }));
        let leaderless = refused(503, code::NOT_AVAILABLE, "temporarily unavailable");
        assert!(matches!(leaderless, AppendError::Unavailable { .. }));
        let large = refused(400, 10_054, "message size exceeds maximum allowed");
        assert!(matches!(large, AppendError::Rejected { .. }));
        let lost = not_posted(ApiError::Away("no answer".to_owned()));
        assert!(matches!(lost, AppendError::Unknown { .. }));
    }
}
