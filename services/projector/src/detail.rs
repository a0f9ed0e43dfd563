//! The large parts of a task, read from the log by the sequences in its row.

use waybill_domain::event::task::USUAL_ANSWER_BYTES;
use waybill_domain::event::{TaskEnd, TaskEvent};
use waybill_domain::task::TaskRow;
use waybill_domain::task::row::AnswerSummary;
use waybill_log::{Log, ReadError, Stream, StreamSeq, TaskRecord, task_record};

use crate::query::{Detail, TaskDetail};

/// Reads headers and body from the creation or its latest restatement, and the answer from the end.
pub async fn read(log: &dyn Log, row: &TaskRow) -> Result<Detail, ReadError> {
    read_with(log, row, Answers::All).await
}

/// Which answers to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// Those of any size.
    All,
    /// Only those with a body of the usual size. Others would fill a list, and cost a read of a
    /// megabyte each.
    Usual,
}

pub(crate) async fn read_with(
    log: &dyn Log,
    row: &TaskRow,
    answers: Answers,
) -> Result<Detail, ReadError> {
    let stored = event(log, row.stored_seq).await?;
    let Some(created) = stored.and_then(TaskEvent::into_request) else {
        return Ok(Detail::Dropped);
    };
    let ended = match row.ended_seq {
        Some(seq) if row.answer.is_some_and(|answer| answers.include(answer)) => {
            event(log, seq).await?
        }
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
        body_encoding: created.body_encoding,
        resolve: created.resolve,
        result,
        job_tags: created.job.and_then(|job| job.tags),
    })))
}

impl Answers {
    fn include(self, answer: AnswerSummary) -> bool {
        match self {
            Self::All => true,
            Self::Usual => answer.body_bytes <= u64::from(USUAL_ANSWER_BYTES),
        }
    }
}

async fn event(log: &dyn Log, seq: StreamSeq) -> Result<Option<TaskEvent>, ReadError> {
    let Some(record) = log.read(Stream::Tasks, seq).await? else {
        return Ok(None);
    };
    // A record that does not count is treated like a purged one; the row says that it is damaged.
    Ok(match task_record(&record) {
        Ok(TaskRecord::Event(event)) => Some(event),
        Ok(TaskRecord::Owned(..)) | Err(_) => None,
    })
}
