//! The stream VKEYS on JetStream: puts with an expectation, gets from the leader, and erasure
//! message by message.

mod list;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::header::{HeaderMap, HeaderValue};
use bytes::Bytes;
use serde_json::{Value, json};

use super::Parts;
use super::api::{Api, ApiError, Refusal, code};
use super::read::Reader;
use super::wire;
use crate::vault_keys::{
    ACTOR, EVENT, KeyName, KeyStoreError, KeysOf, ListedKey, MAX_VALUE, StoredKey, whole_seconds,
};
use crate::{AppendError, Expectation, NewRecord, ReadError, Record, StreamSeq};

const STREAM: &str = "VKEYS";
const TTL: &str = "Nats-TTL";
/// Attempts of one put. They share one message id, so that a lost acknowledgement does not store it
/// twice.
const TRIES: usize = 3;
/// After this long, a connected replica has caught up.
const COPIES_LAG: Duration = Duration::from_millis(200);

#[derive(Clone)]
pub(super) struct VaultKeyStore {
    api: Api,
    reader: Reader,
    /// Random per process. Together with the count it makes message ids unique.
    identity: Arc<str>,
    puts: Arc<AtomicU64>,
}

impl VaultKeyStore {
    pub(super) fn new(parts: &Parts) -> Self {
        Self {
            api: parts.api.clone(),
            reader: Reader::new(&parts.api, &parts.readers, STREAM),
            identity: parts.identity.as_str().into(),
            puts: Arc::default(),
        }
    }

