//! Reads stored messages: one by sequence, ranges, the last one of a subject, and the bounds of a
//! stream.
//!
//! Direct gets are fast, but any replica may answer them, including one that lags. So a message
//! that they do not find is requested from the leader before it counts as missing. And they carry
//! the headers as they are stored, on the [`ReadConnection`], which breaks if the headers are
//! malformed; such messages are then read as JSON.

use std::time::{Duration, Instant};

use async_nats::StatusCode;
use async_nats::header::HeaderMap;
use futures::StreamExt;
use serde_json::{Value, json};
use waybill_domain::time::Timestamp;

use super::api::{Api, code};
use super::archive::BORN_KEY;
use super::format;
use super::stored::{ReadConnection, StoredMessage};
use super::wire;
use crate::{Bounds, ReadError, Record, Stream, StreamSeq};

/// Most records in one direct get.
const PAGE: usize = 1000;
/// Most bytes in one direct get.
const PAGE_BYTES: usize = 16 * 1024 * 1024;

/// Reads one stream.
#[derive(Clone)]
pub(super) struct Reader {
    api: Api,
    connection: ReadConnection,
    stream: &'static str,
}

/// The creation time of the stream. The server gives a restored stream a new one, so for that it is
/// the recorded time of the original. A restored log is thus the same log at an earlier position,
/// and a reader that has read more of it notices.
pub(super) fn born(info: &Value) -> Option<Timestamp> {
    let recorded = info["config"]["metadata"][BORN_KEY].as_str();
    recorded
        .or_else(|| info["created"].as_str())
        .and_then(Timestamp::parse_rfc3339)
}

impl Reader {
    pub(super) fn new(api: &Api, connection: &ReadConnection, stream: &'static str) -> Self {
        Self {
            api: api.clone(),
            connection: connection.clone(),
            stream,
        }
    }

    pub(super) fn connection(&self) -> &ReadConnection {
        &self.connection
    }

    pub(super) fn is_replicated(&self) -> bool {
        self.connection.is_replicated
    }

    pub(super) async fn read(&self, seq: StreamSeq) -> Result<Option<Record>, ReadError> {
        let subject = Api::subject(&format!("DIRECT.GET.{}", self.stream));
        let body = json!({ "seq": seq.0 }).to_string();
        let direct = Api::new(self.connection.client.clone(), self.api.timeout());
        let asked = Instant::now();
        let answer = direct.exchange(&subject, body.into());
        let message = match self.connection.unless_lost(answer).await {
            Some(Ok(message)) => message,
            // If the stored message has a status of its own, the client library mistakes it for the
            // server's report of no responders.
            Some(Err(_)) if asked.elapsed() < self.api.timeout() / 2 => {
                return self.read_at_leader(seq).await;
            }
            Some(Err(error)) => return Err(error.into()),
            None => return self.read_at_leader(seq).await,
        };
        match message.status {
            Some(StatusCode::NOT_FOUND) if !wire::is_stored(&message) && !self.is_replicated() => {
                Ok(None)
            }
            Some(_) if !wire::is_stored(&message) => self.read_at_leader(seq).await,
            _ => match wire::direct(self.stream, message) {
                Ok(record) => Ok(Some(record)),
                Err(_) => self.read_at_leader(seq).await,
            },
        }
    }

    /// Reads a message from the leader as JSON, which arrives whatever its headers are.
    pub(super) async fn read_at_leader(&self, seq: StreamSeq) -> Result<Option<Record>, ReadError> {
        self.get(&json!({ "seq": seq.0 })).await
    }

    /// The last record whose subject matches `filter`, read from the leader.
    pub(super) async fn last(&self, filter: &str) -> Result<Option<Record>, ReadError> {
        check_filter(filter)?;
        self.get(&json!({ "last_by_subj": filter })).await
    }

    /// The first record from `from` (inclusive) whose subject matches `filter`, read from the
    /// leader.
    pub(super) async fn next(
        &self,
        filter: &str,
        from: StreamSeq,
    ) -> Result<Option<Record>, ReadError> {
        check_filter(filter)?;
        self.get(&json!({ "seq": from.0, "next_by_subj": filter }))
            .await
    }

