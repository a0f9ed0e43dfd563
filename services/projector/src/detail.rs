//! What is large about a task, read back from the log by the sequences in its row.

use waybill_domain::event::{TaskEnd, TaskEvent};
use waybill_domain::task::TaskRow;
use waybill_log::{Log, ReadError, Stream, StreamSeq, TaskRecord, task_record};

use crate::query::{Detail, TaskDetail};

/// Headers and body from the creation or its latest restatement, the answer from the end.
pub async fn read(log: &dyn Log, row: &TaskRow) -> Result<Detail, ReadError> {
    let stored = event(log, row.stored_seq).await?;
    let Some(created) = stored.and_then(TaskEvent::into_request) else {
        return Ok(Detail::Dropped);
    };
    let ended = match row.ended_seq {
        Some(seq) if row.answer.is_some() => event(log, seq).await?,
        _ => None,
    };
    let result = match ended.and_then(TaskEvent::into_end) {
        Some(TaskEnd::Succeeded(end)) => Some(end.answer),
        Some(TaskEnd::Dead(end)) => end.answer,
        _ => None,
    };
    Ok(Detail::Read(Box::new(TaskDetail {
        headers: created.headers,
        body: created.body,
        resolve: created.resolve,
        result,
    })))
}

async fn event(log: &dyn Log, seq: StreamSeq) -> Result<Option<TaskEvent>, ReadError> {
    let Some(record) = log.read(Stream::Tasks, seq).await? else {
        return Ok(None);
    };
    // What does not count is like what is gone: the row says that it is damaged.
    Ok(match task_record(&record) {
        Ok(TaskRecord::Event(event)) => Some(event),
        Ok(TaskRecord::Owned(..)) | Err(_) => None,
    })
}
