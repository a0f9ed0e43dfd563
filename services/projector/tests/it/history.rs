//! Random histories of teams and tasks, generated from a seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use waybill_domain::actor::Actor;
use waybill_domain::event::{
    Answer, AttemptFailed, BodyEncoding, CallbackFailed, CallbackSent, ControlEvent, Failure,
    FailureKind, KeyCreated, KeyRevoked, PartitionOwned, RevocationReason, Standing, TaskCancelled,
    TaskCreated, TaskDead, TaskEnd, TaskEvent, TaskExpired, TaskRestated, TaskStarted,
    TaskSucceeded, TeamCreated,
};
use waybill_domain::flow::{About, MemberOf, RunAfterMode};
use waybill_domain::id::{KeyId, QueueName, ScheduleId, TaskId, TeamId, WorkflowId};
use waybill_domain::partition::Partition;
use waybill_domain::recurring::{RunId, RunOf};
use waybill_domain::task::{Backoff, JobTerms, Method, OwnPauses, Priority, RetryBounds};
use waybill_domain::time::Timestamp;
use waybill_log::memory::MemoryLog;
use waybill_log::subject::{ControlSubject, TaskSubject};
use waybill_log::{Append, Atomicity, Expectation, Log, NewRecord, Stream, StreamSeq};

/// A small and fast generator with the same results everywhere (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = self.below(from.len() as u64);
        &from[usize::try_from(at).expect("an index")]
    }
}

pub(crate) fn team(number: u64) -> TeamId {
    TeamId::new(Timestamp(1), number.into())
}

pub(crate) fn queue(number: u64) -> QueueName {
    QueueName::parse(["mail", "mailing", "x"][usize::try_from(number).expect("small") % 3])
        .expect("a name")
}

pub(crate) fn key(number: u64) -> KeyId {
    KeyId::from_public(&format!("{number:08}")).expect("a key id")
}

/// The run of a schedule.
fn run(at: i64) -> RunOf {
    let (schedule, due) = (ScheduleId::new(Timestamp(1), 1), Timestamp(at));
    RunOf {
        run: RunId::due(&schedule, 1, due),
        schedule,
        version: 1,
        due,
        manual: false,
    }
}

/// A member of one of a few workflows, some of which say what it is.
fn member(at: i64) -> MemberOf {
    let place = u16::try_from(at.rem_euclid(9)).unwrap_or_default();
    let about = About {
        json: None,
        name: "workflow".into(),
        description: None,
        metadata: std::collections::BTreeMap::new(),
    };
    MemberOf {
        workflow: WorkflowId::new(Timestamp(at / 20), 5),
        name: format!("m{place}"),
        at: place,
        of: 9,
        retry: 0,
        after: Vec::new(),
        done: Vec::new(),
        mode: RunAfterMode::All,
        places: Vec::new(),
        given: Vec::new(),
        about: (place == 1).then(|| Box::new(about)),
    }
}

