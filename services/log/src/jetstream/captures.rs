//! Captures on the stream CAPTURES: published without an acknowledgement, read by direct gets of the
//! last of each subject.

use std::time::Duration;

use async_nats::StatusCode;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::json;
use waybill_domain::id::{TaskId, TeamId};

use super::Parts;
use super::api::Api;
use super::read::Reader;
use super::wire;
use crate::capture::{self, Capture, MAX_CAPTURES};
use crate::{ReadError, StreamSeq};

const STREAM: &str = "CAPTURES";
/// How long the client's own queue may make a call wait.
const PATIENCE: Duration = Duration::from_millis(100);
/// Subjects in one answer: more than a task has calls, unless it is retried without end.
const AT_ONCE: usize = 1000;

#[derive(Clone)]
pub(super) struct CaptureStore {
    api: Api,
    reader: Reader,
}

impl CaptureStore {
    pub(super) fn new(parts: &Parts) -> Self {
        Self {
            api: parts.api.clone(),
            reader: Reader::new(&parts.api, &parts.readers, STREAM),
        }
    }

    pub(super) async fn put(&self, capture: &Capture) {
        if self.publish(capture).await.is_none() {
            metrics::counter!("waybill_captures_lost_total").increment(1);
        }
    }

    /// `None`: it was not sent.
    async fn publish(&self, capture: &Capture) -> Option<()> {
        let client = self.api.client();
        // The client would keep the message for a lost connection, where a call waits for room.
        if client.connection_state() != async_nats::connection::State::Connected {
            return None;
        }
        let payload = Bytes::from(serde_json::to_vec(capture).ok()?);
        let published = client.publish(capture.subject(), payload);
        tokio::time::timeout(PATIENCE, published).await.ok()?.ok()
    }

    pub(super) async fn of_task(
        &self,
        team: &TeamId,
        task: TaskId,
    ) -> Result<Vec<Capture>, ReadError> {
        let filter = capture::of_task(team, task);
        let limit = self.api.timeout();
        let page = self.reader.connection().unless_lost(self.page(&filter));
        let page = tokio::time::timeout(limit, page).await;
        let mut found =
            match page.map_err(|_| unavailable(format!("no answer within {limit:?}")))? {
                Some(page) => page?,
                None => self.one_by_one(&filter).await?,
            };
        found.sort_by_key(|capture| (capture.at, capture.call.kind, capture.call.number));
        let surplus = found.len().saturating_sub(MAX_CAPTURES);
        found.drain(..surplus);
        Ok(found)
    }

    async fn page(&self, filter: &str) -> Result<Vec<Capture>, ReadError> {
        let client = &self.reader.connection().client;
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(unavailable)?;
        let body = json!({ "multi_last": [filter], "batch": AT_ONCE }).to_string();
        let subject = self.reader.connection().batches(STREAM);
        let sent = client.publish_with_reply(subject, inbox, body.into());
        sent.await.map_err(unavailable)?;
        let mut found = Vec::new();
        while let Some(message) = answers.next().await {
            match message.status.filter(|_| !wire::is_stored(&message)) {
                None => found.extend(parse(&message.payload)),
                Some(StatusCode::NOT_FOUND) => return Ok(found),
                // Status 204 ends the batch.
                Some(status) if status.as_u16() == 204 => return Ok(found),
                Some(status) => return Err(unavailable(format!("direct get: status {status}"))),
            }
        }
        Err(unavailable("the subscription ended"))
    }

    /// The same if a message breaks the connection: reads one message at a time as JSON.
    async fn one_by_one(&self, filter: &str) -> Result<Vec<Capture>, ReadError> {
        let mut found = Vec::new();
        let mut next = StreamSeq(1);
        while let Some(message) = self
            .reader
            .get_message(&json!({ "seq": next.0, "next_by_subj": filter }))
            .await?
        {
            next = message.seq.next();
            found.extend(parse(&message.payload));
        }
        Ok(found)
    }
}

/// `None` for what a newer version wrote in another form: it is left out, since nothing depends on it.
fn parse(payload: &[u8]) -> Option<Capture> {
    serde_json::from_slice(payload).ok()
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
