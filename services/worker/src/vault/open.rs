//! Opens stored keys: the only code that waits for the network, and only for keys that are not
//! cached.

use std::sync::Arc;
use std::time::Duration;

use waybill_domain::event::{ControlEvent, SealedHeaders};
use waybill_domain::id::{EpochId, TaskId, TeamId, TokenId};
use waybill_domain::vault::RawHeaders;
use waybill_log::{KeyName, Log, Stream, StreamSeq, VaultKeys, control_event};
use waybill_vault::{
    Context, DataKey, Envelope, EpochOpener, NotAuthentic, SecretBytes, UnwrapError, Unwrapper,
    WrappedKey,
};

use super::epochs::EpochKeys;
use super::failure::VaultFailure;

/// How often a missing key is looked for before that is believed, since a leader that was just
/// deposed may answer.
const LOOKS: u32 = 3;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(150);

/// A version of a token whose data key is unwrapped, so that opening it needs no network.
pub(super) struct Opened {
    key: DataKey,
    envelope: Envelope,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

impl Opened {
    pub(super) fn value(
        &self,
        team: &TeamId,
        token: &TokenId,
        version: u32,
    ) -> Result<SecretBytes, NotAuthentic> {
        let context = Context::token(team.as_str(), token.as_str(), version);
        self.key.open(&context, &self.envelope)
    }

    pub(super) fn envelope_bytes(&self) -> usize {
        self.envelope.size()
    }
}

/// Why something cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotOpened {
    /// Something was changed since it was sealed. As if there is no key, the caller checks whether
    /// the token was revoked.
    Broken(&'static str),
    /// There is no key.
    Gone,
    /// The answer is not known at the moment.
    Away,
}

impl NotOpened {
    /// What is wrong with the record; `None` if that is not known.
    pub(super) fn fault(self) -> Option<&'static str> {
        match self {
            Self::Broken(fault) => Some(fault),
            Self::Gone => Some("there is no key"),
            Self::Away => None,
        }
    }
}

pub(super) struct Opener {
    pub(super) log: Arc<dyn Log>,
    pub(super) keys: Arc<dyn VaultKeys>,
    pub(super) unwrapper: Arc<dyn Unwrapper>,
    pub(super) epochs: EpochKeys,
}

impl Opener {
    /// The key and the envelope of a version, whose event is at `sealed_at` in CONTROL.
    pub(super) async fn token(
        &self,
        team: &TeamId,
        token: &TokenId,
        version: u32,
        sealed_at: StreamSeq,
    ) -> Result<Opened, NotOpened> {
        let name = KeyName::Token {
            team: team.clone(),
            token: token.clone(),
            version,
        };
        let context = Context::token(team.as_str(), token.as_str(), version);
        let (key, envelope) =
            tokio::join!(self.key(&name, &context), self.envelope(token, sealed_at));
        Ok(Opened {
            key: key?,
            envelope: envelope?,
        })
    }

    /// The headers that were sealed for a task.
    pub(super) async fn headers(
        &self,
        team: &TeamId,
        task: TaskId,
        sealed: &SealedHeaders,
    ) -> Result<RawHeaders, VaultFailure> {
        let id = task.to_string();
        let context = Context::task(team.as_str(), &id);
        let name = key_of(team, task, sealed);
        let opened = async {
            let opened = if let Some(epoch) = sealed.epoch {
                let opener = self.epoch(&name, team, epoch).await?;
                opener.open(&context, &sealed.envelope)
            } else {
                let key = self.key(&name, &context).await?;
                let envelope = Envelope::parse_text(&sealed.envelope)
                    .map_err(|_| NotOpened::Broken("malformed envelope"))?;
                key.open(&context, &envelope)
            };
            let bytes = opened.map_err(|_| NotOpened::Broken("the envelope does not open"))?;
            RawHeaders::decode(bytes.expose())
                .map_err(|_| NotOpened::Broken("the sealed bytes are not headers"))
        };
        opened.await.map_err(|why| {
            let Some(fault) = why.fault() else {
                return VaultFailure::KeysAway;
            };
            integrity_error(&name, fault);
            match why {
                NotOpened::Gone if sealed.epoch.is_some() => VaultFailure::LateCredential,
                _ => VaultFailure::BrokenHeaders,
            }
        })
    }

