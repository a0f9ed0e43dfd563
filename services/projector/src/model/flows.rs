//! Workflows: which tasks are their members, and how these stand.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use waybill_domain::id::{TaskId, TeamId, WorkflowId};
use waybill_domain::task::{Status, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_domain::workflow::Tally;
use waybill_store::{Batch, KeyRange, View};

use super::keys::{self, Place};
use super::page;
use super::reader::ReaderError;
use super::{FLOW_LIST, FLOWS, decode, encode, list, row_error};
use crate::query::{Flow, FlowMember, FlowPage, FlowSummary, GetFlow, ListFlows};

/// Workflows that one page goes through at most while it looks for those of a status.
const MAX_PASSED: usize = 1_000;

/// How the task of a member stands: enough to count it without reading its row.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    name: String,
    retry: u16,
    status: Status,
    started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
}

/// States how a task stands, if it is a member of a workflow.
pub(super) fn put_task(batch: &mut Batch, row: &TaskRow) {
    let Some(member) = &row.member else { return };
    let place = Place::of(row);
    let entry = Entry {
        name: member.name.clone(),
        retry: member.retry,
        status: row.status,
        started_at: row.started_at,
        completed_at: row.completed_at,
    };
    let key = keys::flow_at(&row.team, &member.workflow, place);
    batch.put(FLOWS, key, encode(&entry));
    if member.about.is_some() {
        let key = keys::by_team(&row.team, place);
        batch.put(FLOW_LIST, key, encode(&member.workflow));
    }
}

/// Removes a task.
pub(super) fn remove_task(batch: &mut Batch, row: &TaskRow) {
    let Some(member) = &row.member else { return };
    let place = Place::of(row);
    batch.delete(FLOWS, keys::flow_at(&row.team, &member.workflow, place));
    if member.about.is_some() {
        batch.delete(FLOW_LIST, keys::by_team(&row.team, place));
    }
}

pub(super) fn get(view: &View<'_>, query: &GetFlow) -> Result<Option<Flow>, ReaderError> {
    let prefix = keys::flow(&query.team, &query.workflow);
    let mut rows: Vec<TaskRow> = Vec::new();
    for entry in view.range(FLOWS, &KeyRange::prefix(&prefix))? {
        let (key, _) = entry?;
        let place =
            Place::at_end_of(&key).ok_or_else(|| row_error(FLOWS, "a key without a place"))?;
        rows.push(list::row(view, place)?);
    }
    Ok(read(rows))
}

/// The workflow whose tasks these are, in the order in which they were made.
fn read(rows: Vec<TaskRow>) -> Option<Flow> {
    let first = rows.first()?;
    let (queue, created_at) = (first.queue.clone(), first.created_at);
    let of = |row: &TaskRow| row.member.as_deref().cloned();
    let about = rows.iter().find_map(|row| of(row)?.about);
    let about = about.map(|about| *about);
    let names: HashMap<TaskId, String> = rows
        .iter()
        .filter_map(|row| Some((row.id, of(row)?.name)))
        .collect();
    // The order in which they were stored first is one in which those that others run after come
    // first; a later try takes the place of an earlier one.
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut latest: Vec<TaskRow> = Vec::new();
    for row in rows {
        let Some(member) = of(&row) else { continue };
        match places.get(&member.name) {
            Some(&place) => latest[place] = row,
            None => {
                places.insert(member.name, latest.len());
                latest.push(row);
            }
        }
    }
    let mut retries = 0;
    let members = latest.into_iter().filter_map(|row| {
        let member = of(&row)?;
        retries = retries.max(member.retry);
        let before = member.after.iter().chain(&member.done);
        let place = |task: &TaskId| places.get(names.get(task)?).copied();
        let mut after: Vec<_> = before
            .filter_map(place)
            .filter_map(|place| u16::try_from(place).ok())
            .collect();
        after.sort_unstable();
        Some(FlowMember {
            task: row.id,
            name: member.name,
            retry: member.retry,
            after,
            mode: member.mode,
            status: row.status,
            end_reason: row.end_reason,
            error: row.error,
            created_at: row.created_at,
            started_at: row.started_at,
            completed_at: row.completed_at,
        })
    });
    Some(Flow {
        about,
        queue,
        created_at,
        members: members.collect(),
        retries,
    })
}

pub(super) fn list(view: &View<'_>, query: &ListFlows) -> Result<FlowPage, ReaderError> {
    let limit = page::limit(query.limit)?;
    let cursor = query.cursor.as_deref();
    let cursor = cursor.map(|text| page::read_cursor(page::FLOWS_CURSOR, text));
    let prefix = keys::team(&query.team);
    let mut range = KeyRange::prefix(&prefix).descending();
    if let Some(cursor) = cursor.transpose()? {
        range = range.before(&[&prefix[..], &cursor].concat());
    }
    let mut found = FlowPage {
        flows: Vec::new(),
        next: None,
    };
    let mut last: Option<Place> = None;
    for (passed, entry) in view.range(FLOW_LIST, &range)?.enumerate() {
        let (key, value) = entry?;
        if found.flows.len() == limit || passed == MAX_PASSED {
            found.next = last.map(|place| page::write_cursor(page::FLOWS_CURSOR, place.to_bytes()));
            break;
        }
        let place =
            Place::at_end_of(&key).ok_or_else(|| row_error(FLOW_LIST, "a key without a place"))?;
        last = Some(place);
        let workflow: WorkflowId = decode(FLOW_LIST, &value)?;
        let summary = summary(view, &query.team, workflow, place)?;
        if query
            .status
            .is_none_or(|status| summary.tally.status() == status)
        {
            found.flows.push(summary);
        }
    }
    Ok(found)
}

fn summary(
    view: &View<'_>,
    team: &TeamId,
    workflow: WorkflowId,
    first: Place,
) -> Result<FlowSummary, ReaderError> {
    let row = list::row(view, first)?;
    let about = row.member.and_then(|member| member.about);
    let about = about.ok_or_else(|| row_error(FLOW_LIST, "no first member of a workflow"))?;
    let mut latest: BTreeMap<String, Entry> = BTreeMap::new();
    for entry in view.range(FLOWS, &KeyRange::prefix(&keys::flow(team, &workflow)))? {
        let entry: Entry = decode(FLOWS, &entry?.1)?;
        latest.insert(entry.name.clone(), entry);
    }
    let mut tally = Tally::default();
    latest.values().for_each(|entry| tally.count(entry.status));
    let ends = latest.values().map(|entry| entry.completed_at);
    let ends: Option<Vec<_>> = ends.collect();
    Ok(FlowSummary {
        about: *about,
        queue: row.queue,
        created_at: row.created_at,
        started_at: latest.values().filter_map(|entry| entry.started_at).min(),
        completed_at: ends.and_then(|ends| ends.into_iter().max()),
        tally,
        workflow,
    })
}
