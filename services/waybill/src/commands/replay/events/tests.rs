//! Replays of small logs in memory.

use super::*;
use bytes::Bytes;
use std::sync::atomic::{AtomicI64, Ordering};
use waybill_domain::access::scope::Scope;
use waybill_domain::event::{KeyCreated, TaskCancelled, TaskStarted};
use waybill_domain::id::{KeyId, QueueName, TaskId};
use waybill_domain::partition::Partition;
use waybill_log::memory::MemoryLog;
use waybill_log::subject::TaskSubject;
use waybill_log::{Append, Atomicity, Expectation, NewRecord};

struct Fixture {
    log: Arc<dyn Log>,
    now: Arc<AtomicI64>,
}

const START: i64 = 1_795_245_168_000;

fn team(number: u128) -> TeamId {
    TeamId::new(Timestamp(1), number)
}

impl Fixture {
    fn new() -> Self {
        let now = Arc::new(AtomicI64::new(START));
        let clock = Arc::clone(&now);
        let clock = Arc::new(move || Timestamp(clock.load(Ordering::Relaxed)));
        Self {
            log: Arc::new(MemoryLog::new(clock, Duration::from_secs(6))),
            now,
        }
    }

    /// Each event is stored a second after the one before.
    async fn append(&self, stream: Stream, subject: String, event: &'static str, payload: Vec<u8>) {
        let record = NewRecord {
            subject,
            event,
            actor: "key:key_abcdEFG1".into(),
            traceparent: None,
            origin: None,
            payload: Bytes::from(payload),
        };
        let append = Append {
            stream,
            records: vec![record],
            expect: Expectation::None,
            atomicity: Atomicity::Ordered,
            msg_id: None,
        };
        self.log.append(append).await.expect("stored");
        self.now.fetch_add(1000, Ordering::Relaxed);
    }

    async fn task(&self, of: u128, event: &TaskEvent) {
        let (team, queue) = (team(of), QueueName::default());
        let partition = Partition::new(3).expect("in range");
        let subject = TaskSubject::event(partition, &team, &queue, event.kind()).to_string();
        self.append(Stream::Tasks, subject, event.name(), event.encode())
            .await;
    }

    async fn key(&self, of: u128) {
        let team = team(of);
        let key = KeyId::parse("key_abcdEFG1").expect("an id");
        let event = ControlEvent::KeyCreated(KeyCreated {
            key: key.clone(),
            team: team.clone(),
            name: "ci".into(),
            prefix: "wb_live_".into(),
            last4: "abcd".into(),
            scopes: vec![Scope::TasksRead],
            mac: "c0ffee".into(),
            pepper_version: 1,
            expires_at: None,
            sources: Vec::new(),
            queues: Vec::new(),
            rotated_from: None,
            created_by: None,
            request: None,
            at: Timestamp(START),
        });
        let subject = ControlSubject::key(&team, &key).to_string();
        self.append(Stream::Control, subject, event.name(), event.encode())
            .await;
    }

    async fn lines(&self, options: &ReplayOptions) -> Vec<Value> {
        let mut out = Vec::new();
        let replayed = replay(&self.log, options, &mut out)
            .await
            .expect("a replay");
        let lines: Vec<Value> = serde_json::Deserializer::from_slice(&out)
            .into_iter()
            .collect::<Result<_, _>>()
            .expect("JSON");
        assert_eq!(replayed.events, lines.len() as u64);
        lines
    }
}

fn id() -> TaskId {
    TaskId::new(Timestamp(1), 1, Partition::new(3).expect("in range"))
}

fn started() -> TaskEvent {
    TaskEvent::Started(TaskStarted {
        id: id(),
        attempt: 1,
        at: Timestamp(START),
        lease_until: Timestamp(START),
        probe: false,
        claim: None,
        waits: Vec::new(),
    })
}

fn cancelled() -> TaskEvent {
    TaskEvent::Cancelled(TaskCancelled::idle(id(), Timestamp(START)))
}

fn all(of: u128) -> ReplayOptions {
    ReplayOptions::new(team(of), None, None, Vec::new(), None).expect("options")
}

fn at(seconds: i64) -> Option<Bound> {
    Some(Bound::Time(Timestamp(START + seconds * 1000)))
}

