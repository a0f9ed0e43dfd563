//! The vault of a gateway, which seals and never opens.
//!
//! The key of a seal goes to VKEYS before anything that is sealed goes anywhere: a key without a use is harmless, and erased by the
//! [`janitor`]; a value without its key would be lost.
//! Credentials that tasks bring along share keys by [`epochs`].

mod epochs;
pub mod janitor;
mod shred;

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, histogram};
use tokio::time::Instant;
use waybill_domain::id::{EpochId, TaskId, TeamId};
use waybill_domain::partition::Partition;
use waybill_log::{KeyName, KeyStoreError, ReadError, StreamSeq, VaultKeys};
use waybill_vault::{
    Context, KekId, Place, SealError, SecretBytes, WrapError, WrappedKey, Wrapper, begin_epoch,
    seal,
};

pub use shred::shred;

use crate::auth::Auth;
use crate::error::{ApiError, ErrorCode};
use epochs::{EpochKey, Epochs};
use waybill_commands::entropy;

/// The error code when nothing can be sealed.
const CODE: ErrorCode = ErrorCode::VaultUnavailable;

/// Seals secrets, and keeps and erases the keys of the seals.
pub struct Vault {
    keys: Arc<dyn VaultKeys>,
    /// `None`: this gateway has no keys to seal with.
    wrapper: Option<Arc<dyn Wrapper>>,
    /// Knows which key-encryption key is in force.
    auth: Arc<Auth>,
    epochs: Epochs,
}

impl Vault {
    /// Seals with what `wrapper` has; without one everything that needs the vault is refused. Tasks that bring the same credential share a key
    /// for as long as `epoch`.
    #[must_use]
    pub fn new(
        keys: Arc<dyn VaultKeys>,
        wrapper: Option<Arc<dyn Wrapper>>,
        auth: Arc<Auth>,
        epoch: Duration,
    ) -> Self {
        Self {
            keys,
            wrapper,
            auth,
            epochs: Epochs::lasting(epoch),
        }
    }