    /// The first record from `from` (inclusive) whose subject matches one of `filters` (empty:
    /// all), read from the leader.
    pub(super) async fn next_of(
        &self,
        filters: &[String],
        from: StreamSeq,
    ) -> Result<Option<Record>, ReadError> {
        if filters.is_empty() {
            return self.next(">", from).await;
        }
        let mut nearest: Option<Record> = None;
        for filter in filters {
            let found = self.next(filter, from).await?;
            let both = [nearest, found].into_iter().flatten();
            nearest = both.min_by_key(|record| record.seq);
        }
        Ok(nearest)
    }

    async fn get(&self, wanted: &Value) -> Result<Option<Record>, ReadError> {
        let message = self.get_message(wanted).await?;
        Ok(message.map(|message| message.into_record(self.stream)))
    }

    /// Reads a message by `STREAM.MSG.GET`.
    pub(super) async fn get_message(
        &self,
        wanted: &Value,
    ) -> Result<Option<StoredMessage>, ReadError> {
        let verb = format!("STREAM.MSG.GET.{}", self.stream);
        match self.api.ask(&verb, wanted).await {
            Ok(answer) => match StoredMessage::parse(&answer) {
                Some(message) => Ok(Some(message)),
                None => Err(unavailable(format!("{verb}: the answer has no message"))),
            },
            Err(error) if error.is(code::NO_MESSAGE_FOUND) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The bounds of the stream as sequences of messages, even if its positions are counted
    /// differently.
    pub(super) async fn bounds(&self) -> Result<Bounds, ReadError> {
        let verb = format!("STREAM.INFO.{}", self.stream);
        let info = self.api.ask(&verb, &Value::Null).await?;
        let state = |field: &str| info["state"][field].as_u64().unwrap_or(0);
        let last = StreamSeq(state("last_seq"));
        let Some(created) = born(&info) else {
            return Err(unavailable("the stream's info has no creation time"));
        };
        let now = info["ts"].as_str().and_then(Timestamp::parse_rfc3339);
        let Some(now) = now else {
            return Err(unavailable("the stream's info has no time of the answer"));
        };
        Ok(Bounds {
            now,
            first: match state("first_seq") {
                0 => last.next(),
                first => StreamSeq(first),
            },
            last,
            incarnation: created.0.saturating_mul(1_000_000),
            messages: state("messages"),
            positions: format::positions(&info).map_err(unavailable)?,
            bytes: state("bytes"),
            // Unlimited is -1, which `as_u64` does not return.
            max_bytes: info["config"]["max_bytes"]
                .as_u64()
                .filter(|&bytes| bytes > 0),
        })
    }

    pub(super) async fn range(
        &self,
        filters: &[String],
        from: StreamSeq,
        to: StreamSeq,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let everything = [">".to_owned()];
        let filters = if filters.is_empty() {
            &everything
        } else {
            filters
        };
        let mut records = Vec::new();
        for filter in filters {
            records.extend(self.range_of(filter, from, to, limit).await?);
        }
        if filters.len() > 1 {
            // The first `limit` records of each filter contain the first `limit` of all. Filters
            // may overlap.
            records.sort_by_key(|record| record.seq);
            records.dedup_by_key(|record| record.seq);
            records.truncate(limit);
        }
        // Checked after reading: if the stream still begins at or before the range now, it did so
        // during the read.
        if from.0 > 0 && self.stream == Stream::Tasks.name() {
            let first = self.bounds().await?.first;
            if from < first && from <= to {
                return Err(ReadError::Gap {
                    stream: self.stream,
                    from,
                    first,
                });
            }
        }
        Ok(records)
    }

    /// Drops everything before `first`.
    pub(super) async fn purge(&self, first: StreamSeq) -> Result<u64, ReadError> {
        let verb = format!("STREAM.PURGE.{}", self.stream);
        let answer = self.api.call(&verb, &json!({ "seq": first.0 })).await?;
        Ok(answer["purged"].as_u64().unwrap_or(0))
    }

    async fn range_of(
        &self,
        filter: &str,
        from: StreamSeq,
        to: StreamSeq,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        check_filter(filter)?;
        let mut records = Vec::new();
        let mut next = StreamSeq(from.0.max(1));
        let mut careful = 1;
        while records.len() < limit && next <= to {
            let span = usize::try_from(to.0 - next.0).unwrap_or(usize::MAX);
            let wanted = (limit - records.len())
                .min(span.saturating_add(1))
                .min(PAGE);
            // A little longer than the client's own limit, whose error says more.
            let patience = self.api.timeout() + Duration::from_millis(100);
            let page = self.page(filter, next, wanted, patience).await?;
            next = page.records.last().map_or(next, |last| last.seq.next());
            let is_empty = page.records.is_empty();
            records.extend(page.records.into_iter().filter(|record| record.seq <= to));
            match page.end {
                End::More if !is_empty => {}
                End::More | End::Last => break,
                End::Doubtful => {
                    // Where one message breaks the connection, more may follow: read one by one,
                    // twice as many each time.
                    let until = records.len().saturating_add(careful).min(limit);
                    let is_whole = self
                        .one_by_one(filter, &mut next, to, until, &mut records)
                        .await?;
                    if is_whole {
                        return Ok(records);
                    }
                    careful = (careful * 2).min(PAGE);
                }
            }
        }
        if self.is_replicated() {
            self.one_by_one(filter, &mut next, to, limit, &mut records)
                .await?;
        }
        Ok(records)
    }

    /// Reads records from the leader one by one, until `records` has `until` of them or the range
    /// has no more; returns `true` in the latter case. On a replicated stream, the replica that
    /// answered before may have lagged.
    async fn one_by_one(
        &self,
        filter: &str,
        next: &mut StreamSeq,
        to: StreamSeq,
        until: usize,
        records: &mut Vec<Record>,
    ) -> Result<bool, ReadError> {
        while records.len() < until && *next <= to {
            match self.next(filter, *next).await? {
                Some(record) if record.seq <= to => {
                    *next = record.seq.next();
                    records.push(record);
                }
                _ => return Ok(true),
            }
        }
        Ok(*next > to)
    }

    /// One direct get of several records (ADR-31), which waits for each at most for `patience`.
    pub(super) async fn page(
        &self,
        filter: &str,
        from: StreamSeq,
        wanted: usize,
        patience: Duration,
    ) -> Result<Page, ReadError> {
        let mut records = Vec::new();
        let filled = self.fill(filter, from, wanted, patience, &mut records);
        let end = self.connection.unless_lost(filled).await;
        let end = end.unwrap_or(Ok(End::Doubtful))?;
        Ok(Page { records, end })
    }

    async fn fill(
        &self,
        filter: &str,
        from: StreamSeq,
        wanted: usize,
        patience: Duration,
        records: &mut Vec<Record>,
    ) -> Result<End, ReadError> {
        let client = &self.connection.client;
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(unavailable)?;
        let body = json!({
            "seq": from.0,
            "next_by_subj": filter,
            "batch": wanted,
            "max_bytes": PAGE_BYTES,
        });
        let subject = self.connection.batches(self.stream);
        let sent = client.publish_with_reply(subject, inbox, body.to_string().into());
        timed(patience, sent).await?.map_err(unavailable)?;
        loop {
            let Some(message) = timed(patience, answers.next()).await? else {
                return Err(unavailable("the subscription ended"));
            };
            match message.status.filter(|_| !wire::is_stored(&message)) {
                None => match wire::direct(self.stream, message) {
                    Ok(record) => records.push(record),
                    Err(_) => return Ok(End::Doubtful),
                },
                Some(StatusCode::NOT_FOUND) => return Ok(End::Last),
                // Status 204 ends the batch.
                Some(status) if status.as_u16() == 204 => {
                    let headers = message.headers.unwrap_or_default();
                    return Ok(match pending(&headers) {
                        Some(0) => End::Last,
                        _ => End::More,
                    });
                }
                Some(status) => return Err(unavailable(format!("direct get: status {status}"))),
            }
        }
    }
}

async fn timed<T>(limit: Duration, future: impl Future<Output = T>) -> Result<T, ReadError> {
    tokio::time::timeout(limit, future)
        .await
        .map_err(|_| unavailable(format!("no answer within {limit:?}")))
}

pub(super) struct Page {
    pub(super) records: Vec<Record>,
    pub(super) end: End,
}

/// Why a page ends.
pub(super) enum End {
    /// It is full; more records may follow.
    More,
    /// The replica that answered has no more records.
    Last,
    /// The next message has broken the connection, or could not be read from a direct get.
    Doubtful,
}

fn check_filter(filter: &str) -> Result<(), ReadError> {
    if wire::is_filter(filter) {
        return Ok(());
    }
    Err(unavailable(format!(
        "{filter:?} is not a valid subject filter"
    )))
}

fn pending(headers: &HeaderMap) -> Option<u64> {
    headers.get_last("Nats-Num-Pending")?.as_str().parse().ok()
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
