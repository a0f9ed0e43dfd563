//! Following CONTROL: one task reads it and keeps both copies up to date.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use waybill_domain::access::plan::Catalogue;
use waybill_domain::event::Boundary;
use waybill_domain::id::{KeyId, SessionId, TeamId, UserId};
use waybill_log::{
    Bounds, Continuity, Fingerprint, Log, Mark, Stream, StreamSeq, Watch, WentBackwards,
};
use waybill_store::loss::{self, Loss};

use super::directory::{Directory, Recognition};
use super::lost;
use super::store::{self, AuthStore, AuthStoreError, Contents, Read};
use crate::error::{ApiError, ErrorCode};
use crate::principal::Principal;
use waybill_commands::Pepper;
use waybill_commands::entropy;
use waybill_fence::CopyCheck;

/// Records taken from the log at a time.
const RECORDS_AT_A_TIME: usize = 500;
/// Pause after the log did not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How much of the store, never of the log, a crash may lose.
const SYNC_INTERVAL: Duration = Duration::from_millis(250);
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
    /// The fence asks for comparisons.
    copy_check: Arc<CopyCheck>,
    caught_up: AtomicBool,
    /// What the log lost of what was read of it, until an operator has taken note. Locked for a moment only, never across an await.
    loss: Mutex<Option<Loss>>,
}

impl Auth {
    /// Empty until it is fed from the log.
    #[must_use]
    pub fn new(pepper: Arc<Pepper>, plans: Arc<Catalogue>) -> Self {
        Self {
            directory: Directory::new(plans),
            pepper,
            applied: watch::Sender::new(StreamSeq(0)),
            copy_check: Arc::default(),
            caught_up: AtomicBool::new(false),
            loss: Mutex::default(),
        }
    }

    /// What CONTROL lost of what was read of it, as after a restore from a backup.
    #[must_use]
    pub fn loss(&self) -> Option<Loss> {
        let loss = self.loss.lock();
        loss.clone()
    }

    fn tell_of(&self, loss: Loss) {
        metrics::gauge!("waybill_log_went_backwards", "copy" => lost::COPY).set(1.0);
        *self.loss.lock() = Some(loss);
    }

    /// Refuses until all was read that was in the log at the start: a key that is unknown now may be known in a moment, and one that is
    /// known may be revoked.
    pub fn check_caught_up(&self) -> Result<(), ApiError> {
        if self.is_caught_up() {
            return Ok(());
        }
        Err(match self.loss() {
            Some(_) => ApiError::unavailable(
                ErrorCode::LogWentBackwards,
                "The log does not hold what was read of it; access is read anew from it; try again later",
            ),
            None => ApiError::unavailable(
                ErrorCode::NotReady,
                "The gateway is starting; try again later",
            ),
        })
    }

    /// Empties it, as at the start.
    fn begin_anew(&self) {
        self.caught_up.store(false, Ordering::Release);
        self.directory.restore([]);
        self.applied.send_replace(StreamSeq(0));
    }