    /// What opens the headers of all tasks of an epoch.
    async fn epoch(
        &self,
        name: &KeyName,
        team: &TeamId,
        epoch: EpochId,
    ) -> Result<Arc<EpochOpener>, NotOpened> {
        if let Some(opener) = self.epochs.get(name) {
            return Ok(opener);
        }
        let id = epoch.to_string();
        let key = self.key(name, &Context::epoch(team.as_str(), &id)).await?;
        let opener = Arc::new(EpochOpener::new(&key));
        self.epochs.put(name, &opener);
        Ok(opener)
    }

    async fn key(&self, name: &KeyName, context: &Context<'_>) -> Result<DataKey, NotOpened> {
        let mut looks = 0;
        let stored = loop {
            looks += 1;
            match self.keys.get(name).await {
                Ok(Some(stored)) => break stored,
                Ok(None) if looks < LOOKS => tokio::time::sleep(LOOK_AGAIN_AFTER).await,
                Ok(None) => return Err(NotOpened::Gone),
                Err(error) => {
                    tracing::warn!(%name, %error, "reading a vault key failed; the attempt is retried later");
                    return Err(NotOpened::Away);
                }
            }
        };
        let wrapped = WrappedKey::parse(&stored.value)
            .map_err(|_| NotOpened::Broken("the stored key is malformed"))?;
        match self.unwrapper.unwrap_key(context, &wrapped).await {
            Ok(key) => Ok(key),
            Err(UnwrapError::NotAuthentic { .. }) => {
                Err(NotOpened::Broken("the stored key does not unwrap"))
            }
            Err(error @ (UnwrapError::UnknownKek(_) | UnwrapError::Unavailable(_))) => {
                tracing::warn!(%name, %error, "unwrapping a vault key failed; the attempt is retried later");
                Err(NotOpened::Away)
            }
        }
    }

    async fn envelope(&self, token: &TokenId, at: StreamSeq) -> Result<Envelope, NotOpened> {
        let mut looks = 0;
        let record = loop {
            looks += 1;
            match self.log.read(Stream::Control, at).await {
                Ok(Some(record)) => break record,
                // A replica that lags behind the one that the directory was read from.
                Ok(None) if looks < LOOKS => tokio::time::sleep(LOOK_AGAIN_AFTER).await,
                Ok(None) => return Err(NotOpened::Away),
                Err(error) => {
                    tracing::warn!(%at, %error, "reading a sealed value failed; the attempt is retried later");
                    return Err(NotOpened::Away);
                }
            }
        };
        let (of, text) = match control_event(&record) {
            Ok(ControlEvent::TokenCreated(e)) => (e.token, e.envelope),
            Ok(ControlEvent::TokenRotated(e)) => (e.token, e.envelope),
            Ok(_) | Err(_) => return Err(NotOpened::Broken("its event is of another type")),
        };
        if of != *token {
            return Err(NotOpened::Broken("its event is of another token"));
        }
        Envelope::parse_text(&text).map_err(|_| NotOpened::Broken("malformed envelope"))
    }
}

/// Name of the key that opens the sealed headers of a task.
pub(super) fn key_of(team: &TeamId, task: TaskId, sealed: &SealedHeaders) -> KeyName {
    let team = team.clone();
    match sealed.epoch {
        Some(epoch) => KeyName::Epoch {
            partition: task.partition(),
            team,
            epoch,
        },
        None => KeyName::Task { team, task },
    }
}

/// Reports that a record of the vault is missing or was changed, which an operator must know.
pub(super) fn integrity_error(name: &KeyName, why: &'static str) {
    metrics::counter!("waybill_vault_integrity_errors_total").increment(1);
    tracing::error!(%name, why, "a vault record is missing or does not open; tasks that need it fail");
}

#[cfg(test)]
impl Opened {
    pub(super) fn for_tests(bytes: usize) -> Self {
        Self {
            key: DataKey::generate().expect("randomness"),
            envelope: Envelope::parse(&[vec![1], vec![0; bytes + 28]].concat())
                .expect("an envelope"),
        }
    }
}
