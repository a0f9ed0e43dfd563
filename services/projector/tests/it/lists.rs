//! Lists, compared with a simple model: all tasks in memory, sorted and filtered.

use std::collections::HashMap;

use proptest::prelude::*;
use tempfile::TempDir;
use waybill_domain::actor::Actor;
use waybill_domain::event::{TaskEvent, TaskRestated};
use waybill_domain::id::TaskId;
use waybill_domain::task::{Status, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_log::{Record, Stream, StreamSeq};
use waybill_projector::model::{Reader, ReaderError};
use waybill_projector::query::{
    ActivityFilter, HttpStatus, ListActivity, ListTasks, MAX_OFFSET, Page, Target, TaskFilter,
    WebhookState,
};

use crate::history::{History, key, queue, team};
use crate::models::{catch_up, open, runtime};

pub(crate) struct World {
    pub(crate) reader: Reader,
    pub(crate) rows: Vec<TaskRow>,
    pub(crate) records: Vec<(Stream, Record)>,
    pub(crate) now: Timestamp,
    _folder: TempDir,
}

pub(crate) fn world(history: &mut History, steps: usize) -> World {
    for _ in 0..steps {
        history.step();
    }
    let log = history.log();
    let folder = TempDir::new().expect("a folder");
    let mut rows: HashMap<TaskId, TaskRow> = HashMap::new();
    let mut records = Vec::new();
    let reader = runtime().block_on(async {
        let mut projection = open(&log, &folder.path().join("model")).await;
        catch_up(&log, &mut projection).await;
        for stream in [Stream::Control, Stream::Tasks] {
            let all = log
                .range(stream, &[], StreamSeq(1), StreamSeq(u64::MAX), usize::MAX)
                .await;
            records.extend(all.expect("read").into_iter().map(|r| (stream, r)));
        }
        Reader::new(projection.store().clone())
    });
    for (_, record) in &records {
        if let Ok(event) = TaskEvent::decode(&record.event, &record.payload) {
            let id = event.id();
            let known = rows.remove(&id);
            let is_new = known.is_none();
            if let Some(mut row) = TaskRow::evolve(known, record.seq, &event) {
                if is_new && matches!(event, TaskEvent::Created(_)) {
                    row.created_by
                        .get_or_insert_with(|| Actor::parse(&record.actor));
                }
                rows.insert(id, row);
            }
        }
    }
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.created_at, row.created_seq)));
    World {
        reader,
        rows,
        records,
        now: history.now(),
        _folder: folder,
    }
}

fn random_filter(history: &mut History, now: Timestamp) -> TaskFilter {
    let random = &mut history.random;
    TaskFilter {
        status: random.one_in(4).then(|| *random.pick(Status::ALL)),
        statuses: (0..random.below(4))
            .map(|_| *random.pick(Status::ALL))
            .collect(),
        ok: random.one_in(4).then(|| random.one_in(2)),
        tags: Vec::new(),
        queue: random.one_in(3).then(|| queue(random.below(3))),
        created_after: random
            .one_in(4)
            .then(|| Timestamp(now.0 - i64::try_from(random.below(3_000)).expect("small"))),
        created_before: random
            .one_in(4)
            .then(|| Timestamp(now.0 - i64::try_from(random.below(3_000)).expect("small"))),
        target: random.one_in(4).then(|| {
            let targets: [&str; 3] = ["https://1.*", "https://2.example/3", "https://0.example/*"];
            Target::parse(random.pick::<&str>(&targets))
        }),
        q: random.one_in(4).then(|| {
            random
                .pick(&["EXAMPLE/1", "mailing", "task_0", "nowhere"])
                .to_string()
        }),
        webhook: random.one_in(5).then(|| *random.pick(&WebhookState::ALL)),
        hidden: (0..random.below(3) / 2)
            .map(|_| {
                let ago = i64::try_from(random.below(3_000)).expect("small");
                (queue(random.below(3)), Timestamp(now.0 - ago))
            })
            .collect(),
        queues: (0..random.below(3) / 2)
            .map(|_| queue(random.below(3)))
            .collect(),
        http_statuses: (0..random.below(5) / 4)
            .map(|_| HttpStatus::Class(2))
            .collect(),
        min_attempts: random.one_in(6).then_some(2),
        actor: random
            .one_in(5)
            .then(|| random.pick(&[Actor::Key(key(1)), Actor::worker()]).clone()),
        replayed: random.one_in(6).then(|| random.one_in(2)),
        pulled: random.one_in(2).then(|| random.one_in(2)),
        ..TaskFilter::default()
    }
}

