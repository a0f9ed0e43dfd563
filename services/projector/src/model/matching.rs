//! Whether a task is one that a filter wants.

use waybill_domain::id::TaskId;
use waybill_domain::task::{Status, TaskRow, cause};
use waybill_domain::time::Timestamp;
use waybill_log::StreamSeq;
use waybill_store::{KeyRange, View};

use super::page::{self, InvalidQuery};
use super::reader::ReaderError;
use super::{REPLAYS, decode, keys, row_error};
use crate::query::{MAX_FILTER_VALUES, TaskFilter, WebhookState};

/// The last task that does an ended one again.
pub(super) fn last_replay(view: &View<'_>, of: TaskId) -> Result<Option<TaskId>, ReaderError> {
    let range = KeyRange::prefix(&keys::replays(of)).descending();
    match view.range(REPLAYS, &range)?.next() {
        Some(row) => Ok(Some(decode(REPLAYS, &row?.1)?)),
        None => Ok(None),
    }
}

/// Checks the sizes of a filter that gateways do not check.
pub(super) fn check(filter: &TaskFilter) -> Result<(), InvalidQuery> {
    page::check_text("errorContains", filter.error.as_deref())?;
    for (field, count) in [
        ("queue", filter.queues.len()),
        ("host", filter.hosts.len()),
        ("httpStatus", filter.http_statuses.len()),
    ] {
        if count > MAX_FILTER_VALUES {
            return Err(InvalidQuery::new(
                field,
                format!("{field} must have at most {MAX_FILTER_VALUES} values, not {count}"),
            ));
        }
    }
    for host in &filter.hosts {
        page::check_text("host", Some(host))?;
    }
    Ok(())
}

pub(super) fn matches(
    view: &View<'_>,
    row: &TaskRow,
    filter: &TaskFilter,
    now: Timestamp,
) -> Result<bool, ReaderError> {
    if !row_matches(row, filter, now) {
        return Ok(false);
    }
    match filter.replayed {
        None => Ok(true),
        Some(wanted) => Ok(is_replayed(view, row.id, filter.up_to)? == wanted),
    }
}

/// Whether a task was replayed, up to a position.
fn is_replayed(view: &View<'_>, of: TaskId, up_to: Option<StreamSeq>) -> Result<bool, ReaderError> {
    let range = KeyRange::prefix(&keys::replays(of));
    let Some(first) = view.range(REPLAYS, &range)?.next() else {
        return Ok(false);
    };
    let (key, _) = first?;
    let at = keys::seq(&key).ok_or_else(|| row_error(REPLAYS, "a key without a sequence"))?;
    Ok(up_to.is_none_or(|up_to| at <= up_to))
}

fn row_matches(row: &TaskRow, filter: &TaskFilter, now: Timestamp) -> bool {
    let status = row.status_at(now);
    let named = || filter.status == Some(status) || filter.statuses.contains(&status);
    let (statuses, hosts) = (&filter.http_statuses, &filter.hosts);
    ((filter.status.is_none() && filter.statuses.is_empty()) || named())
        && !filter.hides(row)
        && filter
            .queue
            .as_ref()
            .is_none_or(|queue| row.queue == *queue)
        && (filter.queues.is_empty() || filter.queues.contains(&row.queue))
        && filter
            .target
            .as_ref()
            .is_none_or(|target| target.matches(&row.url))
        && filter
            .webhook
            .is_none_or(|state| WebhookState::of(row) == Some(state))
        && filter.pulled.is_none_or(|pulled| row.is_pulled() == pulled)
        && filter
            .actor
            .as_ref()
            .is_none_or(|actor| row.created_by.as_ref() == Some(actor))
        && filter.ok.is_none_or(|ok| row.ok == Some(ok))
        && filter.tags.iter().all(|tag| row.tags.contains(tag))
        && (!filter.dead || row.is_dead_letter())
        && filter
            .purgeable_at
            .is_none_or(|at| is_purgeable(row, status, at))
        && filter.up_to.is_none_or(|up_to| row.created_seq <= up_to)
        && filter
            .completed_after
            .is_none_or(|after| row.completed_at.is_some_and(|at| at >= after))
        && filter
            .completed_before
            .is_none_or(|before| row.completed_at.is_some_and(|at| at < before))
        && filter
            .min_attempts
            .is_none_or(|least| attempts(row) >= least)
        && (hosts.is_empty() || hosts.iter().any(|host| cause::is_at(&row.url, host)))
        && (statuses.is_empty()
            || row
                .answer
                .is_some_and(|answer| statuses.iter().any(|wanted| wanted.holds(answer.status))))
        && filter.error.as_ref().is_none_or(|part| {
            row.error
                .as_ref()
                .is_some_and(|error| contains(error, part))
        })
        && filter.q.as_ref().is_none_or(|q| {
            let id = row.id.to_string();
            [row.url.as_str(), row.queue.as_str(), id.as_str()]
                .iter()
                .any(|text| contains(text, q))
        })
}

fn contains(text: &str, part: &str) -> bool {
    text.to_ascii_lowercase()
        .contains(&part.to_ascii_lowercase())
}

/// Whether a purge that began then may be for the task: unless it failed, its status says so.
fn is_purgeable(row: &TaskRow, status: Status, at: Timestamp) -> bool {
    !matches!(status, Status::Failed | Status::Timeout)
        || (row.is_dead()
            && row.completed_at.is_some_and(|ended| ended < at)
            && row.purged_at.is_none_or(|purged| purged >= at))
}

/// How many attempts were made.
fn attempts(row: &TaskRow) -> u32 {
    row.attempts.last().map_or(0, |attempt| attempt.number)
}
