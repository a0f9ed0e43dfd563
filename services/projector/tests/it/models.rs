//! A model that grew, over restarts and retention, equals a rebuilt one, byte for byte.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;
use waybill_domain::actor::Actor;
use waybill_domain::event::{Standing, TaskEvent, TaskRestated};
use waybill_domain::task::TaskRow;
use waybill_log::{Log, ReadError, Stream, StreamSeq};
use waybill_projector::model::{self, Incarnations, ModelError, Projection, Reader};
use waybill_projector::query::{ByIdempotencyKey, Detail};
use waybill_projector::{detail, verify};
use waybill_store::OpenReason;

use crate::history::{self, History, append, task_record};

const CACHE: u64 = 8 * 1024 * 1024;

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

pub(crate) async fn open(log: &Arc<dyn Log>, dir: &Path) -> Projection {
    let opened = model::open(dir, CACHE).expect("opened");
    let control = log.bounds(Stream::Control).await.expect("bounds");
    let tasks = log.bounds(Stream::Tasks).await.expect("bounds");
    let incarnations = Incarnations::new(&control, &tasks);
    Projection::resume(opened.store, incarnations).expect("resumed")
}

/// Applies up to `limit` records of one stream.
pub(crate) async fn advance(
    log: &Arc<dyn Log>,
    projection: &mut Projection,
    stream: Stream,
    limit: usize,
) -> bool {
    let from = projection.applied().of(stream).next();
    let read = log
        .range(stream, &[], from, StreamSeq(u64::MAX), limit)
        .await;
    let records = match read {
        Err(ReadError::Gap { first, .. }) => {
            // The caller of a model that cannot follow wipes it sooner or later.
            if projection.sweep(first).is_err() {
                return false;
            }
            return true;
        }
        read => read.expect("read"),
    };
    projection.apply(stream, &records).expect("applied");
    !records.is_empty()
}

pub(crate) async fn catch_up(log: &Arc<dyn Log>, projection: &mut Projection) {
    for stream in [Stream::Control, Stream::Tasks] {
        while advance(log, projection, stream, 1_000).await {}
    }
}

/// Applies retention as a projector does: a model that cannot follow is wiped.
async fn sweep(log: &Arc<dyn Log>, mut projection: Projection, dir: &Path) -> Projection {
    let first = log.bounds(Stream::Tasks).await.expect("bounds").first;
    if let Err(error) = projection.sweep(first) {
        assert!(matches!(error, ModelError::Row { .. }), "{error}");
        projection.store().condemn(&error.to_string());
        drop(projection);
        projection = open(log, dir).await;
        projection.sweep(first).expect("swept");
    }
    projection
}

