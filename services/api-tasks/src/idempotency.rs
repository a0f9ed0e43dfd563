//! `Idempotency-Key`: a repeated creation answers with the first task.
//!
//! Two memories together have no gap. The server remembers message ids for two minutes and refuses a second message of the same id,
//! also between gateways. The projector's index knows every older key: a replica answers only when it had read, within the last minute,
//! everything that the log then held. The index is asked first, then the log decides.

use sha2::{Digest, Sha256};
use waybill_domain::event::{TaskCreated, TaskEvent};
use waybill_domain::id::TeamId;
use waybill_domain::task::TaskSpec;
use waybill_log::{
    Append, Atomicity, Expectation, MsgId, Stream, StreamSeq, TaskRecord, task_record,
};
use waybill_projector::query::IdempotentTask;

use super::accept::{Accepted, Accepting};
use super::lookup;
use super::object::{Attempts, Task};
use crate::credentials::Checked;
use waybill_edge::error::{ApiError, ErrorCode};
use waybill_edge::idempotency::Repeat;

/// The outcome of a creation.
pub enum Outcome {
    /// A task was created.
    First(Task),
    /// The task that had been created before, as it is now.
    Replayed(Task),
}

impl Outcome {
    /// The task, and whether it had been created before.
    #[must_use]
    pub fn into_parts(self) -> (Task, bool) {
        match self {
            Self::First(task) => (task, false),
            Self::Replayed(task) => (task, true),
        }
    }
}

/// What is asked for, to be compared with what was.
#[derive(Clone, Copy)]
struct Asked<'a> {
    spec: &'a TaskSpec,
    /// The fingerprint before defaults were filled in.
    as_given: Option<&'a str>,
}

impl<'a> Asked<'a> {
    fn of(checked: &'a Checked) -> Self {
        Self {
            spec: &checked.spec,
            as_given: checked.as_given.as_deref(),
        }
    }

    fn fingerprint(self) -> String {
        let as_given = self.as_given.map(str::to_owned);
        as_given.unwrap_or_else(|| self.spec.fingerprint())
    }
}

/// Creates the task, or finds the one that was created with the key.
pub async fn create(
    accepting: &Accepting<'_>,
    checked: Checked,
    key: String,
) -> Result<Outcome, ApiError> {
    let (state, team) = (accepting.state, accepting.team);
    if let Some(earlier) = state.queries.by_idempotency_key(team, &key).await? {
        let asked = Asked::of(&checked);
        return replay(accepting, asked, earlier).await;
    }
    let msg_id = msg_id(team, &key);
    let (spec, as_given) = (checked.spec.clone(), checked.as_given.clone());
    let asked = Asked {
        spec: &spec,
        as_given: as_given.as_deref(),
    };
    let Accepted { created, record } = accepting.accept(checked, Some(key)).await?;
    let appended = state
        .log
        .append(Append {
            stream: Stream::Tasks,
            records: vec![record],
            expect: Expectation::None,
            atomicity: Atomicity::Ordered,
            msg_id: Some(msg_id),
        })
        .await;
    let appended = match appended {
        Ok(appended) => appended,
        Err(error) => {
            return Err(ApiError::from(error).for_unknown(created.id, Repeat::ByKey));
        }
    };
    accepting.acknowledged(&appended);
    let seq = appended.seqs.first().copied().unwrap_or_default();
    if !appended.duplicate {
        return Ok(Outcome::First(Task::created(created)));
    }
    let stored = match read_back(accepting, seq).await {
        Ok(stored) => stored,
        // Retention took the first message within the server's window. Should its task be open still, the index knows it.
        Err(gone) => {
            let key = created.idempotency_key.as_deref().unwrap_or_default();
            return match state.queries.by_idempotency_key(team, key).await? {
                Some(earlier) => replay(accepting, asked, earlier).await,
                None => Err(gone),
            };
        }
    };
    if stored.id == created.id {
        // The duplicate is this request's own first try, which had been stored.
        return Ok(Outcome::First(Task::created(created)));
    }
    let earlier = IdempotentTask {
        id: stored.id,
        created_seq: seq,
        fingerprint: stored.fingerprint.clone(),
    };
    replay(accepting, asked, earlier).await
}

async fn replay(
    accepting: &Accepting<'_>,
    asked: Asked<'_>,
    earlier: IdempotentTask,
) -> Result<Outcome, ApiError> {
    if earlier.fingerprint.as_deref() != Some(&asked.fingerprint()) {
        return Err(ApiError::new(
            http::StatusCode::UNPROCESSABLE_ENTITY,
            ErrorCode::IdempotencyMismatch,
            "The Idempotency-Key was used with another request",
        ));
    }
    accepting.tell(earlier.created_seq);
    let now = lookup::find_as_of(
        accepting.state,
        accepting.team,
        earlier.id,
        earlier.created_seq,
    )
    .await;
    let task = match now {
        Ok(found) => Task::read(found, Attempts::Hidden),
        // The task as it was created is a better answer than none. Only projectors know the current state of an old task.
        Err(error) => match read_back(accepting, earlier.created_seq).await {
            Ok(created) => Task::created(created),
            Err(expired) if error.status == http::StatusCode::NOT_FOUND => return Err(expired),
            Err(_) => return Err(error),
        },
    };
    Ok(Outcome::Replayed(task))
}

async fn read_back(accepting: &Accepting<'_>, seq: StreamSeq) -> Result<TaskCreated, ApiError> {
    let record = accepting
        .state
        .log
        .read(Stream::Tasks, seq)
        .await?
        .ok_or_else(|| {
            // Retention took it between the index's answer and now.
            ApiError::conflict(
                ErrorCode::IdempotencyExpired,
                "The Idempotency-Key belongs to a task that is no longer kept; use another key",
            )
        })?;
    match task_record(&record) {
        Ok(TaskRecord::Event(TaskEvent::Created(created))) if created.team == *accepting.team => {
            Ok(*created)
        }
        Ok(_) => Err(ApiError::internal(&format!(
            "no task of the team is stored at {seq}"
        ))),
        Err(error) => Err(ApiError::internal(&error)),
    }
}

/// The message id by which the server recognises duplicates. It covers the team, since two teams may use the same key.
#[must_use]
pub fn msg_id(team: &TeamId, key: &str) -> MsgId {
    let digest = Sha256::new()
        .chain_update(team.as_str())
        .chain_update([0])
        .chain_update(key)
        .finalize();
    MsgId(format!("idem-{}", hex::encode(digest)))
}
