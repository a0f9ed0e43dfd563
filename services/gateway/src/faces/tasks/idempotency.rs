//! `Idempotency-Key`: a repeated creation is the first one again.
//!
//! Two memories together have no gap. The server remembers message ids for two minutes and refuses a second message of the same id,
//! also between gateways. The projector's index knows every older key: a replica answers only when it had read, within the last minute,
//! everything that the log then held. The index is asked first, then the log decides.

use http::HeaderMap;
use sha2::{Digest, Sha256};
use waybill_domain::event::{TaskCreated, TaskEvent};
use waybill_domain::id::{TaskId, TeamId};
use waybill_domain::task::TaskSpec;
use waybill_domain::task::spec::check_idempotency_key;
use waybill_log::{Append, Atomicity, Expectation, MsgId, Stream, StreamSeq};
use waybill_projector::query::IdempotentTask;

use super::create::{Accepted, Accepting};
use super::lookup;
use super::object::{Attempts, Task};
use crate::error::ApiError;
use crate::vault::tasks::{self, Checked};

const HEADER: &str = "idempotency-key";

/// What became of a creation.
pub(crate) enum Outcome {
    /// A task was made.
    First(Task),
    /// It had been made before; as it stands now.
    Replayed(Task),
}

impl Outcome {
    /// The task, and whether it had been made before.
    pub(crate) fn into_parts(self) -> (Task, bool) {
        match self {
            Self::First(task) => (task, false),
            Self::Replayed(task) => (task, true),
        }
    }
}

/// The key of a request.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(ApiError::bad_field(
            "Idempotency-Key",
            "Idempotency-Key must be given once",
        ));
    }
    let key = value.to_str().map_err(|_| {
        ApiError::bad_field("Idempotency-Key", "Idempotency-Key must be printable ASCII")
    })?;
    check_idempotency_key(key)?;
    Ok(Some(key.to_owned()))
}

/// Makes the task, or finds the one that the key has made.
pub(crate) async fn create(
    accepting: &Accepting<'_>,
    checked: Checked,
    key: String,
) -> Result<Outcome, ApiError> {
    let (state, team) = (accepting.state, accepting.team);
    if let Some(earlier) = state.queries.by_idempotency_key(team, &key).await? {
        return replay(accepting, &checked.spec, earlier).await;
    }
    let msg_id = msg_id(team, &key);
    let spec = checked.spec.clone();
    let Accepted {
        created,
        record,
        seal,
    } = accepting.accept(checked, Some(key)).await?;
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
            return Err(accepting
                .not_appended(error, seal)
                .for_unknown(created.id, Repeat::ByKey));
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
            tasks::forget(state, seal);
            let key = created.idempotency_key.as_deref().unwrap_or_default();
            return match state.queries.by_idempotency_key(team, key).await? {
                Some(earlier) => replay(accepting, &spec, earlier).await,
                None => Err(gone),
            };
        }
    };
    if stored.id == created.id {
        // The log's own retry met its first try, which had landed.
        return Ok(Outcome::First(Task::created(created)));
    }
    // The credentials of this request are those of no task.
    tasks::forget(state, seal);
    let earlier = IdempotentTask {
        id: stored.id,
        created_seq: seq,
        fingerprint: stored.fingerprint.clone(),
    };
    replay(accepting, &spec, earlier).await
}

async fn replay(
    accepting: &Accepting<'_>,
    spec: &TaskSpec,
    earlier: IdempotentTask,
) -> Result<Outcome, ApiError> {
    if earlier.fingerprint.as_deref() != Some(&spec.fingerprint()) {
        return Err(ApiError::new(
            http::StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_mismatch",
            "The Idempotency-Key was used with another request",
        ));
    }
    let now = lookup::find(
        accepting.state,
        accepting.team,
        earlier.id,
        earlier.created_seq,
    )
    .await;
    let task = match now {
        Ok(found) => Task::read(found.value, Attempts::Hidden),
        // Better the task as it was made than no answer. Of an old task only the projectors know where it stands now.
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
                "idempotency_expired",
                "The Idempotency-Key belongs to a task that is no longer kept; use another key",
            )
        })?;
    match TaskEvent::decode(&record.event, &record.payload) {
        Ok(TaskEvent::Created(created)) if created.team == *accepting.team => Ok(*created),
        Ok(_) => Err(ApiError::internal(&format!(
            "no task of the team is stored at {seq}"
        ))),
        Err(error) => Err(ApiError::internal(&error)),
    }
}

/// What the server tells duplicates by. Bound to the team: keys of other teams are other keys.
fn msg_id(team: &TeamId, key: &str) -> MsgId {
    let digest = Sha256::new()
        .chain_update(team.as_str())
        .chain_update([0])
        .chain_update(key)
        .finalize();
    MsgId(format!("idem-{}", hex::encode(digest)))
}

/// What makes a repeated creation safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It has a key: the same key again makes no second task.
    ByKey,
    /// Nothing but to look whether the task is there.
    AfterLooking,
}

impl ApiError {
    /// Names the task when it may have been stored, and says what its client can do.
    pub(crate) fn for_unknown(mut self, id: TaskId, repeat: Repeat) -> Self {
        if self.body.code != "outcome_unknown" {
            return self;
        }
        self.body.error = match repeat {
            Repeat::ByKey => {
                "The log did not confirm in time; the task may or may not have been accepted. Repeat the request with the same \
                 idempotency key: it makes no second task"
            }
            Repeat::AfterLooking => {
                "The log did not confirm in time; the task may or may not have been accepted. Look for its taskId before you \
                 repeat the request; with an idempotency key it can be repeated without looking"
            }
        }
        .into();
        self.for_task(id.to_string())
    }
}
