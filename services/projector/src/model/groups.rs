//! Dead letters by their causes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use waybill_domain::task::{Status, TaskRow, cause};
use waybill_domain::time::Timestamp;
use waybill_store::View;

use super::list::{self, Plan, Seen};
use super::matching;
use super::page::InvalidQuery;
use super::reader::ReaderError;
use crate::query::{DeadCause, DeadGroup, DeadGroups, GroupDeadLetters, MAX_GROUPS, TaskFilter};

/// Causes that are told apart at a time. Dead letters of further ones are only counted.
const MAX_CAUSES: usize = 1_000;

pub(super) fn dead(
    view: &View<'_>,
    query: &GroupDeadLetters,
    now: Timestamp,
) -> Result<DeadGroups, ReaderError> {
    if !(1..=MAX_GROUPS).contains(&query.limit) {
        let message = format!(
            "limit must be between 1 and {MAX_GROUPS}, not {}",
            query.limit
        );
        return Err(InvalidQuery::new("limit", message).into());
    }
    matching::check(&query.filter)?;
    let filter = TaskFilter {
        dead: true,
        statuses: vec![Status::Failed, Status::Timeout],
        ..query.filter.clone()
    };
    let plan = Plan::choose(view, &query.team, &filter)?;
    let mut sides = plan.sides(view, &filter, None)?;
    let mut seen = Seen::default();
    let mut groups = Groups::default();
    let complete = loop {
        let Some(found) = list::newest(&mut sides)? else {
            break true;
        };
        if !seen.has_room() {
            break false;
        }
        seen.take_in(found.place);
        let row = list::row(view, found.place)?;
        if matching::matches(view, &row, &filter, now)? {
            groups.take_in(&row);
        }
    };
    Ok(groups.most_frequent(query.limit.into(), seen.searched(complete)))
}

#[derive(Default)]
struct Groups {
    known: HashMap<DeadCause, DeadGroup>,
    total: u64,
}

impl Groups {
    fn take_in(&mut self, row: &TaskRow) {
        self.total += 1;
        let cause = DeadCause {
            host: cause::host(&row.url),
            status: row.answer.map(|answer| answer.status),
            error: row.error.as_deref().map(cause::shape).unwrap_or_default(),
        };
        let at = row.completed_at.unwrap_or(row.updated_at);
        let is_full = self.known.len() >= MAX_CAUSES;
        match self.known.entry(cause) {
            Entry::Occupied(mut known) => {
                let group = known.get_mut();
                group.count += 1;
                group.first = group.first.min(at);
                if at > group.last {
                    (group.last, group.example) = (at, row.id);
                }
            }
            Entry::Vacant(_) if is_full => {}
            Entry::Vacant(vacant) => {
                let cause = vacant.key().clone();
                vacant.insert(DeadGroup {
                    cause,
                    count: 1,
                    first: at,
                    last: at,
                    example: row.id,
                });
            }
        }
    }

    fn most_frequent(self, limit: usize, searched: crate::query::Searched) -> DeadGroups {
        let mut groups: Vec<_> = self.known.into_values().collect();
        groups.sort_unstable_by(|a, b| {
            let by_count = b.count.cmp(&a.count).then(b.last.cmp(&a.last));
            by_count.then_with(|| a.cause.cmp(&b.cause))
        });
        groups.truncate(limit);
        let shown: u64 = groups.iter().map(|group| group.count).sum();
        DeadGroups {
            groups,
            total: self.total,
            others: self.total.saturating_sub(shown),
            searched,
        }
    }
}
