//! The next tasks that an operation goes through.

use waybill_domain::task::{Status, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_store::View;

use super::keys::Place;
use super::list::{self, Plan, Seen};
use super::matching;
use super::page::{self, InvalidQuery};
use super::reader::ReaderError;
use crate::query::{MAX_LIMIT, SelectTasks, Selection, Target, TaskFilter};

pub(super) fn select(
    view: &View<'_>,
    query: &SelectTasks,
    now: Timestamp,
) -> Result<Selection, ReaderError> {
    let cursor = check(query)?;
    let filter = &query.filter;
    let cancelled = query.or_cancelled_since.map(|since| TaskFilter {
        status: None,
        statuses: vec![Status::Cancelled],
        completed_after: Some(since),
        ..filter.clone()
    });
    // Which tasks are walked through; each is compared with the filters.
    let mut walked = filter.clone();
    if cancelled.is_some() && !walked.wanted().is_empty() {
        walked.statuses.push(Status::Cancelled);
    }
    let plan = Plan::choose(view, &query.team, &walked)?;
    let mut sides = plan.sides(view, &walked, cursor)?;
    let mut seen = Seen::default();
    let (mut rows, mut count, mut last) = (Vec::new(), 0, None);
    let is_complete = loop {
        let Some(found) = list::newest(&mut sides)? else {
            break true;
        };
        let is_full = query.limit > 0 && rows.len() >= usize::from(query.limit);
        if is_full || !seen.has_room() {
            break false;
        }
        seen.take_in(found.place);
        last = Some(found.place);
        let row = list::row(view, found.place)?;
        if is_wanted(view, &row, filter, cancelled.as_ref(), now)? {
            count += 1;
            if query.limit > 0 {
                rows.push(row);
            }
        }
    };
    let next = last.filter(|_| !is_complete);
    Ok(Selection {
        rows,
        count,
        next: next.map(|place| page::write_cursor(page::TASKS_CURSOR, place.to_bytes())),
    })
}

fn is_wanted(
    view: &View<'_>,
    row: &TaskRow,
    filter: &TaskFilter,
    cancelled: Option<&TaskFilter>,
    now: Timestamp,
) -> Result<bool, ReaderError> {
    if matching::matches(view, row, filter, now)? {
        return Ok(true);
    }
    match cancelled {
        Some(cancelled) => matching::matches(view, row, cancelled, now),
        None => Ok(false),
    }
}

fn check(query: &SelectTasks) -> Result<Option<Place>, InvalidQuery> {
    if query.limit > MAX_LIMIT {
        let message = format!("limit must be at most {MAX_LIMIT}, not {}", query.limit);
        return Err(InvalidQuery::new("limit", message));
    }
    if let Some(Target::Exact(text) | Target::Prefix(text)) = &query.filter.target {
        page::check_text("target", Some(text))?;
    }
    page::check_text("q", query.filter.q.as_deref())?;
    matching::check(&query.filter)?;
    let cursor = query.cursor.as_deref();
    let cursor = cursor.map(|text| page::read_cursor(page::TASKS_CURSOR, text));
    Ok(cursor.transpose()?.map(Place::from_bytes))
}
