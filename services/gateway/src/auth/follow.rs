//! Following CONTROL: one task reads it and keeps both copies up to date.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use waybill_domain::access::plan::Catalogue;
use waybill_domain::event::Boundary;
use waybill_domain::id::{KeyId, SessionId, TeamId, UserId};
use waybill_log::{Bounds, Log, Stream, StreamSeq};

use super::directory::{Directory, Recognition};
use super::principal::Principal;
use super::store::{self, AuthStore, AuthStoreError, Contents, Read};
use crate::access::Pepper;
use crate::entropy;

/// Records taken from the log at a time.
const RECORDS_AT_A_TIME: usize = 500;
/// Pause after the log did not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How much may be lost of the store, never of the log, in a crash.
const SYNC_INTERVAL: Duration = Duration::from_millis(250);
/// Looks at a log that is shorter than it was, before that is believed.
const LOOKS_AGAIN: u32 = 10;
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How often an operator is told that the log went backwards.
const REMIND_EVERY: Duration = Duration::from_secs(60);
/// A change of access is not waited for longer than this.
const APPLY_DEADLINE: Duration = Duration::from_secs(5);

/// What was written is in the log, but this gateway has not read it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this gateway has not read its own change yet")]
pub struct NotAppliedYet;

/// What a gateway knows of teams and keys.
pub struct Auth {
    directory: Directory,
    pepper: Arc<Pepper>,
    applied: watch::Sender<StreamSeq>,
    caught_up: AtomicBool,
}

impl Auth {
    /// Knows nobody until it is fed.
    #[must_use]
    pub fn new(pepper: Arc<Pepper>, plans: Arc<Catalogue>) -> Self {
        Self {
            directory: Directory::new(plans),
            pepper,
            applied: watch::Sender::new(StreamSeq(0)),
            caught_up: AtomicBool::new(false),
        }
    }

    /// Whose key this is.
    #[must_use]
    pub fn recognise(&self, presented: &str, brands: &[String]) -> Recognition {
        self.directory
            .recognise(presented, &self.pepper, brands, entropy::now())
    }

    /// Whether a key is still accepted.
    #[must_use]
    pub fn is_active(&self, key: &KeyId) -> bool {
        self.directory.is_active(key, entropy::now())
    }

    /// Whether a credential that was recognised earlier still is: streams and long polls ask this while they wait.
    #[must_use]
    pub fn stands(&self, principal: &Principal, team: &TeamId) -> bool {
        match principal {
            _ if self.is_closed(principal, team) => false,
            Principal::Key(key) => self.is_active(&key.created.key),
            Principal::User { user, session, .. } => {
                self.directory.role_of(user, &team.base()).is_some()
                    && self
                        .directory
                        .standing_session(session, entropy::now())
                        .is_some()
            }
            Principal::App { grant, scopes, .. } => {
                self.directory.app_stands(grant, *scopes, entropy::now())
            }
        }
    }

    /// Whether something that may have taken this access away is not understood here.
    #[must_use]
    pub fn is_closed(&self, principal: &Principal, team: &TeamId) -> bool {
        let team = Boundary::Team(team.base());
        self.directory.is_closed(&team)
            || match principal {
                Principal::Key(_) => false,
                Principal::User { user, session, .. } => self.is_person_closed(user, session),
                Principal::App { grant, .. } => {
                    self.directory.is_closed(&Boundary::Grant(grant.clone()))
                }
            }
    }

    /// The same of a person on a device, in whatever team.
    #[must_use]
    pub fn is_person_closed(&self, user: &UserId, session: &SessionId) -> bool {
        let account = self.directory.user(user);
        let address = account
            .as_ref()
            .and_then(|user| user.confirmed())
            .map(|(who, _)| Boundary::User(who.email_hash.clone()));
        let session = Boundary::Session(session.clone());
        self.directory.is_closed(&session)
            || address.is_some_and(|address| self.directory.is_closed(&address))
    }

    /// Teams and keys.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Whether all was read that was in the log when the gateway started. Before that, nobody is recognised and nobody refused.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Acquire)
    }

    /// How far CONTROL was read.
    #[must_use]
    pub fn applied(&self) -> StreamSeq {
        *self.applied.borrow()
    }

    /// The same as it changes. It is raised only once everybody who asks is answered by what stands there.
    #[must_use]
    pub fn applied_changes(&self) -> watch::Receiver<StreamSeq> {
        self.applied.subscribe()
    }

    /// Waits until what stands at `seq` of CONTROL counts here.
    pub async fn wait_for(&self, seq: StreamSeq) -> Result<(), NotAppliedYet> {
        let mut applied = self.applied.subscribe();
        let reached = applied.wait_for(|at| *at >= seq);
        match tokio::time::timeout(APPLY_DEADLINE, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotAppliedYet),
        }
    }

    pub(crate) fn set_caught_up(&self) {
        self.caught_up.store(true, Ordering::Release);
    }

    fn advance(&self, to: StreamSeq) {
        self.applied.send_if_modified(|at| {
            let later = to > *at;
            *at = (*at).max(to);
            later
        });
    }
}

