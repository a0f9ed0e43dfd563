//! Event streams over real HTTP and a real nats-server: what a subscriber sees, and what no bad luck may take from it.

mod subscriber;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use waybill_domain::access::scope::Scope;
use waybill_domain::event::{
    Answer, BodyEncoding, CallbackSent, Failure, FailureKind, TaskDead, TaskEvent, TaskStarted,
    TaskSucceeded,
};
use waybill_domain::id::{QueueName, TaskId, TeamId};
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_domain::seq::StreamSeq;
use waybill_domain::time::Timestamp;
use waybill_gateway::GatewayConfig;
use waybill_log::subject::TaskSubject;
use waybill_log::{
    Append, Atomicity, Expectation, JetStreamLog, Log, MAX_BATCH, NewRecord, Stream,
};
use waybill_testkit::eventually;

use subscriber::{Came, PATIENCE, Subscriber};

use crate::world::{SOON, World, a_task, config, operator};
impl World {
    async fn subscribe(&self, path: &str) -> Result<Subscriber> {
        Subscriber::open(self.gateway.addr(), &self.key, path, None).await
    }

    /// Appends events of a task until the log takes them.
    async fn tell(&self, queue: &QueueName, events: &[TaskEvent]) -> Result<Vec<u64>> {
        tell(&self.log, &self.team, queue, events).await
    }

    /// A task made over HTTP.
    async fn make_task(&self, body: &Value) -> Result<TaskId> {
        let answer = self.http.post("/v1/tasks", body).await?;
        ensure!(answer.status == 201, "{answer:?}");
        Ok(TaskId::parse(
            answer.task()["id"].as_str().context("an id")?,
        )?)
    }
}

async fn tell(
    log: &JetStreamLog,
    team: &TeamId,
    queue: &QueueName,
    events: &[TaskEvent],
) -> Result<Vec<u64>> {
    let partition = Partition::of(team, queue, PartitionCount::default());
    let record = |event: &TaskEvent| NewRecord {
        subject: TaskSubject::event(partition, team, queue, event.kind()).to_string(),
        event: event.name(),
        actor: "system:worker".into(),
        traceparent: None,
        origin: None,
        payload: Bytes::from(event.encode()),
    };
    let mut ids = Vec::new();
    for batch in events.chunks(MAX_BATCH) {
        let append = Append {
            stream: Stream::Tasks,
            records: batch.iter().map(record).collect(),
            expect: Expectation::None,
            atomicity: Atomicity::Atomic,
            msg_id: None,
        };
        ids.extend(log.append(append).await?.seqs.iter().map(|seq| seq.0));
    }
    Ok(ids)
}

/// A task of the team that a world begins with, in its default queue.
fn some_task(number: u128) -> TaskId {
    let team = TeamId::new(Timestamp(0), 0);
    task_in(&team, &QueueName::default(), number)
}

/// A task in the partition of that queue: elsewhere its events would not count.
fn task_in(team: &TeamId, queue: &QueueName, number: u128) -> TaskId {
    let partition = Partition::of(team, queue, PartitionCount::default());
    TaskId::new(Timestamp(1), number, partition)
}

fn started(id: TaskId) -> TaskEvent {
    TaskEvent::Started(TaskStarted {
        id,
        attempt: 1,
        at: Timestamp(1_795_245_168_120),
        lease_until: Timestamp(1_795_245_198_120),
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
        at: Timestamp(1_795_245_169_000),
        answer: Answer {
            status: 200,
            headers: vec![("x-answer".into(), "secret".into())],
            body: "a secret answer".into(),
            encoding: BodyEncoding::Text,
            body_bytes: 15,
            duration_ms: 42,
            header_bytes: None,
        },
    })
}