async fn grown_equals_rebuilt(seed: u64) {
    let folder = TempDir::new().expect("a folder");
    let dir = folder.path().join("model");
    let mut history = if seed.is_multiple_of(2) {
        History::new(seed)
    } else {
        History::of_days(seed)
    };
    let log = history.log();
    let mut projection = open(&log, &dir).await;
    for _ in 0..12 {
        for _ in 0..history.random.below(60) {
            history.step();
        }
        match history.random.below(5) {
            0 => {
                let gone = history.random.below(40);
                let gone = usize::try_from(gone).expect("small");
                history.log.core().drop_first(Stream::Tasks, gone);
                // Retention is sometimes noticed late, or before everything was read.
                if history.random.one_in(2) {
                    projection = sweep(&log, projection, &dir).await;
                }
            }
            1 => {
                drop(projection);
                projection = open(&log, &dir).await;
            }
            2 => {
                // The log delivers the same records again.
                let records = log
                    .range(
                        Stream::Tasks,
                        &[],
                        StreamSeq(0),
                        projection.applied().tasks,
                        500,
                    )
                    .await
                    .expect("read");
                projection.apply(Stream::Tasks, &records).expect("applied");
            }
            _ => {
                let limit = usize::try_from(1 + history.random.below(50)).expect("small");
                let stream = *history.random.pick(&[Stream::Control, Stream::Tasks]);
                advance(&log, &mut projection, stream, limit).await;
            }
        }
    }
    projection = sweep(&log, projection, &dir).await;
    if history.random.one_in(2) {
        catch_up(&log, &mut projection).await;
    }
    let verdict = verify(projection.store(), &log, &folder.path().join("scratch"))
        .await
        .expect("compared");
    assert!(verdict.is_equal(), "seed {seed}: {verdict:#?}");
    assert!(!folder.path().join("scratch").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_model_that_grew_equals_one_made_anew(seed: u64) {
        runtime().block_on(grown_equals_rebuilt(seed));
    }
}

#[tokio::test]
async fn a_comparison_finds_a_row_that_should_not_be() {
    let folder = TempDir::new().expect("a folder");
    let mut history = History::new(7);
    (0..50).for_each(|_| history.step());
    let log = history.log();
    let mut projection = open(&log, &folder.path().join("model")).await;
    catch_up(&log, &mut projection).await;
    let tree = *projection
        .store()
        .trees()
        .iter()
        .find(|tree| tree.name() == "by_queue")
        .expect("the tree");
    let mut batch = waybill_store::Batch::new();
    batch.put(tree, "nonsense", []);
    projection.store().apply(batch).expect("written");
    let verdict = verify(projection.store(), &log, &folder.path().join("scratch"))
        .await
        .expect("compared");
    let different: Vec<_> = verdict.trees.iter().filter(|t| !t.is_equal()).collect();
    assert_eq!(different.len(), 1);
    assert_eq!(different[0].tree, "by_queue");
}

#[tokio::test]
async fn a_store_with_bad_bytes_is_wiped_and_made_again() {
    let folder = TempDir::new().expect("a folder");
    let dir = folder.path().join("model");
    let mut history = History::new(8);
    (0..400).for_each(|_| history.step());
    let log = history.log();
    let mut projection = open(&log, &dir).await;
    catch_up(&log, &mut projection).await;
    projection.store().sync().expect("synced");
    drop(projection);
    scribble(&dir);
    let opened = model::open(&dir, CACHE).expect("opened");
    assert!(
        matches!(opened.reason, OpenReason::Wiped(_)),
        "{:?}",
        opened.reason
    );
    drop(opened);
    let mut projection = open(&log, &dir).await;
    assert_eq!(projection.applied().tasks, StreamSeq(0));
    catch_up(&log, &mut projection).await;
    let verdict = verify(projection.store(), &log, &folder.path().join("scratch")).await;
    assert!(verdict.expect("compared").is_equal());
}

/// Overwrites every file below a folder.
pub(crate) fn scribble(dir: &Path) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            scribble(&path);
        } else if path.file_name().is_none_or(|name| name != "lock") {
            std::fs::write(&path, [0xff; 64]).expect("written");
        }
    }
}

#[tokio::test]
async fn retention_takes_everything_of_a_task() {
    let folder = TempDir::new().expect("a folder");
    let mut history = History::new(10);
    (0..600).for_each(|_| history.step());
    let log = history.log();
    let mut projection = open(&log, &folder.path().join("model")).await;
    catch_up(&log, &mut projection).await;
    let all = usize::MAX;
    history.log.core().drop_first(Stream::Tasks, all);
    let first = log.bounds(Stream::Tasks).await.expect("bounds").first;
    assert!(projection.sweep(first).expect("swept") > 0);
    let store = projection.store();
    for tree in store.trees() {
        let of_tasks = [
            "tasks",
            "restated",
            "by_id",
            "by_team",
            "by_queue",
            "by_status",
            "delayed",
            "idempotency",
            "counts",
            "pulled_counts",
            "job_counts",
            "quarantine",
            "pending",
            "stats",
            "failed_attempts",
        ];
        if of_tasks.contains(&tree.name()) {
            let view = store.view().expect("a view");
            let rows = view.range(*tree, &waybill_store::KeyRange::all());
            assert_eq!(rows.expect("rows").count(), 0, "{}", tree.name());
        }
    }
}

#[tokio::test]
async fn the_first_task_of_an_idempotency_key_is_found_until_retention_takes_it() {
    let folder = TempDir::new().expect("a folder");
    let history = History::new(11);
    let log = history.log();
    let (team, queue) = (history::team(0), history::queue(0));
    for number in 1..=2 {
        let mut event = history::created(history::task_id(number), team.clone(), queue.clone(), 5);
        event.idempotency_key = Some("k".into());
        event.fingerprint = Some(format!("print {number}"));
        let record = task_record(&team, &queue, &TaskEvent::Created(Box::new(event)));
        log.append(append(Stream::Tasks, vec![record]))
            .await
            .expect("stored");
    }
    let mut projection = open(&log, &folder.path().join("model")).await;
    catch_up(&log, &mut projection).await;
    let reader = Reader::new(projection.store().clone());
    let find = |key: &str| {
        let query = ByIdempotencyKey {
            team: team.clone(),
            key: key.into(),
        };
        reader.by_idempotency_key(&query).expect("an answer")
    };
    let found = find("k").expect("found");
    assert_eq!(found.id, history::task_id(1));
    assert_eq!(found.created_seq, StreamSeq(1));
    assert_eq!(found.fingerprint.as_deref(), Some("print 1"));
    assert_eq!(find("other"), None);
    projection.sweep(StreamSeq(2)).expect("swept");
    assert_eq!(find("k").expect("the next").id, history::task_id(2));
    projection.sweep(StreamSeq(3)).expect("swept");
    assert_eq!(find("k"), None);
}

