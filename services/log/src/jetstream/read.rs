//! Reading what is stored: one record by sequence, ranges, the last of a subject, the bounds.
//!
//! Direct gets are the fast way, but any copy of a replicated stream may answer them, also one that lags. What they do not find
//! there is therefore asked of the leader before it is called absent.

use std::time::Duration;

use async_nats::StatusCode;
use async_nats::header::HeaderMap;
use async_nats::jetstream;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageErrorKind};
use futures::StreamExt;
use serde_json::{Value, json};
use waybill_domain::time::Timestamp;

use super::api::{Api, first_answer};
use super::archive::BORN_KEY;
use super::wire;
use crate::{Bounds, ReadError, Record, Stream, StreamSeq};

/// Records in one direct get. More are read in several.
const PAGE: usize = 1000;
/// Bytes in one direct get.
const PAGE_BYTES: usize = 16 * 1024 * 1024;

/// Reads one stream.
#[derive(Clone)]
pub(super) struct Reader {
    api: Api,
    context: jetstream::Context,
    stream: &'static str,
    is_replicated: bool,
}

/// When the stream was made: of one that was restored, when the stream of the backup was, since the server dates a restored stream anew.
/// So a restored log is the same log at an earlier place, and whoever knows more than it notices.
pub(super) fn born(info: &Value) -> Option<Timestamp> {
    let recorded = info["config"]["metadata"][BORN_KEY].as_str();
    recorded
        .or_else(|| info["created"].as_str())
        .and_then(Timestamp::parse_rfc3339)
}

impl Reader {
    pub(super) fn new(api: Api, stream: &'static str, is_replicated: bool) -> Self {
        let context = jetstream::ContextBuilder::new()
            .timeout(api.timeout())
            .build(api.client().clone());
        Self {
            api,
            context,
            stream,
            is_replicated,
        }
    }

    pub(super) async fn read(&self, seq: StreamSeq) -> Result<Option<Record>, ReadError> {
        let subject = Api::subject(&format!("DIRECT.GET.{}", self.stream));
        let body = json!({ "seq": seq.0 }).to_string();
        let message = self.api.exchange(&subject, body.into()).await?;
        match message.status {
            None => wire::direct(self.stream, message).map(Some),
            Some(StatusCode::NOT_FOUND) if self.is_replicated => self.read_at_leader(seq).await,
            Some(StatusCode::NOT_FOUND) => Ok(None),
            Some(status) => Err(unavailable(format!("direct get: status {status}"))),
        }
    }