/// The task that follows CONTROL.
pub(crate) struct Follower {
    pub(crate) auth: Arc<Auth>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) dir: PathBuf,
}

impl Follower {
    /// Opens the store. Done before the gateway listens, so that a folder that cannot be used is an error of the start.
    pub(crate) async fn open(&self) -> Result<AuthStore, AuthStoreError> {
        let dir = self.dir.clone();
        joined(tokio::task::spawn_blocking(move || AuthStore::open(&dir)).await)
    }

    /// Follows until stopped. However it ends, nobody is recognised afterwards: what is not followed may have been revoked.
    pub(crate) async fn run(self, store: AuthStore, stop: CancellationToken) {
        let _guard = Following(&self.auth);
        let follow = self.follow(store);
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow => {}
        }
    }

    async fn follow(&self, store: AuthStore) {
        let mut start = self.bounds().await;
        let incarnation = start.incarnation.to_string();
        let mut restored = self.restore(store, &start, &incarnation).await;
        if let Err(Unusable::Log(backwards)) = &restored
            && self.comes_back(backwards.read).await
        {
            start = self.bounds().await;
            restored = match self.open().await {
                Ok(store) => self.restore(store, &start, &incarnation).await,
                Err(error) => Err(error.into()),
            };
        }
        let (mut store, from) = match restored {
            Ok((store, from)) => (Some(store), from),
            Err(Unusable::Log(backwards)) => return refuse(&backwards).await,
            Err(Unusable::Store(error)) => {
                tracing::error!(%error, "the auth store cannot be used; going on in memory");
                (None, StreamSeq(0))
            }
        };
        self.auth.advance(from);
        let mut tail = self.log.tail(Stream::Control, Vec::new(), from.next());
        let mut unsynced: Option<Instant> = None;
        loop {
            if self.auth.applied() >= start.last && !self.auth.is_caught_up() {
                tracing::info!(seq = %start.last, "access is caught up with the log");
                self.auth.set_caught_up();
            }
            let sync_at = unsynced.map(|since| since + SYNC_INTERVAL);
            let batch = tokio::select! {
                batch = tail.next_batch(RECORDS_AT_A_TIME) => batch,
                () = at(sync_at) => {
                    unsynced = None;
                    store = self.sync(store).await;
                    continue;
                }
            };
            let records = match batch {
                Ok(records) => records,
                Err(error) => {
                    tracing::warn!(%error, "CONTROL cannot be read");
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            };
            for record in &records {
                match store::read(record) {
                    Read::Event(event) => self.auth.directory.apply(&event),
                    Read::Closes(closes) => self.auth.directory.close(closes),
                    Read::Nothing => {}
                }
            }
            if let Some(record) = records.last() {
                self.auth.advance(record.seq);
            }
            if let Some(open) = &store {
                match open.write(&records, &incarnation) {
                    Ok(()) => unsynced = unsynced.or_else(|| Some(Instant::now())),
                    Err(error) => {
                        // The hot copy is complete without it, and the next start rebuilds it.
                        tracing::error!(%error, "the auth store is given up; going on in memory");
                        (store, unsynced) = (None, None);
                    }
                }
            }
        }
    }

    /// Fills the hot copy from the store, when the store is of this log; else begins anew. Says how far the store had come.
    async fn restore(
        &self,
        store: AuthStore,
        log: &Bounds,
        incarnation: &str,
    ) -> Result<(AuthStore, StreamSeq), Unusable> {
        let dir = self.dir.clone();
        let (last, incarnation) = (log.last.0, incarnation.to_owned());
        let (store, contents) = joined(
            tokio::task::spawn_blocking(move || -> Result<_, Unusable> {
                let why = match store.read() {
                    Ok(contents) => match &contents.at {
                        Some(at) if at.incarnation != incarnation => "the log is another one",
                        Some(at) if at.seq > last => {
                            return Err(WentBackwards::new(&contents, last, at.seq).into());
                        }
                        Some(_) | None => return Ok((store, contents)),
                    },
                    Err(error) => {
                        tracing::error!(%error, "the auth store cannot be read");
                        "its rows cannot be read"
                    }
                };
                Ok((store.reset(&dir, why)?, Contents::default()))
            })
            .await,
        )?;
        let from = contents.at.as_ref().map_or(0, |at| at.seq);
        let events = contents.events.iter().map(|(_, event)| event);
        self.auth.directory.restore(events);
        for closes in contents.closes {
            self.auth.directory.close(closes);
        }
        Ok((store, StreamSeq(from)))
    }

    async fn sync(&self, store: Option<AuthStore>) -> Option<AuthStore> {
        let store = store?;
        let handle = store.handle();
        match tokio::task::spawn_blocking(move || handle.sync()).await {
            Ok(Ok(())) => Some(store),
            Ok(Err(error)) => {
                tracing::error!(%error, "the auth store cannot be synced; going on in memory");
                None
            }
            Err(_) => None,
        }
    }

    /// Whether the log is as long as it was after all: a leader that was deposed a moment ago may have answered.
    async fn comes_back(&self, read: u64) -> bool {
        for _ in 0..LOOKS_AGAIN {
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            if self.bounds().await.last.0 >= read {
                return true;
            }
        }
        false
    }

    async fn bounds(&self) -> Bounds {
        loop {
            match self.log.bounds(Stream::Control).await {
                Ok(bounds) => return bounds,
                Err(error) => {
                    tracing::warn!(%error, "CONTROL cannot be read");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }
}

/// Why nothing can be restored.
enum Unusable {
    /// The store: it is only a copy.
    Store(AuthStoreError),
    /// The log is not what it was.
    Log(WentBackwards),
}

impl From<AuthStoreError> for Unusable {
    fn from(error: AuthStoreError) -> Self {
        Self::Store(error)
    }
}

impl From<WentBackwards> for Unusable {
    fn from(backwards: WentBackwards) -> Self {
        Self::Log(backwards)
    }
}

/// CONTROL ends before what was read of it earlier: it comes from a backup, and revocations may be gone with what is missing.
struct WentBackwards {
    last: u64,
    read: u64,
    /// What took rights away in the part that is missing.
    lost: Vec<String>,
}

impl WentBackwards {
    fn new(contents: &Contents, last: u64, read: u64) -> Self {
        let missing = contents.events.iter().filter(|(seq, _)| *seq > last);
        let lost = missing
            .filter(|(_, event)| event.takes_away())
            .map(|(_, event)| format!("{} {}", event.name(), event.aggregate().1));
        Self {
            last,
            read,
            lost: lost.collect(),
        }
    }
}

/// Recognises nobody until an operator has looked: a key that was revoked would be good again.
async fn refuse(backwards: &WentBackwards) {
    loop {
        tracing::error!(
            last = backwards.last,
            read = backwards.read,
            lost = ?backwards.lost,
            "CONTROL ends before what this gateway has read of it, as after a restore from a backup. Nobody is recognised here. Repeat what \
             took rights away and is lost, then remove the gateway's auth folder (ops/README.md, 'Backup and restore')"
        );
        metrics::gauge!("waybill_access_log_went_backwards").set(1.0);
        tokio::time::sleep(REMIND_EVERY).await;
    }
}

/// While it lives, CONTROL is followed.
struct Following<'a>(&'a Auth);

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.0.caught_up.store(false, Ordering::Release);
    }
}