fn wanted<'a>(world: &'a World, query: &ListTasks) -> Vec<&'a TaskRow> {
    let filter = &query.filter;
    let has = |row: &TaskRow, q: &str| {
        let text = format!("{}\n{}\n{}", row.id, row.url, row.queue);
        text.to_lowercase().contains(&q.to_lowercase())
    };
    world
        .rows
        .iter()
        .filter(|row| row.team == query.team)
        .filter(|row| {
            let mut named = filter.status.iter().chain(&filter.statuses).peekable();
            named.peek().is_none() || named.any(|&status| row.status_at(world.now) == status)
        })
        .filter(|row| filter.queue.as_ref().is_none_or(|q| row.queue == *q))
        .filter(|row| filter.created_after.is_none_or(|at| row.created_at >= at))
        .filter(|row| filter.created_before.is_none_or(|at| row.created_at < at))
        .filter(|row| filter.target.as_ref().is_none_or(|t| t.matches(&row.url)))
        .filter(|row| filter.q.as_ref().is_none_or(|q| has(row, q)))
        .filter(|row| filter.ok.is_none_or(|ok| row.ok == Some(ok)))
        .filter(|row| filter.pulled.is_none_or(|pulled| row.is_pulled() == pulled))
        .filter(|row| filter.actor.is_none() || row.created_by == filter.actor)
        .filter(|row| {
            let from = filter.hidden.get(&row.queue);
            from.is_none_or(|from| !row.is_over_since(*from))
        })
        .filter(|row| filter.queues.is_empty() || filter.queues.contains(&row.queue))
        .filter(|row| {
            let mut statuses = filter.http_statuses.iter().peekable();
            let answer = row.answer.map(|answer| answer.status);
            statuses.peek().is_none()
                || answer.is_some_and(|status| statuses.any(|wanted| wanted.holds(status)))
        })
        .filter(|row| {
            let made = row.attempts.last().map_or(0, |attempt| attempt.number);
            filter.min_attempts.is_none_or(|least| made >= least)
        })
        .filter(|row| {
            let again = world
                .rows
                .iter()
                .any(|other| other.replay_of == Some(row.id));
            filter.replayed.is_none_or(|wanted| wanted == again)
        })
        .filter(|row| {
            let tried = row.callback.as_ref();
            match filter.webhook {
                None => true,
                Some(_) if row.on_complete_url.is_none() => false,
                Some(WebhookState::Pending) => {
                    tried.is_none_or(|c| c.delivered.is_none() && c.retry_at.is_some())
                }
                Some(WebhookState::Delivered) => tried.is_some_and(|c| c.delivered.is_some()),
                Some(WebhookState::GivenUp) => {
                    tried.is_some_and(|c| c.delivered.is_none() && c.retry_at.is_none())
                }
            }
        })
        .collect()
}

