//! Tallies on the stream USAGE: atomic batches of increments (ADR-49, ADR-50), read by direct gets of the last of many subjects (ADR-31).

use async_nats::StatusCode;
use async_nats::header::{HeaderMap, HeaderValue};
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;
use waybill_domain::time::Timestamp;

use super::Parts;
use super::api::{Api, code};
use super::read::Reader;
use super::wire;
use crate::tally::{Addition, Seen, Tally, TallyAway, TallyName, Wanted};
use crate::{ReadError, StreamSeq, tally};

const STREAM: &str = "USAGE";
const INCREMENT: &str = "Nats-Incr";
/// When something was last used, in milliseconds since the epoch.
const SEEN_AT: &str = "Wb-Seen-At";
/// The address that it was used from.
const SEEN_FROM: &str = "Wb-Seen-From";
/// Subjects in one query. The server allows at most 1024.
const SUBJECTS_AT_ONCE: usize = 1000;

#[derive(Clone)]
pub(super) struct TallyStore {
    api: Api,
    reader: Reader,
}

impl TallyStore {
    pub(super) fn new(parts: &Parts) -> Self {
        Self {
            api: parts.api.clone(),
            reader: Reader::new(&parts.api, &parts.readers, STREAM),
        }
    }

    pub(super) async fn add(&self, id: &str, additions: &[Addition]) -> Result<(), TallyAway> {
        if additions.len() > tally::MAX_ADDITIONS {
            return Err(away(format!("{} additions at once", additions.len())));
        }
        let Some((last, before)) = additions.split_last() else {
            return Ok(());
        };
        let client = self.api.client();
        // The client would keep messages for a lost connection and send them later, when nobody
        // waits for them any more.
        if client.connection_state() != async_nats::connection::State::Connected {
            return Err(away("no connection"));
        }
        // Each attempt is a new batch whose messages keep their ids.
        let batch = format!("{id}.{:016x}", getrandom::u64().map_err(away)?);
        for (at, addition) in before.iter().enumerate() {
            let mut headers = headers(addition, id, at);
            wire::set_batch(&mut headers, &batch, at + 1, false);
            let subject = addition.name.to_string();
            let published = client.publish_with_headers(subject, headers, Bytes::new());
            published.await.map_err(away)?;
        }
        let mut headers = headers(last, id, before.len());
        if !before.is_empty() {
            wire::set_batch(&mut headers, &batch, additions.len(), true);
        }
        let subject = last.name.to_string();
        match self.api.publish(&subject, headers, Bytes::new()).await {
            Ok(_) => Ok(()),
            // A batch is stored as a whole, so an earlier attempt has stored all of it.
            Err(error) if error.is(code::BATCH_HAS_DUPLICATE) => Ok(()),
            Err(error) => Err(away(error)),
        }
    }

    pub(super) async fn read(&self, wanted: &Wanted) -> Result<Vec<Tally>, ReadError> {
        let mut tallies = Vec::new();
        for filters in wanted.filters().chunks(SUBJECTS_AT_ONCE) {
            let page = self.reader.connection().unless_lost(self.page(filters));
            let limit = self.api.timeout();
            let page = tokio::time::timeout(limit, page).await;
            match page.map_err(|_| unavailable(format!("no answer within {limit:?}")))? {
                Some(page) => tallies.extend(page?),
                None => tallies.extend(self.one_by_one(filters).await?),
            }
        }
        Ok(tallies)
    }

    async fn page(&self, filters: &[String]) -> Result<Vec<Tally>, ReadError> {
        let client = &self.reader.connection().client;
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(unavailable)?;
        let body = json!({ "multi_last": filters, "batch": SUBJECTS_AT_ONCE }).to_string();
        let subject = self.reader.connection().batches(STREAM);
        let sent = client.publish_with_reply(subject, inbox, body.into());
        sent.await.map_err(unavailable)?;
        let mut tallies = Vec::new();
        while let Some(message) = answers.next().await {
            match message.status.filter(|_| !wire::is_stored(&message)) {
                None => tallies.extend(delivered(&message)),
                Some(StatusCode::NOT_FOUND) => return Ok(tallies),
                // Status 204 ends the batch.
                Some(status) if status.as_u16() == 204 => return Ok(tallies),
                Some(status) => return Err(unavailable(format!("direct get: status {status}"))),
            }
        }
        Err(unavailable("the subscription ended"))
    }

    /// The same if a message breaks the connection: reads one message at a time as JSON. The stream
    /// keeps only the last message of each subject.
    async fn one_by_one(&self, filters: &[String]) -> Result<Vec<Tally>, ReadError> {
        let mut tallies = Vec::new();
        for filter in filters {
            let mut next = StreamSeq(1);
            let wanted = |from: StreamSeq| json!({ "seq": from.0, "next_by_subj": filter });
            while let Some(message) = self.reader.get_message(&wanted(next)).await? {
                next = message.seq.next();
                let headers = message.headers.as_ref();
                tallies.extend(
                    headers.and_then(|headers| tally(&message.subject, headers, &message.payload)),
                );
            }
        }
        Ok(tallies)
    }
}

fn headers(addition: &Addition, id: &str, at: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(INCREMENT, format!("+{}", addition.count));
    wire::set_msg_id(&mut headers, &format!("{id}.{at}"));
    if let Some(seen) = &addition.seen
        && let Ok(source) = seen.source.parse::<HeaderValue>()
    {
        headers.insert(SEEN_AT, HeaderValue::from(seen.at.0));
        headers.insert(SEEN_FROM, source);
    }
    headers
}

/// The total is a string, since the server counts with integers of any size.
#[derive(Deserialize)]
struct Total {
    val: String,
}

/// Parses the last message of a tally; `None` for a message that is not a tally.
fn delivered(message: &async_nats::Message) -> Option<Tally> {
    let headers = message
        .headers
        .as_ref()
        .filter(|_| message.status.is_none())?;
    let subject = headers.get_last(wire::SUBJECT)?.as_str();
    tally(subject, headers, &message.payload)
}

fn tally(subject: &str, headers: &HeaderMap, payload: &[u8]) -> Option<Tally> {
    let text = |name: &str| headers.get_last(name).map(HeaderValue::as_str);
    let total: Total = serde_json::from_slice(payload).ok()?;
    let seen = text(SEEN_AT)
        .and_then(|at| at.parse().ok())
        .zip(text(SEEN_FROM));
    Some(Tally {
        name: TallyName::parse(subject)?,
        count: total.val.parse().ok()?,
        seen: seen.map(|(at, source)| Seen {
            at: Timestamp(at),
            source: source.to_owned(),
        }),
    })
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "as it is, it maps errors: `map_err(away)`"
)]
fn away(reason: impl ToString) -> TallyAway {
    TallyAway {
        reason: reason.to_string(),
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