    pub(super) async fn put(
        &self,
        name: &KeyName,
        value: Bytes,
        expected: StreamSeq,
        ttl: Option<Duration>,
    ) -> Result<StreamSeq, KeyStoreError> {
        // The client would keep a message for a lost connection and send it later, long after the
        // caller has given up.
        if !self.is_connected() {
            return Err(KeyStoreError::Unavailable {
                reason: "no connection".to_owned(),
            });
        }
        let subject = name.to_string();
        let headers = self.headers(&subject, &value, expected, ttl)?;
        let mut last = String::new();
        for _ in 0..TRIES {
            let published = self
                .api
                .publish(&subject, headers.clone(), value.clone())
                .await;
            match published {
                Ok(ack) => return seq(&ack),
                // An attempt of our own may have moved it: one of these, or of an earlier call
                // whose answer was lost.
                Err(error) if error.is(code::WRONG_LAST_SEQUENCE) => {
                    return self.find(name, expected, &value).await;
                }
                Err(ApiError::Refused(refusal)) if !may_pass(&refusal) => {
                    return Err(KeyStoreError::Rejected {
                        reason: refusal.to_string(),
                    });
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(KeyStoreError::Unknown { reason: last })
    }

    fn headers(
        &self,
        subject: &str,
        value: &Bytes,
        expected: StreamSeq,
        ttl: Option<Duration>,
    ) -> Result<HeaderMap, KeyStoreError> {
        if value.len() > MAX_VALUE {
            let reason = format!("a key may take {MAX_VALUE} bytes, not {}", value.len());
            return Err(KeyStoreError::Rejected { reason });
        }
        let record = NewRecord {
            subject: subject.to_owned(),
            event: EVENT,
            actor: ACTOR.to_owned(),
            traceparent: None,
            origin: None,
            payload: value.clone(),
        };
        let max_payload = self.api.client().server_info().max_payload;
        let mut headers = wire::outgoing(record, max_payload)
            .map_err(|error| rejected(&error))?
            .headers;
        let count = self.puts.fetch_add(1, Ordering::Relaxed);
        wire::set_msg_id(&mut headers, &format!("{}.{STREAM}.{count}", self.identity));
        let expect = Expectation::LastOn {
            filter: subject.to_owned(),
            seq: expected,
        };
        wire::set_expectation(&mut headers, &expect);
        if let Some(ttl) = ttl {
            headers.insert(TTL, HeaderValue::from(whole_seconds(ttl)));
        }
        Ok(headers)
    }

    /// Looks for the value after a conflict: an earlier attempt may have stored it.
    async fn find(
        &self,
        name: &KeyName,
        expected: StreamSeq,
        value: &Bytes,
    ) -> Result<StreamSeq, KeyStoreError> {
        match self.get(name).await {
            Ok(Some(stored)) if stored.seq > expected && stored.value == *value => Ok(stored.seq),
            Ok(_) => Err(KeyStoreError::Conflict { expected }),
            Err(error) => Err(unknown(&error)),
        }
    }

    pub(super) async fn get(&self, name: &KeyName) -> Result<Option<StoredKey>, ReadError> {
        Ok(self.reader.last(&name.to_string()).await?.map(Into::into))
    }

    /// Erases the messages older than `keep`, oldest first. If it is interrupted, the newest one is
    /// left, by which the rest is found again.
    pub(super) async fn erase_before(
        &self,
        name: &KeyName,
        keep: StreamSeq,
    ) -> Result<u64, KeyStoreError> {
        if !self.is_connected() {
            return Err(KeyStoreError::Unavailable {
                reason: "no connection".to_owned(),
            });
        }
        let subject = name.to_string();
        let (mut next, mut erased) = (StreamSeq(1), 0);
        let mut last_erased = None;
        while next < keep {
            let found = self.reader.next(&subject, next).await;
            let seq = match found.map_err(|error| unknown(&error))? {
                Some(record) if record.seq < keep => record.seq,
                Some(_) => break,
                // The leader checks a put against the applied state. So a put that was accepted
                // before the last message was erased may be applied after that. Erasing the same
                // message once more is ordered after such a put, so the next read finds it.
                None => match last_erased.take().filter(|_| self.reader.is_replicated()) {
                    Some(gone) => {
                        self.overwrite(gone).await?;
                        continue;
                    }
                    None => break,
                },
            };
            erased += u64::from(self.overwrite(seq).await?);
            last_erased = Some(seq);
            next = seq.next();
        }
        if erased > 0 && self.reader.is_replicated() {
            self.warn_of_absent_copies().await;
        }
        Ok(erased)
    }

    /// A replica that is down overwrites the key when it is back, if the others still have the
    /// deletion in their Raft logs. After some minutes they send it only what is left, and it drops
    /// the message without overwriting it.
    async fn warn_of_absent_copies(&self) {
        let mut absent = self.absent_copies().await;
        if !absent.is_empty() {
            // A replica that only lags has caught up by then.
            tokio::time::sleep(COPIES_LAG).await;
            absent = self.absent_copies().await;
        }
        if !absent.is_empty() {
            let servers = absent.join(", ");
            tracing::warn!(
                servers,
                "a key of the vault was erased while replicas of VKEYS were down; ops/VAULT.md says what to do before they return"
            );
        }
    }

    async fn absent_copies(&self) -> Vec<String> {
        let verb = format!("STREAM.INFO.{STREAM}");
        let Ok(info) = self.api.ask(&verb, &Value::Null).await else {
            return Vec::new();
        };
        let copies = info["cluster"]["replicas"].as_array();
        let absent = copies
            .into_iter()
            .flatten()
            .filter(|copy| copy["current"] != Value::Bool(true));
        let name = |copy: &Value| copy["name"].as_str().map(ToOwned::to_owned);
        absent.filter_map(name).collect()
    }

    /// Overwrites one message on every replica of the stream, and removes it. Returns `false` if it
    /// was already erased.
    async fn overwrite(&self, seq: StreamSeq) -> Result<bool, KeyStoreError> {
        // With `no_erase` false, the server overwrites the message with random bytes before it
        // removes it.
        let body = json!({ "seq": seq.0, "no_erase": false });
        let mut last = String::new();
        for _ in 0..TRIES {
            let verb = format!("STREAM.MSG.DELETE.{STREAM}");
            match self.api.call(&verb, &body).await {
                Ok(answer) if answer["success"] == Value::Bool(true) => return Ok(true),
                Ok(answer) => last = format!("no success: {answer}"),
                Err(error) => last = error.to_string(),
            }
            // It may have been erased by another process, or by an earlier attempt whose answer was
            // lost.
            let left = self.reader.read_at_leader(seq).await;
            if left.map_err(|error| unknown(&error))?.is_none() {
                return Ok(false);
            }
        }
        Err(KeyStoreError::Unknown { reason: last })
    }

    pub(super) async fn list(
        &self,
        of: &KeysOf,
        after: StreamSeq,
        limit: usize,
    ) -> Result<Vec<ListedKey>, ReadError> {
        let records = self.page(&of.filters(), after.next(), limit).await?;
        // Messages on other subjects are not keys, and are left out.
        let listed = records.into_iter().filter_map(|record| {
            Some(ListedKey {
                name: KeyName::parse(&record.subject)?,
                key: record.into(),
            })
        });
        Ok(listed.collect())
    }

    fn is_connected(&self) -> bool {
        self.api.client().connection_state() == async_nats::connection::State::Connected
    }
}

impl From<Record> for StoredKey {
    fn from(record: Record) -> Self {
        Self {
            seq: record.seq,
            at: record.time,
            value: record.payload,
        }
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

fn seq(ack: &Value) -> Result<StreamSeq, KeyStoreError> {
    match ack["seq"].as_u64() {
        Some(seq) if ack["stream"] == STREAM => Ok(StreamSeq(seq)),
        _ => Err(KeyStoreError::Unknown {
            reason: "the acknowledgement has no sequence of VKEYS".to_owned(),
        }),
    }
}

fn rejected(error: &AppendError) -> KeyStoreError {
    KeyStoreError::Rejected {
        reason: error.to_string(),
    }
}

fn unknown(error: &ReadError) -> KeyStoreError {
    KeyStoreError::Unknown {
        reason: error.to_string(),
    }
}
