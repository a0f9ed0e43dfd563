//! Moves every stored data key to another KEK while the system runs, so that the old KEK can be
//! destroyed.
//!
//! Each key is rewrapped in memory, stored under its name unless that has changed meanwhile, and
//! then its older message is erased. If it stops at any point, it leaves one message that opens, or
//! two with the same data key, and the next walk continues from there. Meanwhile others may add,
//! erase and rewrap keys: the second of two writers is refused, and an erased key is never stored
//! again, because the store expects the erased message to be the last.
//!
//! Before it starts, gateways must seal to the new KEK (or it would never end), and workers must
//! have it.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use waybill_log::vault_keys::MAX_LISTED;
use waybill_log::{
    KeyName, KeyStoreError, KeysOf, ListedKey, ReadError, StoredKey, StreamSeq, VaultKeys,
};

use crate::context::{Context, Purpose};
use crate::keys::KekId;
use crate::seal::{RewrapError, rewrap};
use crate::wrap::{UnwrapError, Unwrapper, WrapError, Wrapper};
use crate::wrapped::{WrappedKey, WrappedKeyError};

mod census;
mod retry;

pub use census::{Census, census};
use retry::with_retries;

/// Number of keys that are rewrapped at a time. Each mostly waits for the store; more would only
/// compete with the gateways.
const IN_FLIGHT: usize = 16;
/// Limit of walks; one must find nothing to do. Usually the second does, and further ones are due
/// to races with other writers.
const MAX_WALKS: u32 = 8;
/// Limit of refused keys that are listed. All are counted.
const MAX_NAMED: usize = 20;

/// Input of a rotation.
pub struct Rotation<'a> {
    /// The store of wrapped keys.
    pub keys: &'a dyn VaultKeys,
    /// Opens the stored keys. It must have every KEK in use, and the new one.
    pub unwrapper: &'a dyn Unwrapper,
    /// Wraps to the new KEK, with a sender that the unwrapper trusts.
    pub wrapper: &'a dyn Wrapper,
    /// The new KEK.
    pub to: KekId,
    /// Time to live of the keys of tasks' headers, counted from now; `None` if they must live as
    /// long as their task is open.
    pub task_ttl: Option<Duration>,
}

/// Result of a rotation, in messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrapped {
    /// Number of walks over all keys; the last one found nothing to do.
    pub walks: u32,
    /// Messages that were wrapped to the new KEK, and whose older version was erased.
    pub rewrapped: u64,
    /// Older messages that were erased because a newer one existed, from an interrupted or
    /// simultaneous rotation.
    pub finished: u64,
    /// Keys that were erased by others meanwhile.
    pub gone: u64,
    /// Messages that the last walk found under the new KEK.
    pub already: u64,
    /// Messages that the last walk left unchanged, because they cannot be opened.
    pub refused: u64,
    /// The first refused keys.
    pub refusals: Vec<Refused>,
}

/// A stored key that cannot be opened with any KEK of this process. It is left unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub name: KeyName,
    pub why: Unopened,
}

/// Why a stored key cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// The message is not a wrapped key.
    #[error(transparent)]
    Malformed(#[from] WrappedKeyError),
    /// Its KEK is missing, or it is not authentic.
    #[error(transparent)]
    Unwrap(#[from] UnwrapError),
}

/// Why a rotation stopped. Nothing is lost; start it again.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// This process cannot wrap to the new KEK, or cannot open what it has wrapped.
    #[error("the KEK {0} must be in both the seal ring and the open ring before keys move to it")]
    NotHeld(KekId),
    /// The two rings do not match.
    #[error("{0}")]
    Misfit(UnwrapError),
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// The key service does not answer.
    #[error("the key service does not answer: {0}")]
    KeyService(String),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] KeyStoreError),
    /// Every walk found keys under other KEKs.
    #[error(
        "after {MAX_WALKS} walks keys still come under other KEKs; do all gateways seal to the new one?"
    )]
    NeverEnds,
}

/// The place of a stored key, derived from its name.
pub struct Place {
    purpose: Purpose,
    team: String,
    id: String,
    version: u32,
}

impl Place {
    /// The place that belongs to the name.
    pub fn of(name: &KeyName) -> Self {
        match name {
            KeyName::Token {
                team,
                token,
                version,
            } => Context::token(team.as_str(), token.as_str(), *version).into(),
            KeyName::Task { team, task } => Context::task(team.as_str(), &task.to_string()).into(),
            KeyName::Epoch { team, epoch, .. } => {
                Context::epoch(team.as_str(), &epoch.to_string()).into()
            }
        }
    }

    /// The context that a record at this place is bound to.
    pub fn context(&self) -> Context<'_> {
        Context {
            purpose: self.purpose,
            team: &self.team,
            id: &self.id,
            version: self.version,
        }
    }
}

impl From<Context<'_>> for Place {
    fn from(context: Context<'_>) -> Self {
        Self {
            purpose: context.purpose,
            team: context.team.to_owned(),
            id: context.id.to_owned(),
            version: context.version,
        }
    }
}

/// Moves all stored keys to the new KEK, and reports its progress after each. Cancel safe: it can
/// be dropped at any point and started again.
pub async fn rewrap_all(
    rotation: &Rotation<'_>,
    progress: &mut (dyn FnMut(&Rewrapped) + Send),
) -> Result<Rewrapped, RotationError> {
    let to = rotation.to;
    if !rotation.wrapper.keks().contains(&to) || !rotation.unwrapper.keks().contains(&to) {
        return Err(RotationError::NotHeld(to));
    }
    let mut done = Rewrapped::default();
    for _ in 0..MAX_WALKS {
        if !rotation.walk(&mut done, progress).await? {
            return Ok(done);
        }
    }
    Err(RotationError::NeverEnds)
}

