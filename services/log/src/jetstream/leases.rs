//! Leases are keys of the KV bucket `owners`: each message expires after its `Nats-TTL`, and each
//! change expects the revision before it.

use std::time::Duration;

use async_nats::header::HeaderMap;
use serde_json::json;

use super::api::{Api, ApiError, Refusal, code};
use super::read::Reader;
use super::stored::{ReadConnection, StoredMessage};
use crate::subject::is_token;
use crate::{Lease, LeaseError};

const BUCKET: &str = "owners";
const STREAM: &str = "KV_owners";
/// How long the deletion marker of a released lease is kept.
const MARKER_TTL: &str = "60s";
/// Attempts of one change. They share one message id, so that a lost acknowledgement does not lose
/// the lease.
const TRIES: u32 = 3;
/// Longest wait for one attempt: servers drop requests while the leases have no leader, so that
/// waiting longer would only lose time.
const LONGEST_TRY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct LeaseStore {
    api: Api,
    reader: Reader,
    ttl: Duration,
}

impl LeaseStore {
    pub(super) fn new(api: &Api, readers: &ReadConnection, ttl: Duration) -> Self {
        // Several attempts must fit into the time to live, or the holder would learn too late that
        // it cannot renew the lease.
        let api = Api::new(
            api.client().clone(),
            api.timeout().min(ttl / (TRIES + 1)).min(LONGEST_TRY),
        );
        // This reader is only used for messages that arrive as JSON.
        let reader = Reader::new(&api, readers, STREAM);
        Self { api, reader, ttl }
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    pub(super) async fn acquire(&self, name: &str, holder: &str) -> Result<Lease, LeaseError> {
        check(name)?;
        let revision = match self.last(name).await? {
            None => 0,
            Some(message) if is_marker(&message) || *message.payload == *holder.as_bytes() => {
                message.seq.0
            }
            Some(_) => return Err(not_held(name)),
        };
        self.put(name, holder, revision).await
    }

    pub(super) async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        self.put(&lease.name, &lease.holder, lease.revision).await
    }

    pub(super) async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        headers.insert("Nats-TTL", MARKER_TTL);
        self.step(&lease.name, headers, "", lease.revision)
            .await
            .map(drop)
    }

    pub(super) async fn holders(&self) -> Result<Vec<(String, String)>, LeaseError> {
        let listed = async {
            let mut holders = Vec::new();
            for name in self.names().await? {
                let last = self.last(&name).await?.filter(|last| !is_marker(last));
                if let Some(message) = last {
                    holders.push((name, String::from_utf8_lossy(&message.payload).into_owned()));
                }
            }
            holders.sort();
            Ok(holders)
        };
        match tokio::time::timeout(self.ttl, listed).await {
            Ok(holders) => holders,
            Err(_) => Err(unavailable("the list of leases takes too long".to_owned())),
        }
    }

    /// The names of all leases with a message, including deletion markers.
    async fn names(&self) -> Result<Vec<String>, LeaseError> {
        let verb = format!("STREAM.INFO.{STREAM}");
        let (mut names, mut total) = (Vec::new(), 1);
        while names.len() < total {
            let body = json!({ "subjects_filter": subject(">"), "offset": names.len() });
            let info = self.api.call(&verb, &body).await;
            let info = info.map_err(|error| unavailable(error.to_string()))?;
            let found = info["state"]["subjects"].as_object();
            let prefix = subject("");
            let before = names.len();
            names.extend(found.into_iter().flatten().map(|(subject, _)| {
                let name = subject.strip_prefix(&prefix).unwrap_or(subject);
                name.to_owned()
            }));
            total = info["total"]
                .as_u64()
                .map_or(0, |total| usize::try_from(total).unwrap_or(usize::MAX));
            if names.len() == before {
                break;
            }
        }
        Ok(names)
    }

    /// The last message of a lease, read from the leader since replicas may lag.
    async fn last(&self, name: &str) -> Result<Option<StoredMessage>, LeaseError> {
        let wanted = json!({ "last_by_subj": subject(name) });
        let found = self.reader.get_message(&wanted).await;
        found.map_err(|error| unavailable(error.to_string()))
    }

    async fn put(&self, name: &str, holder: &str, revision: u64) -> Result<Lease, LeaseError> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-TTL", format!("{}s", self.ttl.as_secs()));
        let revision = self.step(name, headers, holder, revision).await?;
        Ok(Lease {
            name: name.to_owned(),
            holder: holder.to_owned(),
            revision,
        })
    }

    /// Publishes a message on the lease's subject if `revision` is still its last one.
    async fn step(
        &self,
        name: &str,
        mut headers: HeaderMap,
        value: &str,
        revision: u64,
    ) -> Result<u64, LeaseError> {
        let id = getrandom::u64().map_err(|error| unavailable(error.to_string()))?;
        headers.insert("Nats-Msg-Id", format!("{name}.{id:016x}"));
        headers.insert("Nats-Expected-Last-Subject-Sequence", revision.to_string());
        let mut last = String::new();
        for _ in 0..TRIES {
            let published = self
                .api
                .publish(&subject(name), headers.clone(), value.to_owned().into())
                .await;
            match published {
                Ok(ack) => return Ok(ack["seq"].as_u64().unwrap_or(0)),
                Err(error) if error.is(code::WRONG_LAST_SEQUENCE) => return Err(not_held(name)),
                Err(ApiError::Refused(refusal)) if !may_pass(&refusal) => {
                    return Err(unavailable(refusal.to_string()));
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(unavailable(last))
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

fn subject(name: &str) -> String {
    format!("$KV.{BUCKET}.{name}")
}

fn check(name: &str) -> Result<(), LeaseError> {
    if name.split('.').all(is_token) {
        Ok(())
    } else {
        Err(unavailable(format!(
            "{name:?} cannot be the name of a lease"
        )))
    }
}

/// Whether the message says that the lease has ended. The server writes such a marker too when a
/// lease expires. A message with malformed headers counts as one: whoever wrote it holds no lease.
fn is_marker(message: &StoredMessage) -> bool {
    let Some(headers) = &message.headers else {
        return true;
    };
    headers.get("Nats-Marker-Reason").is_some()
        || headers
            .get("KV-Operation")
            .is_some_and(|operation| matches!(operation.as_str(), "DEL" | "PURGE"))
}

fn not_held(name: &str) -> LeaseError {
    LeaseError::NotHeld {
        name: name.to_owned(),
    }
}

fn unavailable(reason: String) -> LeaseError {
    LeaseError::Unavailable { reason }
}
