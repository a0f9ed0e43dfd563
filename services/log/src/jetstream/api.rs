//! Requests to JetStream's API as JSON, with its errors as values.

use std::time::Duration;

use async_nats::Client;
use async_nats::client::Request;
use async_nats::header::HeaderMap;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde::Deserialize;
use serde_json::Value;

use crate::ReadError;

/// Prefix of the subject of every request.
const PREFIX: &str = "$JS.API";

/// Pause before a request to the leader of a replicated stream is repeated. A request that was lost
/// in an election is answered at most this much later than the election ends.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Error codes of JetStream that the log distinguishes.
pub(super) mod code {
    /// The stream, or JetStream as a whole, has no leader at the moment.
    pub(in crate::jetstream) const NOT_AVAILABLE: u64 = 10008;
    pub(in crate::jetstream) const NO_MESSAGE_FOUND: u64 = 10037;
    pub(in crate::jetstream) const STREAM_NAME_IN_USE: u64 = 10058;
    pub(in crate::jetstream) const STREAM_NOT_FOUND: u64 = 10059;
    /// The expectation does not hold.
    pub(in crate::jetstream) const WRONG_LAST_SEQUENCE: u64 = 10071;
    /// Another append with an expectation on the same subject is under way on a replicated stream.
    pub(in crate::jetstream) const EXPECTATION_IN_FLIGHT: u64 = 10164;
    /// A message with the same id is under way.
    pub(in crate::jetstream) const DUPLICATE_IN_FLIGHT: u64 = 10158;
    pub(in crate::jetstream) const TOO_MANY_REQUESTS: u64 = 10167;
    pub(in crate::jetstream) const BATCH_INCOMPLETE: u64 = 10176;
    /// The storage of the server as a whole is used up.
    pub(in crate::jetstream) const INSUFFICIENT_RESOURCES: u64 = 10023;
    pub(in crate::jetstream) const ACCOUNT_RESOURCES_EXCEEDED: u64 = 10002;
    pub(in crate::jetstream) const STORAGE_RESOURCES_EXCEEDED: u64 = 10047;
    /// The message could not be stored, for example because the stream is full.
    pub(in crate::jetstream) const STORE_FAILED: u64 = 10077;
    /// A message of the batch has an id that is stored already.
    pub(in crate::jetstream) const BATCH_HAS_DUPLICATE: u64 = 10201;
    pub(in crate::jetstream) const TOO_MANY_BATCHES: u64 = 10210;
    pub(in crate::jetstream) const TOO_MANY_BATCHES_BYTES: u64 = 10211;
}

/// An error of JetStream.
#[derive(Debug, Clone, Default, Deserialize, thiserror::Error)]
#[error("{description} ({err_code})")]
pub(super) struct Refusal {
    #[serde(default)]
    pub(super) code: u64,
    #[serde(default)]
    pub(super) err_code: u64,
    #[serde(default)]
    pub(super) description: String,
}

impl Refusal {
    /// Whether the stream, or the storage as a whole, has no room for the message.
    pub(super) fn says_full(&self) -> bool {
        match self.err_code {
            code::INSUFFICIENT_RESOURCES
            | code::ACCOUNT_RESOURCES_EXCEEDED
            | code::STORAGE_RESOURCES_EXCEEDED => true,
            // "maximum messages exceeded" or "maximum bytes exceeded", without codes of their own.
            code::STORE_FAILED => {
                self.description.contains("maximum") && self.description.contains("exceeded")
            }
            _ => false,
        }
    }
}

/// Why a request failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum ApiError {
    /// JetStream refused it.
    #[error(transparent)]
    Refused(Refusal),
    /// There was no answer, or a malformed one.
    #[error("{0}")]
    Away(String),
}

impl ApiError {
    pub(super) fn is(&self, code: u64) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.err_code == code)
    }

    /// Whether the stream, or the storage as a whole, has no room for the message.
    pub(super) fn says_full(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.says_full())
    }
}

impl From<ApiError> for ReadError {
    fn from(error: ApiError) -> Self {
        Self::Unavailable {
            reason: error.to_string(),
        }
    }
}

/// The API with a time limit for each request.
#[derive(Debug, Clone)]
pub(super) struct Api {
    client: Client,
    timeout: Duration,
    /// Whether streams have leaders that may change.
    is_replicated: bool,
}

impl Api {
    pub(super) fn new(client: Client, timeout: Duration) -> Self {
        Self {
            client,
            timeout,
            is_replicated: false,
        }
    }

