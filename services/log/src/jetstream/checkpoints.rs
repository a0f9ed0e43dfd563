//! The stream AUDITCP on JetStream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use waybill_domain::audit::TreeId;

use super::Parts;
use super::api::{Api, ApiError, Refusal, code};
use super::read::Reader;
use super::wire;
use crate::checkpoints::{ACTOR, EVENT, StoredCheckpoint, subject};
use crate::{AppendError, Expectation, NewRecord, ReadError, StreamSeq};

const STREAM: &str = "AUDITCP";
/// Attempts of one append. They share one message id, so that a lost acknowledgement does not store
/// it twice.
const TRIES: usize = 3;

#[derive(Clone)]
pub(super) struct CheckpointStore {
    api: Api,
    reader: Reader,
    /// Random per process. Together with the count it makes message ids unique.
    identity: Arc<str>,
    appended: Arc<AtomicU64>,
}

impl CheckpointStore {
    pub(super) fn new(parts: &Parts) -> Self {
        Self {
            api: parts.api.clone(),
            reader: Reader::new(&parts.api, &parts.readers, STREAM),
            identity: parts.identity.as_str().into(),
            appended: Arc::default(),
        }
    }

    pub(super) async fn append(
        &self,
        tree: &TreeId,
        after: StreamSeq,
        value: Bytes,
    ) -> Result<StreamSeq, AppendError> {
        let subject = subject(tree);
        let record = NewRecord {
            subject: subject.clone(),
            event: EVENT,
            actor: ACTOR.to_owned(),
            traceparent: None,
            origin: None,
            payload: value,
        };
        let max_payload = self.api.client().server_info().max_payload;
        let mut message = wire::outgoing(record, max_payload)?;
        let count = self.appended.fetch_add(1, Ordering::Relaxed);
        wire::set_msg_id(
            &mut message.headers,
            &format!("{}.{STREAM}.{count}", self.identity),
        );
        let expect = Expectation::LastOn {
            filter: subject.clone(),
            seq: after,
        };
        wire::set_expectation(&mut message.headers, &expect);
        let mut last = String::new();
        for tried in 0..TRIES {
            let published = self
                .api
                .publish(&subject, message.headers.clone(), message.payload.clone())
                .await;
            match published {
                Ok(ack) => return seq(&ack),
                // A stream with one replica checks the expectation before the message id, so the
                // conflict may come from an earlier attempt of this append.
                Err(error) if error.is(code::WRONG_LAST_SEQUENCE) && tried > 0 => {
                    return self.find(tree, after, &message.payload).await;
                }
                Err(error) if error.is(code::WRONG_LAST_SEQUENCE) => {
                    return Err(AppendError::Conflict {
                        filter: subject,
                        expected: after,
                    });
                }
                Err(ApiError::Refused(refusal)) if !may_pass(&refusal) => {
                    return Err(AppendError::Rejected {
                        reason: refusal.to_string(),
                    });
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(AppendError::Unknown { reason: last })
    }

    /// Looks for the checkpoint after an ambiguous conflict: an earlier attempt may have stored it.
    async fn find(
        &self,
        tree: &TreeId,
        after: StreamSeq,
        value: &Bytes,
    ) -> Result<StreamSeq, AppendError> {
        let unknown = |error: ReadError| AppendError::Unknown {
            reason: error.to_string(),
        };
        let found = self.list(tree, after.next(), 1).await.map_err(unknown)?;
        match found.first() {
            Some(stored) if stored.value == *value => Ok(stored.seq),
            _ => Err(AppendError::Conflict {
                filter: subject(tree),
                expected: after,
            }),
        }
    }

    pub(super) async fn last(&self, tree: &TreeId) -> Result<Option<StoredCheckpoint>, ReadError> {
        Ok(self.reader.last(&subject(tree)).await?.map(Into::into))
    }

    pub(super) async fn list(
        &self,
        tree: &TreeId,
        from: StreamSeq,
        limit: usize,
    ) -> Result<Vec<StoredCheckpoint>, ReadError> {
        let end = StreamSeq(u64::MAX);
        let found = self
            .reader
            .range(&[subject(tree)], from, end, limit)
            .await?;
        Ok(found.into_iter().map(Into::into).collect())
    }
}

fn may_pass(refusal: &Refusal) -> bool {
    /// JetStream's own "try again".
    const UNAVAILABLE: u64 = 503;
    refusal.code == UNAVAILABLE
        || matches!(
            refusal.err_code,
            code::EXPECTATION_IN_FLIGHT | code::DUPLICATE_IN_FLIGHT | code::TOO_MANY_REQUESTS
        )
}

fn seq(ack: &serde_json::Value) -> Result<StreamSeq, AppendError> {
    ack["seq"]
        .as_u64()
        .map(StreamSeq)
        .ok_or_else(|| AppendError::Unknown {
            reason: format!("the acknowledgement has no sequence: {ack}"),
        })
}
