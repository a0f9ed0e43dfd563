//! The network requests of a fence, as futures: the task goes on meanwhile, and handles each result
//! when it arrives.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::header::{HeaderMap, HeaderValue};
use bytes::Bytes;
use waybill_domain::access::fence::{
    FenceRecord, GatewayId, HolderId, LeaseKind, LeaseRecord, MarkRecord, Uptime,
};
use waybill_domain::event::{ControlEvent, GatewayStarted};
use waybill_domain::trust::{Message, SIGNATURE, Trust};
use waybill_log::subject::ControlSubject;
use waybill_log::{
    Append, Atomicity, Bounds, Expectation, Fences, Log, NewRecord, ReadError, Stream, StreamSeq,
};

use crate::barriers::Raised;
use crate::clock;

/// Prefix of the subject on which a gateway acknowledges; its id follows.
const ACKNOWLEDGEMENTS: &str = "wb.fence.ack";
/// Prefix of the subject of a worker's acknowledgements, the only one that it may publish to.
const OF_WORKERS: &str = "wb.fence.ack.worker";
/// Pause before the ends of the streams are asked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Time limit for handing an acknowledgement to the connection. The next renewal repeats it.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_millis(500);

/// Result of a request.
#[derive(Debug)]
pub(crate) enum Sent {
    Renewal {
        at: Uptime,
        known: Known,
        result: Result<Renewed, Missed>,
    },
    Start {
        at: Uptime,
        /// The last record of FENCE that was read before it was sent.
        read: StreamSeq,
        result: Result<StreamSeq, String>,
    },
    Mark {
        raised: Raised,
        result: Result<StreamSeq, String>,
    },
    Acknowledgement,
    Reconnection,
}

/// Positions of the streams that were known when a renewal was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) fence: StreamSeq,
    pub(crate) control: StreamSeq,
    /// The highest position of CONTROL that a record of FENCE asks for.
    pub(crate) demanded: StreamSeq,
}

/// A stored renewal, and the bounds of both streams, read after it was sent.
#[derive(Debug)]
pub(crate) struct Renewed {
    pub(crate) seq: StreamSeq,
    pub(crate) fence: Bounds,
    pub(crate) control: Bounds,
}

/// Why a renewal came to nothing.
#[derive(Debug)]
pub(crate) struct Missed {
    pub(crate) reason: String,
    /// FENCE has no room: it answers, and nothing but room helps.
    pub(crate) is_full: bool,
}

impl Missed {
    fn unanswered(reason: String) -> Self {
        Self {
            reason,
            is_full: false,
        }
    }
}

/// Sends on behalf of one gateway or worker.
#[derive(Clone)]
pub(crate) struct Sender {
    pub(crate) holder: HolderId,
    pub(crate) fences: Arc<dyn Fences>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) nats: Client,
    pub(crate) within: Duration,
}

impl Sender {
    pub(crate) async fn renew(self, known: Known, applied: StreamSeq) -> Sent {
        let at = clock::uptime();
        let record = self.lease(applied, known.control, false);
        let stored = async {
            let seq = self.fences.publish(record, self.within).await;
            seq.map_err(|error| Missed {
                is_full: error.is_full,
                reason: error.to_string(),
            })
        };
        let looked = tokio::time::timeout(self.within, self.look_beyond(known));
        let result = match tokio::join!(stored, looked) {
            (Ok(seq), Ok(Ok((fence, control)))) => Ok(Renewed {
                seq,
                fence,
                control,
            }),
            (Err(missed), _) => Err(missed),
            (_, Ok(Err(error))) => Err(Missed::unanswered(error.to_string())),
            (_, Err(_)) => Err(Missed::unanswered(
                "the bounds of the streams could not be read".to_owned(),
            )),
        };
        Sent::Renewal { at, known, result }
    }

    /// The bounds of both streams.
    pub(crate) async fn look(&self) -> Result<(Bounds, Bounds), ReadError> {
        let (fence, control) =
            tokio::join!(self.fences.fence_bounds(), self.log.bounds(Stream::Control));
        Ok((fence?, control?))
    }

