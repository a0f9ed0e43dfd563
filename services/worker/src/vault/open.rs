//! Opens stored keys: the only code that waits for the network, and only for keys that are not
//! cached.

use std::sync::Arc;
use std::time::Duration;

use waybill_domain::event::{ControlEvent, SealedHeaders};
use waybill_domain::id::{TaskId, TeamId, TokenId};
use waybill_domain::vault::RawHeaders;
use waybill_log::{KeyName, Log, Stream, StreamSeq, VaultKeys, control_event};
use waybill_vault::{
    Context, DataKey, Envelope, NotAuthentic, SecretBytes, UnwrapError, Unwrapper, WrappedKey,
};

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
    /// The key was erased, or something was changed since it was sealed. The caller checks whether
    /// the token was revoked.
    Broken(&'static str),
    /// The answer is not known at the moment.
    Away,
}

pub(super) struct Opener {
    pub(super) log: Arc<dyn Log>,
    pub(super) keys: Arc<dyn VaultKeys>,
    pub(super) unwrapper: Arc<dyn Unwrapper>,
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

    /// The headers that were sealed for one task.
    pub(super) async fn headers(
        &self,
        team: &TeamId,
        task: TaskId,
        sealed: &SealedHeaders,
    ) -> Result<RawHeaders, VaultFailure> {
        let name = KeyName::Task {
            team: team.clone(),
            task,
        };
        let id = task.to_string();
        let context = Context::task(team.as_str(), &id);
        let opened = async {
            let key = self.key(&name, &context).await?;
            let envelope = Envelope::parse_text(&sealed.envelope)
                .map_err(|_| NotOpened::Broken("malformed envelope"))?;
            let bytes = key
                .open(&context, &envelope)
                .map_err(|_| NotOpened::Broken("the envelope does not open"))?;
            RawHeaders::decode(bytes.expose())
                .map_err(|_| NotOpened::Broken("the sealed bytes are not headers"))
        };
        opened.await.map_err(|why| match why {
            NotOpened::Away => VaultFailure::KeysAway,
            NotOpened::Broken(why) => {
                integrity_error(&name, why);
                VaultFailure::BrokenHeaders
            }
        })
    }

    async fn key(&self, name: &KeyName, context: &Context<'_>) -> Result<DataKey, NotOpened> {
        let mut looks = 0;
        let stored = loop {
            looks += 1;
            match self.keys.get(name).await {
                Ok(Some(stored)) => break stored,
                Ok(None) if looks < LOOKS => tokio::time::sleep(LOOK_AGAIN_AFTER).await,
                Ok(None) => return Err(NotOpened::Broken("there is no key")),
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
