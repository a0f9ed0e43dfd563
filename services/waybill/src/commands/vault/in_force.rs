//! The KEK in force, to which gateways seal: the one that the log names last, or the first of their ring if it names none.

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

/// Attempts to append after the last record. More than one is needed only where somebody without the right to writes there.
const ROUNDS: usize = 10;

/// The KEK that the log names.
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
    Ok(last_control_event(log, &subject).await?.is_some())
}

/// Puts a KEK in force in the log, unless somebody has put one in force since `after`.
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
    let filter = ControlSubject::global_of_kind(KEK)?;
    for _ in 0..ROUNDS {
        // The server counts every record, also an ignored one. So the expectation names the last of all, and what was
        // decided on is compared after that was read: an event that comes meanwhile is seen here or is a conflict.
        let last = log.last(Stream::Control, &filter).await?;
        let now = introduced(log).await?;
        if now.map(|now| now.seq) != after.map(|after| after.seq) {
            bail!("somebody else rotates the vault at this moment; run this again when it is done");
        }
        let append = Append {
            stream: Stream::Control,
            records: vec![record.clone()],
            expect: Expectation::LastOn {
                filter: filter.clone(),
                seq: last.map_or(StreamSeq(0), |last| last.seq),
            },
            atomicity: Atomicity::Atomic,
            msg_id: None,
        };
        match log.append(append).await {
            Ok(appended) => return Ok(appended.seqs.last().copied().unwrap_or_default()),
            Err(AppendError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("others write to {filter} all the time; `waybill log skipped` lists what does not count")
}
