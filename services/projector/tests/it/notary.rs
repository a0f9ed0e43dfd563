//! Notaries sign exactly what the log holds, whatever happens to them, and refuse a log that
//! differs from what was signed.

mod fork;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use waybill_domain::audit::note::SEED_BYTES;
use waybill_domain::audit::verify::{Kind, LogCheck, Outcome, Report};
use waybill_domain::audit::{Covering, NotaryKey, Signed, TreeId, TrustedKeys};
use waybill_domain::event::{ControlEvent, TeamCreated};
use waybill_domain::id::TeamId;
use waybill_domain::time::Timestamp;
use waybill_log::jetstream::NatsConfig;
use waybill_log::memory::{MemoryCheckpoints, MemoryLog};
use waybill_log::{
    Append, Atomicity, Checkpoints, Expectation, JetStreamLog, Leases, Log, NewRecord, Record,
    Stream, StreamSeq, connect,
};
use waybill_projector::query::{Position, SignNow};
use waybill_projector::{
    Notary, NotaryConfig, NotaryError, NotaryParts, NotaryStatus, QueryClient,
};
use waybill_testkit::raw_nats::{MALFORMED_HEADERS, store};
use waybill_testkit::{NatsServer, eventually};

use crate::history::team;

const SOON: Duration = Duration::from_secs(20);

fn key(seed: u8) -> NotaryKey {
    NotaryKey::new("waybill/test", &[seed; SEED_BYTES]).expect("a key")
}

fn config(holder: &str) -> NotaryConfig {
    NotaryConfig {
        every: Duration::from_millis(100),
        ..NotaryConfig::new("test", key(1), holder.into())
    }
}

fn event(team: &TeamId, name: &str) -> NewRecord {
    let event = ControlEvent::TeamCreated(TeamCreated {
        team: team.clone(),
        name: name.into(),
        plan: "free".into(),
        at: Timestamp(1),
    });
    NewRecord {
        subject: format!("control.{team}.team.{team}"),
        event: event.name(),
        actor: "operator:test".into(),
        traceparent: None,
        origin: None,
        payload: Bytes::from(event.encode()),
    }
}

async fn append(log: &dyn Log, team: &TeamId, name: &str) -> StreamSeq {
    let append = Append {
        stream: Stream::Control,
        records: vec![event(team, name)],
        expect: Expectation::None,
        atomicity: Atomicity::Atomic,
        msg_id: None,
    };
    log.append(append).await.expect("appended").seqs[0]
}

/// Verifies all of CONTROL, like the command.
async fn verify(log: &dyn Log, checkpoints: &dyn Checkpoints, now_ns: i64) -> Report {
    let keys = TrustedKeys::only(key(1).public());
    let stored = checkpoints.checkpoints(&TreeId::Control, StreamSeq(1), usize::MAX);
    let stored = stored.await.expect("readable");
    let bounds = log.bounds(Stream::Control).await.expect("bounds");
    let records = log
        .range(Stream::Control, &[], StreamSeq(1), bounds.last, usize::MAX)
        .await;
    let mut check = LogCheck::new(&keys, bounds.incarnation, None);
    stored
        .iter()
        .for_each(|stored| check.checkpoint(&stored.value));
    records
        .expect("readable")
        .iter()
        .for_each(|record| check.event(&record.stored()));
    check.finish(now_ns)
}

async fn newest(checkpoints: &dyn Checkpoints, tree: &TreeId) -> Option<Signed> {
    let stored = checkpoints.last_checkpoint(tree).await.expect("readable")?;
    let covering = Covering::decode(&stored.value).expect("readable");
    Some(Signed::open(&covering.note, &TrustedKeys::only(key(1).public())).expect("signed by us"))
}

async fn covered(checkpoints: &dyn Checkpoints, tree: &TreeId) -> u64 {
    newest(checkpoints, tree)
        .await
        .map_or(0, |signed| signed.checkpoint.size)
}

fn now_ns() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    i64::try_from(since.as_nanos()).expect("before 2262")
}

struct World {
    server: NatsServer,
    log: JetStreamLog,
}

impl World {
    async fn start() -> Self {
        let server = NatsServer::start().await.expect("a server");
        let mut config = NatsConfig::at(server.url());
        config.streams.lease_ttl_s = 1;
        let log = connect(&config).await.expect("connected");
        Self { server, log }
    }

    fn notary(&self, holder: &str) -> Notary {
        Notary::start(config(holder), self.parts())
    }

    fn parts(&self) -> NotaryParts {
        NotaryParts {
            log: Arc::new(self.log.clone()),
            leases: Arc::new(self.log.clone()),
            checkpoints: Arc::new(self.log.clone()),
            nats: Some(self.log.client()),
        }
    }

