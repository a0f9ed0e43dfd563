//! Commands to teams: load, decide, append, again when somebody was faster.

use std::sync::Arc;

use bytes::Bytes;
use waybill_domain::access::key::{ApiKey, Environment};
use waybill_domain::access::scope::Scope;
use waybill_domain::access::team::{Team, TeamCommand, TeamRefusal};
use waybill_domain::actor::Actor;
use waybill_domain::event::{ControlEvent, DecodeError, KeyCreated};
use waybill_domain::id::{KeyId, TeamId};
use waybill_domain::time::Timestamp;
use waybill_log::subject::ControlSubject;
use waybill_log::{
    Append, AppendError, Atomicity, Expectation, Log, MAX_BATCH, NewRecord, ReadError, Stream,
    StreamSeq,
};

use crate::access::pepper::Pepper;
use crate::entropy;

/// Times a command is decided anew because somebody else changed the team meanwhile. Each round one of the contenders wins.
const MAX_ROUNDS: usize = 20;
/// Times another key is made because the public part is taken. One in 2^47 per key that exists.
const MAX_KEYS_TRIED: usize = 3;

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The team's rules say no.
    #[error(transparent)]
    Refused(#[from] TeamRefusal),
    /// No key of that id in any team.
    #[error("API key not found")]
    NoSuchKey,
    /// Another team has a key with the same public part.
    #[error("the public part of the key is taken")]
    KeyIdTaken,
    /// Others kept changing the team.
    #[error("others kept changing the team; try again")]
    Contended,
    /// The log was not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log did not take the event.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The team's history holds an event that this version cannot read: deciding without it would be guessing.
    #[error("the history of the team is not readable here: {0}")]
    History(#[from] DecodeError),
    /// The operating system's randomness made no key.
    #[error("no key could be made")]
    NoKeyMade,
}

/// A key just made. It can be shown this once.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The key itself.
    pub key: ApiKey,
    /// What is stored of it.
    pub created: KeyCreated,
    /// Where.
    pub seq: StreamSeq,
}

/// A key that is no longer accepted.
#[derive(Debug, Clone)]
pub struct Revoked {
    /// What is stored of it.
    pub created: KeyCreated,
    /// Since when.
    pub at: Timestamp,
    /// A reader that has come this far knows it.
    pub seq: StreamSeq,
}

/// Writes CONTROL.
#[derive(Clone)]
pub struct ControlWriter {
    log: Arc<dyn Log>,
    pepper: Arc<Pepper>,
    brand: Arc<str>,
}

/// A team as of a position.
pub(crate) struct Loaded {
    pub(crate) team: Team,
    pub(crate) version: StreamSeq,
}

