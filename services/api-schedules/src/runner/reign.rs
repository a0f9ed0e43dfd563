//! The fence of whoever runs schedules, and the storing of runs under it.
//!
//! A lease alone lets two gateways run schedules for a moment, and a message that was given up may still arrive. So a gateway that begins
//! announces itself in each partition, and appends a run only if its announcement is the last one there, which the log compares. From then on
//! nothing of anybody before is stored any more, and an index that has read up to then knows every run that has a task. A gateway that
//! does not know what became of an append begins anew: what arrives late is refused.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::actor::Actor;
use waybill_domain::event::SchedulesLed;
use waybill_domain::partition::Partition;
use waybill_edge::error::ApiError;
use waybill_edge::position::PositionSlot;
use waybill_log::subject::TaskSubject;
use waybill_log::{Append, AppendError, Atomicity, Expectation, Log, NewRecord, Stream, StreamSeq};

use super::fire::Run;

/// Announcements under way at a time.
const AT_A_TIME: usize = 16;
/// How often an announcement is tried that another one comes before.
const TRIES: usize = 3;
/// Runs that are stored with one append.
const TOGETHER: usize = 500;

/// The announcements of this gateway.
#[derive(Debug, Default)]
pub(super) struct Reign {
    fences: BTreeMap<Partition, StreamSeq>,
    /// Where TASKS ended after the last of them, or later.
    since: Option<StreamSeq>,
}

impl Reign {
    /// Announces this gateway wherever it has not. Returns up to where an index must have read to know every run that was made before,
    /// but for those that courses know of.
    pub(super) async fn establish(&mut self, state: &TasksApi) -> Result<StreamSeq, ApiError> {
        let all = state.owners.partitions.all();
        let missing: Vec<_> = all.filter(|p| !self.fences.contains_key(p)).collect();
        if let Some(since) = self.since.filter(|_| missing.is_empty()) {
            return Ok(since);
        }
        let announced: Vec<_> = stream::iter(missing)
            .map(async |partition| announce(state, partition).await.map(|seq| (partition, seq)))
            .buffer_unordered(AT_A_TIME)
            .try_collect()
            .await?;
        self.fences.extend(announced);
        let since = state.log.bounds(Stream::Tasks).await?.last;
        self.since = Some(since);
        Ok(since)
    }

    pub(super) fn fence(&self, partition: Partition) -> Option<StreamSeq> {
        self.fences.get(&partition).copied()
    }

    /// It is not known what is stored in the partition.
    pub(super) fn give_up(&mut self, partition: Partition) {
        self.fences.remove(&partition);
    }

    /// Runs were stored that no course knows of.
    pub(super) fn look_again(&mut self) {
        self.since = None;
    }
}

async fn announce(state: &TasksApi, partition: Partition) -> Result<StreamSeq, ApiError> {
    let subject = TaskSubject::schedules(partition).to_string();
    let led = SchedulesLed {
        gateway: state.fence.holder().as_str().to_owned(),
        at: entropy::now(),
    };
    let mut tries = 0;
    loop {
        let last = state.log.last(Stream::Tasks, &subject).await?;
        let appended = state.log.append(Append {
            stream: Stream::Tasks,
            records: vec![NewRecord {
                subject: subject.clone(),
                event: SchedulesLed::NAME,
                actor: Actor::System("schedules".into()).to_string(),
                traceparent: None,
                origin: None,
                payload: led.encode().into(),
            }],
            expect: Expectation::LastOn {
                filter: subject.clone(),
                seq: last.map_or(StreamSeq(0), |record| record.seq),
            },
            atomicity: Atomicity::Atomic,
            msg_id: None,
        });
        tries += 1;
        match appended.await {
            Ok(appended) => return Ok(appended.seqs.first().copied().unwrap_or_default()),
            Err(AppendError::Conflict { .. }) if tries < TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What became of the runs of a partition.
pub(super) struct Stored {
    pub(super) partition: Partition,
    /// In the order of the runs.
    pub(super) outcomes: Vec<Result<(), ApiError>>,
    /// Whether it is known what is stored.
    pub(super) is_certain: bool,
}

/// Stores the runs of a partition in their order, up to the first failure that is not one of a single run.
pub(super) async fn store(
    state: &TasksApi,
    (partition, fence): (Partition, StreamSeq),
    runs: &[&Run],
) -> Stored {
    let mut stored = Stored {
        partition,
        outcomes: Vec::with_capacity(runs.len()),
        is_certain: true,
    };
    let mut together = TOGETHER;
    while let Some(rest) = runs.get(stored.outcomes.len()..)
        && !rest.is_empty()
    {
        let next = &rest[..rest.len().min(together)];
        match append(&*state.log, (partition, fence), next).await {
            Ok(seqs) => {
                for (run, seq) in next.iter().zip(seqs) {
                    state.acknowledge(&PositionSlot::default(), &run.team, seq);
                }
                stored.outcomes.extend(next.iter().map(|_| Ok(())));
            }
            // One of them is not taken, which must not hold up the others.
            Err(AppendError::Rejected { .. }) if next.len() > 1 => together = 1,
            Err(error @ AppendError::Rejected { .. }) => stored.outcomes.push(Err(error.into())),
            Err(error) => {
                stored.is_certain = !matches!(
                    error,
                    AppendError::Conflict { .. } | AppendError::Unknown { .. }
                );
                let error = ApiError::from(error);
                stored
                    .outcomes
                    .resize_with(runs.len(), || Err(error.clone()));
            }
        }
    }
    stored
}

async fn append(
    log: &dyn Log,
    (partition, fence): (Partition, StreamSeq),
    runs: &[&Run],
) -> Result<Vec<StreamSeq>, AppendError> {
    let appended = log.append(Append {
        stream: Stream::Tasks,
        records: runs.iter().map(|run| run.record.clone()).collect(),
        expect: Expectation::LastOn {
            filter: TaskSubject::schedules(partition).to_string(),
            seq: fence,
        },
        atomicity: Atomicity::Atomic,
        msg_id: None,
    });
    appended.await.map(|appended| appended.seqs)
}
