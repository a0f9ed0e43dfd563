//! The stream FENCE on JetStream: acknowledged publishes on the connection of the appends, and the tail that the logs have too.

use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use tokio::sync::watch;
use waybill_domain::access::fence::FenceRecord;

use super::Parts;
use super::api::Api;
use super::read::Reader;
use super::tail::JetStreamTail;
use super::wire;
use crate::fence::actor;
use crate::subject::FenceSubject;
use crate::{Bounds, FenceAway, NewRecord, ReadError, StreamSeq, Tail};

const STREAM: &str = "FENCE";

/// The stream.
pub(super) struct FenceStore {
    api: Api,
    connected: watch::Receiver<u64>,
    /// Of the appends: what is read in bulk is not waited for there.
    publisher: Client,
    reader: Reader,
}

impl FenceStore {
    pub(super) fn new(parts: &Parts) -> Self {
        Self {
            api: parts.api.clone(),
            connected: parts.connected.clone(),
            publisher: parts.append_client.clone(),
            // Only its bounds are read, which are the leader's word anyway.
            reader: Reader::new(parts.api.clone(), STREAM, false),
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
        let message = wire::outgoing(new, max_payload).map_err(|error| away(&error))?;
        let ack = Api::new(self.publisher.clone(), within.min(self.api.timeout()))
            .publish(&message.subject, message.headers, message.payload)
            .await
            .map_err(|error| away(&error))?;
        match ack["seq"].as_u64() {
            Some(seq) if ack["stream"] == STREAM => Ok(StreamSeq(seq)),
            _ => Err(away(&"the acknowledgement names no place in it")),
        }
    }

    pub(super) fn records(&self, from: StreamSeq) -> Box<dyn Tail> {
        Box::new(JetStreamTail::new(
            self.api.clone(),
            self.reader.clone(),
            self.connected.clone(),
            STREAM,
            Vec::new(),
            from,
        ))
    }

    pub(super) async fn bounds(&self) -> Result<Bounds, ReadError> {
        self.reader.bounds().await
    }

    pub(super) async fn reconnect(&self) {
        for client in [self.api.client(), &self.publisher] {
            // One that is being made already would be made once more as soon as it is there.
            if client.connection_state() != State::Connected {
                continue;
            }
            if let Err(error) = client.force_reconnect().await {
                tracing::warn!(%error, "the connection to NATS cannot be made anew");
            }
        }
    }
}

fn away(reason: &dyn std::fmt::Display) -> FenceAway {
    FenceAway {
        reason: reason.to_string(),
    }
}
