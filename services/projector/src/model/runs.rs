//! What became of the instants of schedules: tasks that were made of them, and instants that did
//! not fire.

use waybill_domain::event::ScheduleSettled;
use waybill_domain::task::TaskRow;
use waybill_domain::time::Timestamp;
use waybill_log::StreamSeq;
use waybill_store::{Batch, KeyRange, View};

use super::keys::{self, Place};
use super::page;
use super::reader::ReaderError;
use super::{IDEMPOTENCY, RUNS, decode, list, row_error};
use crate::query::{
    AreKeysUsed, ListRuns, MAX_KEYS, MAX_TALLIED, Run, RunPage, RunTally, TallyRuns,
};

/// Adds a task, if it is the run of a schedule.
pub(super) fn put_task(batch: &mut Batch, row: &TaskRow) {
    if let Some(run) = &row.schedule {
        let key = keys::run_at(&row.team, &run.schedule, Place::of(row));
        batch.put(RUNS, key, []);
    }
}

/// Removes a task.
pub(super) fn remove_task(batch: &mut Batch, row: &TaskRow) {
    if let Some(run) = &row.schedule {
        batch.delete(RUNS, keys::run_at(&row.team, &run.schedule, Place::of(row)));
    }
}

/// Adds instants that did not fire. Their rows have a value, by which they are told from tasks.
pub(super) fn put_settled(batch: &mut Batch, seq: StreamSeq, settled: &ScheduleSettled) {
    let team = settled.team.in_environment(settled.environment);
    let place = Place {
        at: keys::millis(settled.at),
        seq,
    };
    let key = keys::run_at(&team, &settled.schedule, place);
    // By the names of its fields, since not all of them are always there.
    let value = rmp_serde::to_vec_named(settled).unwrap_or_default();
    batch.put(RUNS, key, value);
}

pub(super) fn list(
    view: &View<'_>,
    query: &ListRuns,
    now: Timestamp,
) -> Result<RunPage, ReaderError> {
    let limit = page::limit(query.limit)?;
    let cursor = query.cursor.as_deref();
    let cursor = cursor.map(|text| page::read_cursor(page::RUNS_CURSOR, text));
    let prefix = keys::runs(&query.team, &query.schedule);
    let mut range = KeyRange::prefix(&prefix).descending();
    if let Some(cursor) = cursor.transpose()? {
        range = range.before(&[&prefix[..], &cursor].concat());
    }
    let mut page = RunPage {
        runs: Vec::new(),
        next: None,
    };
    let mut last = None;
    for entry in view.range(RUNS, &range)? {
        let (key, value) = entry?;
        if page.runs.len() == limit {
            page.next =
                last.map(|place: Place| page::write_cursor(page::RUNS_CURSOR, place.to_bytes()));
            break;
        }
        let place =
            Place::at_end_of(&key).ok_or_else(|| row_error(RUNS, "a key without a place"))?;
        last = Some(place);
        page.runs.push(if value.is_empty() {
            let row = list::row(view, place)?;
            let status = row.status_at(now);
            let run = row.schedule;
            let run = run.ok_or_else(|| row_error(RUNS, "a task that is no run"))?;
            Run::Made {
                task: row.id,
                run: *run,
                status,
                end_reason: row.end_reason,
                at: row.created_at,
            }
        } else {
            Run::Not(Box::new(decode(RUNS, &value)?))
        });
    }
    Ok(page)
}

pub(super) fn tally(view: &View<'_>, query: &TallyRuns) -> Result<Vec<RunTally>, ReaderError> {
    if query.schedules.len() > MAX_KEYS {
        let given = query.schedules.len();
        let message = format!("at most {MAX_KEYS} schedules are tallied at once, not {given}");
        return Err(page::InvalidQuery::new("schedules", message).into());
    }
    let mut tallies = Vec::with_capacity(query.schedules.len());
    for schedule in &query.schedules {
        let mut tally = RunTally::default();
        let range = KeyRange::prefix(&keys::runs(&query.team, schedule)).descending();
        for entry in view.range(RUNS, &range)? {
            let (key, value) = entry?;
            // Instants that did not fire have one.
            if !value.is_empty() {
                continue;
            }
            if tally.last_at.is_none() {
                let place = Place::at_end_of(&key);
                let place = place.ok_or_else(|| row_error(RUNS, "a key without a place"))?;
                let millis = i64::try_from(place.at).unwrap_or(i64::MAX);
                tally.last_at = Some(Timestamp(millis));
            }
            tally.count += 1;
            if tally.count == MAX_TALLIED {
                break;
            }
        }
        tallies.push(tally);
    }
    Ok(tallies)
}

pub(super) fn are_keys_used(
    view: &View<'_>,
    query: &AreKeysUsed,
) -> Result<Vec<bool>, ReaderError> {
    if query.keys.len() > MAX_KEYS {
        let given = query.keys.len();
        let message = format!("at most {MAX_KEYS} keys are looked up at once, not {given}");
        return Err(page::InvalidQuery::new("keys", message).into());
    }
    let mut used = Vec::with_capacity(query.keys.len());
    for (team, key) in &query.keys {
        let range = KeyRange::prefix(&keys::idempotency(team, key));
        let known = view.range(IDEMPOTENCY, &range)?.next().transpose()?;
        used.push(known.is_some());
    }
    Ok(used)
}
