//! The stream FENCE on JetStream: acknowledged publishes on the connection for appends, and a tail
//! like those of the logs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use waybill_domain::access::fence::FenceRecord;
use waybill_domain::trust::{Message, SIGNATURE, Trust};

use super::Parts;
use super::api::Api;
use super::events::Events;
use super::read::Reader;
use super::tail::JetStreamTail;
use super::tail::pump::Pumped;
use super::trust::fence::{COUNT, FenceVerifier, fence_parts};
use super::trust::tail::VerifiedTail;
use super::wire::{self, Outgoing};
use crate::fence::actor;
use crate::subject::FenceSubject;
use crate::{AppendError, Bounds, FenceAway, NewRecord, Positions, ReadError, StreamSeq, Tail};

const STREAM: &str = "FENCE";

pub(super) struct FenceStore {
    api: Api,
    /// The connection for appends, where acknowledgements do not wait behind bulk reads.
    publisher: Client,
    reader: Reader,
    trust: Arc<Trust>,
    /// Number of records that this process has published. Each record carries its number, which
    /// exposes replayed copies.
    published: AtomicU64,
}

impl FenceStore {
    pub(super) fn new(parts: &Parts) -> Self {
        Self {
            trust: Arc::clone(&parts.trust),
            published: AtomicU64::new(0),
            api: parts.api.clone(),
            publisher: parts.append_client.clone(),
            reader: Reader::new(&parts.api, &parts.readers, STREAM),
        }
    }

    pub(super) async fn publish(
        &self,
        record: FenceRecord,
        within: Duration,
    ) -> Result<StreamSeq, FenceAway> {
        let new = NewRecord {
            subject: FenceSubject::of(&record).to_string(),
            event: record.name(),
            actor: actor(&record),
            traceparent: None,
            origin: None,
            payload: record.encode().into(),
        };
        let max_payload = self.publisher.server_info().max_payload;
        let mut message = wire::outgoing(new, max_payload).map_err(|error| away(&error))?;
        self.sign(&mut message).map_err(|error| away(&error))?;
        let ack = Api::new(self.publisher.clone(), within.min(self.api.timeout()))
            .publish(&message.subject, message.headers, message.payload)
            .await
            .map_err(|error| FenceAway {
                is_full: error.says_full(),
                ..away(&error)
            })?;
        match ack["seq"].as_u64() {
            Some(seq) if ack["stream"] == STREAM => Ok(StreamSeq(seq)),
            _ => Err(away(&"the acknowledgement has no sequence of FENCE")),
        }
    }

    fn sign(&self, message: &mut Outgoing) -> Result<(), AppendError> {
        let number = self.published.fetch_add(1, Ordering::Relaxed) + 1;
        let count = (COUNT.to_owned(), number.to_string());
        wire::add(&mut message.headers, vec![count])?;
        let headers = wire::headers_of_leaf(&message.headers);
        let signed = fence_parts(&message.subject, &headers, &message.payload);
        let Some(signature) = self.trust.sign_message(Message::Fence, &signed) else {
            return Ok(());
        };
        let signature = (SIGNATURE.to_owned(), signature);
        wire::add(&mut message.headers, vec![signature])
    }

    pub(super) fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    pub(super) fn records(&self, from: StreamSeq) -> Box<dyn Tail> {
        let events = Events::new(self.reader.clone(), Positions::OF_MESSAGES);
        let tail = JetStreamTail::new(self.api.clone(), &events, STREAM, Vec::new(), from);
        let verifier = FenceVerifier::new(Arc::clone(&self.trust));
        let tail = VerifiedTail::new(STREAM, tail, verifier);
        Box::new(Pumped::new(tail, Positions::OF_MESSAGES))
    }

    pub(super) async fn bounds(&self) -> Result<Bounds, ReadError> {
        self.reader.bounds().await
    }

    pub(super) async fn reconnect(&self) {
        let reading = &self.reader.connection().client;
        for client in [self.api.client(), reading, &self.publisher] {
            // A connection that is already being reopened would be reopened a second time.
            if client.connection_state() != State::Connected {
                continue;
            }
            if let Err(error) = client.force_reconnect().await {
                tracing::warn!(%error, "forcing a new connection to NATS failed; the present one stays in use");
            }
        }
    }
}

fn away(reason: &dyn std::fmt::Display) -> FenceAway {
    FenceAway {
        reason: reason.to_string(),
        is_full: false,
    }
}
