//! Leases as keys of the KV bucket `owners`: each message lives as long as its `Nats-TTL`, each step expects the revision before it.

use std::time::Duration;

use async_nats::header::HeaderMap;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{self, kv};
use futures::TryStreamExt;

use super::api::{Api, ApiError, Refusal, code};
use crate::subject::is_token;
use crate::{Lease, LeaseError};

/// The bucket.
const BUCKET: &str = "owners";
/// How long the marker of a lease that was given back stays.
const MARKER_TTL: &str = "60s";
/// Tries of one step. A step repeats with the same message id, so a lost acknowledgement does not lose the lease.
const TRIES: u32 = 3;
/// A server that has no leader for the leases forgets what it is told, so a try that waits longer only loses time.
const LONGEST_TRY: Duration = Duration::from_secs(1);

/// The leases.
#[derive(Clone)]
pub(super) struct LeaseStore {
    api: Api,
    context: jetstream::Context,
    ttl: Duration,
}

impl LeaseStore {
    pub(super) fn new(api: &Api, ttl: Duration) -> Self {
        // Several tries must fit into a lease's life, or its holder would learn too late that it cannot be renewed.
        let api = Api::new(
            api.client().clone(),
            api.timeout().min(ttl / (TRIES + 1)).min(LONGEST_TRY),
        );
        let context = jetstream::ContextBuilder::new()
            .timeout(api.timeout())
            .build(api.client().clone());
        Self { api, context, ttl }
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    pub(super) async fn acquire(&self, name: &str, holder: &str) -> Result<Lease, LeaseError> {
        check(name)?;
        let revision = match self.last(name).await? {
            None => 0,
            Some(message) if is_marker(&message) || *message.payload == *holder.as_bytes() => {
                message.sequence
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
            let bucket: kv::Store = self.context.get_key_value(BUCKET).await.map_err(text)?;
            let names: Vec<String> = bucket
                .keys()
                .await
                .map_err(text)?
                .try_collect()
                .await
                .map_err(text)?;
            let mut holders = Vec::new();
            for name in names {
                if let Some(value) = bucket.get(&name).await.map_err(text)? {
                    holders.push((name, String::from_utf8_lossy(&value).into_owned()));
                }
            }
            holders.sort();
            Ok(holders)
        };
        match tokio::time::timeout(self.ttl, listed).await {
            Ok(holders) => holders.map_err(unavailable),
            Err(_) => Err(unavailable("the list of leases takes too long".to_owned())),
        }
    }

    async fn last(&self, name: &str) -> Result<Option<StreamMessage>, LeaseError> {
        let found = async {
            let stream = self
                .context
                .get_stream_no_info(format!("KV_{BUCKET}"))
                .await
                .map_err(text)?;
            // The leader's word, not that of a copy which may lag.
            match stream.get_last_raw_message_by_subject(&subject(name)).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(text(error)),
            }
        };
        match tokio::time::timeout(self.api.timeout(), found).await {
            Ok(found) => found.map_err(unavailable),
            Err(_) => Err(unavailable("no answer".to_owned())),
        }
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

    /// Publishes on the lease's subject, if its last revision is still this one.
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

/// Does the message say that the key is gone? The server writes such ones too, when a lease runs out.
fn is_marker(message: &StreamMessage) -> bool {
    message.headers.get("Nats-Marker-Reason").is_some()
        || message
            .headers
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

#[expect(
    clippy::needless_pass_by_value,
    reason = "as it is, it maps errors: `map_err(text)`"
)]
fn text(error: impl ToString) -> String {
    error.to_string()
}
