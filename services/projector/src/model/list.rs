//! Lists of tasks: which index to walk, what to check on the way, and when to stop.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;

use waybill_domain::id::{QueueName, TeamId};
use waybill_domain::task::{Status, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_store::{KeyRange, Rows, Tree, View};

use super::counts::Counts;
use super::keys::{self, ListOf, Place, millis};
use super::matching;
use super::page::{self, InvalidQuery};
use super::reader::{QueueRow, ReaderError, RowPage};
use super::{
    BY_QUEUE, BY_STATUS, BY_TEAM, COUNTS, DELAYED, PENDING, PULLED_COUNTS, TASKS, decode, row_error,
};
use crate::query::{ListTasks, MAX_OFFSET, MAX_SCAN, Searched, Target, TaskFilter, Total};

/// Whether a delay has passed is not stored, so it is checked for each delayed task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delay {
    /// Whether it has passed is not checked.
    Any,
    /// Only delays that have not passed.
    Running,
    /// Only delays that have passed.
    Over,
}

/// An index in which to walk tasks.
struct Walk {
    tree: Tree,
    prefix: Vec<u8>,
    delay: Delay,
}

/// A task found by a walk.
pub(super) struct Found {
    pub(super) place: Place,
    value: Vec<u8>,
    delay: Delay,
}

pub(super) fn list(
    view: &View<'_>,
    query: &ListTasks,
    now: Timestamp,
) -> Result<RowPage, ReaderError> {
    let limit = page::limit(query.page.limit)?;
    let cursor = check(query)?;
    let filter = &query.filter;
    let plan = Plan::choose(view, &query.team, filter)?;
    let mut sides = plan.sides(view, filter, cursor)?;
    let counted = plan.total(view, query, now)?;
    let mut skip = query.page.offset;
    let mut matched = 0;
    let mut rows: Vec<(Status, TaskRow)> = Vec::new();
    let mut replays = BTreeMap::new();
    let mut last_on_page = None;
    let mut seen = Seen::default();
    let mut more = false;
    let mut exhausted = false;
    loop {
        let Some(found) = newest(&mut sides)? else {
            exhausted = true;
            break;
        };
        if !seen.has_room() {
            break;
        }
        seen.take_in(found.place);
        if !found.is_at(now) {
            continue;
        }
        let full = rows.len() == limit;
        // Once the page is full, only the number of further matches is needed.
        let row = if plan.needs_row || !(full || skip > 0) {
            let row = row(view, found.place)?;
            if !matching::matches(view, &row, filter, now)? {
                continue;
            }
            Some(row)
        } else {
            None
        };
        matched += 1;
        if skip > 0 {
            skip -= 1;
        } else if full {
            more = true;
            if counted.is_some() {
                break;
            }
        } else if let Some(row) = row {
            last_on_page = Some(found.place);
            if let Some(replay) = matching::last_replay(view, row.id)? {
                replays.insert(row.id, replay);
            }
            rows.push((row.status_at(now), row));
        }
    }
    let resume = match (more, exhausted) {
        (true, _) => last_on_page,
        // The rest was not looked at.
        (false, false) if rows.len() < limit => seen.last,
        (false, false) => last_on_page,
        (false, true) => None,
    };
    Ok(RowPage {
        rows,
        replays,
        searched: filter.has_no_index().then(|| seen.searched(exhausted)),
        total: counted.unwrap_or(Total {
            count: matched,
            exact: exhausted && cursor.is_none(),
        }),
        next: resume.map(|place| page::write_cursor(page::TASKS_CURSOR, place.to_bytes())),
    })
}

/// The tasks that a walk has looked at; there is a limit of them.
#[derive(Default)]
pub(super) struct Seen {
    count: usize,
    first: Option<Place>,
    last: Option<Place>,
}

impl Seen {
    pub(super) fn has_room(&self) -> bool {
        self.count < MAX_SCAN
    }

    pub(super) fn take_in(&mut self, place: Place) {
        self.count += 1;
        self.first.get_or_insert(place);
        self.last = Some(place);
    }

    pub(super) fn searched(&self, complete: bool) -> Searched {
        let at = |place: Place| Timestamp(i64::try_from(place.at).unwrap_or(i64::MAX));
        Searched {
            tasks: self.count as u64,
            window: self
                .first
                .zip(self.last)
                .map(|(newest, oldest)| (at(newest), at(oldest))),
            complete,
        }
    }
}

