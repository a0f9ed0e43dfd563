//! Everything that the fence waits for from the network, as values: the task goes on meanwhile and takes in what came of it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use waybill_domain::access::fence::{FenceRecord, GatewayId, LeaseRecord, MarkRecord, Uptime};
use waybill_domain::event::{ControlEvent, GatewayStarted};
use waybill_log::subject::ControlSubject;
use waybill_log::{
    Append, Atomicity, Bounds, Expectation, Fences, Log, NewRecord, ReadError, Stream, StreamSeq,
};

use super::barriers::Raised;
use super::clock;
use crate::entropy;

/// Before the id of a gateway, in the subject of its acknowledgements.
const ACKNOWLEDGEMENTS: &str = "wb.fence.ack";
/// What handing an acknowledgement to the connection may take. The next renewal says it again.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_millis(500);

/// What came of something that was sent.
#[derive(Debug)]
pub(super) enum Sent {
    Renewal {
        at: Uptime,
        known: Known,
        result: Result<Renewed, String>,
    },
    Start {
        at: Uptime,
        result: Result<StreamSeq, String>,
    },
    Mark {
        raised: Raised,
        result: Result<StreamSeq, String>,
    },
    Acknowledgement,
    Reconnection,
}

/// How far the streams were at least when a renewal was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) fence: StreamSeq,
    pub(super) control: StreamSeq,
}

/// A renewal that is stored, and a look at both streams from after it was sent.
#[derive(Debug)]
pub(super) struct Renewed {
    pub(super) seq: StreamSeq,
    pub(super) fence: Bounds,
    pub(super) control: Bounds,
}

/// Sends for one gateway.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) gateway: GatewayId,
    pub(super) fences: Arc<dyn Fences>,
    pub(super) log: Arc<dyn Log>,
    pub(super) nats: Client,
    pub(super) within: Duration,
}

impl Sender {
    pub(super) async fn renew(self, known: Known, applied: StreamSeq) -> Sent {
        let at = clock::uptime();
        let record = self.lease(applied, known.control, false);
        let stored = async {
            let seq = self.fences.publish(record, self.within).await;
            seq.map_err(|error| error.to_string())
        };
        let looked = tokio::time::timeout(self.within, self.look());
        let result = match tokio::join!(stored, looked) {
            (Ok(seq), Ok(Ok((fence, control)))) => Ok(Renewed {
                seq,
                fence,
                control,
            }),
            (Err(reason), _) => Err(reason),
            (_, Ok(Err(error))) => Err(error.to_string()),
            (_, Err(_)) => Err("the streams do not say how far they are".to_owned()),
        };
        Sent::Renewal { at, known, result }
    }

    /// How far both streams are.
    pub(super) async fn look(&self) -> Result<(Bounds, Bounds), ReadError> {
        let (fence, control) =
            tokio::join!(self.fences.fence_bounds(), self.log.bounds(Stream::Control));
        Ok((fence?, control?))
    }

    /// Says on CONTROL that this gateway begins: whoever has applied that event has applied all that was stored before it.
    pub(super) async fn start(self) -> Sent {
        let at = clock::uptime();
        let result = self.append_start().await;
        Sent::Start { at, result }
    }

    async fn append_start(&self) -> Result<StreamSeq, String> {
        let event = ControlEvent::GatewayStarted(GatewayStarted {
            gateway: self.gateway.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: entropy::now(),
        });
        let subject = ControlSubject::global("gateway", self.gateway.as_str())
            .map_err(|error| error.to_string())?;
        let record = NewRecord {
            subject: subject.to_string(),
            event: event.name(),
            actor: format!("system:gateway-{}", self.gateway),
            traceparent: None,
            origin: None,
            payload: event.encode().into(),
        };
        let append = Append {
            stream: Stream::Control,
            records: vec![record],
            // It lies in no boundary: nothing is decided from it.
            expect: Expectation::None,
            atomicity: Atomicity::Atomic,
            msg_id: None,
        };
        let appended = self
            .log
            .append(append)
            .await
            .map_err(|error| error.to_string())?;
        appended
            .seqs
            .first()
            .copied()
            .ok_or_else(|| "no sequence".to_owned())
    }

    pub(super) async fn mark(self, raised: Raised) -> Sent {
        let record = FenceRecord::Mark(MarkRecord {
            gateway: self.gateway,
            control: raised.control,
        });
        let stored = self.fences.publish(record, self.within).await;
        Sent::Mark {
            raised,
            result: stored.map_err(|error| error.to_string()),
        }
    }

    pub(super) async fn acknowledge(self, applied: StreamSeq) -> Sent {
        let subject = format!("{ACKNOWLEDGEMENTS}.{}", self.gateway);
        let text = Bytes::from(applied.to_string());
        let published = self.nats.publish(subject, text);
        match tokio::time::timeout(ACKNOWLEDGE_WITHIN, published).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "an acknowledgement was not sent"),
            Err(_) => tracing::debug!("the connection takes no acknowledgement"),
        }
        Sent::Acknowledgement
    }

    pub(super) async fn reconnect(self) -> Sent {
        // It only asks for it; a connection that takes no requests takes this one neither.
        let asked = tokio::time::timeout(self.within, self.fences.reconnect());
        if asked.await.is_err() {
            tracing::warn!("the connection to NATS takes no request to be made anew");
        }
        Sent::Reconnection
    }

    /// Tells everybody that this gateway decides nothing any more. It must be so already.
    pub(super) async fn release(self, applied: StreamSeq, control: StreamSeq) {
        let record = self.lease(applied, control, true);
        match self.fences.publish(record, self.within).await {
            Ok(_) => tracing::debug!("the lease is given back"),
            Err(error) => tracing::warn!(%error, "the lease is not given back; it runs out"),
        }
    }

    fn lease(&self, applied: StreamSeq, control: StreamSeq, released: bool) -> FenceRecord {
        FenceRecord::Lease(LeaseRecord {
            gateway: self.gateway.clone(),
            applied,
            control,
            released,
        })
    }
}

/// The subject on which all gateways acknowledge.
pub(super) fn acknowledgements() -> String {
    format!("{ACKNOWLEDGEMENTS}.*")
}

/// Reads an acknowledgement.
pub(super) fn acknowledged(message: &async_nats::Message) -> Option<(GatewayId, StreamSeq)> {
    let id = message
        .subject
        .strip_prefix(ACKNOWLEDGEMENTS)?
        .strip_prefix('.')?;
    let gateway = GatewayId::try_from(id.to_owned()).ok()?;
    let applied = std::str::from_utf8(&message.payload).ok()?.parse().ok()?;
    Some((gateway, StreamSeq(applied)))
}
