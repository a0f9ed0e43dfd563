//! Finding a job by its UUID. One that is missing, of another team or in a queue that the key is kept from is 404, all alike.

use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::access::team::Team;
use waybill_domain::id::TaskId;
use waybill_domain::operation::retry_key;
use waybill_domain::seq::StreamSeq;
use waybill_domain::task::{JobStatus, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::Need;
use waybill_edge::error::ApiError;
use waybill_projector::query::{
    Detail, GetFlow, GetTask, ListTasks, MAX_LIMIT, Page, Position, TaskFilter, TaskView,
};

/// A job goes on as another task at most so often; then the last one that was found is shown.
const MAX_RETRIES: usize = 1_000;

/// A job as it is now.
pub struct Found {
    pub status: JobStatus,
    pub view: TaskView,
}

impl Found {
    pub fn row(&self) -> &TaskRow {
        &self.view.row
    }
}

pub fn no_such_job() -> ApiError {
    ApiError::not_found("Job not found")
}

/// 128 bits as a UUID.
#[must_use]
pub fn uuid_text(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

/// Reads a UUID in any case.
pub fn uuid(text: &str) -> Option<u128> {
    let dashes = [8, 13, 18, 23];
    let is_uuid = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| {
            if dashes.contains(&at) {
                byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        });
    is_uuid
        .then(|| u128::from_str_radix(&text.replace('-', ""), 16).ok())
        .flatten()
}

/// The job with that id, with its payload and result.
pub async fn whole<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    id: &str,
) -> Result<Found, ApiError> {
    let mut found = row(state, caller, id).await?;
    if found.view.detail == Detail::Omitted {
        found.view.detail = waybill_projector::detail::read(&*state.log, found.row()).await?;
    }
    Ok(found)
}

/// The same without its large parts.
pub async fn row<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    id: &str,
) -> Result<Found, ApiError> {
    as_of(state, caller, id, state.acknowledged.to(&caller.team)).await
}

/// How a job stands.
pub struct Standing {
    pub status: JobStatus,
    /// The row of its task.
    pub row: TaskRow,
    /// The last position that the row knows of.
    pub seq: StreamSeq,
}

/// How the job with that id stands, as of a position in TASKS at least.
///
/// # Errors
/// 404 if it is missing, another team's or in a queue that the caller may not use.
pub async fn standing<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    id: &str,
    min_seq: StreamSeq,
) -> Result<Standing, ApiError> {
    let min_seq = min_seq.max(state.acknowledged.to(&caller.team));
    let found = as_of(state, caller, id, min_seq).await?;
    let seq = found.row().seq;
    Ok(Standing {
        status: found.status,
        row: found.view.row,
        seq,
    })
}

/// The same, as of a position in TASKS at least.
pub async fn as_of<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    id: &str,
    min_seq: StreamSeq,
) -> Result<Found, ApiError> {
    let mut views = walk(state, caller, id, min_seq).await?;
    let view = views.pop().ok_or_else(no_such_job)?;
    let status =
        JobStatus::of(&view.row, entropy::now()).filter(|_| !is_hidden(state, caller, &view.row));
    match status {
        Some(status) => Ok(Found { status, view }),
        None => Err(no_such_job()),
    }
}

/// The tasks that a job was, in their order: it goes on as another one when it is retried after its end.
pub async fn tasks<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    id: &str,
) -> Result<Vec<TaskRow>, ApiError> {
    let views = walk(state, caller, id, state.acknowledged.to(&caller.team)).await?;
    let last = views.last().ok_or_else(no_such_job)?;
    let is_job = JobStatus::of(&last.row, entropy::now()).is_some();
    if !is_job || is_hidden(state, caller, &last.row) {
        return Err(no_such_job());
    }
    Ok(views.into_iter().map(|view| view.row).collect())
}

async fn walk<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    id: &str,
    min_seq: StreamSeq,
) -> Result<Vec<TaskView>, ApiError> {
    let uuid = uuid(id).ok_or_else(no_such_job)?;
    let first = match get(state, TaskId::from_uuid(uuid), min_seq).await? {
        Some(view) => Some(view),
        None => by_time(state, caller, uuid, min_seq).await?,
    };
    let is_shown = |view: &TaskView| {
        let row = &view.row;
        row.team == caller.team && caller.may_use(&row.queue).is_ok() && row.is_pulled()
    };
    let mut view = first.filter(is_shown).ok_or_else(no_such_job)?;
    let mut passed = Vec::new();
    for _ in 0..MAX_RETRIES {
        let Some(next) = goes_on(state, caller, &view, min_seq).await? else {
            break;
        };
        passed.push(view);
        view = next;
    }
    passed.push(view);
    Ok(passed)
}

