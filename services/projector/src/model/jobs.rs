//! Jobs: lists of them in any order, and how many there are.

use std::cmp::Reverse;

use waybill_domain::id::{QueueName, TaskId, TeamId};
use waybill_domain::task::{JobStatus, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_store::{KeyRange, View};

use super::counts::Counts;
use super::keys::{self, Place};
use super::list::{self, Plan, Seen};
use super::page::{self, InvalidQuery};
use super::reader::ReaderError;
use super::{BY_ID, DELAYED, JOB_COUNTS, REPLAYS, TASKS, decode, row_error};
use crate::query::{
    CountJobs, JobCounts, JobOrder, JobPage, ListJobs, ListedJob, MAX_OFFSET, MAX_SCAN, TaskFilter,
};

/// Tasks that do one again of which one may be its job that goes on. More than one takes a replay
/// through the native API.
const MAX_REPLAYS: usize = 16;

/// The slot of a task in the numbers of jobs, by its stored status; `None` if it counts nowhere.
pub(super) fn slot(row: &TaskRow) -> Option<usize> {
    JobStatus::stored(row).map(|status| status as usize)
}

/// A job that was found: what it is sorted by, and where it is.
type Found = (i64, Place);

pub(super) fn list(
    view: &View<'_>,
    query: &ListJobs,
    now: Timestamp,
) -> Result<JobPage, ReaderError> {
    let limit = page::limit(query.limit)?;
    if query.offset > MAX_OFFSET {
        let message = format!("offset must be at most {MAX_OFFSET}, not {}", query.offset);
        return Err(InvalidQuery::new("offset", message).into());
    }
    page::check_text("q", query.q.as_deref())?;
    page::check_text("job_type", query.job_type.as_deref())?;
    page::check_text("tag", query.tag.as_deref())?;
    let filter = TaskFilter {
        statuses: query
            .statuses
            .iter()
            .flat_map(|status| status.of_tasks())
            .copied()
            .collect(),
        queue: query.queue.clone(),
        created_after: query.created_after,
        created_before: query.created_before,
        hidden: query.hidden.clone(),
        pulled: Some(true),
        ..TaskFilter::default()
    };
    let plan = Plan::choose(view, &query.team, &filter)?;
    let mut sides = plan.sides(view, &filter, None)?;
    let mut seen = Seen::default();
    let mut found: Vec<Found> = Vec::new();
    let skip = usize::try_from(query.offset).unwrap_or(usize::MAX);
    let is_walked = query.order == JobOrder::CreatedAt && !query.ascending;
    let enough = is_walked.then(|| skip.saturating_add(limit + 1));
    let mut left_off = false;
    while enough.is_none_or(|enough| found.len() < enough) {
        let Some(next) = list::newest(&mut sides)? else {
            break;
        };
        if !seen.has_room() {
            left_off = true;
            break;
        }
        seen.take_in(next.place);
        if !next.is_at(now) {
            continue;
        }
        let row = list::row(view, next.place)?;
        if filter.hides(&row) {
            continue;
        }
        if let Some(status) = wanted(view, query, &row, now)? {
            found.push((value(query.order, &row, status), next.place));
        }
    }
    match (is_walked, query.ascending) {
        (true, _) => {}
        (false, true) => found.sort_unstable(),
        (false, false) => found.sort_unstable_by_key(|found| Reverse(*found)),
    }
    let jobs = found.iter().skip(skip).take(limit).map(|(_, place)| {
        let row = list::row(view, *place)?;
        let status = JobStatus::of(&row, now);
        let status = status.ok_or_else(|| row_error(TASKS, "a listed task that is no job"))?;
        Ok(ListedJob { status, row })
    });
    Ok(JobPage {
        jobs: jobs.collect::<Result<_, ReaderError>>()?,
        has_more: left_off || found.len() > skip.saturating_add(limit),
    })
}

/// What a job is sorted by.
fn value(order: JobOrder, row: &TaskRow, status: JobStatus) -> i64 {
    match order {
        JobOrder::CreatedAt => row.created_at.0,
        JobOrder::UpdatedAt => row.updated_at.0,
        JobOrder::Priority => row.priority.value().into(),
        JobOrder::ScheduledAt => row.retry_at.or(row.not_before).map_or(i64::MIN, |at| at.0),
        JobOrder::Status => {
            let before = |other: &&JobStatus| other.as_str() < status.as_str();
            let place = JobStatus::ALL.iter().filter(before).count();
            i64::try_from(place).unwrap_or(i64::MAX)
        }
    }
}

/// The status of a task, if it is a job that is asked for.
fn wanted(
    view: &View<'_>,
    query: &ListJobs,
    row: &TaskRow,
    now: Timestamp,
) -> Result<Option<JobStatus>, ReaderError> {
    let Some(status) = JobStatus::of(row, now) else {
        return Ok(None);
    };
    let job_type = || row.job.as_ref().and_then(|job| job.job_type.as_deref());
    let is_wanted = (query.statuses.is_empty() || query.statuses.contains(&status))
        && query.queue.as_ref().is_none_or(|queue| row.queue == *queue)
        && (query.queues.is_empty() || query.queues.contains(&row.queue))
        && (query.job_type.as_ref()).is_none_or(|wanted| job_type() == Some(wanted.as_str()))
        && (query.tag.as_ref())
            .is_none_or(|tag| row.job.as_ref().is_some_and(|job| job.has_tag(tag)))
        && query.q.as_ref().is_none_or(|q| {
            let q = q.to_lowercase();
            row.job_root().uuid_text().starts_with(&q)
                || row.queue.as_str().to_lowercase().contains(&q)
                || job_type().is_some_and(|of| of.to_lowercase().contains(&q))
        });
    if !is_wanted || (status.is_final() && goes_on(view, row)?) {
        return Ok(None);
    }
    Ok(Some(status))
}

/// Whether the job of an ended task goes on as another task.
fn goes_on(view: &View<'_>, row: &TaskRow) -> Result<bool, ReaderError> {
    let range = KeyRange::prefix(&keys::replays(row.id));
    for entry in view.range(REPLAYS, &range)?.take(MAX_REPLAYS) {
        let replay: TaskId = decode(REPLAYS, &entry?.1)?;
        let Some(created) = view.get(BY_ID, &keys::id(replay))? else {
            continue;
        };
        let Some(replay) = view.get(TASKS, &created)? else {
            continue;
        };
        let replay: TaskRow = decode(TASKS, &replay)?;
        if replay.job_root() == row.job_root() {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn count(
    view: &View<'_>,
    query: &CountJobs,
    now: Timestamp,
) -> Result<JobCounts, ReaderError> {
    let mut sum = Counts::default();
    let (pending, scheduled) = (JobStatus::Pending as usize, JobStatus::Scheduled as usize);
    let mut scan = MAX_SCAN;
    for row in view.range(JOB_COUNTS, &KeyRange::prefix(&keys::team(&query.team)))? {
        let (key, value) = row?;
        let queue = keys::queue_of_counts(&key)
            .ok_or_else(|| row_error(JOB_COUNTS, "a key without a queue"))?;
        let is_named = query.queue.as_ref().is_none_or(|named| *named == queue)
            && (query.queues.is_empty() || query.queues.contains(&queue));
        if !is_named {
            continue;
        }
        let mut counts: Counts = decode(JOB_COUNTS, &value)?;
        if counts.at(scheduled) > 0 {
            let due = due(view, &query.team, &queue, now, &mut scan)?;
            counts.shift(scheduled, pending, due);
        }
        sum.add(&counts);
    }
    let by_status = JobStatus::ALL.iter().map(|status| sum.at(*status as usize));
    Ok(JobCounts {
        by_status: by_status.collect(),
    })
}

/// How many jobs of a queue are stored as delayed although their delay has passed. Looks at no more
/// than `scan` tasks, and deducts them.
fn due(
    view: &View<'_>,
    team: &TeamId,
    queue: &QueueName,
    now: Timestamp,
    scan: &mut usize,
) -> Result<u64, ReaderError> {
    let prefix = keys::queue(team, queue);
    let end = [&prefix[..], &(keys::millis(now) + 1).to_be_bytes()].concat();
    let mut count = 0;
    for entry in view.range(DELAYED, &KeyRange::prefix(&prefix).before(&end))? {
        if *scan == 0 {
            break;
        }
        *scan -= 1;
        let (key, _) = entry?;
        let place = Place::at_end_of(&key);
        let place = place.ok_or_else(|| row_error(DELAYED, "a key without a place"))?;
        if slot(&list::row(view, place)?).is_some() {
            count += 1;
        }
    }
    Ok(count)
}
