//! Running projectors with a real nats-server: queries, replicas, restarts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use waybill_domain::event::{TaskCreated, TaskEvent, TaskStarted, TaskSucceeded};
use waybill_domain::id::TaskId;
use waybill_domain::task::{Status, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_log::jetstream::NatsConfig;
use waybill_log::memory::MemoryLog;
use waybill_log::{Log, Stream, StreamSeq, connect};
use waybill_projector::query::{
    ActivityFilter, Detail, GetTask, ListTasks, Page, Position, TaskDetail, TaskFilter,
};
use waybill_projector::{Answered, Projector, ProjectorConfig, QueryClient, QueryError};
use waybill_testkit::{NatsOptions, NatsServer, eventually};

use crate::history::{answer, append, created, queue, task_id, task_record, team};

const SOON: Duration = Duration::from_secs(20);

struct World {
    server: NatsServer,
    log: Arc<dyn Log>,
    nats: async_nats::Client,
    queries: QueryClient,
    folder: TempDir,
}

impl World {
    async fn start() -> Self {
        let options = NatsOptions {
            extra: "max_payload: 2MB\n".into(),
            ..NatsOptions::default()
        };
        let server = NatsServer::start_with(options).await.expect("a server");
        let log = connect(&NatsConfig::at(server.url()))
            .await
            .expect("connected");
        let nats = log.client();
        Self {
            queries: QueryClient::new(nats.clone()).with_deadline(SOON),
            folder: TempDir::new().expect("a folder"),
            log: Arc::new(log),
            nats,
            server,
        }
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn projector(&self, name: &str) -> Projector {
        self.projector_of(Arc::clone(&self.log), &self.dir(name))
    }

    fn projector_of(&self, log: Arc<dyn Log>, dir: &Path) -> Projector {
        let config = ProjectorConfig {
            bounds_every: Duration::from_millis(100),
            ..ProjectorConfig::default()
        };
        Projector::start(config, log, self.nats.clone(), dir.into())
    }

    async fn put(&self, event: TaskEvent) -> StreamSeq {
        put(&*self.log, event).await
    }

    async fn create(&self, number: u64) -> StreamSeq {
        self.put(made(number)).await
    }

    async fn get(&self, number: u64, min_seq: StreamSeq) -> TaskRow {
        let id = task_id(number);
        let task = self
            .queries
            .task(None, id, min_seq)
            .await
            .expect("answered");
        assert!(task.as_of.tasks >= min_seq);
        task.value.expect("found").row
    }
}

async fn put(log: &dyn Log, event: TaskEvent) -> StreamSeq {
    let record = task_record(&team(0), &queue(0), &event);
    let appended = log.append(append(Stream::Tasks, vec![record])).await;
    appended.expect("stored").seqs[0]
}

fn made(number: u64) -> TaskEvent {
    TaskEvent::Created(Box::new(event(number)))
}

fn event(number: u64) -> TaskCreated {
    created(task_id(number), team(0), queue(0), 1_000)
}

fn started(id: TaskId) -> TaskEvent {
    TaskEvent::Started(TaskStarted {
        id,
        attempt: 1,
        at: Timestamp(2_000),
        lease_until: Timestamp(9_000),
        probe: false,
        claim: None,
        waits: Vec::new(),
    })
}

fn succeeded(id: TaskId) -> TaskEvent {
    TaskEvent::Succeeded(TaskSucceeded {
        ok: None,
        id,
        attempt: 1,
        at: Timestamp(3_000),
        answer: answer(201),
    })
}

async fn ready(projector: &Projector) {
    eventually(SOON, async || projector.is_ready())
        .await
        .expect("caught up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_reads_its_own_writes() {
    let world = World::start().await;
    let projector = world.projector("a");
    for number in 0..50 {
        let id = task_id(number);
        let seq = world.create(number).await;
        assert_eq!(world.get(number, seq).await.status, Status::Pending);
        let seq = world.put(started(id)).await;
        assert_eq!(world.get(number, seq).await.status, Status::Processing);
        let seq = world.put(succeeded(id)).await;
        let task = world.queries.task(Some(&team(0)), id, seq).await;
        let task = task.expect("answered").value.expect("found");
        assert_eq!(task.status, Status::Completed);
        let detail = TaskDetail {
            body_encoding: waybill_domain::event::BodyEncoding::Text,
            headers: event(number).headers,
            body: event(number).body,
            resolve: event(number).resolve,
            result: Some(answer(201)),
            job_tags: event(number).job.and_then(|job| job.tags),
        };
        assert_eq!(task.detail, Detail::Read(Box::new(detail)));
        let of_other = world.queries.task(Some(&team(1)), id, seq).await;
        assert_eq!(of_other.expect("answered").value, None);
    }
    projector.shutdown().await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_is_certain() {
    let world = World::start().await;
    let projector = world.projector("a");
    ready(&projector).await;
    let unknown = world.queries.task(None, task_id(999), StreamSeq(0)).await;
    assert_eq!(unknown.expect("answered").value, None);
    for number in 0..50 {
        // The reader does not know the sequence, since another client wrote the record.
        world.create(number).await;
        assert_eq!(world.get(number, StreamSeq(0)).await.id, task_id(number));
    }
    let far = world
        .queries
        .clone()
        .with_deadline(Duration::from_millis(300));
    let behind = far.task(None, task_id(1), StreamSeq(1_000)).await;
    assert!(
        matches!(behind, Err(QueryError::Behind { .. })),
        "{behind:?}"
    );
    projector.shutdown().await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_counters_activity_and_a_comparison_are_answered_while_it_runs() {
    let world = World::start().await;
    let projector = world.projector("a");
    let mut last = StreamSeq(0);
    for number in 0..30 {
        last = world.create(number).await;
    }
    let mut event = event(30);
    event.idempotency_key = Some("k".into());
    event.fingerprint = Some("f".into());
    let keyed = world.put(TaskEvent::Created(Box::new(event))).await;
    assert!(keyed > last);
    let query = ListTasks {
        team: team(0),
        filter: TaskFilter {
            status: Some(Status::Pending),
            ..TaskFilter::default()
        },
        page: Page::default(),
        detail: true,
    };
    let page = world.queries.list(query.clone(), keyed).await;
    let page = page.expect("answered").value;
    assert_eq!(page.tasks.len(), 20);
    assert_eq!(page.total.count, 31);
    assert!(
        page.tasks
            .iter()
            .all(|task| matches!(task.detail, Detail::Read(_)))
    );
    let rest = ListTasks {
        page: Page {
            cursor: page.next,
            ..Page::default()
        },
        ..query.clone()
    };
    let rest = world
        .queries
        .list(rest, keyed)
        .await
        .expect("answered")
        .value;
    assert_eq!(rest.tasks.len(), 11);
    assert_eq!(rest.next, None);
    let bad = ListTasks {
        page: Page {
            limit: 0,
            ..Page::default()
        },
        ..query
    };
    let refused = world.queries.list(bad, keyed).await;
    assert!(
        matches!(&refused, Err(QueryError::Invalid { field, .. }) if field == "limit"),
        "{refused:?}"
    );
    let counters = world.queries.counters(&team(0), keyed).await;
    assert_eq!(counters.expect("answered").value.queues[0].pending, 31);
    let found = world.queries.by_idempotency_key(&team(0), "k").await;
    let found = found.expect("answered").expect("found");
    assert_eq!((found.id, found.created_seq), (task_id(30), keyed));
    let none = world.queries.by_idempotency_key(&team(0), "other").await;
    assert_eq!(none.expect("answered"), None);
    let filter = ActivityFilter {
        task: Some(task_id(7)),
        ..ActivityFilter::default()
    };
    let activity = world
        .queries
        .activity(&team(0), filter, 10, None, Position::tasks(keyed))
        .await;
    let activity = activity.expect("answered").value;
    assert_eq!(activity.entries.len(), 1);
    assert_eq!(activity.entries[0].event, "task.created.v1");
    let verdict = world.queries.verify().await.expect("compared").value;
    assert!(verdict.is_equal(), "{verdict:#?}");
    assert_eq!(verdict.at.tasks, keyed);
    projector.shutdown().await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn either_of_two_replicas_answers_and_one_alone_goes_on() {
    let world = World::start().await;
    let (first, second) = (world.projector("a"), world.projector("b"));
    ready(&first).await;
    ready(&second).await;
    for number in 0..20 {
        let seq = world.create(number).await;
        world.get(number, seq).await;
    }
    first.shutdown().await.expect("ended");
    for number in 20..40 {
        let seq = world.create(number).await;
        world.get(number, seq).await;
    }
    second.shutdown().await.expect("ended");
    let alone = world
        .queries
        .clone()
        .with_deadline(Duration::from_millis(300));
    let nobody = alone.task(None, task_id(1), StreamSeq(0)).await;
    assert!(
        matches!(nobody, Err(QueryError::Unavailable { .. })),
        "{nobody:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_goes_on_where_it_was() {
    let world = World::start().await;
    let projector = world.projector("a");
    let seq = world.create(1).await;
    world.get(1, seq).await;
    // As when the process must stop at once: nothing is waited for.
    drop(projector);
    let seq = world.create(2).await;
    let projector = world.projector("a");
    world.get(2, seq).await;
    projector.shutdown().await.expect("ended");
    // Nothing is read twice: a model that resumes is up to date before it reads from the log.
    let projector = world.projector("a");
    let mut status = projector.watch();
    let resumed = status.wait_for(|status| status.applied.tasks > StreamSeq(0));
    assert_eq!(resumed.await.expect("running").applied.tasks, seq);
    world.get(1, seq).await;
    projector.shutdown().await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_outlives_its_server() {
    let mut world = World::start().await;
    let projector = world.projector("a");
    let seq = world.create(1).await;
    world.get(1, seq).await;
    world.server.kill9();
    world.server.restart().await.expect("restarted");
    let give_up = Instant::now() + SOON;
    let seq = loop {
        let record = task_record(&team(0), &queue(0), &made(2));
        match world.log.append(append(Stream::Tasks, vec![record])).await {
            Ok(appended) => break appended.seqs[0],
            Err(error) => assert!(Instant::now() < give_up, "{error}"),
        }
    };
    world.get(2, seq).await;
    projector.shutdown().await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_a_reply_is_left_to_the_log() {
    let world = World::start().await;
    let projector = world.projector("a");
    for (number, bytes, fits) in [(1, 1_048_576, true), (2, 2_050_000, false)] {
        let mut event = event(number);
        event.body = Some("x".repeat(bytes));
        let seq = world.put(TaskEvent::Created(Box::new(event))).await;
        let query = GetTask {
            id: task_id(number),
            team: None,
            detail: true,
        };
        let task = world.queries.ask(query, Position::tasks(seq)).await;
        let task = task.expect("answered").value.expect("found");
        assert_eq!(matches!(task.detail, Detail::Read(_)), fits, "{bytes}");
        let read = waybill_projector::detail::read(&*world.log, &task.row).await;
        assert!(matches!(read, Ok(Detail::Read(detail)) if detail.body.is_some()));
    }
    projector.shutdown().await.expect("ended");
}

fn log_made_at(millis: i64) -> MemoryLog {
    MemoryLog::new(Arc::new(move || Timestamp(millis)), SOON)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_means_another_model() {
    let world = World::start().await;
    let dir = world.dir("a");
    let old = Arc::new(log_made_at(1));
    let seq = put(&*old, made(1)).await;
    let projector = world.projector_of(old, &dir);
    world.get(1, seq).await;
    projector.shutdown().await.expect("ended");
    let new = Arc::new(log_made_at(2));
    put(&*new, made(2)).await;
    put(&*new, made(3)).await;
    let projector = world.projector_of(new, &dir);
    ready(&projector).await;
    let gone = world.queries.task(None, task_id(1), StreamSeq(0)).await;
    assert_eq!(gone.expect("answered").value, None);
    world.get(3, StreamSeq(2)).await;
    let loss = waybill_store::loss::newest(&dir, "read model").expect("written down");
    assert_eq!(
        (loss.stream.as_str(), loss.read, loss.last),
        ("TASKS", 1, 2)
    );
    projector.shutdown().await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_a_log_that_lost_its_end_is_made_anew_and_the_loss_is_written_down() {
    let world = World::start().await;
    let dir = world.dir("a");
    let whole = Arc::new(log_made_at(1));
    put(&*whole, made(1)).await;
    let seq = put(&*whole, made(2)).await;
    let projector = world.projector_of(whole, &dir);
    world.get(2, seq).await;
    projector.shutdown().await.expect("ended");
    let shorter = Arc::new(log_made_at(1));
    put(&*shorter, made(1)).await;
    let projector = world.projector_of(shorter, &dir);
    world.get(1, StreamSeq(1)).await;
    let lost = world.queries.task(None, task_id(2), StreamSeq(0)).await;
    assert!(
        !matches!(lost, Ok(Answered { value: Some(_), .. })),
        "{lost:?}"
    );
    let loss = waybill_store::loss::newest(&dir, "read model").expect("written down");
    assert_eq!(
        (loss.stream.as_str(), loss.read, loss.last),
        ("TASKS", 2, 1)
    );
    projector.shutdown().await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_a_log_that_forked_is_made_anew_although_the_log_has_grown_past_it() {
    let world = World::start().await;
    let dir = world.dir("a");
    let first = Arc::new(log_made_at(1));
    put(&*first, made(1)).await;
    let seq = put(&*first, made(2)).await;
    let projector = world.projector_of(first, &dir);
    world.get(2, seq).await;
    projector.shutdown().await.expect("ended");
    // The log is restored to its first event, and continued: other events take the position of the
    // second one.
    let second = Arc::new(log_made_at(1));
    put(&*second, made(1)).await;
    put(&*second, made(3)).await;
    let last = put(&*second, made(4)).await;
    let projector = world.projector_of(second, &dir);
    world.get(4, last).await;
    let of_the_lost_history = world.queries.task(None, task_id(2), last).await;
    assert!(
        !matches!(of_the_lost_history, Ok(Answered { value: Some(_), .. })),
        "{of_the_lost_history:?}"
    );
    let loss = waybill_store::loss::newest(&dir, "read model").expect("written down");
    assert_eq!((loss.read, loss.last), (2, 3));
    projector.shutdown().await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_is_followed_while_it_runs() {
    let world = World::start().await;
    let log = log_made_at(1);
    for number in 1..=5 {
        put(&log, made(number)).await;
    }
    let projector = world.projector_of(Arc::new(log.clone()), &world.dir("a"));
    world.get(1, StreamSeq(5)).await;
    log.core().drop_first(Stream::Tasks, 3);
    let mut status = projector.watch();
    let swept = status.wait_for(|status| status.floor == StreamSeq(4));
    tokio::time::timeout(SOON, swept)
        .await
        .expect("swept")
        .expect("running");
    let gone = world.queries.task(None, task_id(1), StreamSeq(0)).await;
    assert_eq!(gone.expect("answered").value, None);
    world.get(4, StreamSeq(5)).await;
    let counters = world.queries.counters(&team(0), StreamSeq(0)).await;
    assert_eq!(counters.expect("answered").value.queues[0].pending, 2);
    let verdict = world.queries.verify().await.expect("compared").value;
    assert!(verdict.is_equal(), "{verdict:#?}");
    // The whole log is purged at once.
    log.core().drop_first(Stream::Tasks, 2);
    let swept = status.wait_for(|status| status.floor == StreamSeq(6));
    tokio::time::timeout(SOON, swept)
        .await
        .expect("swept")
        .expect("running");
    let verdict = world.queries.verify().await.expect("compared").value;
    assert!(verdict.is_equal(), "{verdict:#?}");
    projector.shutdown().await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_ends_where_the_log_does_and_refuses_a_model_in_use() {
    let world = World::start().await;
    let dir = world.dir("a");
    let seq = world.create(1).await;
    let rebuilt = waybill_projector::rebuild(&world.log, &dir, 8 * 1024 * 1024).await;
    assert_eq!(rebuilt.expect("rebuilt").at.tasks, seq);
    let again = waybill_projector::rebuild(&world.log, &dir, 8 * 1024 * 1024).await;
    assert_eq!(again.expect("rebuilt").at.tasks, seq);
    let projector = world.projector("a");
    world.get(1, seq).await;
    let refused = waybill_projector::rebuild(&world.log, &dir, 8 * 1024 * 1024).await;
    assert!(
        matches!(refused, Err(waybill_projector::RebuildError::Open(_))),
        "{refused:?}"
    );
    world.get(1, seq).await;
    projector.shutdown().await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_drops_leaves_the_model_also_while_nobody_reads() {
    let world = World::start().await;
    let jetstream = async_nats::jetstream::new(world.nats.clone());
    let stream = jetstream.get_stream("TASKS").await.expect("the stream");
    let projector = world.projector("a");
    for number in 1..=20 {
        world.create(number).await;
    }
    world.get(20, StreamSeq(20)).await;
    // Purges up to the sequence, excluding it.
    stream.purge().sequence(11).await.expect("purged");
    let mut status = projector.watch();
    let swept = status.wait_for(|status| status.floor == StreamSeq(11));
    tokio::time::timeout(SOON, swept)
        .await
        .expect("swept")
        .expect("running");
    let verdict = world.queries.verify().await.expect("compared").value;
    assert!(verdict.is_equal(), "{verdict:#?}");
    projector.shutdown().await.expect("ended");
    // More is appended and purged than the model has ever read.
    for number in 21..=30 {
        world.create(number).await;
    }
    stream.purge().sequence(26).await.expect("purged");
    let projector = world.projector("a");
    let seq = world.create(31).await;
    world.get(31, seq).await;
    let gone = world.queries.task(None, task_id(25), seq).await;
    assert_eq!(gone.expect("answered").value, None);
    let mut status = projector.watch();
    let swept = status.wait_for(|status| status.floor == StreamSeq(26));
    tokio::time::timeout(SOON, swept)
        .await
        .expect("swept")
        .expect("running");
    let counters = world.queries.counters(&team(0), seq).await;
    assert_eq!(counters.expect("answered").value.queues[0].pending, 6);
    let verdict = world.queries.verify().await.expect("compared").value;
    assert!(verdict.is_equal(), "{verdict:#?}");
    projector.shutdown().await.expect("ended");
    // The whole log is purged before the next start.
    stream.purge().await.expect("purged");
    let projector = world.projector("a");
    ready(&projector).await;
    let counters = world.queries.counters(&team(0), seq).await;
    assert_eq!(counters.expect("answered").value.queues, vec![]);
    let verdict = world.queries.verify().await.expect("compared").value;
    assert!(verdict.is_equal(), "{verdict:#?}");
    projector.shutdown().await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_with_bad_bytes_is_made_anew_and_answers() {
    let world = World::start().await;
    let projector = world.projector("a");
    for number in 1..=20 {
        world.create(number).await;
    }
    world.get(20, StreamSeq(20)).await;
    projector.shutdown().await.expect("ended");
    crate::models::scribble(&world.dir("a"));
    let projector = world.projector("a");
    for number in 1..=20 {
        world.get(number, StreamSeq(20)).await;
    }
    let verdict = world.queries.verify().await.expect("compared").value;
    assert!(verdict.is_equal(), "{verdict:#?}");
    projector.shutdown().await.expect("ended");
}