async fn get(
    state: &TasksApi,
    id: TaskId,
    min_seq: StreamSeq,
) -> Result<Option<TaskView>, ApiError> {
    let query = GetTask {
        id,
        team: None,
        detail: false,
    };
    let asked = state.queries.ask(query, Position::tasks(min_seq));
    Ok(asked.await?.value)
}

/// A task whose id was not made to be found by its UUID: it was created in the millisecond that the UUID names.
async fn by_time<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    uuid: u128,
    min_seq: StreamSeq,
) -> Result<Option<TaskView>, ApiError> {
    let at = TaskId::from_uuid(uuid).made_at();
    let mut page = Page {
        limit: MAX_LIMIT,
        ..Page::default()
    };
    loop {
        let list = ListTasks {
            team: caller.team.clone(),
            filter: TaskFilter {
                created_after: Some(at),
                created_before: Some(Timestamp(at.0 + 1)),
                ..TaskFilter::default()
            },
            page: page.clone(),
            detail: false,
        };
        let found = state.queries.list(list, min_seq).await?.value;
        let mut tasks = found.tasks.into_iter();
        if let Some(view) = tasks.find(|view| view.row.id.uuid() == uuid) {
            return Ok(Some(view));
        }
        match found.next {
            Some(next) => page.cursor = Some(next),
            None => return Ok(None),
        }
    }
}

/// The task as which the job of an ended one goes on.
async fn goes_on<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    view: &TaskView,
    min_seq: StreamSeq,
) -> Result<Option<TaskView>, ApiError> {
    if view.replayed_as.is_none() {
        return Ok(None);
    }
    let key = retry_key(view.row.id);
    let next = state.queries.by_idempotency_key(&caller.team, &key).await?;
    let Some(next) = next else { return Ok(None) };
    let next = get(state, next.id, min_seq.max(next.created_seq)).await?;
    Ok(next.filter(|next| next.row.job_root() == view.row.job_root()))
}

/// Whether the queue of an ended job no longer shows it.
fn is_hidden<N: Need>(state: &TasksApi, caller: &Caller<N>, row: &TaskRow) -> bool {
    let shows_from = |of: &Team| {
        let queue = of.queue(caller.team.environment(), &row.queue)?;
        queue.shows_from(entropy::now())
    };
    let directory = state.auth.directory();
    let from = directory.with_team(&caller.team.base(), shows_from);
    from.flatten().is_some_and(|from| row.is_over_since(from))
}

/// Whether those that a job runs after let it run.
pub async fn dependencies_met<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    found: &Found,
) -> Result<bool, ApiError> {
    let member = found.row().member.as_deref();
    let waits = matches!(found.status, JobStatus::Pending | JobStatus::Scheduled);
    let Some(member) = member.filter(|member| waits && !member.after.is_empty()) else {
        return Ok(true);
    };
    let query = GetFlow {
        team: caller.team.clone(),
        workflow: member.workflow.clone(),
    };
    let known = Position::tasks(state.acknowledged.to(&caller.team));
    let flow = state.queries.ask(query, known).await?.value;
    Ok(flow.is_some_and(|flow| flow.lets_run(&member.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::partition::Partition;

    #[test]
    fn a_uuid_is_read_as_it_is_written_and_in_no_other_form() {
        let partition = Partition::new(1_023).expect("a partition");
        let id = TaskId::with_uuid(Timestamp(1_800_000_000_000), 7, partition);
        let text = id.uuid_text();
        assert_eq!(uuid(&text), Some(id.uuid()));
        assert_eq!(uuid(&text.to_uppercase()), Some(id.uuid()));
        assert_eq!(TaskId::from_uuid(id.uuid()), id);
        for other in [
            text.replace('-', ""),
            format!("{{{text}}}"),
            text.replacen('-', "+", 1),
            format!("+{}", &text[1..]),
            id.to_string(),
            String::new(),
        ] {
            assert_eq!(uuid(&other), None, "{other}");
        }
    }
}