/// A panic on the blocking thread becomes a panic here.
fn joined<T>(result: Result<T, JoinError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("blocking work is not cancelled"),
        },
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{CommandError, ControlWriter};
    use waybill_domain::access::scope::Scope;
    use waybill_domain::access::team::TeamCommand;
    use waybill_domain::actor::Actor;
    use waybill_domain::event::{ControlEvent, TeamDeleted};
    use waybill_log::memory::MemoryLog;
    use waybill_log::{Append, Atomicity, Expectation, NewRecord};

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
        let last = log.bounds(Stream::Control).await.expect("a log").last;
        auth.wait_for(last).await.expect("read");
        while !auth.is_caught_up() {
            tokio::task::yield_now().await;
        }
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

    #[tokio::test]
    async fn a_log_that_lost_what_was_read_of_it_lets_nobody_in() {
        let dir = tempfile::tempdir().expect("a folder");
        let then = Arc::new(|| waybill_domain::time::Timestamp(4_000_000_000_000));
        // Made at the same time: the same incarnation, as a restored one has.
        let log = || MemoryLog::new(then.clone(), Duration::from_secs(6));
        let (whole, restored) = (log(), log());
        let (first, _) = (a_key(&whole).await, a_key(&whole).await);
        follow(&whole, dir.path()).await.end().await;
        a_key(&restored).await;

        let auth = Arc::new(Auth::new(pepper(), Arc::clone(Catalogue::builtin())));
        let follower = Follower {
            auth: Arc::clone(&auth),
            log: Arc::new(restored),
            dir: dir.path().to_owned(),
        };
        let store = follower.open().await.expect("opens");
        let bounds = follower.bounds().await;
        let incarnation = bounds.incarnation.to_string();
        let found = follower.restore(store, &bounds, &incarnation).await;
        assert!(matches!(found, Err(Unusable::Log(lost)) if lost.read > lost.last));
        assert!(!auth.is_caught_up() && !knows(&auth, &first));
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
        let append = Append {
            stream: Stream::Control,
            records: vec![record],
            expect: Expectation::None,
            atomicity: Atomicity::Atomic,
            msg_id: None,
        };
        log.append(append).await.expect("stored");
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
        let old = a_key(&first).await;
        follow(&first, dir.path()).await.end().await;
        // Another log was made at another time; its incarnation is that time.
        let later = Arc::new(|| waybill_domain::time::Timestamp(4_000_000_000_000));
        let second = MemoryLog::new(later, Duration::from_secs(6));
        let new = a_key(&second).await;
        let following = follow(&second, dir.path()).await;
        assert!(!knows(&following.auth, &old));
        assert!(knows(&following.auth, &new));
        following.end().await;
    }
}
