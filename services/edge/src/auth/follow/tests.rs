use super::*;
use waybill_commands::{CommandError, ControlWriter};
use waybill_domain::access::scope::Scope;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::actor::Actor;
use waybill_domain::event::{ControlEvent, TeamDeleted};
use waybill_log::memory::MemoryLog;
use waybill_log::{Append, Atomicity, Expectation, NewRecord, control_event};

struct Following {
    auth: Arc<Auth>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn pepper() -> Arc<Pepper> {
    Arc::new(Pepper::new(1, vec![5; 32]).expect("long enough"))
}

async fn follow(log: &MemoryLog, dir: &std::path::Path) -> Following {
    let auth = Arc::new(Auth::new(pepper(), Arc::clone(Catalogue::builtin())));
    let follower = Follower {
        auth: Arc::clone(&auth),
        log: Arc::new(log.clone()),
        dir: dir.to_owned(),
    };
    let store = follower.open().await.expect("opens");
    let stop = CancellationToken::new();
    let task = tokio::spawn(follower.run(store, stop.clone()));
    // Longer than any wait for an event, since a log in doubt is looked at for seconds.
    while !auth.is_caught_up() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let last = log.bounds(Stream::Control).await.expect("a log").last;
    auth.wait_for(last).await.expect("read");
    Following { auth, stop, task }
}

impl Following {
    async fn end(self) -> Arc<Auth> {
        self.stop.cancel();
        self.task.await.expect("no panic");
        self.auth
    }
}

fn knows(auth: &Auth, key: &str) -> bool {
    matches!(
        auth.recognise(key, &["wb".to_owned()]),
        Recognition::Known(_)
    )
}

async fn a_key(log: &MemoryLog) -> String {
    let writer = ControlWriter::new(Arc::new(log.clone()), pepper());
    let by = Actor::Operator("test".into()).into();
    let team = writer.create_team("ours", "free", &by).await.expect("made");
    let made = writer.create_key(&team, "k", Scope::ALL, &by).await;
    made.expect("made").key.reveal().to_owned()
}

#[tokio::test]
async fn who_does_not_follow_recognises_nobody() {
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().expect("a folder"));
    let key = a_key(&log).await;
    let following = follow(&log, dir.path()).await;
    assert!(knows(&following.auth, &key));
    assert!(!following.end().await.is_caught_up());
}

/// A log that holds the first `count` records of another one, made at the same time, as a restored backup does.
async fn backup_of(log: &MemoryLog, count: usize) -> MemoryLog {
    let restored = log_of_a_day();
    let all = log.range(
        Stream::Control,
        &[],
        StreamSeq(1),
        StreamSeq(u64::MAX),
        1_000,
    );
    for record in all.await.expect("readable").into_iter().take(count) {
        let event = control_event(&record).expect("readable").name();
        let again = NewRecord {
            subject: record.subject,
            event,
            actor: record.actor,
            traceparent: record.traceparent,
            origin: record.origin,
            payload: record.payload,
        };
        append(&restored, again).await;
    }
    restored
}

/// All of one day have the same incarnation.
fn log_of_a_day() -> MemoryLog {
    let then = Arc::new(|| waybill_domain::time::Timestamp(4_000_000_000_000));
    MemoryLog::new(then, Duration::from_secs(6))
}

async fn revoke(log: &MemoryLog, auth: &Auth, key: &str) {
    let team = team_of(auth, key).expect("known");
    let writer = ControlWriter::new(Arc::new(log.clone()), pepper());
    let by = Actor::Operator("test".into()).into();
    let id = key_id(auth, key);
    writer.revoke_key(&team, &id, &by).await.expect("revoked");
}

async fn length(log: &MemoryLog) -> usize {
    let last = log.bounds(Stream::Control).await.expect("a log").last;
    usize::try_from(last.0).expect("short")
}

