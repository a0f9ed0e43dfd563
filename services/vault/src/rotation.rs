//! The walk that moves every stored data key to another KEK while the system runs, so that the old KEK can be destroyed.
//!
//! Each key is wrapped anew in memory, put under its name if nobody has changed it since, and then the older message is erased. Stopped at
//! any point, it leaves one message that opens, or two that hold the same data key; the next walk goes on from there. Beside it keys are
//! made, erased and rewrapped by others: whoever puts second is refused, and a key that was erased is never put back, because the put
//! expects the message that is gone.
//!
//! Before it is called, gateways must seal to the new KEK (or it would never end) and workers must hold it.

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
mod patience;

pub use census::{Census, census};
use patience::patiently;

/// Keys that are rewrapped at once. Each waits for the store most of its time; more would only crowd out the gateways.
const IN_FLIGHT: usize = 16;
/// Walks until one finds nothing to do. The second usually does; others come of races with other writers.
const MAX_WALKS: u32 = 8;
/// Refused keys that are named. All are counted.
const MAX_NAMED: usize = 20;

/// A rotation: where the keys lie, who opens and wraps them, and which KEK they move to.
pub struct Rotation<'a> {
    /// The stored keys.
    pub keys: &'a dyn VaultKeys,
    /// Opens what is stored. It must hold every KEK in use, and the new one.
    pub unwrapper: &'a dyn Unwrapper,
    /// Wraps to the new KEK, as a sender that the unwrapper trusts.
    pub wrapper: &'a dyn Wrapper,
    /// The new KEK.
    pub to: KekId,
    /// How long the key of a task's headers may lie from now on before the store drops it by itself; `None`: for
    /// as long as its task is open.
    pub task_ttl: Option<Duration>,
}

/// What a rotation did, in messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrapped {
    /// Walks over all keys, the last of which found nothing to do.
    pub walks: u32,
    /// Wrapped to the new KEK, and the older message erased.
    pub rewrapped: u64,
    /// Superseded already, by a rotation that was stopped or by another one: the older message erased.
    pub finished: u64,
    /// Erased by somebody else meanwhile, and left so.
    pub gone: u64,
    /// Found under the new KEK by the last walk.
    pub already: u64,
    /// Left as they are by the last walk, because they cannot be opened.
    pub refused: u64,
    /// The first of those.
    pub refusals: Vec<Refused>,
}

/// A stored key that no KEK of this process opens. It is left where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What it belongs to.
    pub name: KeyName,
    /// Why.
    pub why: Unopened,
}

/// Why a stored key cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// It is no wrapped key.
    #[error(transparent)]
    Malformed(#[from] WrappedKeyError),
    /// Its KEK is not there, or it is not authentic.
    #[error(transparent)]
    Unwrap(#[from] UnwrapError),
}

/// A rotation that stopped. Nothing is lost; start it again.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// This process cannot wrap to the new KEK, or not open what it wrapped.
    #[error("the KEK {0} must be in both the seal ring and the open ring before keys move to it")]
    NotHeld(KekId),
    /// The rings do not fit each other.
    #[error("{0}")]
    Misfit(UnwrapError),
    /// A key could not be wrapped.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// A key service does not answer.
    #[error("the key service does not answer: {0}")]
    KeyService(String),
    /// The stored keys cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The stored keys cannot be changed.
    #[error(transparent)]
    Store(#[from] KeyStoreError),
    /// Every walk found keys under other KEKs.
    #[error(
        "after {MAX_WALKS} walks keys still come under other KEKs; do all gateways seal to the new one?"
    )]
    NeverEnds,
}

/// The place of a stored key, as its name gives it.
pub struct Place {
    purpose: Purpose,
    team: String,
    id: String,
    version: u32,
}

impl Place {
    /// The place that the name gives.
    pub fn of(name: &KeyName) -> Self {
        match name {
            KeyName::Token {
                team,
                token,
                version,
            } => Context::token(team.as_str(), token.as_str(), *version).into(),
            KeyName::Task { team, task } => Context::task(team.as_str(), &task.to_string()).into(),
        }
    }

    /// What a record there is bound to.
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

/// Moves all stored keys to the new KEK, and tells about its progress after each of them. Cancel safe: dropped at any point, it can be
/// started again.
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

/// What became of one message.
enum Step {
    Already,
    Rewrapped,
    Finished,
    Gone,
    /// Something else happens to it at this moment; the next walk looks again.
    Busy,
    Refused(Refused),
}

impl Rotation<'_> {
    /// Looks at every message once. Whether there was anything to do.
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
            // A page may lack what is no key, so only an empty one is the end.
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
        patiently(|| self.keys.list(&KeysOf::All, after, MAX_LISTED)).await
    }

    /// Brings one message to its end: under the new KEK, or erased because a newer one is.
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
            KeyName::Task { .. } => self.task_ttl,
        };
        let value = Bytes::copy_from_slice(&new.to_bytes());
        let put = patiently(|| self.keys.put(&name, value.clone(), stored.seq, ttl)).await;
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

    /// Erases a message that is not the newest of its name, once the newest is known to open: a newer one that nobody can read must not
    /// cost the older. `why`: what the message itself is refused for if it is the newest.
    async fn supersede(
        &self,
        name: KeyName,
        stored: &StoredKey,
        why: Unopened,
    ) -> Result<Step, RotationError> {
        let newest = patiently(|| self.keys.get(&name)).await?;
        let Some(newest) = newest.filter(|newest| newest.seq >= stored.seq) else {
            return Ok(Step::Gone);
        };
        if newest.seq == stored.seq {
            // Only a put that lost a race comes here with a message that opens.
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
        patiently(|| self.keys.erase_before(name, keep)).await?;
        Ok(())
    }
}

impl Rewrapped {
    /// Whether there was something to do.
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
