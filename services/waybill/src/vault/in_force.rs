//! Which KEK gateways seal to: what the log says last, or the first of their ring before it says anything.

use anyhow::bail;
use bytes::Bytes;
use waybill_domain::actor::Actor;
use waybill_domain::event::{ControlEvent, VaultKekIntroduced};
use waybill_domain::time::Timestamp;
use waybill_log::jetstream::JetStreamLog;
use waybill_log::subject::ControlSubject;
use waybill_log::{
    Append, AppendError, Atomicity, Expectation, Log, NewRecord, Stream, StreamSeq,
    last_control_event,
};
use waybill_vault::KekId;
use waybill_worker::{Clock, SystemClock};

/// Aggregate of KEKs in CONTROL.
const KEK: &str = "kek";

/// What the log says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Introduced {
    pub(super) kek: KekId,
    /// By the server's clock.
    pub(super) at: Timestamp,
    pub(super) seq: StreamSeq,
}

/// The last KEK that was introduced.
pub(super) async fn introduced(log: &JetStreamLog) -> anyhow::Result<Option<Introduced>> {
    let filter = ControlSubject::global_of_kind(KEK)?;
    let Some((record, event)) = last_control_event(log, &filter).await? else {
        return Ok(None);
    };
    let ControlEvent::VaultKekIntroduced(event) = event else {
        bail!("event {} of CONTROL introduces no KEK", record.seq);
    };
    Ok(Some(Introduced {
        kek: event.kek.parse()?,
        at: record.time,
        seq: record.seq,
    }))
}

/// Whether this KEK was ever introduced.
pub(super) async fn was_introduced(log: &JetStreamLog, kek: KekId) -> anyhow::Result<bool> {
    let kek = kek.to_string();
    let subject = ControlSubject::global(KEK, &kek)?.to_string();
    Ok(log.last(Stream::Control, &subject).await?.is_some())
}

/// Says that gateways seal to this KEK from now on, if nobody has said anything since `after`.
pub(super) async fn introduce(
    log: &JetStreamLog,
    kek: KekId,
    after: Option<Introduced>,
) -> anyhow::Result<StreamSeq> {
    let event = ControlEvent::VaultKekIntroduced(VaultKekIntroduced {
        kek: kek.to_string(),
        at: SystemClock.now(),
    });
    let (aggregate, id) = event.aggregate();
    let record = NewRecord {
        subject: ControlSubject::global(aggregate, id)?.to_string(),
        event: event.name(),
        actor: Actor::Operator("cli".into()).to_string(),
        traceparent: None,
        origin: None,
        payload: Bytes::from(event.encode()),
    };
    let expect = Expectation::LastOn {
        filter: ControlSubject::global_of_kind(KEK)?,
        seq: after.map_or(StreamSeq(0), |after| after.seq),
    };
    let append = Append {
        stream: Stream::Control,
        records: vec![record],
        expect,
        atomicity: Atomicity::Atomic,
        msg_id: None,
    };
    match log.append(append).await {
        Ok(appended) => Ok(appended.seqs.last().copied().unwrap_or_default()),
        Err(AppendError::Conflict { .. }) => {
            bail!("somebody else rotates the vault at this moment; run this again when it is done")
        }
        Err(error) => Err(error.into()),
    }
}