fn pages_are_those_of_a_sorted_filtered_table(seed: u64) {
    let mut history = History::new(seed);
    let world = world(&mut history, 300);
    for _ in 0..30 {
        let mut query = ListTasks {
            team: team(history.random.below(2)),
            filter: random_filter(&mut history, world.now),
            page: Page::default(),
            detail: false,
        };
        let wanted = wanted(&world, &query);
        // All pages, by cursor.
        query.page.limit = u16::try_from(1 + history.random.below(40)).expect("small");
        let mut found = Vec::new();
        loop {
            let (page, _) = world.reader.list(&query, world.now).expect("a page");
            assert!(page.rows.len() <= query.page.limit.into());
            assert_eq!(page.searched.is_some(), query.filter.has_no_index());
            for (status, row) in &page.rows {
                assert_eq!(*status, row.status_at(world.now));
                let again = world
                    .rows
                    .iter()
                    .filter(|other| other.replay_of == Some(row.id));
                let last = again
                    .max_by_key(|other| other.created_seq)
                    .map(|other| other.id);
                assert_eq!(page.replays.get(&row.id).copied(), last);
            }
            if query.page.cursor.is_none() {
                assert!(page.total.exact);
                assert_eq!(page.total.count, wanted.len() as u64, "{query:?}");
            }
            found.extend(page.rows.into_iter().map(|(_, row)| row));
            query.page.cursor = page.next;
            if query.page.cursor.is_none() {
                break;
            }
        }
        assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "{query:?}");
        // One page, by offset.
        query.page.offset = u32::try_from(history.random.below(60)).expect("small");
        let (page, _) = world.reader.list(&query, world.now).expect("a page");
        let from = (query.page.offset as usize).min(wanted.len());
        let to = (from + usize::from(query.page.limit)).min(wanted.len());
        let rows: Vec<_> = page.rows.iter().map(|(_, row)| row).collect();
        assert_eq!(rows, wanted[from..to], "{query:?}");
        assert_eq!(page.next.is_some(), to < wanted.len());
        assert_eq!(page.total.count, wanted.len() as u64);
    }
    for number in 0..2 {
        let counters = world
            .reader
            .counters(&team(number), None, world.now)
            .expect("counted");
        for counts in counters.queues {
            let of = |status: Status| {
                let rows = world.rows.iter().filter(|row| {
                    row.team == team(number)
                        && row.queue == counts.queue
                        && row.status_at(world.now) == status
                });
                rows.count() as u64
            };
            let waiting = world.rows.iter().filter(|row| {
                row.team == team(number)
                    && row.queue == counts.queue
                    && row.status_at(world.now) == Status::Pending
            });
            // Of those that began, the end of the delay is past and plays no part any more.
            let since = waiting.map(|row| match row.status {
                Status::Delayed => row.not_before.expect("a delay"),
                _ => row.created_at,
            });
            assert_eq!(counts.waiting_since, since.min());
            assert_eq!(counts.pending, of(Status::Pending));
            assert_eq!(counts.delayed, of(Status::Delayed));
            assert_eq!(counts.processing, of(Status::Processing));
            assert_eq!(counts.completed, of(Status::Completed));
            assert_eq!(counts.failed, of(Status::Failed));
            assert_eq!(counts.timeout, of(Status::Timeout));
            assert_eq!(counts.cancelled, of(Status::Cancelled));
        }
    }
}

/// Invariant 3: the activity log equals the log.
fn activity_equals_the_log(seed: u64) {
    let mut history = History::new(seed);
    let world = world(&mut history, 200);
    let mut found = Vec::new();
    for team in [None, Some(team(0)), Some(team(1))] {
        let mut query = ListActivity {
            team,
            filter: ActivityFilter::default(),
            limit: 1 + u16::try_from(history.random.below(30)).expect("small"),
            cursor: None,
        };
        let mut last = None;
        loop {
            let page = world.reader.activity(&query).expect("a page");
            for entry in page.entries {
                assert!(last.is_none_or(|last| entry.at <= last), "newest first");
                last = Some(entry.at);
                found.push((
                    entry.stream,
                    entry.seq,
                    entry.event,
                    entry.actor.to_string(),
                ));
            }
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
    }
    found.sort();
    let mut wanted: Vec<_> = world
        .records
        .iter()
        // A restatement is not part of the activity, since nothing happened.
        .filter(|(_, r)| r.event != TaskRestated::NAME)
        .map(|(stream, r)| (*stream, r.seq, r.event.clone(), r.actor.clone()))
        .collect();
    wanted.sort();
    assert_eq!(found, wanted);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn lists_are_right(seed: u64) {
        pages_are_those_of_a_sorted_filtered_table(seed);
    }

    #[test]
    fn the_activity_log_equals_the_log(seed: u64) {
        activity_equals_the_log(seed);
    }
}

#[test]
fn what_a_page_cannot_be_is_named() {
    let mut history = History::new(1);
    let world = world(&mut history, 10);
    let ask = |page: Page, filter: TaskFilter| {
        let query = ListTasks {
            team: team(0),
            filter,
            page,
            detail: false,
        };
        match world.reader.list(&query, world.now) {
            Err(ReaderError::Invalid(invalid)) => invalid.field,
            other => panic!("refused, not {other:?}"),
        }
    };
    let page = Page::default();
    let filter = TaskFilter::default();
    let limit = |limit| Page {
        limit,
        ..page.clone()
    };
    assert_eq!(ask(limit(0), filter.clone()), "limit");
    assert_eq!(ask(limit(101), filter.clone()), "limit");
    let far = Page {
        offset: MAX_OFFSET + 1,
        ..page.clone()
    };
    assert_eq!(ask(far, filter.clone()), "offset");
    let foreign = Page {
        cursor: Some("next, please".into()),
        ..page.clone()
    };
    assert_eq!(ask(foreign, filter.clone()), "cursor");
    let long = TaskFilter {
        q: Some("x".repeat(2_000)),
        ..filter
    };
    assert_eq!(ask(page, long), "q");
}
