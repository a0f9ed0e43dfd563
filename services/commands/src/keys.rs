//! Commands about API keys.

use std::sync::Arc;
use std::time::Duration;

use waybill_domain::access::key::ApiKey;
use waybill_domain::access::scope::{Scope, ScopeSet};
use waybill_domain::access::team::{Key, KeyDraft, Team, TeamCommand};
use waybill_domain::event::{KeyCreated, RepeatableRequest, RevocationReason};
use waybill_domain::id::{Environment, KeyId, QueueName, TeamId};
use waybill_domain::time::Timestamp;
use waybill_log::subject::ControlSubject;
use waybill_log::{StreamSeq, last_control_event};

use crate::entropy;
use crate::error::ControlError;
use crate::writer::{Author, ControlWriter, Loaded};

/// How often another key is generated because the public part is taken. The chance is one in 2^47
/// per existing key.
pub(crate) const MAX_KEYS_TRIED: usize = 3;

/// Properties of a new key.
#[derive(Debug, Clone)]
pub struct KeyWish {
    pub name: String,
    pub scopes: ScopeSet,
    /// Prefix of the key; `None` for the usual one of this installation.
    pub brand: Option<String>,
    pub environment: Environment,
    /// When the key expires; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// Networks that the key may be used from. Empty: any.
    pub sources: Vec<String>,
    /// Queues that the key is limited to. Empty: all.
    pub queues: Vec<QueueName>,
    /// Identifies a repetition of the request.
    pub request: Option<RepeatableRequest>,
}

impl KeyWish {
    /// A live key that never expires and may be used from anywhere.
    pub fn new(name: impl Into<String>, scopes: &[Scope]) -> Self {
        Self {
            name: name.into(),
            scopes: scopes.iter().copied().collect(),
            brand: None,
            environment: Environment::Live,
            expires_at: None,
            sources: Vec::new(),
            queues: Vec::new(),
            request: None,
        }
    }
}

/// A key that was just created. It can be shown only this once.
#[derive(Debug, Clone)]
pub struct NewKey {
    pub key: ApiKey,
    /// The stored event.
    pub created: KeyCreated,
    pub seq: StreamSeq,
}

/// A key after a command.
#[derive(Debug, Clone)]
pub struct ChangedKey {
    pub key: Arc<Key>,
    /// Sequence of the change: a reader that has come this far has applied it.
    pub seq: StreamSeq,
}

impl ControlWriter {
    /// Creates a live key with these scopes.
    pub async fn create_key(
        &self,
        team: &TeamId,
        name: &str,
        scopes: &[Scope],
        by: &Author,
    ) -> Result<NewKey, ControlError> {
        self.make_key(team, KeyWish::new(name, scopes), by).await
    }

    /// Creates a key with the given properties.
    pub async fn make_key(
        &self,
        team: &TeamId,
        wish: KeyWish,
        by: &Author,
    ) -> Result<NewKey, ControlError> {
        for _ in 0..MAX_KEYS_TRIED {
            let brand = wish.brand.as_deref().unwrap_or(self.brand());
            let key = fresh_key(brand, wish.environment)?;
            match self.install_key(team, key, wish.clone(), by).await {
                Err(error) if error.is_id_taken() => {}
                made => return made,
            }
        }
        Err(ControlError::KeyIdTaken)
    }

    /// Adds a given key to the team.
    pub async fn install_key(
        &self,
        team: &TeamId,
        key: ApiKey,
        wish: KeyWish,
        by: &Author,
    ) -> Result<NewKey, ControlError> {
        let command = TeamCommand::CreateKey {
            draft: self.draft(team, key.clone()).await?,
            name: wish.name,
            scopes: wish.scopes,
            expires_at: wish.expires_at,
            sources: wish.sources,
            queues: wish.queues,
            request: wish.request,
        };
        let after = self.run_team(team, command, by).await?;
        new_key(key, &after)
    }