    /// The same API, for streams that are replicated or not.
    pub(super) fn with_copies(self, is_replicated: bool) -> Self {
        Self {
            is_replicated,
            ..self
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The full subject of a request.
    pub(super) fn subject(verb: &str) -> String {
        format!("{PREFIX}.{verb}")
    }

    /// Sends a request such as `STREAM.CREATE.TASKS` and waits for its answer.
    pub(super) async fn call(&self, verb: &str, body: &Value) -> Result<Value, ApiError> {
        let payload = if body.is_null() {
            Bytes::new()
        } else {
            body.to_string().into()
        };
        let message = self.exchange(&Self::subject(verb), payload).await?;
        answer(verb, &message)
    }

    /// The same for requests that are safe to repeat: on a replicated stream they are repeated
    /// until one is answered.
    pub(super) async fn ask(&self, verb: &str, body: &Value) -> Result<Value, ApiError> {
        if !self.is_replicated {
            return self.call(verb, body).await;
        }
        let asked = first_answer(
            || self.call(verb, body),
            |answer| matches!(answer, Err(error) if error.is(code::NOT_AVAILABLE)),
        );
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(ApiError::Away(format!(
                "{verb}: no answer within {:?}",
                self.timeout
            ))),
        }
    }

    /// Publishes one message to a stream and waits for its acknowledgement.
    pub(super) async fn publish(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Value, ApiError> {
        let request = Request::new().headers(headers).payload(payload);
        let message = self.send(subject, request).await?;
        answer(subject, &message)
    }

    /// Sends a request to any subject and waits for one answer.
    pub(super) async fn exchange(
        &self,
        subject: &str,
        payload: Bytes,
    ) -> Result<async_nats::Message, ApiError> {
        self.send(subject, Request::new().payload(payload)).await
    }

    async fn send(&self, subject: &str, request: Request) -> Result<async_nats::Message, ApiError> {
        let request = request.timeout(Some(self.timeout));
        // The client's own time limit starts when the request is sent, but sending may wait while
        // it is disconnected.
        let sent = self.client.send_request(subject.to_owned(), request);
        match tokio::time::timeout(self.timeout, sent).await {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(error)) => Err(ApiError::Away(format!("{subject}: {error}"))),
            Err(_) => Err(ApiError::Away(format!(
                "{subject}: no answer within {:?}",
                self.timeout
            ))),
        }
    }
}

/// Sends a request, and repeats it while no answer arrives. Servers drop requests about a stream
/// that has no leader, so a request from before an election would wait in vain until its time
/// limit. The first answer to any of the requests is returned; an answer for which `not_yet` holds
/// is ignored, and the request is repeated after the same pause. The caller limits the time, and
/// thereby the number of requests.
pub(super) async fn first_answer<F: Future>(
    ask: impl Fn() -> F,
    not_yet: impl Fn(&F::Output) -> bool,
) -> F::Output {
    let mut asked = FuturesUnordered::new();
    loop {
        asked.push(ask());
        let again = tokio::time::sleep(ASK_AGAIN);
        tokio::pin!(again);
        loop {
            // Both branches are cancellation safe: an answer that has arrived stays in its future.
            tokio::select! {
                Some(answer) = asked.next() => if !not_yet(&answer) {
                    return answer;
                },
                () = &mut again => break,
            }
        }
    }
}

fn answer(to: &str, message: &async_nats::Message) -> Result<Value, ApiError> {
    let mut answer: Value = serde_json::from_slice(&message.payload)
        .map_err(|error| ApiError::Away(format!("{to}: no JSON in the answer: {error}")))?;
    match answer.get_mut("error").map(Value::take) {
        Some(error) => Err(ApiError::Refused(
            serde_json::from_value(error).unwrap_or_default(),
        )),
        None => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn what_nobody_answers_is_asked_again_and_so_is_what_cannot_be_answered_yet() {
        let asked = Cell::new(0);
        let ask = || {
            asked.set(asked.get() + 1);
            let number = asked.get();
            async move {
                // Like a request that was lost with its leader.
                if number == 1 {
                    std::future::pending::<()>().await;
                }
                number
            }
        };
        assert_eq!(first_answer(ask, |answer| *answer == 2).await, 3);
    }

    #[tokio::test]
    async fn a_slow_answer_is_taken_although_it_was_asked_for_again() {
        let asked = Cell::new(0);
        let ask = || {
            asked.set(asked.get() + 1);
            let number = asked.get();
            async move {
                match number {
                    1 => tokio::time::sleep(ASK_AGAIN * 2).await,
                    _ => std::future::pending().await,
                }
                number
            }
        };
        assert_eq!(first_answer(ask, |_| false).await, 1);
    }
}