fn check(query: &ListTasks) -> Result<Option<Place>, InvalidQuery> {
    if query.page.offset > MAX_OFFSET {
        return Err(InvalidQuery::new(
            "offset",
            format!(
                "offset must be at most {MAX_OFFSET}, not {}; further on, use the cursor of the page before",
                query.page.offset
            ),
        ));
    }
    let target = match &query.filter.target {
        Some(Target::Exact(text) | Target::Prefix(text)) => Some(text.as_str()),
        None => None,
    };
    page::check_text("target", target)?;
    page::check_text("q", query.filter.q.as_deref())?;
    matching::check(&query.filter)?;
    let cursor = query.page.cursor.as_deref();
    let cursor = cursor.map(|text| page::read_cursor(page::TASKS_CURSOR, text));
    Ok(cursor.transpose()?.map(Place::from_bytes))
}

/// Which walks lead to the wanted tasks, and whether their rows must be checked.
pub(super) struct Plan {
    walks: Vec<Walk>,
    needs_row: bool,
}

impl Plan {
    pub(super) fn choose(
        view: &View<'_>,
        team: &TeamId,
        filter: &TaskFilter,
    ) -> Result<Self, ReaderError> {
        let kinds = kinds(filter);
        let by_queue = |queue: &QueueName| -> Vec<Walk> {
            let walk = |pulled: &bool| Walk {
                tree: BY_QUEUE,
                prefix: keys::list(team, ListOf::Queue(queue), *pulled),
                delay: Delay::Any,
            };
            kinds.iter().map(walk).collect()
        };
        let wanted = filter.wanted();
        let (walks, both) = match (wanted.is_empty(), &filter.queue) {
            (true, None) => {
                let walk = |pulled: &bool| Walk {
                    tree: BY_TEAM,
                    prefix: keys::list(team, ListOf::Team, *pulled),
                    delay: Delay::Any,
                };
                (kinds.iter().map(walk).collect(), false)
            }
            (true, Some(queue)) => (by_queue(queue), false),
            (false, None) => (by_status(team, &wanted, kinds), false),
            (false, Some(queue)) => {
                let in_queue = counts(view, team, queue, filter.pulled)?.sum();
                let all = all_counts(view, team, filter.pulled)?;
                let in_status: u64 = stored_as(&wanted).map(|status| all.of(status)).sum();
                if in_queue <= in_status {
                    (by_queue(queue), true)
                } else {
                    (by_status(team, &wanted, kinds), true)
                }
            }
        };
        Ok(Self {
            walks,
            needs_row: both || filter.has_no_index(),
        })
    }

    /// The walks of the plan between the filter's dates, behind a cursor.
    pub(super) fn sides<'a>(
        &'a self,
        view: &'a View<'_>,
        filter: &TaskFilter,
        cursor: Option<Place>,
    ) -> Result<Vec<Peekable<Side<'a>>>, ReaderError> {
        let mut sides = Vec::new();
        for walk in &self.walks {
            let mut range = KeyRange::prefix(&walk.prefix).descending();
            let at = |place: Place| [&walk.prefix[..], &place.to_bytes()].concat();
            let first_of = |at| Place {
                at: millis(at),
                seq: waybill_log::StreamSeq(0),
            };
            if let Some(after) = filter.created_after {
                range = range.from(&at(first_of(after)));
            }
            if let Some(before) = filter.created_before {
                range = range.before(&at(first_of(before)));
            }
            if let Some(cursor) = cursor {
                range = range.before(&at(cursor));
            }
            let rows = view.range(walk.tree, &range)?;
            sides.push(Side { walk, rows }.peekable());
        }
        Ok(sides)
    }

    /// The number of matches, if the counters have it.
    fn total(
        &self,
        view: &View<'_>,
        query: &ListTasks,
        now: Timestamp,
    ) -> Result<Option<Total>, ReaderError> {
        let filter = &query.filter;
        let counted = TaskFilter {
            status: filter.status,
            statuses: filter.statuses.clone(),
            queue: filter.queue.clone(),
            pulled: filter.pulled,
            ..TaskFilter::default()
        } == *filter;
        if !counted {
            return Ok(None);
        }
        let team = &query.team;
        let counts = match &filter.queue {
            Some(queue) => counts(view, team, queue, filter.pulled)?,
            None => all_counts(view, team, filter.pulled)?,
        };
        let wanted = filter.wanted();
        if wanted.is_empty() {
            return Ok(Some(Total {
                count: counts.sum(),
                exact: true,
            }));
        }
        // For tasks whose delay has passed, one status has as many more as the other has less.
        let matters = wanted.contains(&Status::Pending) != wanted.contains(&Status::Delayed);
        let mut due = Total {
            count: 0,
            exact: true,
        };
        if matters && counts.of(Status::Delayed) > 0 {
            let mut scan = MAX_SCAN;
            let queues = match &filter.queue {
                Some(queue) => vec![queue.clone()],
                None => queues_of(view, team)?
                    .filter_map(|row| match row {
                        Ok((queue, counts)) => {
                            (counts.of(Status::Delayed) > 0).then_some(Ok(queue))
                        }
                        Err(error) => Some(Err(error)),
                    })
                    .collect::<Result<_, _>>()?,
            };
            for queue in queues {
                let of_queue = due_of(view, (team, &queue), filter.pulled, now, &mut scan)?;
                due.count += of_queue.count;
                due.exact &= of_queue.exact;
            }
        }
        let stored: u64 = wanted.iter().map(|&status| counts.of(status)).sum();
        let count = match (matters, wanted.contains(&Status::Pending)) {
            (false, _) => stored,
            (true, true) => stored + due.count,
            (true, false) => stored.saturating_sub(due.count),
        };
        Ok(Some(Total {
            count,
            exact: due.exact,
        }))
    }
}