    /// The same, repeated for a while as long as the answer lies before what is known: a leader
    /// that was deposed may answer beside the present one, and be faster.
    async fn look_beyond(&self, known: Known) -> Result<(Bounds, Bounds), ReadError> {
        let give_up = tokio::time::Instant::now() + self.within / 2;
        loop {
            let (fence, control) = self.look().await?;
            let is_behind = fence.last < known.fence || control.last < known.control;
            if !is_behind || tokio::time::Instant::now() >= give_up {
                return Ok((fence, control));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Appends the start event to CONTROL: a process that has applied it has applied everything
    /// stored before it.
    pub(crate) async fn start(self, read: StreamSeq) -> Sent {
        let at = clock::uptime();
        let result = self.append_start().await;
        Sent::Start { at, read, result }
    }

    async fn append_start(&self) -> Result<StreamSeq, String> {
        let event = ControlEvent::GatewayStarted(GatewayStarted {
            gateway: self.holder.id.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: clock::wall(),
        });
        let kind = self.holder.kind.as_str();
        let subject = ControlSubject::global(kind, self.holder.id.as_str())
            .map_err(|error| error.to_string())?;
        let record = NewRecord {
            subject: subject.to_string(),
            event: event.name(),
            actor: format!("system:{kind}-{}", self.holder.id),
            traceparent: None,
            origin: None,
            payload: event.encode().into(),
        };
        let append = Append {
            stream: Stream::Control,
            records: vec![record],
            // The event belongs to no boundary, since nothing is decided from it.
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
            .ok_or_else(|| "the log returned no sequence".to_owned())
    }

    pub(crate) async fn mark(self, raised: Raised) -> Sent {
        let record = FenceRecord::Mark(MarkRecord {
            gateway: self.holder.id,
            control: raised.control,
        });
        let stored = self.fences.publish(record, self.within).await;
        Sent::Mark {
            raised,
            result: stored.map_err(|error| error.to_string()),
        }
    }

    pub(crate) async fn acknowledge(self, applied: StreamSeq) -> Sent {
        let before = match self.holder.kind {
            LeaseKind::Gateway => ACKNOWLEDGEMENTS,
            LeaseKind::Worker => OF_WORKERS,
        };
        let subject = format!("{before}.{}", self.holder.id);
        let text = Bytes::from(applied.to_string());
        let trust = self.fences.trust();
        let headers = signed(
            &trust,
            Message::Acknowledgement,
            &[subject.as_bytes(), &text],
        );
        let published = self.nats.publish_with_headers(subject, headers, text);
        match tokio::time::timeout(ACKNOWLEDGE_WITHIN, published).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "an acknowledgement was not sent"),
            Err(_) => tracing::debug!(
                "the outgoing buffer of the connection to NATS is full; the next renewal repeats the acknowledgement"
            ),
        }
        Sent::Acknowledgement
    }

    pub(crate) async fn reconnect(self) -> Sent {
        // This only asks the client to reconnect; a connection that accepts no requests does not
        // accept this one either.
        let asked = tokio::time::timeout(self.within, self.fences.reconnect());
        if asked.await.is_err() {
            tracing::warn!("the NATS client did not accept the request to reconnect");
        }
        Sent::Reconnection
    }

    /// Announces that this holder no longer decides anything. That must already be true.
    pub(crate) async fn release(self, applied: StreamSeq, control: StreamSeq) {
        let record = self.lease(applied, control, true);
        match self.fences.publish(record, self.within).await {
            Ok(_) => tracing::debug!("the lease is released"),
            Err(error) => {
                tracing::warn!(%error, "the lease could not be released; revocations wait until it expires");
            }
        }
    }

    fn lease(&self, applied: StreamSeq, control: StreamSeq, released: bool) -> FenceRecord {
        FenceRecord::Lease(LeaseRecord {
            gateway: self.holder.id.clone(),
            kind: self.holder.kind,
            applied,
            control,
            released,
        })
    }
}

/// The subject filter of all acknowledgements.
pub(crate) fn acknowledgements() -> String {
    format!("{ACKNOWLEDGEMENTS}.>")
}

/// The headers of a message of the barrier: its signature, if this process has a key.
pub(crate) fn signed(trust: &Trust, kind: Message, parts: &[&[u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(signature) = trust.sign_message(kind, parts) {
        headers.insert(SIGNATURE, &*signature);
    }
    headers
}

/// The signature of a message of the barrier.
pub(crate) fn signature(message: &async_nats::Message) -> Option<&str> {
    let headers = message.headers.as_ref()?;
    headers.get(SIGNATURE).map(HeaderValue::as_str)
}

/// Parses an acknowledgement, or says why it is invalid.
pub(crate) fn acknowledged(
    message: &async_nats::Message,
    trust: &Trust,
) -> Result<(HolderId, StreamSeq), String> {
    let read = || {
        let (before, id) = message.subject.rsplit_once('.')?;
        let kind = match before {
            ACKNOWLEDGEMENTS => LeaseKind::Gateway,
            OF_WORKERS => LeaseKind::Worker,
            _ => return None,
        };
        let id = GatewayId::try_from(id.to_owned()).ok()?;
        let applied = std::str::from_utf8(&message.payload).ok()?.parse().ok()?;
        Some((HolderId::new(kind, id), StreamSeq(applied)))
    };
    let (who, applied) = read().ok_or("malformed subject or position")?;
    let parts = [message.subject.as_bytes(), &message.payload];
    let of_worker = who.kind == LeaseKind::Worker;
    trust
        .check_message(
            Message::Acknowledgement,
            &parts,
            signature(message),
            of_worker,
        )
        .map_err(|void| void.to_string())?;
    Ok((who, applied))
}