fn places(lines: &[Value]) -> Vec<(&str, u64)> {
    let place = |line: &'_ Value| -> (&'static str, u64) {
        let stream = if line["stream"] == "tasks" {
            "tasks"
        } else {
            "control"
        };
        (stream, line["seq"].as_u64().expect("a number"))
    };
    lines.iter().map(place).collect()
}

#[tokio::test]
async fn both_logs_come_merged_by_time_and_no_other_team_is_shown() {
    let fixture = Fixture::new();
    fixture.key(1).await;
    fixture.task(1, &started()).await;
    fixture.task(2, &started()).await;
    fixture.key(1).await;
    fixture.task(1, &cancelled()).await;
    let lines = fixture.lines(&all(1)).await;
    assert_eq!(
        places(&lines),
        [("control", 1), ("tasks", 1), ("control", 2), ("tasks", 3)]
    );
    assert_eq!(lines[1]["type"], "task.started");
    assert_eq!(lines[1]["version"], "v1");
    assert_eq!(lines[1]["actor"], "key:key_abcdEFG1");
    assert_eq!(lines[1]["event"]["attempt"], 1);
    assert_eq!(lines[1]["time"], "2026-11-21T07:12:49.000Z");
    assert_eq!(lines[0]["event"]["name"], "ci");
    assert!(
        lines[0]["event"].get("mac").is_none(),
        "nobody is shown a MAC"
    );
}

#[tokio::test]
async fn more_than_a_page_is_replayed_within_its_bounds() {
    let fixture = Fixture::new();
    for _ in 0..500 {
        fixture.task(1, &started()).await;
    }
    assert_eq!(fixture.lines(&all(1)).await.len(), 500);
    let between = ReplayOptions::new(team(1), at(200), at(299), Vec::new(), None);
    let lines = fixture.lines(&between.expect("options")).await;
    assert_eq!(lines.len(), 100);
    assert_eq!(lines[0]["seq"], 201);
    let from = Some(Bound::Seq(StreamSeq(490)));
    let last = ReplayOptions::new(team(1), from, None, Vec::new(), Some(Stream::Tasks));
    assert_eq!(fixture.lines(&last.expect("options")).await.len(), 11);
    let later = ReplayOptions::new(team(1), at(9999), None, Vec::new(), None);
    assert!(fixture.lines(&later.expect("options")).await.is_empty());
}

#[tokio::test]
async fn types_narrow_by_name_or_group() {
    let fixture = Fixture::new();
    fixture.key(1).await;
    fixture.task(1, &started()).await;
    fixture.task(1, &cancelled()).await;
    for (types, count) in [
        (&["task"][..], 2),
        (&["task.*"][..], 2),
        (&["task.started"][..], 1),
        (&["task.cancelled.v1", "key"][..], 2),
    ] {
        let types = types.iter().map(|&t| t.to_owned()).collect();
        let options = ReplayOptions::new(team(1), None, None, types, None).expect("options");
        assert_eq!(fixture.lines(&options).await.len(), count);
    }
}

#[tokio::test]
async fn an_event_of_a_newer_version_is_a_line_not_a_gap() {
    let fixture = Fixture::new();
    let subject = ControlSubject::team(&team(1)).to_string();
    fixture
        .append(Stream::Control, subject, "team.renamed.v9", vec![0x80])
        .await;
    let lines = fixture.lines(&all(1)).await;
    assert_eq!(lines[0]["type"], "team.renamed");
    assert!(
        lines[0]["problem"]
            .as_str()
            .expect("a text")
            .contains("team.renamed.v9")
    );
}

#[test]
fn options_that_do_not_do_are_refused_with_the_remedy() {
    let seq = Some(Bound::parse("from", "17").expect("a position"));
    let refused = ReplayOptions::new(team(1), seq, None, Vec::new(), None).expect_err("refused");
    assert_eq!(refused, BadOption::WhichStream { option: "from" });
    for text in ["", "yesterday", "-1", "2026-11-21"] {
        assert!(Bound::parse("to", text).is_err(), "{text}");
    }
    let types = vec!["task.exploded".to_owned()];
    let refused = ReplayOptions::new(team(1), None, None, types, None).expect_err("refused");
    assert!(
        refused.to_string().contains("task.attempt_failed"),
        "{refused}"
    );
    assert!(parse_stream("audit").is_err());
}