    /// Replaces a key by a successor with the same rights; the old key stays valid for `overlap`.
    pub async fn rotate_key(
        &self,
        team: &TeamId,
        key: &KeyId,
        overlap: Duration,
        by: &Author,
    ) -> Result<(NewKey, Arc<Key>), ControlError> {
        for _ in 0..MAX_KEYS_TRIED {
            match self.rotate_once(team, key, overlap, by).await {
                Err(error) if error.is_id_taken() => {}
                rotated => return rotated,
            }
        }
        Err(ControlError::KeyIdTaken)
    }

    async fn rotate_once(
        &self,
        team: &TeamId,
        key: &KeyId,
        overlap: Duration,
        by: &Author,
    ) -> Result<(NewKey, Arc<Key>), ControlError> {
        let before = self.team(team).await?;
        let old = before.keys.get(key).ok_or(ControlError::NoSuchKey)?;
        let (brand, _) = old.created.prefix.split_once('_').unwrap_or_default();
        let successor = fresh_key(brand, old.environment())?;
        let command = TeamCommand::RotateKey {
            key: key.clone(),
            draft: self.draft(team, successor.clone()).await?,
            overlap,
        };
        let after = self.run_team(team, command, by).await?;
        let old = after.state.keys.get(key).cloned();
        let old = old.ok_or(ControlError::NoSuchKey)?;
        Ok((new_key(successor, &after)?, old))
    }

    /// Revokes a key. Idempotent.
    pub async fn revoke_key(
        &self,
        team: &TeamId,
        key: &KeyId,
        by: &Author,
    ) -> Result<ChangedKey, ControlError> {
        let reason = RevocationReason::Requested;
        let key = key.clone();
        self.change_key(
            team,
            &key.clone(),
            TeamCommand::RevokeKey { key, reason },
            by,
        )
        .await
    }

    /// Runs a command about one key.
    pub async fn change_key(
        &self,
        team: &TeamId,
        key: &KeyId,
        command: TeamCommand,
        by: &Author,
    ) -> Result<ChangedKey, ControlError> {
        let after = self.run_team(team, command, by).await?;
        let found = after.state.keys.get(key).cloned();
        Ok(ChangedKey {
            key: found.ok_or(ControlError::NoSuchKey)?,
            seq: after.version,
        })
    }

    /// The team that a key belongs to.
    pub async fn find_key(&self, key: &KeyId) -> Result<TeamId, ControlError> {
        self.team_of(key).await?.ok_or(ControlError::NoSuchKey)
    }

    async fn team_of(&self, key: &KeyId) -> Result<Option<TeamId>, ControlError> {
        let filter = ControlSubject::key_of_any_team(key);
        let last = last_control_event(self.log(), &filter).await?;
        Ok(last.and_then(|(_, event)| event.team().cloned()))
    }

    /// The key with its MAC, unless another team has a key with the same public part.
    pub(crate) async fn draft(&self, team: &TeamId, key: ApiKey) -> Result<KeyDraft, ControlError> {
        if let Some(other) = self.team_of(key.id()).await?
            && other != *team
        {
            return Err(ControlError::KeyIdTaken);
        }
        Ok(KeyDraft {
            mac: key.mac(self.pepper().bytes(), team),
            pepper_version: self.pepper().version(),
            key,
        })
    }
}

pub(crate) fn fresh_key(brand: &str, environment: Environment) -> Result<ApiKey, ControlError> {
    ApiKey::generate(brand, environment, &entropy::fresh()).ok_or(ControlError::NoKeyMade)
}

pub(crate) fn new_key(key: ApiKey, after: &Loaded<Team>) -> Result<NewKey, ControlError> {
    let found = after.state.keys.get(key.id());
    Ok(NewKey {
        created: found.ok_or(ControlError::NoSuchKey)?.created.clone(),
        key,
        seq: after.version,
    })
}