/// What happened to one message.
enum Step {
    Already,
    Rewrapped,
    Finished,
    Gone,
    /// Another writer is changing it; the next walk checks again.
    Busy,
    Refused(Refused),
}

impl Rotation<'_> {
    /// Visits every message once. Returns whether there was anything to do.
    async fn walk(
        &self,
        done: &mut Rewrapped,
        progress: &mut (dyn FnMut(&Rewrapped) + Send),
    ) -> Result<bool, RotationError> {
        let mut was_busy = false;
        done.walks += 1;
        (done.already, done.refused) = (0, 0);
        done.refusals.clear();
        let mut after = StreamSeq(0);
        loop {
            let page = self.page(after).await?;
            // A page may skip messages that are not keys, so only an empty page is the end.
            let Some(last) = page.last() else {
                return Ok(was_busy);
            };
            after = last.key.seq;
            let mut steps = stream::iter(page)
                .map(|listed| self.settle(listed))
                .buffer_unordered(IN_FLIGHT);
            while let Some(step) = steps.next().await {
                was_busy |= done.count(step?);
                progress(done);
            }
        }
    }

    async fn page(&self, after: StreamSeq) -> Result<Vec<ListedKey>, ReadError> {
        with_retries(|| self.keys.list(&KeysOf::All, after, MAX_LISTED)).await
    }

    /// Moves one message to the new KEK, or erases it if a newer one is there.
    async fn settle(&self, listed: ListedKey) -> Result<Step, RotationError> {
        let ListedKey { name, key: stored } = listed;
        let old = match WrappedKey::parse(&stored.value) {
            Ok(old) if old.kek() == self.to => return Ok(Step::Already),
            Ok(old) => old,
            Err(error) => return self.supersede(name, &stored, error.into()).await,
        };
        let place = Place::of(&name);
        let context = place.context();
        let new = match rewrap(self.unwrapper, self.wrapper, Some(self.to), &context, &old).await {
            Ok(new) => new,
            Err(RewrapError::Unwrap(UnwrapError::Unavailable(reason))) => {
                return Err(RotationError::KeyService(reason));
            }
            Err(RewrapError::Unwrap(error)) => {
                return self.supersede(name, &stored, error.into()).await;
            }
            Err(RewrapError::Wrap(error)) => return Err(error.into()),
            Err(RewrapError::NotOpened(error)) => return Err(RotationError::Misfit(error)),
        };
        let ttl = match name {
            KeyName::Token { .. } => None,
            KeyName::Task { .. } | KeyName::Epoch { .. } => self.task_ttl,
        };
        let value = Bytes::copy_from_slice(&new.to_bytes());
        let put = with_retries(|| self.keys.put(&name, value.clone(), stored.seq, ttl)).await;
        match put {
            Ok(seq) => {
                self.erase_before(&name, seq).await?;
                Ok(Step::Rewrapped)
            }
            Err(KeyStoreError::Conflict { .. }) => {
                let refused = UnwrapError::NotAuthentic(old.kek());
                self.supersede(name, &stored, refused.into()).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Erases a message that is not the newest of its name, once the newest is known to open: a
    /// newer message that nobody can read must not cost the older one. `why` is the reason to
    /// refuse the message if it is the newest itself.
    async fn supersede(
        &self,
        name: KeyName,
        stored: &StoredKey,
        why: Unopened,
    ) -> Result<Step, RotationError> {
        let newest = with_retries(|| self.keys.get(&name)).await?;
        let Some(newest) = newest.filter(|newest| newest.seq >= stored.seq) else {
            return Ok(Step::Gone);
        };
        if newest.seq == stored.seq {
            // A message that opens only gets here if its put lost a race.
            let opens = self.opens(&name, &newest).await?.is_ok();
            return Ok(if opens {
                Step::Busy
            } else {
                Step::Refused(Refused { name, why })
            });
        }
        if let Err(why) = self.opens(&name, &newest).await? {
            return Ok(Step::Refused(Refused { name, why }));
        }
        self.erase_before(&name, newest.seq).await?;
        Ok(Step::Finished)
    }

    async fn opens(
        &self,
        name: &KeyName,
        stored: &StoredKey,
    ) -> Result<Result<(), Unopened>, RotationError> {
        let wrapped = match WrappedKey::parse(&stored.value) {
            Ok(wrapped) => wrapped,
            Err(error) => return Ok(Err(error.into())),
        };
        let place = Place::of(name);
        match self.unwrapper.unwrap_key(&place.context(), &wrapped).await {
            Ok(_) => Ok(Ok(())),
            Err(UnwrapError::Unavailable(reason)) => Err(RotationError::KeyService(reason)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn erase_before(&self, name: &KeyName, keep: StreamSeq) -> Result<(), RotationError> {
        with_retries(|| self.keys.erase_before(name, keep)).await?;
        Ok(())
    }
}

impl Rewrapped {
    /// Counts a step, and returns whether there was something to do.
    fn count(&mut self, step: Step) -> bool {
        match step {
            Step::Already => self.already += 1,
            Step::Rewrapped => self.rewrapped += 1,
            Step::Finished => self.finished += 1,
            Step::Gone => self.gone += 1,
            Step::Busy => {}
            Step::Refused(refused) => {
                self.refused += 1;
                if self.refusals.len() < MAX_NAMED {
                    self.refusals.push(refused);
                }
                return false;
            }
        }
        !matches!(step, Step::Already | Step::Gone)
    }
}