/// The stored statuses that may stand for these: a pending task may still be stored as delayed.
fn stored_as(wanted: &BTreeSet<Status>) -> impl Iterator<Item = Status> {
    let may_be_delayed = |status: &Status| {
        *status == Status::Delayed && wanted.contains(&Status::Pending) || wanted.contains(status)
    };
    Status::ALL.iter().copied().filter(may_be_delayed)
}

/// The kinds of tasks that are wanted: called ones, pulled ones, or both.
fn kinds(filter: &TaskFilter) -> &'static [bool] {
    match filter.pulled {
        None => &[false, true],
        Some(false) => &[false],
        Some(true) => &[true],
    }
}

fn by_status(team: &TeamId, wanted: &BTreeSet<Status>, kinds: &[bool]) -> Vec<Walk> {
    let of_delayed = match [Status::Pending, Status::Delayed].map(|status| wanted.contains(&status))
    {
        [true, true] => Delay::Any,
        [true, false] => Delay::Over,
        [false, _] => Delay::Running,
    };
    let walk = |stored: Status, pulled: bool| Walk {
        tree: BY_STATUS,
        prefix: keys::list(team, ListOf::Status(stored), pulled),
        delay: match stored {
            Status::Delayed => of_delayed,
            _ => Delay::Any,
        },
    };
    let walks = stored_as(wanted);
    walks
        .flat_map(|stored| kinds.iter().map(move |pulled| (stored, *pulled)))
        .map(|(stored, pulled)| walk(stored, pulled))
        .collect()
}

pub(super) struct Side<'a> {
    walk: &'a Walk,
    rows: Rows<'a>,
}

impl Iterator for Side<'_> {
    type Item = Result<Found, ReaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        Some(row.map_err(ReaderError::from).and_then(|(key, value)| {
            let place = Place::at_end_of(&key)
                .ok_or_else(|| row_error(self.walk.tree, "a key without a place"))?;
            Ok(Found {
                place,
                value,
                delay: self.walk.delay,
            })
        }))
    }
}

/// Takes the newest of the next tasks of all walks.
pub(super) fn newest(sides: &mut [Peekable<Side<'_>>]) -> Result<Option<Found>, ReaderError> {
    let mut best: Option<(usize, Place)> = None;
    for (index, side) in sides.iter_mut().enumerate() {
        match side.peek() {
            // Taken at once, so that the error is returned.
            Some(Err(_)) => return side.next().transpose(),
            Some(Ok(found)) if best.is_none_or(|(_, place)| found.place > place) => {
                best = Some((index, found.place));
            }
            Some(Ok(_)) | None => {}
        }
    }
    match best {
        Some((index, _)) => sides[index].next().transpose(),
        None => Ok(None),
    }
}

impl Found {
    pub(super) fn is_at(&self, now: Timestamp) -> bool {
        let until = keys::seq(&self.value).map_or(0, |until| until.0);
        match self.delay {
            Delay::Any => true,
            Delay::Running => until > millis(now),
            Delay::Over => until <= millis(now),
        }
    }
}

pub(super) fn row(view: &View<'_>, place: Place) -> Result<TaskRow, ReaderError> {
    match view.get(TASKS, &keys::task(place.seq))? {
        Some(row) => Ok(decode(TASKS, &row)?),
        None => Err(row_error(TASKS, "a listed task is missing").into()),
    }
}

/// The numbers of tasks of a queue: of those that are called, that workers pull, or of all.
fn counts(
    view: &View<'_>,
    team: &TeamId,
    queue: &QueueName,
    pulled: Option<bool>,
) -> Result<Counts, ReaderError> {
    let of = |tree: Tree| -> Result<Counts, ReaderError> {
        match view.get(tree, &keys::counts(team, queue))? {
            Some(row) => Ok(decode(tree, &row)?),
            None => Ok(Counts::default()),
        }
    };
    match pulled {
        None => of(COUNTS),
        Some(true) => of(PULLED_COUNTS),
        Some(false) => Ok(of(COUNTS)?.without(&of(PULLED_COUNTS)?)),
    }
}

fn all_counts(view: &View<'_>, team: &TeamId, pulled: Option<bool>) -> Result<Counts, ReaderError> {
    let sum = |tree: Tree| -> Result<Counts, ReaderError> {
        let mut sum = Counts::default();
        for row in counted_in(view, tree, team)? {
            sum.add(&row?.1);
        }
        Ok(sum)
    };
    match pulled {
        None => sum(COUNTS),
        Some(true) => sum(PULLED_COUNTS),
        Some(false) => Ok(sum(COUNTS)?.without(&sum(PULLED_COUNTS)?)),
    }
}

/// Queues of a team that have tasks, with their counts.
pub(super) fn queues_of<'a>(
    view: &'a View<'_>,
    team: &TeamId,
) -> Result<impl Iterator<Item = QueueRow> + use<'a>, ReaderError> {
    counted_in(view, COUNTS, team)
}

