//! Claims of pulled tasks, as all APIs for workers have them: what a worker is given, and what it reports.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::future::{BoxFuture, try_join_all};
use serde_json::value::RawValue;
use waybill_domain::access::plan::Plan;
use waybill_domain::command::ClaimedTask;
use waybill_domain::event::{Answer, BodyEncoding, TaskCreated, TaskEvent};
use waybill_domain::workflow::places;
use waybill_log::position::PLACE_BITS;
use waybill_log::{Log, Record, Stream, StreamSeq, TaskRecord, task_record};

use crate::error::ApiError;
use crate::state::Edge;

/// The requests of claimed tasks with the results that they take over, in their order: as their owner had them at hand, else from the log.
///
/// # Errors
/// If the log cannot be read, or does not have one of them.
pub fn requests_of<'a>(
    state: &'a Edge,
    tasks: &'a [ClaimedTask],
) -> BoxFuture<'a, Result<Vec<TaskCreated>, ApiError>> {
    Box::pin(async move {
        let carried: Vec<_> = tasks.iter().map(carried).collect();
        let missing = tasks.iter().zip(&carried);
        let missing = missing.filter(|(_, carried)| carried.is_none());
        let missing = missing.map(|(task, _)| task.stored).collect();
        let mut stored = stored(&*state.log, missing).await?;
        let requests = tasks.iter().zip(carried).map(|(task, carried)| {
            let created = carried.or_else(|| stored.remove(&task.stored));
            let created = created.ok_or_else(|| {
                ApiError::internal(&"the request of a claimed task is not in the log")
            })?;
            places::fill_in(created, &task.given).map_err(|why| ApiError::internal(&why))
        });
        requests.collect()
    })
}

fn carried(task: &ClaimedTask) -> Option<TaskCreated> {
    let encoded = task.creation.as_ref()?;
    TaskEvent::decode("task.created.v1", &encoded.0)
        .ok()?
        .into_request()
}

/// The requests that were stored at these positions. Tasks that are claimed together were often created together, and a message of the log
/// comes as a whole however little of it is wanted: so each is read once. Where a single event of
/// it is wanted, the others are not unpacked.
async fn stored(
    log: &dyn Log,
    positions: Vec<StreamSeq>,
) -> Result<HashMap<StreamSeq, TaskCreated>, ApiError> {
    let mut messages: BTreeMap<u64, BTreeSet<StreamSeq>> = BTreeMap::new();
    for position in positions {
        let message = position.0 >> PLACE_BITS;
        messages.entry(message).or_default().insert(position);
    }
    let read = messages.into_values().map(async |mut wanted| {
        let mut found = Vec::new();
        // Of a log from before frames, these are several messages.
        while let Some(&first) = wanted.first() {
            let records = match wanted.len() {
                1 => log.read(Stream::Tasks, first).await?.into_iter().collect(),
                _ => log.read_message(Stream::Tasks, first).await?,
            };
            for record in records {
                if wanted.remove(&record.seq) {
                    found.extend(request(&record).map(|created| (record.seq, created)));
                }
            }
            wanted.remove(&first);
        }
        Ok::<_, ApiError>(found)
    });
    let read = try_join_all(read).await?;
    Ok(read.into_iter().flatten().collect())
}

fn request(record: &Record) -> Option<TaskCreated> {
    match task_record(record) {
        Ok(TaskRecord::Event(event)) => event.into_request(),
        Ok(TaskRecord::Owned(..)) | Err(_) => None,
    }
}

/// What a worker completed a task with, as the answer of a target would be.
///
/// # Errors
/// If it is larger than the plan stores.
pub fn as_answer(result: Option<Box<RawValue>>, plan: &Plan) -> Result<Answer, ApiError> {
    let body = result.map(|json| json.get().to_owned());
    let body = body.unwrap_or_default();
    let most = usize::try_from(plan.max_answer_bytes).unwrap_or(usize::MAX);
    if body.len() > most {
        return Err(ApiError::too_large(most));
    }
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Ok(Answer {
        status: 200,
        headers: if body.is_empty() { Vec::new() } else { headers },
        body_bytes: body.len() as u64,
        body,
        encoding: BodyEncoding::Text,
        duration_ms: 0,
        header_bytes: None,
    })
}