/// What the jobs API keeps of a job.
fn job(at: i64) -> JobTerms {
    JobTerms {
        timeout_s: Some(300),
        tags: Some(r#"["nightly"]"#.into()),
        job_type: Some(format!("type-{}", at % 2)),
        root: None,
    }
}

pub(crate) fn created(id: TaskId, team: TeamId, queue: QueueName, at: i64) -> TaskCreated {
    TaskCreated {
        id,
        team,
        queue,
        // Jobs are pulled.
        url: if at % 3 == 2 {
            ""
        } else {
            "https://example.org/hook"
        }
        .into(),
        method: Method::Post,
        headers: vec![("x-a".into(), "b".into())],
        body: Some("{}".into()),
        timeout_ms: 30_000,
        max_wait_ms: 30_000,
        not_before: None,
        max_retries: 3,
        backoff: Backoff::Exponential,
        retry_pauses: OwnPauses::default(),
        fairness_key: None,
        fairness_weight: None,
        ordering: None,
        retry_bounds: RetryBounds::default(),
        replay_of: None,
        once: None,
        limits: Vec::new(),
        schedule: (at % 3 == 0).then(|| Box::new(run(at))),
        member: (at % 3 == 1).then(|| Box::new(member(at))),
        job: (at % 3 == 2).then(|| Box::new(job(at))),
        no_capture: false,
        on_rate_limited: None,
        retry_on: None,
        priority: Priority::DEFAULT,
        follow_redirects: false,
        on_complete_url: None,
        idempotency_key: None,
        fingerprint: None,
        resolve: waybill_domain::vault::Resolve::default(),
        success: None,
        deadline: None,
        expires_in_ms: None,
        tags: Vec::new(),
        metadata: std::collections::BTreeMap::new(),
        webhook_pauses: Vec::new(),
        max_answer_bytes: None,
        body_encoding: waybill_domain::event::BodyEncoding::Text,
        sealed: None,
        at: Timestamp(at),
        created_by: None,
    }
}

pub(crate) fn task_id(number: u64) -> TaskId {
    TaskId::new(
        Timestamp(1_000),
        number.into(),
        Partition::new(3).expect("in range"),
    )
}

pub(crate) fn answer(status: u16) -> Answer {
    Answer {
        status,
        headers: vec![],
        body: "ok".into(),
        encoding: BodyEncoding::Text,
        body_bytes: 2,
        duration_ms: 12,
        header_bytes: None,
    }
}

pub(crate) fn failure(message: &str) -> Failure {
    Failure {
        kind: FailureKind::Connect,
        message: message.into(),
    }
}

/// The record of a task's event.
pub(crate) fn task_record(team: &TeamId, queue: &QueueName, event: &TaskEvent) -> NewRecord {
    let partition = event.id().partition();
    NewRecord {
        subject: TaskSubject::event(partition, team, queue, event.kind()).to_string(),
        event: event.name(),
        actor: match event {
            TaskEvent::Created(_) => Actor::Key(key(1)).to_string(),
            _ => Actor::worker().to_string(),
        },
        traceparent: None,
        origin: None,
        payload: event.encode().into(),
    }
}

pub(crate) fn control_record(event: &ControlEvent) -> NewRecord {
    let (aggregate, id) = event.aggregate();
    let subject =
        ControlSubject::of_team(event.team().expect("of a team"), aggregate, id).expect("tokens");
    NewRecord {
        subject: subject.to_string(),
        event: event.name(),
        actor: Actor::Operator("cli".into()).to_string(),
        traceparent: None,
        origin: None,
        payload: event.encode().into(),
    }
}

pub(crate) fn append(stream: Stream, records: Vec<NewRecord>) -> Append {
    Append {
        stream,
        records,
        expect: Expectation::None,
        atomicity: Atomicity::Ordered,
        msg_id: None,
    }
}

struct Open {
    created: TaskCreated,
    position: StreamSeq,
    id: TaskId,
    team: TeamId,
    queue: QueueName,
    attempt: u32,
    running: bool,
    ended: bool,
}

/// Appends random records one after the other.
pub(crate) struct History {
    pub(crate) random: Random,
    pub(crate) log: MemoryLog,
    open: Vec<Open>,
    made: u64,
    keys: u64,
    now: i64,
    /// The clock of the log.
    clock: Arc<AtomicI64>,
    /// Whether the time of some steps is far from that of the ones before.
    is_long: bool,
    last: Option<NewRecord>,
}

impl History {
    pub(crate) fn new(seed: u64) -> Self {
        let clock = Arc::new(AtomicI64::new(1_000_000));
        let reads = Arc::clone(&clock);
        Self {
            random: Random(seed),
            log: MemoryLog::new(
                Arc::new(move || Timestamp(reads.load(Ordering::Relaxed))),
                Duration::from_secs(6),
            ),
            open: vec![],
            made: 0,
            keys: 0,
            now: 1_000_000,
            clock,
            is_long: false,
            last: None,
        }
    }

    /// A history that takes days.
    pub(crate) fn of_days(seed: u64) -> Self {
        Self {
            is_long: true,
            ..Self::new(seed)
        }
    }

    pub(crate) fn log(&self) -> Arc<dyn Log> {
        Arc::new(self.log.clone())
    }

    /// A time later than everything that has happened, at which some delays are over and some are
    /// not.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    fn put(&mut self, stream: Stream, record: NewRecord) -> StreamSeq {
        let appended = self.log.core().append(append(stream, vec![record.clone()]));
        let appended = appended.expect("stored");
        if stream == Stream::Tasks {
            self.last = Some(record);
        }
        appended.seqs[0]
    }

    /// Restates an open task, as its owner does.
    fn restate(&mut self) {
        let index = usize::try_from(self.random.below(self.open.len() as u64)).expect("an index");
        let (at, task) = (self.now(), &self.open[index]);
        let standing = if task.ended {
            Standing::Ended {
                deliveries: 0,
                due: at,
                from: None,
                end: Box::new(TaskEnd::Succeeded(TaskSucceeded {
                    ok: None,
                    id: task.id,
                    attempt: task.attempt,
                    at,
                    answer: answer(200),
                })),
            }
        } else if task.running {
            Standing::Running {
                attempt: task.attempt,
                lease: None,
            }
        } else {
            Standing::Ready { since: at }
        };
        let event = TaskEvent::Restated(Box::new(TaskRestated {
            created: task.created.clone(),
            position: task.position,
            at,
            standing,
            attempts: task.attempt,
            failures: 0,
            lost: 0,
            uncounted: 0,
            first_start: None,
            last_failure: None,
            cancel_requested: None,
            span: None,
            changed_priority: None,
            order_place: None,
            blocks: None,
            member: None,
            history: waybill_domain::task::History {
                updated_at: Some(at),
                ..Default::default()
            },
        }));
        let record = task_record(&task.team, &task.queue, &event);
        self.put(Stream::Tasks, record);
    }

    /// Performs one random step.
    pub(crate) fn step(&mut self) {
        self.now += i64::try_from(self.random.below(50)).expect("small") - 10;
        if self.is_long && self.random.one_in(6) {
            let minutes = self.random.below(90);
            self.now += i64::try_from(minutes).expect("small") * 60_000;
        }
        self.clock.fetch_max(self.now, Ordering::Relaxed);
        match self.random.below(40) {
            0..=9 => self.create(),
            10..=32 if !self.open.is_empty() => self.advance(),
            33 => self.control(),
            34 => {
                if let Some(again) = self.last.clone() {
                    self.put(Stream::Tasks, again);
                }
            }
            35 => self.foreign(),
            37..=38 if !self.open.is_empty() => self.restate(),
            36 => {
                let owned = PartitionOwned {
                    worker: "w1".into(),
                    at: self.now(),
                    mark: None,
                };
                let record = NewRecord {
                    subject: TaskSubject::owner(Partition::new(3).expect("in range")).to_string(),
                    event: PartitionOwned::NAME,
                    actor: Actor::worker().to_string(),
                    traceparent: None,
                    origin: None,
                    payload: owned.encode().into(),
                };
                self.put(Stream::Tasks, record);
            }
            _ => self.create(),
        }
    }

    fn create(&mut self) {
        self.made += 1;
        let (team, queue) = (team(self.random.below(2)), queue(self.random.below(3)));
        let mut event = created(
            task_id(self.made),
            team.clone(),
            queue.clone(),
            self.now - i64::try_from(self.random.below(30)).expect("small"),
        );
        let host = self.random.below(3);
        if !event.url.is_empty() {
            event.url = format!("https://{host}.example/{}", self.made);
        }
        if self.random.one_in(3) {
            let ahead = i64::try_from(self.random.below(2_000)).expect("small");
            event.not_before = Some(Timestamp(self.now + ahead));
        }
        if self.random.one_in(4) {
            event.idempotency_key = Some(format!("k{}", self.random.below(5)));
            event.fingerprint = Some(format!("{:064x}", self.made));
        }
        if self.random.one_in(4) {
            event.replay_of = Some(task_id(1 + self.random.below(self.made)));
        }
        let stored = TaskEvent::Created(Box::new(event.clone()));
        let position = self.put(Stream::Tasks, task_record(&team, &queue, &stored));
        self.open.push(Open {
            id: event.id,
            created: event,
            position,
            team,
            queue,
            attempt: 0,
            running: false,
            ended: false,
        });
    }

    fn advance(&mut self) {
        let at = self.now();
        let index = usize::try_from(self.random.below(self.open.len() as u64)).expect("an index");
        let choice = self.random.below(8);
        let task = &mut self.open[index];
        let (id, attempt) = (task.id, task.attempt);
        let event = if task.ended {
            match choice {
                0..=2 => TaskEvent::CallbackFailed(CallbackFailed {
                    id,
                    attempt: 1,
                    at,
                    failure: failure("no connection"),
                    retry_at: Some(at),
                }),
                3..=4 => TaskEvent::CallbackSent(CallbackSent {
                    id,
                    attempt: 2,
                    at,
                    status: 204,
                }),
                // Does not happen in production; must change nothing.
                _ => TaskEvent::Cancelled(TaskCancelled::idle(id, at)),
            }
        } else if task.running {
            task.running = false;
            task.ended = choice >= 3;
            match choice {
                0..=2 => TaskEvent::AttemptFailed(AttemptFailed {
                    id,
                    attempt,
                    at,
                    failure: failure("Server error: HTTP 500"),
                    answer: Some(answer(500)),
                    retry_at: Timestamp(at.0 + 1_000),
                    counted: choice != 0,
                }),
                3 => TaskEvent::Dead(TaskDead {
                    id,
                    attempt,
                    at,
                    failure: failure("no connection"),
                    answer: None,
                    cancels_to: None,
                }),
                4 => TaskEvent::Expired(TaskExpired {
                    id,
                    attempt: Some(attempt),
                    at,
                    failure: failure("timed out"),
                    cancels_to: None,
                    waits: Vec::new(),
                }),
                _ => TaskEvent::Succeeded(TaskSucceeded {
                    ok: None,
                    id,
                    attempt,
                    at,
                    answer: answer(200),
                }),
            }
        } else if choice == 0 {
            task.ended = true;
            TaskEvent::Cancelled(TaskCancelled::idle(id, at))
        } else {
            task.running = true;
            task.attempt += 1;
            TaskEvent::Started(TaskStarted {
                id,
                attempt: attempt + 1,
                at,
                lease_until: Timestamp(at.0 + 30_000),
                probe: false,
                claim: None,
                waits: Vec::new(),
            })
        };
        let record = task_record(&task.team, &task.queue, &event);
        if task.ended && self.random.one_in(2) {
            self.open.swap_remove(index);
        }
        self.put(Stream::Tasks, record);
    }

    fn control(&mut self) {
        let (team, at) = (team(self.random.below(2)), self.now());
        let event = match self.random.below(3) {
            0 => ControlEvent::TeamCreated(TeamCreated {
                team,
                name: "Ours".into(),
                plan: "free".into(),
                at,
            }),
            1 => {
                self.keys += 1;
                ControlEvent::KeyCreated(KeyCreated {
                    key: key(self.keys),
                    team,
                    name: format!("key {}", self.keys),
                    prefix: "wb_live_".into(),
                    last4: "abcd".into(),
                    scopes: vec![],
                    mac: "00".into(),
                    pepper_version: 1,
                    expires_at: None,
                    sources: Vec::new(),
                    queues: Vec::new(),
                    rotated_from: None,
                    created_by: None,
                    request: None,
                    at,
                })
            }
            _ => ControlEvent::KeyRevoked(KeyRevoked {
                key: key(self.random.below(self.keys + 1)),
                team,
                reason: RevocationReason::Requested,
                at,
            }),
        };
        self.put(Stream::Control, control_record(&event));
    }

    /// A record of an event that only a later version knows.
    fn foreign(&mut self) {
        let record = NewRecord {
            subject: TaskSubject::event(
                Partition::new(3).expect("in range"),
                &team(0),
                &queue(0),
                "teleported",
            )
            .to_string(),
            event: "task.teleported.v1",
            actor: Actor::worker().to_string(),
            traceparent: None,
            origin: None,
            payload: Bytes::from_static(b"\x80"),
        };
        self.put(Stream::Tasks, record);
    }
}
