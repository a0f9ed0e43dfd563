//! Records that every reader must ignore, as a broken or hostile writer could store them in either
//! log.

use anyhow::{Context, Result};
use waybill_domain::actor::Actor;
use waybill_domain::event::TaskEvent;
use waybill_domain::id::TeamId;
use waybill_domain::partition::Partition;
use waybill_domain::time::Timestamp;
use waybill_log::subject::{ControlSubject, TaskSubject};
use waybill_log::{
    Append, Atomicity, Expectation, JetStreamLog, Log, NewRecord, Record, Stream, StreamSeq,
};

/// How many messages back to look for a creation to copy.
const LOOK_BACK: u64 = 500;
/// Bytes that are not valid MessagePack.
const GARBAGE: &[u8] = &[0xc1, 0xff, 0x00, 0xc1];

/// Stores one record of each kind, and returns their positions.
pub(crate) async fn plant(log: &JetStreamLog) -> Result<Vec<(Stream, StreamSeq)>> {
    let record = newest_creation(log).await?;
    let TaskSubject::Event {
        partition,
        team,
        queue,
        event,
    } = TaskSubject::parse(&record.subject).context("the subject of a creation")?
    else {
        anyhow::bail!("{} is no subject of an event", record.subject);
    };
    let another = another(log, partition)?;
    // Use a team that does not exist: an unreadable record would rightly close access to an
    // existing one.
    let nobody = TeamId::new(Timestamp(1), 1);
    let planted = [
        // Undecodable, on a subject where it would count.
        (
            Stream::Tasks,
            record.subject.clone(),
            "task.created",
            GARBAGE.to_vec(),
        ),
        // Decodable, but stored under the wrong partition.
        (
            Stream::Tasks,
            TaskSubject::Event {
                partition: another,
                team,
                queue,
                event,
            }
            .to_string(),
            "task.created",
            record.payload.to_vec(),
        ),
        (
            Stream::Control,
            ControlSubject::team(&nobody).to_string(),
            "team.created",
            GARBAGE.to_vec(),
        ),
    ];
    let mut at = Vec::new();
    for (stream, subject, event, payload) in planted {
        let appended = log
            .append(Append {
                stream,
                records: vec![NewRecord {
                    subject,
                    event,
                    actor: Actor::worker().to_string(),
                    traceparent: None,
                    origin: None,
                    payload: payload.into(),
                }],
                expect: Expectation::None,
                atomicity: Atomicity::Atomic,
                msg_id: None,
            })
            .await?;
        at.extend(appended.seqs.into_iter().map(|seq| (stream, seq)));
    }
    Ok(at)
}

/// The newest creation that is stored.
async fn newest_creation(log: &JetStreamLog) -> Result<Record> {
    let bounds = log.bounds(Stream::Tasks).await?;
    let (positions, last) = (bounds.positions, bounds.last);
    let from = positions.message(last).saturating_sub(LOOK_BACK).max(1);
    let from = positions.first_in(from).max(bounds.first);
    let records = log
        .range(Stream::Tasks, &[], from, last, usize::MAX)
        .await?;
    records
        .into_iter()
        .rev()
        .find(|record| {
            let event = TaskEvent::decode(&record.event, &record.payload);
            matches!(event, Ok(TaskEvent::Created(_)))
        })
        .context("a task was created lately")
}

fn another(log: &JetStreamLog, partition: Partition) -> Result<Partition> {
    log.partitions()
        .all()
        .find(|other| *other != partition)
        .context("there are several partitions")
}