#[tokio::test(start_paused = true)]
async fn what_a_log_lost_is_written_down_and_its_copy_is_made_anew() {
    let (log, dir) = (log_of_a_day(), tempfile::tempdir().expect("a folder"));
    let copy = dir.path().join("auth");
    let (kept, revoked) = (a_key(&log).await, a_key(&log).await);
    let backed_up = length(&log).await;
    let following = follow(&log, &copy).await;
    revoke(&log, &following.auth, &revoked).await;
    let lost_id = key_id(&following.auth, &revoked);
    let lost = a_key(&log).await;
    let whole = StreamSeq(length(&log).await as u64);
    following.auth.wait_for(whole).await.expect("read");
    following.end().await;

    let restored = backup_of(&log, backed_up).await;
    let following = follow(&restored, &copy).await;
    assert!(knows(&following.auth, &kept), "the log holds it");
    assert!(!knows(&following.auth, &lost), "the log does not hold it");
    let told = following.auth.loss().expect("told");
    assert_eq!(
        (told.read, told.last, told.common),
        (whole.0, backed_up as u64, Some(backed_up as u64))
    );
    assert_eq!(told.lost, [format!("key.revoked.v1 {lost_id}")]);
    assert_eq!(loss::newest(&copy, lost::COPY), Some(told));
    following.end().await;
    // It is told of until somebody has removed the file, and found once.
    let following = follow(&restored, &copy).await;
    assert!(following.auth.loss().is_some());
    let written = std::fs::read_to_string(loss::file_of(&copy)).expect("there");
    assert_eq!(written.lines().count(), 1);
    following.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_copy_of_a_history_that_the_log_has_left_is_not_gone_on_with() {
    let (log, dir) = (log_of_a_day(), tempfile::tempdir().expect("a folder"));
    let copy = dir.path().join("auth");
    let leaked = a_key(&log).await;
    let backed_up = length(&log).await;
    let following = follow(&log, &copy).await;
    let only_there = a_key(&log).await;
    let whole = length(&log).await;
    following
        .auth
        .wait_for(StreamSeq(whole as u64))
        .await
        .expect("read");
    following.end().await;

    // Restored, and written on past the place that the copy has come to: the leaked key is revoked in that history.
    let restored = backup_of(&log, backed_up).await;
    let elsewhere = dir.path().join("another");
    let following = follow(&restored, &elsewhere).await;
    revoke(&restored, &following.auth, &leaked).await;
    following.end().await;
    while length(&restored).await <= whole {
        a_key(&restored).await;
    }

    let following = follow(&restored, &copy).await;
    assert!(!knows(&following.auth, &leaked), "revoked in this history");
    assert!(!knows(&following.auth, &only_there), "it is of another one");
    assert_eq!(
        following.auth.loss().expect("told").common,
        Some(backed_up as u64)
    );
    following.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_replaced_while_it_is_followed_is_noticed() {
    let (log, dir) = (log_of_a_day(), tempfile::tempdir().expect("a folder"));
    let copy = dir.path().join("auth");
    a_key(&log).await;
    let backed_up = length(&log).await;
    let lost = a_key(&log).await;
    let following = follow(&log, &copy).await;
    assert!(knows(&following.auth, &lost));
    log.core().cut(Stream::Control, backed_up);
    let told = async {
        while following.auth.loss().is_none() || !following.auth.is_caught_up() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told)
        .await
        .expect("noticed");
    assert!(!knows(&following.auth, &lost));
    following.end().await;
}

async fn append(log: &MemoryLog, record: NewRecord) {
    let append = Append {
        stream: Stream::Control,
        records: vec![record],
        expect: Expectation::None,
        atomicity: Atomicity::Atomic,
        msg_id: None,
    };
    log.append(append).await.expect("stored");
}

async fn plant(log: &MemoryLog, subject: String, event: &'static str, payload: &[u8]) {
    let record = NewRecord {
        subject,
        event,
        actor: "system:stranger".into(),
        traceparent: None,
        origin: None,
        payload: payload.to_vec().into(),
    };
    append(log, record).await;
}

fn team_of(auth: &Auth, key: &str) -> Option<TeamId> {
    match auth.recognise(key, &["wb".to_owned()]) {
        Recognition::Known(known) => Some(known.team),
        _ => None,
    }
}

#[tokio::test]
async fn poison_closes_nothing_and_stops_nobody() {
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().expect("a folder"));
    let key = a_key(&log).await;
    let following = follow(&log, dir.path()).await;
    let team = team_of(&following.auth, &key).expect("known");
    let deleted = ControlEvent::TeamDeleted(TeamDeleted {
        team: team.clone(),
        at: entropy::now(),
    });
    let strangers = TeamId::new(entropy::now(), 7);
    let own = format!("control.{team}.team.{team}");
    plant(&log, own.clone(), "", &deleted.encode()).await;
    plant(&log, own.clone(), "hello", &deleted.encode()).await;
    // Of this kind nothing is taken away, so nothing is closed.
    plant(&log, own.clone(), "team.renamed.v1", b"nonsense").await;
    // A newer build's, but not where it says that it belongs.
    plant(&log, own, "key.frozen.v1", b"x").await;
    let elsewhere = format!("control.{strangers}.team.{strangers}");
    plant(&log, elsewhere, deleted.name(), &deleted.encode()).await;
    let another = a_key(&log).await;
    let last = log.bounds(Stream::Control).await.expect("a log").last;
    following.auth.wait_for(last).await.expect("read");
    for key in [&key, &another] {
        let team = team_of(&following.auth, key).expect("known");
        assert!(!following.auth.directory().is_closed(&Boundary::Team(team)));
    }
    // Commands to the team pass it over too.
    let writer = ControlWriter::new(Arc::new(log.clone()), pepper());
    let by = Actor::Operator("test".into()).into();
    let renamed = writer.run_team(&team, rename(), &by).await;
    assert!(renamed.is_ok(), "{renamed:?}");
    following.end().await;
}

#[tokio::test]
async fn what_may_take_rights_away_and_is_not_understood_closes_its_team_until_it_is() {
    let (log, dir) = (MemoryLog::default(), tempfile::tempdir().expect("a folder"));
    let (key, other) = (a_key(&log).await, a_key(&log).await);
    let mut following = follow(&log, dir.path()).await;
    let (team, others) = (
        team_of(&following.auth, &key).expect("known"),
        team_of(&following.auth, &other).expect("known"),
    );
    let id = key_id(&following.auth, &key);
    let subject = format!("control.{team}.key.{id}");
    plant(&log, subject, "key.revoked.v1", b"nonsense").await;
    // Also over a restart, from the store alone.
    for _ in 0..2 {
        let last = log.bounds(Stream::Control).await.expect("a log").last;
        following.auth.wait_for(last).await.expect("read");
        let closed = |team: &TeamId| {
            let boundary = Boundary::Team(team.clone());
            following.auth.directory().is_closed(&boundary)
        };
        assert!(closed(&team), "that team is closed");
        assert!(!closed(&others), "and no other");
        following.end().await;
        following = follow(&log, dir.path()).await;
    }
    // Nothing is decided for the team without knowing what it says.
    let writer = ControlWriter::new(Arc::new(log.clone()), pepper());
    let by = Actor::Operator("test".into()).into();
    let refused = writer.run_team(&team, rename(), &by).await.err();
    assert!(
        matches!(refused, Some(CommandError::History(_))),
        "{refused:?}"
    );
    assert!(writer.run_team(&others, rename(), &by).await.is_ok());
    following.end().await;
}

fn rename() -> TeamCommand {
    TeamCommand::Rename {
        name: "theirs".into(),
    }
}

fn key_id(auth: &Auth, key: &str) -> KeyId {
    match auth.recognise(key, &["wb".to_owned()]) {
        Recognition::Known(known) => known.key.created.key.clone(),
        _ => panic!("the key is known"),
    }
}

#[tokio::test]
async fn the_store_of_another_log_is_not_believed() {
    let (first, dir) = (MemoryLog::default(), tempfile::tempdir().expect("a folder"));
    let copy = dir.path().join("auth");
    let (old, leaked) = (a_key(&first).await, a_key(&first).await);
    let following = follow(&first, &copy).await;
    let revoked = key_id(&following.auth, &leaked);
    revoke(&first, &following.auth, &leaked).await;
    let whole = StreamSeq(length(&first).await as u64);
    following.auth.wait_for(whole).await.expect("read");
    following.end().await;
    // Another log was made at another time; its incarnation is that time.
    let later = Arc::new(|| waybill_domain::time::Timestamp(4_000_000_000_000));
    let second = MemoryLog::new(later, Duration::from_secs(6));
    let new = a_key(&second).await;
    let following = follow(&second, &copy).await;
    assert!(!knows(&following.auth, &old));
    assert!(knows(&following.auth, &new));
    // A log in the place of another one takes revocations along, too: that is told like any other loss.
    let told = following.auth.loss().expect("told");
    assert_eq!(told.common, Some(0));
    assert_eq!(told.lost, [format!("key.revoked.v1 {revoked}")]);
    following.end().await;
}
