//! From stored keys to opened ones: the only place that waits for the network, and only when a key is not held.

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

/// Looks at a key that seems not to be there, before that is believed: a leader that was deposed a moment ago may answer.
const LOOKS: u32 = 3;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(150);

/// A version of a token, unwrapped: opening it takes no network any more.
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

/// Why something is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotOpened {
    /// It was erased, or is not what was sealed. The caller looks whether somebody took it away.
    Broken(&'static str),
    /// Nobody can say now.
    Away,
}

/// Reads keys and unwraps them.
pub(super) struct Opener {
    pub(super) log: Arc<dyn Log>,
    pub(super) keys: Arc<dyn VaultKeys>,
    pub(super) unwrapper: Arc<dyn Unwrapper>,
}

impl Opener {
    /// The key and the envelope of a version, whose event stands at `sealed_at` of CONTROL.
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
                .map_err(|_| NotOpened::Broken("the envelope is none"))?;
            let bytes = key
                .open(&context, &envelope)
                .map_err(|_| NotOpened::Broken("the envelope does not open"))?;
            RawHeaders::decode(bytes.expose())
                .map_err(|_| NotOpened::Broken("what was sealed are no headers"))
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
                    tracing::warn!(%name, %error, "a key of the vault cannot be read");
                    return Err(NotOpened::Away);
                }
            }
        };
        let wrapped = WrappedKey::parse(&stored.value)
            .map_err(|_| NotOpened::Broken("the stored key is none"))?;
        match self.unwrapper.unwrap_key(context, &wrapped).await {
            Ok(key) => Ok(key),
            Err(UnwrapError::NotAuthentic { .. }) => {
                Err(NotOpened::Broken("the stored key does not unwrap"))
            }
            Err(error @ (UnwrapError::UnknownKek(_) | UnwrapError::Unavailable(_))) => {
                tracing::warn!(%name, %error, "a key of the vault cannot be unwrapped");
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
                // A copy that lags behind the one that the directory was read from.
                Ok(None) if looks < LOOKS => tokio::time::sleep(LOOK_AGAIN_AFTER).await,
                Ok(None) => return Err(NotOpened::Away),
                Err(error) => {
                    tracing::warn!(%at, %error, "a sealed value cannot be read");
                    return Err(NotOpened::Away);
                }
            }
        };
        let (of, text) = match control_event(&record) {
            Ok(ControlEvent::TokenCreated(e)) => (e.token, e.envelope),
            Ok(ControlEvent::TokenRotated(e)) => (e.token, e.envelope),
            Ok(_) | Err(_) => return Err(NotOpened::Broken("its event is another one")),
        };
        if of != *token {
            return Err(NotOpened::Broken("its event is of another token"));
        }
        Envelope::parse_text(&text).map_err(|_| NotOpened::Broken("the envelope is none"))
    }
}

/// Something in the vault is not as it was left. An operator has to know.
pub(super) fn integrity_error(name: &KeyName, why: &'static str) {
    metrics::counter!("waybill_vault_integrity_errors_total").increment(1);
    tracing::error!(%name, why, "the vault holds something that does not open");
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