    /// Whether anything can be sealed here.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.wrapper.is_some()
    }

    /// Refuses when nothing can be sealed here.
    pub fn check_configured(&self) -> Result<(), ApiError> {
        self.wrapper().map(drop)
    }

    fn wrapper(&self) -> Result<&dyn Wrapper, ApiError> {
        let not_configured = || ApiError::unavailable(CODE, "Token vault is not configured");
        self.wrapper.as_deref().ok_or_else(not_configured)
    }

    /// Seals a value under the key-encryption key in force and stores the key of the seal, of which there must be none yet. Returns the sealed
    /// value as text, which only workers can open, and nobody once that key is erased.
    ///
    /// `ttl`: after that, the key expires by itself.
    pub async fn keep(
        &self,
        name: &KeyName,
        value: &SecretBytes,
        ttl: Option<Duration>,
    ) -> Result<String, KeepError> {
        let wrapper = self.wrapper()?;
        let begin = Instant::now();
        let kek = self.kek_in_force()?;
        let place = Place::of(name);
        let (envelope, key) = seal(wrapper, kek, &place.context(), value)
            .await
            .map_err(|error| not_sealed(&error))?;
        let key = key.to_bytes().to_vec().into();
        self.keys.put(name, key, StreamSeq(0), ttl).await?;
        histogram!("waybill_vault_keep_seconds").record(begin.elapsed().as_secs_f64());
        counter!("waybill_vault_sealed_total").increment(1);
        Ok(envelope.to_text())
    }

    /// Under which key-encryption key the key of a seal lies now, which a rotation changes; `None`: there is no such key, or one that
    /// a newer version has written.
    pub async fn kek_of(&self, name: &KeyName) -> Result<Option<KekId>, ReadError> {
        let stored = self.keys.get(name).await?;
        let wrapped = stored.and_then(|stored| WrappedKey::parse(&stored.value).ok());
        Ok(wrapped.map(|wrapped| wrapped.kek()))
    }

    /// Seals the credentials that a task brings along under the key of their epoch, which is made and stored first if there is none. Returns the
    /// sealed value as text, which opens for this task only, and the epoch that the task must name. The owner of the task's partition erases the
    /// key when no task needs it any more.
    pub async fn seal_for_task(
        &self,
        team: &TeamId,
        task: TaskId,
        value: &SecretBytes,
    ) -> Result<(String, EpochId), ApiError> {
        let partition = task.partition();
        let now = entropy::times().elapsed;
        let epoch = self.epochs.of(team, partition, value.expose(), now);
        let made = epoch.get_or_init(|| self.begin_epoch(team, partition));
        let EpochKey { id, sealer } = made.await.as_ref().map_err(Clone::clone)?;
        let text = task.to_string();
        let envelope = sealer.seal(&Context::task(team.as_str(), &text), value);
        counter!("waybill_vault_sealed_total").increment(1);
        Ok((envelope.map_err(|error| not_sealed(&error))?, *id))
    }

    /// Makes the key of a new epoch and stores it.
    async fn begin_epoch(&self, team: &TeamId, partition: Partition) -> Result<EpochKey, ApiError> {
        let wrapper = self.wrapper()?;
        let begin = Instant::now();
        let kek = self.kek_in_force()?;
        let id = EpochId::new(entropy::now(), entropy::random_u128());
        let name = KeyName::Epoch {
            partition,
            team: team.clone(),
            epoch: id,
        };
        let place = Place::of(&name);
        let (sealer, wrapped) = begin_epoch(wrapper, kek, &place.context())
            .await
            .map_err(|error| not_sealed(&error))?;
        let wrapped = wrapped.to_bytes().to_vec().into();
        let stored = self.keys.put(&name, wrapped, StreamSeq(0), None).await;
        // No time to live: a task may wait for longer than any that could be chosen here.
        stored.map_err(|error| ApiError::from(KeepError::from(error)))?;
        histogram!("waybill_vault_keep_seconds").record(begin.elapsed().as_secs_f64());
        Ok(EpochKey { id, sealer })
    }

    /// Forgets the epochs that are over.
    fn end_epochs(&self) {
        self.epochs.end(entropy::times().elapsed);
    }

    /// Erases all keys of that name. Doing it again is fine.
    pub async fn erase(&self, name: &KeyName) -> Result<(), KeyStoreError> {
        let erased = self.keys.erase(name).await?;
        counter!("waybill_vault_keys_erased_total").increment(erased);
        Ok(())
    }

    /// Erases the key of a value that is not used after all. When that fails, the janitor erases it later, or it expires.
    pub async fn forget(&self, name: &KeyName) {
        if let Err(error) = self.erase(name).await {
            tracing::warn!(%error, "erasing an unused vault key failed; the janitor erases it later");
        }
    }

    /// `None`: the first that the gateway has.
    fn kek_in_force(&self) -> Result<Option<KekId>, ApiError> {
        let kek = self.auth.directory().kek_in_force();
        let parsed = kek.map(|kek| kek.parse::<KekId>()).transpose();
        parsed.map_err(|error| ApiError::internal(&error))
    }
}

/// Why a value is not kept.
#[derive(Debug)]
pub enum KeepError {
    /// There is a key of that name already: another request seals the same version.
    Taken,
    /// Any other reason, as the client gets it.
    Failed(ApiError),
}

impl From<ApiError> for KeepError {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

impl From<KeyStoreError> for KeepError {
    fn from(error: KeyStoreError) -> Self {
        match error {
            KeyStoreError::Conflict { .. } => Self::Taken,
            other => Self::Failed(not_stored(&other)),
        }
    }
}

impl From<KeepError> for ApiError {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Taken => {
                Self::unavailable(ErrorCode::Conflict, "Somebody else was faster; try again")
            }
            KeepError::Failed(error) => error,
        }
    }
}

fn not_sealed(error: &SealError) -> ApiError {
    match error {
        SealError::Size { .. } => ApiError::bad_field("value", error.to_string()),
        SealError::Wrap(WrapError::UnknownKek(kek)) => {
            tracing::error!(%kek, "this gateway lacks the key-encryption key in force");
            ApiError::unavailable(CODE, "This gateway lacks the vault's newest key; try again")
        }
        other => {
            tracing::error!(error = %other, "sealing a secret failed; the client got 503 vault_unavailable");
            ApiError::unavailable(CODE, "The vault cannot seal at the moment; try again")
        }
    }
}

fn not_stored(error: &KeyStoreError) -> ApiError {
    tracing::warn!(%error, "storing a vault key failed; the client got 503 vault_unavailable");
    ApiError::unavailable(CODE, "The vault does not answer; try again")
}