impl ControlWriter {
    /// Keys that it makes begin with `wb_`.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, pepper: Arc<Pepper>) -> Self {
        Self {
            log,
            pepper,
            brand: "wb".into(),
        }
    }

    /// Keys that it makes begin with another brand.
    #[must_use]
    pub fn with_brand(mut self, brand: &str) -> Self {
        self.brand = brand.into();
        self
    }

    pub(crate) fn pepper(&self) -> &Pepper {
        &self.pepper
    }

    /// Makes a team on a plan.
    pub async fn create_team(
        &self,
        name: &str,
        plan: &str,
        by: &Actor,
    ) -> Result<TeamId, ControlError> {
        let team = TeamId::new(entropy::now(), entropy::random_u128());
        let command = TeamCommand::Create {
            team: team.clone(),
            name: name.to_owned(),
            plan: plan.to_owned(),
        };
        self.run(&team, command, by).await?;
        Ok(team)
    }

    /// Makes a key that may do what `scopes` say.
    pub async fn create_key(
        &self,
        team: &TeamId,
        name: &str,
        scopes: &[Scope],
        by: &Actor,
    ) -> Result<NewKey, ControlError> {
        for _ in 0..MAX_KEYS_TRIED {
            let key = ApiKey::generate(&self.brand, Environment::Live, &entropy::fresh())
                .ok_or(ControlError::NoKeyMade)?;
            match self.install_key(team, key, name, scopes, by).await {
                Err(ControlError::KeyIdTaken | ControlError::Refused(TeamRefusal::KeyIdTaken)) => {}
                other => return other,
            }
        }
        Err(ControlError::KeyIdTaken)
    }

    /// Makes a given key the team's.
    pub(crate) async fn install_key(
        &self,
        team: &TeamId,
        key: ApiKey,
        name: &str,
        scopes: &[Scope],
        by: &Actor,
    ) -> Result<NewKey, ControlError> {
        if let Some(other) = self.team_of(key.id()).await?
            && other != *team
        {
            return Err(ControlError::KeyIdTaken);
        }
        let command = TeamCommand::CreateKey {
            mac: key.mac(self.pepper.bytes(), team),
            pepper_version: self.pepper.version(),
            key: key.clone(),
            name: name.to_owned(),
            scopes: scopes.to_vec(),
        };
        let after = self.run(team, command, by).await?;
        let (created, _) = after
            .team
            .keys
            .get(key.id())
            .cloned()
            .ok_or(ControlError::NoSuchKey)?;
        Ok(NewKey {
            key,
            created,
            seq: after.version,
        })
    }

    /// Has a key accepted no more. A second time changes nothing and answers the same.
    pub async fn revoke_key(
        &self,
        team: &TeamId,
        key: &KeyId,
        by: &Actor,
    ) -> Result<Revoked, ControlError> {
        let command = TeamCommand::RevokeKey { key: key.clone() };
        let after = self.run(team, command, by).await?;
        match after.team.keys.get(key) {
            Some((created, Some(at))) => Ok(Revoked {
                created: created.clone(),
                at: *at,
                seq: after.version,
            }),
            _ => Err(ControlError::NoSuchKey),
        }
    }

    /// A team with all its keys, as the log has it now.
    pub async fn team(&self, id: &TeamId) -> Result<Team, ControlError> {
        Ok(self.load(id).await?.team)
    }

    /// The team that a key belongs to.
    pub async fn find_key(&self, key: &KeyId) -> Result<TeamId, ControlError> {
        self.team_of(key).await?.ok_or(ControlError::NoSuchKey)
    }

    async fn team_of(&self, key: &KeyId) -> Result<Option<TeamId>, ControlError> {
        let filter = ControlSubject::key_of_any_team(key);
        let Some(record) = self.log.last(Stream::Control, &filter).await? else {
            return Ok(None);
        };
        let event = ControlEvent::decode(&record.event, &record.payload)?;
        Ok(Some(event.team().clone()))
    }

    /// Decides a command and appends what follows from it, until that is what happened.
    pub(crate) async fn run(
        &self,
        id: &TeamId,
        command: TeamCommand,
        by: &Actor,
    ) -> Result<Loaded, ControlError> {
        for _ in 0..MAX_ROUNDS {
            let mut loaded = self.load(id).await?;
            let events = loaded.team.decide(command.clone(), entropy::now())?;
            if events.is_empty() {
                return Ok(loaded);
            }
            let append = Append {
                stream: Stream::Control,
                records: events.iter().map(|event| record(event, by)).collect(),
                expect: Expectation::LastOn {
                    filter: ControlSubject::all_of_team(id),
                    seq: loaded.version,
                },
                atomicity: Atomicity::Atomic,
                msg_id: None,
            };
            match self.log.append(append).await {
                Ok(appended) => {
                    for event in &events {
                        loaded.team.evolve(event);
                    }
                    loaded.version = appended.seqs.last().copied().unwrap_or(loaded.version);
                    return Ok(loaded);
                }
                // The server serves one batch at a time per subject: somebody was faster, look again.
                Err(AppendError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ControlError::Contended)
    }

    /// The team as its events tell, up to the last one.
    pub(crate) async fn load(&self, id: &TeamId) -> Result<Loaded, ControlError> {
        let filter = ControlSubject::all_of_team(id);
        let mut team = Team::default();
        let Some(last) = self.log.last(Stream::Control, &filter).await? else {
            return Ok(Loaded {
                team,
                version: StreamSeq(0),
            });
        };
        let filters = [filter];
        let mut from = StreamSeq(1);
        loop {
            let page = self
                .log
                .range(Stream::Control, &filters, from, last.seq, MAX_BATCH)
                .await?;
            for record in &page {
                team.evolve(&ControlEvent::decode(&record.event, &record.payload)?);
                from = record.seq.next();
            }
            if page.len() < MAX_BATCH {
                return Ok(Loaded {
                    team,
                    version: last.seq,
                });
            }
        }
    }
}

fn record(event: &ControlEvent, by: &Actor) -> NewRecord {
    let subject = match event {
        ControlEvent::TeamCreated(e) => ControlSubject::team(&e.team),
        ControlEvent::KeyCreated(e) => ControlSubject::key(&e.team, &e.key),
        ControlEvent::KeyRevoked(e) => ControlSubject::key(&e.team, &e.key),
    };
    NewRecord {
        subject: subject.to_string(),
        event: event.name(),
        actor: by.to_string(),
        traceparent: None,
        payload: Bytes::from(event.encode()),
    }
}