    /// Looks an API key up.
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
        // Pairs with the Release below: whoever sees it true sees all that was applied before.
        self.caught_up.load(Ordering::Acquire)
    }

    /// How far CONTROL was read.
    #[must_use]
    pub fn applied(&self) -> StreamSeq {
        *self.applied.borrow()
    }

    /// How far CONTROL was read, as it changes. Raised only after every look-up answers by what was read.
    #[must_use]
    pub fn applied_changes(&self) -> watch::Receiver<StreamSeq> {
        self.applied.subscribe()
    }

    /// Has what is known here compared with the log.
    #[must_use]
    pub fn copy_check(&self) -> Arc<CopyCheck> {
        Arc::clone(&self.copy_check)
    }

    /// Waits until this gateway has applied CONTROL up to `seq`.
    pub async fn wait_for(&self, seq: StreamSeq) -> Result<(), NotAppliedYet> {
        let mut applied = self.applied.subscribe();
        let reached = applied.wait_for(|at| *at >= seq);
        match tokio::time::timeout(APPLY_DEADLINE, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotAppliedYet),
        }
    }

    pub fn set_caught_up(&self) {
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
pub struct Follower {
    pub auth: Arc<Auth>,
    pub log: Arc<dyn Log>,
    pub dir: PathBuf,
}

impl Follower {
    /// Opens the store. Done before the gateway listens, so that a folder that cannot be used is an error of the start.
    pub async fn open(&self) -> Result<AuthStore, AuthStoreError> {
        let dir = self.dir.clone();
        let (opened, loss) = joined(
            tokio::task::spawn_blocking(move || {
                (AuthStore::open(&dir), loss::newest(&dir, lost::COPY))
            })
            .await,
        );
        // Exported from the start, so that an alert on it can tell a gateway that is well from one that is not there.
        metrics::gauge!("waybill_log_went_backwards", "copy" => lost::COPY).set(0.0);
        if let Some(loss) = loss {
            tracing::warn!(
                file = %loss::file_of(&self.dir).display(),
                "an earlier loss of CONTROL is written down: see to it, then remove the file"
            );
            self.auth.tell_of(loss);
        }
        opened
    }

    /// Follows until stopped. However it ends, nobody is recognised afterwards: what is not followed may have been revoked.
    pub async fn run(self, store: AuthStore, stop: CancellationToken) {
        let _guard = Following(&self.auth);
        let follow = self.follow(store);
        // Dropped in the middle, the copies are only older: the store says how far it has come, and `Following` marks
        // the directory as not followed.
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow => {}
        }
    }

    async fn follow(&self, store: AuthStore) {
        let mut store = Some(store);
        loop {
            let (backwards, copy) = self.follow_one_history(store.take()).await;
            self.begin_anew(&backwards, copy).await;
            store = match self.open().await {
                Ok(store) => Some(store),
                Err(error) => {
                    tracing::error!(%error, "the auth store failed; going on in memory, and the next start reads CONTROL again");
                    None
                }
            };
        }
    }

    /// Follows CONTROL for as long as it holds what was read of it. Returns how it went backwards, and the store.
    async fn follow_one_history(
        &self,
        store: Option<AuthStore>,
    ) -> (WentBackwards, Option<AuthStore>) {
        let wanted = self.auth.copy_check.newest();
        let start = self.bounds().await;
        let incarnation = start.incarnation.to_string();
        let restored = match store {
            Some(store) => self.restore(store).await,
            None => Ok((None, None)),
        };
        let (mut store, mut mark) = match restored {
            Ok(restored) => restored,
            Err(error) => {
                tracing::error!(%error, "the auth store failed; going on in memory, and the next start reads CONTROL again");
                self.auth.directory.restore([]);
                (None, None)
            }
        };
        if let Some(mark) = mark {
            // Nothing counts before it is known that the log still holds what the copy was made from.
            if let Continuity::WentBackwards(backwards) = self.compare(mark).await {
                return (backwards, store);
            }
            self.auth.advance(mark.seq);
        }
        self.auth.copy_check.answer(wanted);
        let mut tail = self
            .log
            .tail(Stream::Control, Vec::new(), self.auth.applied().next());
        let mut unsynced: Option<Instant> = None;
        let mut watch = Watch::new(Arc::clone(&self.log), Stream::Control);
        loop {
            if self.auth.applied() >= start.last && !self.auth.is_caught_up() {
                tracing::info!(seq = %start.last, "access is caught up with the log");
                self.auth.set_caught_up();
            }
            let sync_at = unsynced.map(|since| since + SYNC_INTERVAL);
            // Cancellation safe: a tail that is dropped in the middle of a call gives the same records at the next
            // one.
            let batch = tokio::select! {
                batch = tail.next_batch(RECORDS_AT_A_TIME) => batch,
                () = at(sync_at) => {
                    unsynced = None;
                    store = self.sync(store).await;
                    continue;
                }
                backwards = watch.went_backwards(mark) => return (backwards, store),
                wanted = self.auth.copy_check.wanted() => {
                    if let Some(mark) = mark
                        && let Continuity::WentBackwards(backwards) = self.compare(mark).await
                    {
                        return (backwards, store);
                    }
                    self.auth.copy_check.answer(wanted);
                    continue;
                }
            };
            let records = match batch {
                Ok(records) => records,
                Err(error) => {
                    tracing::warn!(%error, "reading CONTROL failed; trying again");
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
                mark = Some(Mark::of(record, start.incarnation));
                self.auth.advance(record.seq);
            }
            if let Some(open) = &store {
                match open.write(&records, &incarnation) {
                    Ok(()) => unsynced = unsynced.or_else(|| Some(Instant::now())),
                    Err(error) => {
                        // The hot copy is complete without it, and the next start rebuilds it.
                        tracing::error!(%error, "writing to the auth store failed; going on in memory, and the next start reads CONTROL again");
                        (store, unsynced) = (None, None);
                    }
                }
            }
        }
    }

    async fn compare(&self, mark: Mark) -> Continuity {
        waybill_log::compare(&*self.log, Stream::Control, mark).await
    }

    /// Fills the hot copy from the store, or begins anew when that cannot be read. Says how far the store had come, and what stood there.
    async fn restore(
        &self,
        store: AuthStore,
    ) -> Result<(Option<AuthStore>, Option<Mark>), AuthStoreError> {
        let dir = self.dir.clone();
        let (store, contents) = joined(
            tokio::task::spawn_blocking(move || -> Result<_, AuthStoreError> {
                match store.read() {
                    Ok(contents) => Ok((store, contents)),
                    Err(error) => {
                        tracing::error!(%error, "reading the auth store failed; it is wiped and CONTROL is read again");
                        let store = store.reset(&dir, "its rows cannot be read")?;
                        Ok((store, Contents::default()))
                    }
                }
            })
            .await,
        )?;
        let mark = contents.at.as_ref().map(|at| Mark {
            // A text that is not a number belongs to no existing log.
            incarnation: at.incarnation.parse().unwrap_or_default(),
            seq: StreamSeq(at.seq),
            fingerprint: at.fingerprint.map(Fingerprint::from_bytes),
        });
        let events = contents.events.iter().map(|(_, event)| event);
        self.auth.directory.restore(events);
        for closes in contents.closes {
            self.auth.directory.close(closes);
        }
        Ok((Some(store), mark))
    }

    /// The log does not hold what was read of it. Finds what is lost, writes it down, and forgets everything: what is read next is
    /// what the log holds now.
    async fn begin_anew(&self, backwards: &WentBackwards, copy: Option<AuthStore>) {
        self.auth.begin_anew();
        let read = |store: AuthStore| {
            let contents = store.read().unwrap_or_default();
            (store, contents.events)
        };
        let (copy, events) = match copy {
            Some(store) => {
                let read = joined(tokio::task::spawn_blocking(move || read(store)).await);
                (Some(read.0), read.1)
            }
            None => (None, Vec::new()),
        };
        let loss = lost::find(&*self.log, backwards, &events).await;
        tracing::error!(
            %backwards,
            common = loss.common,
            lost = ?loss.lost,
            more = loss.more,
            "CONTROL does not hold what this gateway has read of it, as after a restore from a backup. The copy is made anew from the log. \
             Repeat what took rights away and is lost (ops/README.md, 'Backup and restore')"
        );
        metrics::counter!("waybill_log_went_backwards_total", "copy" => lost::COPY).increment(1);
        self.auth.tell_of(loss.clone());
        let dir = self.dir.clone();
        let written = tokio::task::spawn_blocking(move || {
            let written = loss::write_down(&dir, &loss);
            if let Some(store) = copy {
                store.condemn("the log went backwards");
            }
            written
        });
        if let Err(error) = joined(written.await) {
            tracing::error!(%error, "writing down what the log has lost failed; the lines before this one have it");
        }
    }

    async fn sync(&self, store: Option<AuthStore>) -> Option<AuthStore> {
        let store = store?;
        let handle = store.handle();
        match tokio::task::spawn_blocking(move || handle.sync()).await {
            Ok(Ok(())) => Some(store),
            Ok(Err(error)) => {
                tracing::error!(%error, "syncing the auth store failed; going on in memory, and the next start reads CONTROL again");
                None
            }
            Err(_) => None,
        }
    }

    async fn bounds(&self) -> Bounds {
        loop {
            match self.log.bounds(Stream::Control).await {
                Ok(bounds) => return bounds,
                Err(error) => {
                    tracing::warn!(%error, "reading CONTROL failed; trying again");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
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
mod tests;