    pub(super) async fn read_at_leader(&self, seq: StreamSeq) -> Result<Option<Record>, ReadError> {
        let stream = self.leader().await?;
        let asked = self.of_leader(|| stream.get_raw_message(seq.0));
        match asked.await? {
            Ok(message) => Ok(Some(self.raw(message))),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    pub(super) async fn last(&self, filter: &str) -> Result<Option<Record>, ReadError> {
        if !wire::is_filter(filter) {
            return Err(unavailable(format!("{filter:?} is no filter of subjects")));
        }
        let stream = self.leader().await?;
        let asked = self.of_leader(|| stream.get_last_raw_message_by_subject(filter));
        match asked.await? {
            Ok(message) => Ok(Some(self.raw(message))),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// The first record from `from` (inclusive) whose subject matches `filter`, by the leader's word.
    pub(super) async fn next(
        &self,
        filter: &str,
        from: StreamSeq,
    ) -> Result<Option<Record>, ReadError> {
        let stream = self.leader().await?;
        let first = || stream.get_first_raw_message_by_subject(filter, from.0);
        match self.of_leader(first).await? {
            Ok(message) => Ok(Some(self.raw(message))),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    pub(super) async fn bounds(&self) -> Result<Bounds, ReadError> {
        let verb = format!("STREAM.INFO.{}", self.stream);
        let info = self.api.ask(&verb, &Value::Null).await?;
        let state = |field: &str| info["state"][field].as_u64().unwrap_or(0);
        let last = StreamSeq(state("last_seq"));
        let Some(created) = born(&info) else {
            return Err(unavailable("the stream's info has no creation time"));
        };
        Ok(Bounds {
            first: match state("first_seq") {
                0 => last.next(),
                first => StreamSeq(first),
            },
            last,
            incarnation: created.0.saturating_mul(1_000_000),
            bytes: state("bytes"),
            // Unlimited is -1, which is no `u64`.
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
            // The first `limit` of each contain the first `limit` of all. Filters may overlap.
            records.sort_by_key(|record| record.seq);
            records.dedup_by_key(|record| record.seq);
            records.truncate(limit);
        }
        // Asked after reading: if nothing before the range is missing now, nothing was missing while it was read.
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
        if !wire::is_filter(filter) {
            return Err(unavailable(format!("{filter:?} is no filter of subjects")));
        }
        let mut records = Vec::new();
        let mut next = StreamSeq(from.0.max(1));
        while records.len() < limit && next <= to {
            let span = usize::try_from(to.0 - next.0).unwrap_or(usize::MAX);
            let wanted = (limit - records.len())
                .min(span.saturating_add(1))
                .min(PAGE);
            let page = self.page(filter, next, wanted).await?;
            let Some(last) = page.records.last() else {
                break;
            };
            next = last.seq.next();
            records.extend(page.records.into_iter().filter(|record| record.seq <= to));
            if page.is_last {
                break;
            }
        }
        if self.is_replicated {
            self.finish_at_leader(filter, next, to, limit, &mut records)
                .await?;
        }
        Ok(records)
    }

    /// What the copy that answered did not have yet.
    async fn finish_at_leader(
        &self,
        filter: &str,
        mut next: StreamSeq,
        to: StreamSeq,
        limit: usize,
        records: &mut Vec<Record>,
    ) -> Result<(), ReadError> {
        while records.len() < limit && next <= to {
            match self.next(filter, next).await? {
                Some(record) if record.seq <= to => {
                    next = record.seq.next();
                    records.push(record);
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// One direct get of several records (ADR-31).
    async fn page(&self, filter: &str, from: StreamSeq, wanted: usize) -> Result<Page, ReadError> {
        let client = self.api.client();
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(unavailable)?;
        let body = json!({
            "seq": from.0,
            "next_by_subj": filter,
            "batch": wanted,
            "max_bytes": PAGE_BYTES,
        });
        let subject = Api::subject(&format!("DIRECT.GET.{}", self.stream));
        let sent = client.publish_with_reply(subject, inbox, body.to_string().into());
        self.timed(sent).await?.map_err(unavailable)?;
        let mut records = Vec::new();
        loop {
            let Some(message) = self.timed(answers.next()).await? else {
                return Err(unavailable("the subscription ended"));
            };
            match message.status {
                None => records.push(wire::direct(self.stream, message)?),
                Some(StatusCode::NOT_FOUND) => {
                    return Ok(Page {
                        records,
                        is_last: true,
                    });
                }
                // End of batch.
                Some(status) if status.as_u16() == 204 => {
                    let headers = message.headers.unwrap_or_default();
                    return Ok(Page {
                        is_last: pending(&headers) == Some(0),
                        records,
                    });
                }
                Some(status) => return Err(unavailable(format!("direct get: status {status}"))),
            }
        }
    }

    async fn leader(&self) -> Result<jetstream::stream::Stream<()>, ReadError> {
        self.context
            .get_stream_no_info(self.stream)
            .await
            .map_err(unavailable)
    }

    /// What the leader says, asked again while there is none.
    async fn of_leader<F: Future>(&self, ask: impl Fn() -> F) -> Result<F::Output, ReadError> {
        if self.is_replicated {
            self.timed(first_answer(ask, |_| false)).await
        } else {
            self.timed(ask()).await
        }
    }

    /// Within the time limit of one answer.
    async fn timed<T>(&self, future: impl Future<Output = T>) -> Result<T, ReadError> {
        // A little longer than the limit inside the client, whose error says more.
        let limit = self.api.timeout() + Duration::from_millis(100);
        tokio::time::timeout(limit, future)
            .await
            .map_err(|_| unavailable(format!("no answer within {limit:?}")))
    }

    fn raw(&self, message: StreamMessage) -> Record {
        let time_ns = i64::try_from(message.time.unix_timestamp_nanos()).unwrap_or(0);
        wire::record(
            self.stream,
            StreamSeq(message.sequence),
            time_ns,
            message.subject.as_str(),
            &message.headers,
            message.payload,
        )
    }
}

struct Page {
    records: Vec<Record>,
    /// The copy that answered has no more.
    is_last: bool,
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