/// An event of two kilobytes, so that few of them fill a buffer.
fn dead(id: TaskId) -> TaskEvent {
    TaskEvent::Dead(TaskDead {
        id,
        attempt: 4,
        at: Timestamp(1_795_245_169_000),
        failure: Failure {
            kind: FailureKind::HttpStatus,
            message: "Server error: HTTP 500 ".repeat(100),
        },
        answer: None,
        cancels_to: None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_arrives_with_id_name_and_json_and_without_payloads() -> Result<()> {
    let world = World::start().await?;
    let mut stream = world.subscribe("/v1/events").await?;
    assert_eq!(stream.status, 200);
    assert_eq!(stream.header("content-type"), "text/event-stream");
    assert_eq!(stream.header("cache-control"), "no-cache, no-transform");
    assert_eq!(stream.header("x-accel-buffering"), "no");
    assert_eq!(
        stream.header("content-encoding"),
        "",
        "events are not held back to be compressed"
    );
    assert!(matches!(stream.any().await?, Came::Comment(c) if c == "after=0"));
    let mut body = a_task();
    body["body"] = "a secret body".into();
    let id = world.make_task(&body).await?;
    let (created, name, data) = stream.event().await?.context("an event")?;
    assert_eq!(name, "task.created");
    assert_eq!(data["id"], created);
    assert_eq!(data["taskId"], id.to_string());
    assert_eq!(data["type"], "task.created");
    assert_eq!(data["queue"], "default");
    assert_eq!(data["status"], "delayed");
    assert_eq!(data["delayUntil"], "2040-12-31T00:00:00.000Z");
    let actor = data["actor"].as_str().context("an actor")?;
    assert!(actor.starts_with("key:key_"), "{actor}");
    world
        .tell(&QueueName::default(), &[started(id), succeeded(id)])
        .await?;
    assert_eq!(
        stream.event().await?.context("an event")?.2["status"],
        "processing"
    );
    let (_, name, data) = stream.event().await?.context("an event")?;
    assert_eq!(name, "task.succeeded");
    assert_eq!(data["statusCode"], 200);
    assert_eq!(data["duration"], 42);
    assert_eq!(data["responseBytes"], 15);
    assert_eq!(data["at"], "2026-11-21T07:12:49.000Z");
    assert!(!data.to_string().contains("secret"), "{data}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_narrow_history_and_live_events_alike() -> Result<()> {
    let world = World::start().await?;
    let (mail, other) = (QueueName::parse("mail")?, QueueName::default());
    let mut wanted = Vec::new();
    let round = async |wanted: &mut Vec<u64>| -> Result<()> {
        for number in 0..3 {
            let mailed = task_in(&world.team, &mail, number);
            world
                .tell(
                    &other,
                    &[started(some_task(number)), succeeded(some_task(number))],
                )
                .await?;
            let ids = world
                .tell(&mail, &[started(mailed), succeeded(mailed)])
                .await?;
            wanted.push(ids[1]);
        }
        Ok(())
    };
    round(&mut wanted).await?;
    let path =
        "/v1/events?after=0&queue=mail,reports&type=task.succeeded,task.started&status=completed";
    let mut stream = world.subscribe(path).await?;
    assert_eq!(stream.ids(3).await?, wanted);
    let (_, strangers) = world.stranger().await?;
    round(&mut wanted).await?;
    assert_eq!(stream.ids(3).await?, wanted[3..]);
    drop(strangers);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_another_team_is_seen() -> Result<()> {
    let world = World::start().await?;
    let (stranger, http) = world.stranger().await?;
    let queue = QueueName::default();
    let theirs_own = task_in(&stranger, &queue, 1);
    tell(&world.log, &stranger, &queue, &[started(theirs_own)]).await?;
    let mut stream = world.subscribe("/v1/events?after=0").await?;
    let ours = world.tell(&queue, &[started(some_task(2))]).await?;
    assert_eq!(stream.ids(1).await?, ours);
    tell(&world.log, &stranger, &queue, &[started(theirs_own)]).await?;
    let ours = world.tell(&queue, &[started(some_task(2))]).await?;
    assert_eq!(stream.ids(1).await?, ours);
    let id = world.make_task(&a_task()).await?;
    let theirs = http.get(&format!("/v1/tasks/{id}/events")).await?;
    assert_eq!(
        (theirs.status, theirs.error()),
        (StatusCode::FORBIDDEN, "Access denied".into())
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_outlives_the_server_and_resumes_on_another_gateway() -> Result<()> {
    let mut world = World::start().await?;
    let queue = QueueName::default();
    let stop = CancellationToken::new();
    let second = world.another("second", &stop).await?;
    let mut stream = world.subscribe("/v1/events").await?;
    let event = [started(some_task(1))];
    let mut written = Vec::new();
    for _ in 0..20 {
        written.extend(world.tell(&queue, &event).await?);
    }
    assert_eq!(stream.ids(10).await?, written[..10]);
    world.nats.kill9();
    world.nats.restart().await?;
    for _ in 0..20 {
        // An append that failed stored nothing, or else its id is missing here and the comparison below fails.
        eventually(SOON, async || match world.tell(&queue, &event).await {
            Ok(ids) => {
                written.extend(ids);
                true
            }
            Err(_) => false,
        })
        .await?;
    }
    assert_eq!(
        stream.ids(30).await?,
        written[10..],
        "nothing lost, nothing twice"
    );
    let mut resumed =
        Subscriber::open(second.addr(), &world.key, "/v1/events", Some(written[14])).await?;
    assert_eq!(resumed.ids(25).await?, written[15..]);
    let more = world.tell(&queue, &event).await?;
    assert_eq!(resumed.ids(1).await?, more);
    assert_eq!(stream.ids(1).await?, more);
    stop.cancel();
    second.wait().await?;
    let (ids, said) = resumed.rest().await?;
    assert!(ids.is_empty());
    assert_eq!(
        said,
        format!("resume after={}", more[0]),
        "a stopping gateway says so"
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_dropped_and_resumes_without_loss() -> Result<()> {
    let world = World::start().await?;
    let queue = QueueName::default();
    let mut slow = world.subscribe("/v1/events").await?;
    let mut quick = world.subscribe("/v1/events").await?;
    let first = world.tell(&queue, &[dead(some_task(0))]).await?;
    assert_eq!(slow.ids(1).await?, first, "it is live");
    assert_eq!(quick.ids(1).await?, first);
    // 16 MB: more than the buffers of a connection and its queue hold together.
    let events: Vec<TaskEvent> = (1..=6_000).map(|n| dead(some_task(n))).collect();
    // Events that could not be written would be waited for until the end of time: heartbeats keep a stream going.
    let (written, read) = tokio::try_join!(
        world.tell(&queue, &events),
        read_with_resumes(&mut quick, &world, 6_000)
    )?;
    assert_eq!(
        read, written,
        "a reader that keeps up, or comes back, has all of it"
    );
    let (mut seen, said) = slow.rest().await?;
    let resume: u64 = said
        .strip_prefix("resume after=")
        .context("where to resume")?
        .parse()?;
    assert_eq!(seen.last(), Some(&resume));
    assert!(seen.len() < written.len(), "it was dropped");
    let path = format!("/v1/events?after={resume}");
    let mut resumed = world.subscribe(&path).await?;
    seen.extend(resumed.ids(written.len() - seen.len()).await?);
    assert_eq!(seen, written);
    world.stop().await
}

/// Reads on, as a browser would, coming back when it was dropped.
async fn read_with_resumes(
    stream: &mut Subscriber,
    world: &World,
    count: usize,
) -> Result<Vec<u64>> {
    let mut ids = Vec::new();
    while ids.len() < count {
        match stream.event().await? {
            Some((id, ..)) => ids.push(id),
            None => {
                let last = Some(stream.last_id);
                *stream =
                    Subscriber::open(world.gateway.addr(), &world.key, "/v1/events", last).await?;
            }
        }
    }
    Ok(ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_a_task_goes_from_its_creation_to_its_end() -> Result<()> {
    let world = World::start().await?;
    let queue = QueueName::default();
    let mut body = a_task();
    body["onCompleteUrl"] = "http://127.0.0.1:9/done".into();
    let id = world.make_task(&body).await?;
    world.make_task(&a_task()).await?;
    let path = format!("/v1/tasks/{id}/events");
    let mut stream = world.subscribe(&path).await?;
    world
        .tell(&queue, &[started(id), started(some_task(9)), succeeded(id)])
        .await?;
    let sent = TaskEvent::CallbackSent(CallbackSent {
        id,
        attempt: 1,
        at: Timestamp(1_795_245_170_000),
        status: 204,
    });
    let mut names = Vec::new();
    for _ in 0..3 {
        names.push(stream.event().await?.context("an event")?.1);
    }
    let last = world.tell(&queue, &[sent]).await?[0];
    while let Some((_, name, _)) = stream.event().await? {
        names.push(name);
    }
    assert_eq!(
        names,
        [
            "task.created",
            "task.started",
            "task.succeeded",
            "task.callback_sent",
            "end"
        ]
    );
    let again = Subscriber::open(world.gateway.addr(), &world.key, &path, Some(last)).await?;
    assert_eq!(again.status, StatusCode::NO_CONTENT, "a browser stops here");
    let mut whole = world.subscribe(&path).await?;
    assert_eq!(
        whole.rest().await?.0.len(),
        5,
        "the same again from the log"
    );
    for path in [
        "/v1/tasks/task_x/events".to_owned(),
        format!("/v1/tasks/{}/events", some_task(77)),
    ] {
        let unknown = world.http.get(&path).await?;
        assert_eq!(
            (unknown.status, unknown.error()),
            (StatusCode::NOT_FOUND, "Task not found".into())
        );
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_its_streams() -> Result<()> {
    let world = World::start().await?;
    let writer = world.writer();
    let made = writer
        .create_key(&world.team, "reader", &[Scope::TasksRead], &operator())
        .await?;
    world.gateway.state().auth.wait_for(made.seq).await?;
    let key = made.key.reveal();
    let mut stream = Subscriber::open(world.gateway.addr(), key, "/v1/events", None).await?;
    let seen = world
        .tell(&QueueName::default(), &[started(some_task(1))])
        .await?;
    assert_eq!(stream.ids(1).await?, seen);
    let revoked = writer
        .revoke_key(&world.team, made.key.id(), &operator())
        .await?;
    world.gateway.state().auth.wait_for(revoked.seq).await?;
    world
        .tell(&QueueName::default(), &[started(some_task(2))])
        .await?;
    let (ids, _) = stream.rest().await?;
    assert!(ids.is_empty(), "nothing after the revocation");
    let refused = Subscriber::open(world.gateway.addr(), key, "/v1/events", None).await?;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_do_not_do_are_refused_by_name() -> Result<()> {
    let world = World::start().await?;
    let last = world.log.bounds(Stream::Tasks).await?.last;
    for (query, field, message) in [
        ("after=x", "after", "after must be the id of an event, a whole number such as 48120, not \"x\"".to_owned()),
        ("after=999999", "after", format!("after must be at most {last}, the last position of the log, not 999999")),
        ("status=done", "status", "status must be one of pending, delayed, processing, completed, failed, timeout, cancelled, not \"done\"".to_owned()),
        ("queue=a.b", "queue", "queue must be 1 to 100 of a-z A-Z 0-9 _ -, not \"a.b\"".to_owned()),
    ] {
        let answer = world.http.get(&format!("/v1/events?{query}")).await?;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!((answer.json()["field"].as_str(), answer.error()), (Some(field), message));
    }
    let refused = Subscriber::open(
        world.gateway.addr(),
        &world.key,
        "/v1/events",
        Some(u64::MAX),
    )
    .await?;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.body().await?["field"], "after");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_a_new_leader_does_not_know_yet_is_waited_for() -> Result<()> {
    let world = World::start_with(GatewayConfig {
        election: SOON,
        ..config()
    })
    .await?;
    let last = world.log.bounds(Stream::Tasks).await?.last;
    let path = format!("/v1/events?after={}", last.0 + 1);
    let mut opening = Box::pin(world.subscribe(&path));
    let early = tokio::time::timeout(Duration::from_millis(500), &mut opening).await;
    assert!(
        early.is_err(),
        "neither refused nor opened before the log is there"
    );
    world.make_task(&a_task()).await?;
    let mut stream = opening.await?;
    assert_eq!(stream.status, StatusCode::OK);
    world.make_task(&a_task()).await?;
    assert_eq!(stream.ids(1).await?, [last.0 + 2]);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn activity_is_paged_newest_first_with_its_actors() -> Result<()> {
    let world = World::start().await?;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(world.make_task(&a_task()).await?.to_string());
    }
    made.reverse();
    let first = world.http.get("/v1/activity?limit=2&type=task.").await?;
    assert_eq!(first.status, 200, "{first:?}");
    let first = first.json();
    let tasks = |page: &Value| -> Vec<String> {
        let entries = page["activity"].as_array().expect("a list");
        entries
            .iter()
            .map(|entry| entry["taskId"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(tasks(&first), made[..2]);
    let entry = &first["activity"][0];
    assert_eq!(
        (&entry["type"], &entry["stream"]),
        (&"task.created".into(), &"tasks".into())
    );
    assert!(
        entry["actor"]
            .as_str()
            .is_some_and(|actor| actor.starts_with("key:"))
    );
    let cursor = first["next"].as_str().context("a cursor")?;
    let second = world
        .http
        .get(&format!("/v1/activity?limit=2&type=task.&cursor={cursor}"))
        .await?
        .json();
    assert_eq!(tasks(&second), made[2..]);
    let control = world.http.get("/v1/activity?stream=control").await?.json();
    let kinds: Vec<_> = control["activity"]
        .as_array()
        .context("a list")?
        .iter()
        .map(|e| e["type"].clone())
        .collect();
    assert_eq!(kinds, ["key.created", "team.created"]);
    assert_eq!(control["activity"][0]["actor"], "operator:test");
    for (query, field) in [
        ("limit=0", "limit"),
        ("stream=x", "stream"),
        ("after=x", "after"),
        ("taskId=x", "taskId"),
        ("cursor=x", "cursor"),
    ] {
        let refused = world.http.get(&format!("/v1/activity?{query}")).await?;
        assert_eq!(
            refused.status,
            StatusCode::BAD_REQUEST,
            "{query}: {refused:?}"
        );
        assert_eq!(refused.json()["field"], field);
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_answers_as_soon_as_a_task_changes() -> Result<()> {
    let world = World::start().await?;
    let id = world.make_task(&a_task()).await?;
    let mut watch = world
        .gateway
        .state()
        .tasks_api
        .hub
        .watch(&world.team, id)
        .await?;
    assert!(watch.since() >= StreamSeq(1));
    let told = world.tell(&QueueName::default(), &[started(id)]).await?;
    let changed = tokio::time::timeout(PATIENCE, watch.changed()).await?;
    assert_eq!(changed, Some(StreamSeq(told[0])));
    world.stop().await
}