#[tokio::test]
async fn a_restated_task_keeps_its_place_and_its_key_when_its_creation_is_gone() {
    let folder = TempDir::new().expect("a folder");
    let history = History::new(13);
    let log = history.log();
    let (team, queue) = (history::team(0), history::queue(0));
    let store = async |event: TaskEvent| {
        let record = task_record(&team, &queue, &event);
        let appended = log.append(append(Stream::Tasks, vec![record])).await;
        appended.expect("stored").seqs[0]
    };
    let mut first = history::created(history::task_id(1), team.clone(), queue.clone(), 5);
    first.idempotency_key = Some("k".into());
    first.fingerprint = Some("print".into());
    first.created_by = Some(Actor::Key(history::key(1)));
    store(TaskEvent::Created(Box::new(first.clone()))).await;
    let second = history::created(history::task_id(2), team.clone(), queue.clone(), 6);
    store(TaskEvent::Created(Box::new(second))).await;
    let mut projection = open(&log, &folder.path().join("grown")).await;
    catch_up(&log, &mut projection).await;
    let before = Reader::new(projection.store().clone())
        .task(first.id)
        .expect("an answer")
        .expect("a row");
    let restated = store(TaskEvent::Restated(Box::new(TaskRestated {
        created: first.clone(),
        position: StreamSeq(1),
        at: history.now(),
        standing: Standing::Ready { since: first.at },
        attempts: 0,
        failures: 0,
        lost: 0,
        uncounted: 0,
        first_start: None,
        last_failure: None,
        cancel_requested: None,
        history: waybill_domain::task::History::default(),
        span: None,
        changed_priority: None,
        order_place: None,
        blocks: None,
        member: None,
    })))
    .await;
    log.purge_tasks(restated).await.expect("purged");
    catch_up(&log, &mut projection).await;
    projection.sweep(restated).expect("swept");
    // Rebuilt from the rest of the log, it is the same.
    let mut anew = open(&log, &folder.path().join("anew")).await;
    anew.sweep(restated).expect("nothing to sweep");
    catch_up(&log, &mut anew).await;
    for projection in [&projection, &anew] {
        let reader = Reader::new(projection.store().clone());
        let row = reader.task(first.id).expect("an answer").expect("a row");
        let expected = TaskRow {
            stored_seq: restated,
            seq: restated,
            ..before.clone()
        };
        assert_eq!(row, expected);
        let query = ByIdempotencyKey {
            team: team.clone(),
            key: "k".into(),
        };
        let found = reader.by_idempotency_key(&query).expect("an answer");
        let found = found.expect("its first creation");
        assert_eq!((found.id, found.created_seq), (first.id, StreamSeq(1)));
        let gone = reader.task(history::task_id(2)).expect("an answer");
        assert_eq!(gone, None, "what was not restated leaves");
        let detail = detail::read(log.as_ref(), &row).await.expect("read");
        assert!(matches!(detail, Detail::Read(_)), "{detail:?}");
    }
    let digests = |projection: &Projection| {
        let view = projection.store().view().expect("a view");
        model::digests(&view).expect("digests")
    };
    assert_eq!(digests(&projection), digests(&anew));
    // Once the restatement is purged too, nothing is left of the task.
    projection.sweep(restated.next()).expect("swept");
    let reader = Reader::new(projection.store().clone());
    assert_eq!(reader.task(first.id).expect("an answer"), None);
}

#[tokio::test]
async fn a_task_created_twice_leaves_with_a_rebuild() {
    // A case that the property test above found.
    grown_equals_rebuilt(6_875_769_285_275_141_489).await;
    let folder = TempDir::new().expect("a folder");
    let history = History::new(12);
    let log = history.log();
    let (team, queue) = (history::team(0), history::queue(0));
    let event = history::created(history::task_id(1), team.clone(), queue.clone(), 5);
    let record = task_record(&team, &queue, &TaskEvent::Created(Box::new(event)));
    for record in [record.clone(), record] {
        log.append(append(Stream::Tasks, vec![record]))
            .await
            .expect("stored");
    }
    let mut projection = open(&log, &folder.path().join("model")).await;
    catch_up(&log, &mut projection).await;
    let reader = Reader::new(projection.store().clone());
    let row = reader.task(history::task_id(1)).expect("an answer");
    assert_eq!(row.map(|row| row.created_seq), Some(StreamSeq(1)));
    let swept = projection.sweep(StreamSeq(2));
    assert!(matches!(swept, Err(ModelError::Row { .. })), "{swept:?}");
}