fn counted_in<'a>(
    view: &'a View<'_>,
    tree: Tree,
    team: &TeamId,
) -> Result<impl Iterator<Item = QueueRow> + use<'a>, ReaderError> {
    let rows = view.range(tree, &KeyRange::prefix(&keys::team(team)))?;
    Ok(rows.map(move |row| {
        let (key, value) = row?;
        let queue =
            keys::queue_of_counts(&key).ok_or_else(|| row_error(tree, "a key without a queue"))?;
        Ok((queue, decode(tree, &value)?))
    }))
}

/// The same, or of one queue only.
pub(super) fn counted<'a>(
    view: &'a View<'_>,
    team: &TeamId,
    only: Option<&QueueName>,
) -> Result<Box<dyn Iterator<Item = QueueRow> + 'a>, ReaderError> {
    let Some(queue) = only else {
        return Ok(Box::new(queues_of(view, team)?));
    };
    let counts = counts(view, team, queue, None)?;
    let has_tasks = counts.sum() > 0;
    Ok(Box::new(
        has_tasks.then(|| Ok((queue.clone(), counts))).into_iter(),
    ))
}

/// How many tasks of a queue are stored as delayed although their delay has passed. Looks at no
/// more than `scan` rows, and deducts them.
pub(super) fn due(
    view: &View<'_>,
    team: &TeamId,
    queue: &QueueName,
    now: Timestamp,
    scan: &mut usize,
) -> Result<Total, ReaderError> {
    due_of(view, (team, queue), None, now, scan)
}

/// The same of those that are called, or that workers pull.
fn due_of(
    view: &View<'_>,
    (team, queue): (&TeamId, &QueueName),
    pulled: Option<bool>,
    now: Timestamp,
    scan: &mut usize,
) -> Result<Total, ReaderError> {
    let prefix = keys::queue(team, queue);
    let end = [&prefix[..], &(millis(now) + 1).to_be_bytes()].concat();
    let range = KeyRange::prefix(&prefix).before(&end);
    let mut count = 0;
    for entry in view.range(DELAYED, &range)? {
        if *scan == 0 {
            return Ok(Total {
                count,
                exact: false,
            });
        }
        *scan -= 1;
        let (key, _) = entry?;
        let is_wanted = match pulled {
            None => true,
            Some(pulled) => {
                let place = Place::at_end_of(&key)
                    .ok_or_else(|| row_error(DELAYED, "a key without a place"))?;
                row(view, place)?.is_pulled() == pulled
            }
        };
        count += u64::from(is_wanted);
    }
    Ok(Total { count, exact: true })
}

/// Since when the oldest pending task of a queue waits: since its creation, or the end of its delay.
pub(super) fn waiting_since(
    view: &View<'_>,
    team: &TeamId,
    queue: &QueueName,
    now: Timestamp,
) -> Result<Option<Timestamp>, ReaderError> {
    let prefix = keys::queue(team, queue);
    let mut oldest = None;
    for tree in [PENDING, DELAYED] {
        // Both begin with a time: that of the creation, and the end of the delay.
        if let Some(row) = view.range(tree, &KeyRange::prefix(&prefix))?.next() {
            let place =
                Place::at_end_of(&row?.0).ok_or_else(|| row_error(tree, "a key without a time"))?;
            let since = Timestamp(i64::try_from(place.at).unwrap_or(i64::MAX));
            let waits = tree == PENDING || since <= now;
            if waits && oldest.is_none_or(|oldest| since < oldest) {
                oldest = Some(since);
            }
        }
    }
    Ok(oldest)
}