    async fn is_covered(&self, count: u64) {
        let covers = async || covered(&self.log, &TreeId::Control).await == count;
        eventually(SOON, covers)
            .await
            .expect("a checkpoint over all");
    }

    async fn intact(&self) -> Report {
        let report = verify(&self.log, &self.log, now_ns()).await;
        assert_eq!(report.outcome, Outcome::Intact, "{report:#?}");
        report
    }
}

/// A6, in a short form: the notary signs whatever order the log gives to concurrent writers.
#[tokio::test(flavor = "multi_thread")]
async fn sixteen_writers_at_once_are_verified() {
    const WRITERS: u64 = 16;
    const EACH: u64 = 25;
    let world = World::start().await;
    let notary = world.notary("one");
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let log = world.log.clone();
            tokio::spawn(async move {
                for number in 0..EACH {
                    append(&log, &team(writer % 5), &format!("{writer} {number}")).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("written");
    }
    world.is_covered(WRITERS * EACH).await;
    let report = world.intact().await;
    assert_eq!(
        (report.events, report.covered),
        (WRITERS * EACH, WRITERS * EACH)
    );
    let of_teams = async || {
        let mut sum = 0;
        for number in 0..5 {
            sum += covered(&world.log, &TreeId::Team(team(number))).await;
        }
        sum == WRITERS * EACH
    };
    eventually(SOON, of_teams)
        .await
        .expect("the trees of the teams");
    notary.shutdown().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_notary_is_succeeded_and_nothing_forks() {
    let world = World::start().await;
    append(&world.log, &team(1), "a").await;
    let first = world.notary("one");
    world.is_covered(1).await;
    // Dropped without a shutdown: the lease expires or is given back, and events are appended
    // meanwhile.
    drop(first);
    append(&world.log, &team(1), "b").await;
    append(&world.log, &team(2), "c").await;
    let second = world.notary("two");
    world.is_covered(3).await;
    // The trees of teams are signed one after the other, after the tree over everything.
    let of_team = async || covered(&world.log, &TreeId::Team(team(1))).await == 2;
    eventually(SOON, of_team).await.expect("the team's tree");
    world.intact().await;
    second.shutdown().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_notaries_one_signs() {
    let world = World::start().await;
    let notaries = [world.notary("one"), world.notary("two")];
    for number in 0..30 {
        append(&world.log, &team(number % 3), "x").await;
    }
    world.is_covered(30).await;
    let signing = notaries
        .iter()
        .filter(|n| matches!(*n.watch().borrow(), NotaryStatus::Signing));
    assert_eq!(signing.count(), 1);
    world.intact().await;
    for notary in notaries {
        notary.shutdown().await.expect("it ends well");
    }
}

/// Two notaries that both believe to hold the lease, as after a pause of one of them.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_lease_between_them_two_notaries_still_do_not_fork() {
    let world = World::start().await;
    let own_lease = || NotaryParts {
        leases: Arc::new(MemoryLog::default()),
        nats: None,
        ..world.parts()
    };
    let one = Notary::start(config("one"), own_lease());
    let two = Notary::start(config("two"), own_lease());
    for number in 0..40 {
        append(&world.log, &team(number % 3), "x").await;
        tokio::task::yield_now().await;
    }
    world.is_covered(40).await;
    world.intact().await;
    one.shutdown().await.expect("it ends well");
    two.shutdown().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_made_on_demand() {
    let world = World::start().await;
    let config = NotaryConfig {
        every: Duration::from_secs(3600),
        ..config("one")
    };
    let notary = Notary::start(config, world.parts());
    let mut status = notary.watch();
    let signing = status
        .wait_for(|status| matches!(status, NotaryStatus::Signing))
        .await;
    drop(signing.expect("it runs"));
    let queries = QueryClient::new(world.log.client()).with_deadline(SOON);
    let ask = async |team: Option<TeamId>| {
        let asked = queries.ask(SignNow { team }, Position::default()).await;
        let note = asked.expect("answered").value?;
        Some(Signed::open(&note, &TrustedKeys::only(key(1).public())).expect("signed by us"))
    };
    assert_eq!(ask(Some(team(1))).await, None);
    append(&world.log, &team(1), "a").await;
    append(&world.log, &team(1), "b").await;
    let signed = ask(Some(team(1))).await.expect("a checkpoint");
    assert_eq!(
        (signed.checkpoint.size, signed.checkpoint.last_seq),
        (2, StreamSeq(2))
    );
    assert_eq!(
        ask(Some(team(1))).await,
        Some(signed),
        "nothing has come since"
    );
    assert_eq!(ask(None).await.expect("a checkpoint").checkpoint.size, 2);
    notary.shutdown().await.expect("it ends well");
}

/// A record that is ignored, as anyone could store it. It is in the log, so it is a leaf like any
/// other.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_no_reader_counts_are_signed_over_and_stop_nothing() {
    let world = World::start().await;
    let notary = world.notary("one");
    let subject = format!("control.{}.team.{}", team(1), team(1));
    append(&world.log, &team(1), "before").await;
    for headers in MALFORMED_HEADERS {
        let planted = store(world.server.port(), subject.as_bytes(), headers, b"bad");
        planted.await.expect("stored");
    }
    append(&world.log, &team(1), "behind").await;
    let count = MALFORMED_HEADERS.len() as u64 + 2;
    world.is_covered(count).await;
    assert_eq!(world.intact().await.covered, count);
    notary.shutdown().await.expect("it ends well");
    // Another notary reads the whole log again, and arrives at the same roots.
    let notary = world.notary("two");
    append(&world.log, &team(1), "later").await;
    world.is_covered(count + 1).await;
    world.intact().await;
    notary.shutdown().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notary_outlives_a_restart_of_the_server() {
    let mut world = World::start().await;
    let notary = world.notary("one");
    append(&world.log, &team(1), "a").await;
    world.is_covered(1).await;
    world.server.kill9();
    world.server.restart().await.expect("it comes back");
    let appended = async || {
        let append = Append {
            stream: Stream::Control,
            records: vec![event(&team(1), "b")],
            expect: Expectation::None,
            atomicity: Atomicity::Atomic,
            msg_id: None,
        };
        world.log.append(append).await.is_ok()
    };
    eventually(SOON, appended).await.expect("appended");
    let all = world
        .log
        .bounds(Stream::Control)
        .await
        .expect("bounds")
        .last
        .0;
    world.is_covered(all).await;
    world.intact().await;
    notary.shutdown().await.expect("it ends well");
}

// The log is changed while no notary runs.

/// An in-memory log with a stopped clock, so that another one counts as the same stream.
fn standing() -> MemoryLog {
    MemoryLog::new(
        Arc::new(|| Timestamp(1_795_245_100_000)),
        Duration::from_secs(6),
    )
}

async fn log_of(records: &[Record]) -> MemoryLog {
    let log = standing();
    for record in records {
        let name = ControlEvent::NAMES
            .iter()
            .find(|name| **name == record.event)
            .expect("known");
        let append = Append {
            stream: Stream::Control,
            records: vec![NewRecord {
                subject: record.subject.clone(),
                event: name,
                actor: record.actor.clone(),
                traceparent: None,
                origin: None,
                payload: record.payload.clone(),
            }],
            expect: Expectation::None,
            atomicity: Atomicity::Atomic,
            msg_id: None,
        };
        log.append(append).await.expect("appended");
    }
    log
}

fn over(log: &MemoryLog, checkpoints: &MemoryCheckpoints) -> NotaryParts {
    NotaryParts {
        log: Arc::new(log.clone()),
        leases: Arc::new(log.clone()),
        checkpoints: Arc::new(checkpoints.clone()),
        nats: None,
    }
}

/// Ten signed events, and their checkpoints.
async fn signed_log() -> (Vec<Record>, MemoryCheckpoints) {
    let (log, checkpoints) = (standing(), MemoryCheckpoints::default());
    for number in 0..10 {
        append(&log, &team(number % 2), &format!("event {number}")).await;
    }
    let notary = Notary::start(config("first"), over(&log, &checkpoints));
    let covers = async || covered(&checkpoints, &TreeId::Control).await == 10;
    eventually(SOON, covers).await.expect("a checkpoint");
    notary.shutdown().await.expect("it ends well");
    let all = log
        .range(Stream::Control, &[], StreamSeq(1), StreamSeq(10), 10)
        .await;
    (all.expect("readable"), checkpoints)
}

async fn stops(records: &[Record], checkpoints: &MemoryCheckpoints) -> NotaryError {
    let before = checkpoints.all().clone();
    let log = log_of(records).await;
    let notary = Notary::start(config("second"), over(&log, checkpoints));
    let mut status = notary.watch();
    let stopped = status.wait_for(|status| matches!(status, NotaryStatus::Stopped(_)));
    drop(
        tokio::time::timeout(SOON, stopped)
            .await
            .expect("it stops")
            .expect("it tells"),
    );
    let error = notary.shutdown().await.expect_err("for good");
    assert_eq!(*checkpoints.all(), before, "it has signed nothing");
    // The next notary need not wait for the lease to expire.
    assert_eq!(log.holders().await.expect("known"), []);
    error
}

#[tokio::test]
async fn a_notary_goes_on_with_an_unchanged_log_and_no_state_of_its_own() {
    let (records, checkpoints) = signed_log().await;
    let log = log_of(&records).await;
    append(&log, &team(1), "one more").await;
    let notary = Notary::start(config("second"), over(&log, &checkpoints));
    let covers = async || covered(&checkpoints, &TreeId::Control).await == 11;
    eventually(SOON, covers).await.expect("a checkpoint");
    notary.shutdown().await.expect("it ends well");
    let now = 1_795_245_100_000 * 1_000_000;
    assert_eq!(
        verify(&log, &checkpoints, now).await.outcome,
        Outcome::Intact
    );
}

#[tokio::test]
async fn a_notary_stops_at_a_log_that_was_changed() {
    let (records, checkpoints) = signed_log().await;
    let mut edited = records.clone();
    edited[3].payload = event(&team(1), "edited").payload;
    assert!(matches!(
        stops(&edited, &checkpoints).await,
        NotaryError::Mismatch(_)
    ));
    let mut swapped = records.clone();
    swapped.swap(2, 4);
    assert!(matches!(
        stops(&swapped, &checkpoints).await,
        NotaryError::Mismatch(_)
    ));
    assert!(matches!(
        stops(&records[..9], &checkpoints).await,
        NotaryError::Mismatch(_)
    ));
    assert!(matches!(
        stops(&[], &checkpoints).await,
        NotaryError::Mismatch(_)
    ));
    let mut removed = records.clone();
    removed.remove(0);
    assert!(matches!(
        stops(&removed, &checkpoints).await,
        NotaryError::Mismatch(_)
    ));
}

#[tokio::test]
async fn a_notary_stops_at_a_checkpoint_that_is_not_its_own() {
    let (records, checkpoints) = signed_log().await;
    let log = log_of(&records).await;
    let strange = NotaryConfig::new("test", key(2), "second".into());
    let notary = Notary::start(strange, over(&log, &checkpoints));
    let mut status = notary.watch();
    let stopped = status.wait_for(|status| matches!(status, NotaryStatus::Stopped(_)));
    drop(
        tokio::time::timeout(SOON, stopped)
            .await
            .expect("it stops")
            .expect("it tells"),
    );
    let error = notary.shutdown().await.expect_err("for good");
    assert!(matches!(error, NotaryError::Checkpoint { .. }), "{error}");
    // With the old key among the trusted ones it goes on, since keys may change.
    let mut rotated = NotaryConfig::new("test", key(2), "third".into());
    let mut all = TrustedKeys::only(key(1).public()).all().to_vec();
    all.extend_from_slice(rotated.trusted.all());
    rotated.trusted = TrustedKeys::new(all);
    rotated.every = Duration::from_millis(50);
    let count = checkpoints.all().len();
    let notary = Notary::start(rotated, over(&log, &checkpoints));
    let signed = async || checkpoints.all().len() > count;
    eventually(SOON, signed).await.expect("it signs");
    notary.shutdown().await.expect("it ends well");
}

#[tokio::test]
async fn a_stream_that_lost_its_beginning_is_not_signed() {
    let log = standing();
    for number in 0..5 {
        append(&log, &team(number), "x").await;
    }
    log.core().drop_first(Stream::Control, 2);
    let checkpoints = MemoryCheckpoints::default();
    let notary = Notary::start(config("one"), over(&log, &checkpoints));
    let mut status = notary.watch();
    let stopped = status.wait_for(|status| matches!(status, NotaryStatus::Stopped(_)));
    drop(
        tokio::time::timeout(SOON, stopped)
            .await
            .expect("it stops")
            .expect("it tells"),
    );
    let error = notary.shutdown().await.expect_err("for good");
    assert!(
        matches!(
            error,
            NotaryError::Hole {
                expected: StreamSeq(1),
                found: StreamSeq(3)
            }
        ),
        "{error}"
    );
    assert_eq!(*checkpoints.all(), []);
}

/// Verification tells which event was changed, not only that one was.
#[tokio::test]
async fn a_changed_event_is_named_by_verifying() {
    let (records, checkpoints) = signed_log().await;
    let mut edited = records;
    edited[6].payload = event(&team(0), "edited").payload;
    let log = log_of(&edited).await;
    let now = 1_795_245_100_000 * 1_000_000;
    let report = verify(&log, &checkpoints, now).await;
    assert_eq!(report.findings.len(), 1, "{report:#?}");
    assert_eq!(
        (report.findings[0].kind, report.findings[0].seq),
        (Kind::Altered, Some(StreamSeq(7)))
    );
}
