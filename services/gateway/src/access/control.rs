//! Commands to teams: load, decide, append, again when somebody was faster.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use waybill_domain::access::Aggregate;
use waybill_domain::access::key::ApiKey;
use waybill_domain::access::plan::Catalogue;
use waybill_domain::access::scope::{Scope, ScopeSet};
use waybill_domain::access::team::{
    Found, Key, KeyDraft, Memberships, Team, TeamCommand, TeamRefusal,
};
use waybill_domain::actor::{Actor, Origin};
use waybill_domain::event::{
    Boundary, ControlEvent, KeyCreated, RepeatableRequest, RevocationReason,
};
use waybill_domain::id::{Environment, InvitationId, KeyId, TeamId, UserId};
use waybill_domain::time::Timestamp;
use waybill_log::subject::{ControlSubject, NotAToken, of_control};
use waybill_log::{
    Append, AppendError, Atomicity, Closes, Expectation, Log, MAX_BATCH, NewRecord, ReadError,
    Stream, StreamSeq, Unreadable, control_event, last_control_event, set_aside,
};

use crate::access::pepper::Pepper;
use crate::entropy;

/// Times a command is decided anew because somebody else changed the team meanwhile. Each round one of the contenders wins.
const MAX_ROUNDS: usize = 20;
/// Times another key is made because the public part is taken. One in 2^47 per key that exists.
const MAX_KEYS_TRIED: usize = 3;

/// Who wants something, and by which request.
#[derive(Debug, Clone)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// The request, when it was one.
    pub origin: Option<Origin>,
}

impl From<Actor> for By {
    fn from(actor: Actor) -> Self {
        Self {
            actor,
            origin: None,
        }
    }
}

/// Why a command failed; `R` is why its aggregate refuses.
#[derive(Debug, thiserror::Error)]
pub enum CommandError<R: std::error::Error> {
    /// The rules say no.
    #[error(transparent)]
    Refused(R),
    /// Others kept changing the same thing.
    #[error("others kept changing the same thing; try again")]
    Contended,
    /// The log was not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log did not take the event.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The history holds an event that this version cannot read: deciding without it would be guessing.
    #[error("the history is not readable here: {0}")]
    History(#[from] Unreadable),
    /// An id that cannot stand in a subject: none of ours is one.
    #[error(transparent)]
    Subject(#[from] NotAToken),
}

/// A command to a team failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// As any command.
    #[error(transparent)]
    Command(#[from] CommandError<TeamRefusal>),
    /// No key of that id in any team.
    #[error("API key not found")]
    NoSuchKey,
    /// Another team has a key with the same public part.
    #[error("the public part of the key is taken")]
    KeyIdTaken,
    /// The operating system's randomness made no key.
    #[error("no key could be made")]
    NoKeyMade,
}

impl ControlError {
    /// Another key, from fresh entropy, would do.
    fn is_id_taken(&self) -> bool {
        matches!(
            self,
            Self::KeyIdTaken | Self::Command(CommandError::Refused(TeamRefusal::KeyIdTaken))
        )
    }
}

impl From<ReadError> for ControlError {
    fn from(error: ReadError) -> Self {
        Self::Command(error.into())
    }
}

impl From<Unreadable> for ControlError {
    fn from(error: Unreadable) -> Self {
        Self::Command(error.into())
    }
}

/// What a new key shall be.
#[derive(Debug, Clone)]
pub struct KeyWish {
    /// For people.
    pub name: String,
    /// What it may do.
    pub scopes: ScopeSet,
    /// What it begins with. `None`: what keys of this installation usually begin with.
    pub brand: Option<String>,
    /// Where it lives.
    pub environment: Environment,
    /// From when on it is accepted no more.
    pub expires_at: Option<Timestamp>,
    /// Networks that it may be used from. Empty: any.
    pub sources: Vec<String>,
    /// How the request is known again when it is repeated.
    pub request: Option<RepeatableRequest>,
}

impl KeyWish {
    /// A live key without an end that may be used from anywhere.
    pub fn new(name: impl Into<String>, scopes: &[Scope]) -> Self {
        Self {
            name: name.into(),
            scopes: scopes.iter().copied().collect(),
            brand: None,
            environment: Environment::Live,
            expires_at: None,
            sources: Vec::new(),
            request: None,
        }
    }
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

/// A key as it is after a command.
#[derive(Debug, Clone)]
pub struct ChangedKey {
    /// The key.
    pub key: Arc<Key>,
    /// A reader that has come this far knows it.
    pub seq: StreamSeq,
}

/// An aggregate as of a position.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    /// Its state.
    pub state: A,
    /// Sequence of its last event; 0 when it has none.
    pub version: StreamSeq,
    /// Whether the command changed it; false when it was so already.
    pub changed: bool,
}

/// Writes CONTROL.
#[derive(Clone)]
pub struct ControlWriter {
    log: Arc<dyn Log>,
    pepper: Arc<Pepper>,
    brand: Arc<str>,
    plans: Arc<Catalogue>,
}

impl ControlWriter {
    /// Keys that it makes begin with `wb_`, and plans are the built-in ones.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, pepper: Arc<Pepper>) -> Self {
        Self {
            log,
            pepper,
            brand: "wb".into(),
            plans: Arc::clone(Catalogue::builtin()),
        }
    }

    /// Keys that it makes begin with another brand.
    #[must_use]
    pub fn with_brand(mut self, brand: &str) -> Self {
        self.brand = brand.into();
        self
    }

    /// Teams may use what these plans say.
    #[must_use]
    pub fn with_plans(mut self, plans: Arc<Catalogue>) -> Self {
        self.plans = plans;
        self
    }

    pub(crate) fn pepper(&self) -> &Pepper {
        &self.pepper
    }

    /// What credentials that it makes begin with.
    #[expect(dead_code, reason = "for credentials other than keys")]
    pub(crate) fn brand(&self) -> &str {
        &self.brand
    }

    /// Makes a team on a plan.
    pub async fn create_team(
        &self,
        name: &str,
        plan: &str,
        by: &By,
    ) -> Result<TeamId, ControlError> {
        let team = TeamId::new(entropy::now(), entropy::random_u128());
        let command = TeamCommand::Create {
            team: team.clone(),
            name: name.to_owned(),
            plan: plan.to_owned(),
            owner: None,
        };
        self.run_team(&team, command, by).await?;
        Ok(team)
    }

    /// Makes a team on the default plan that a person owns, unless they own too many. Says as of when.
    pub(crate) async fn found_team(
        &self,
        founder: &UserId,
        name: &str,
        by: &By,
    ) -> Result<(TeamId, StreamSeq), CommandError<TeamRefusal>> {
        let team = TeamId::new(entropy::now(), entropy::random_u128());
        let found = Found {
            team: team.clone(),
            founder: founder.clone(),
            name: name.to_owned(),
        };
        // Their memberships, so that of two foundings at once the second one knows of the first.
        let filter = ControlSubject::of_any_team("member", founder.as_str())?;
        let run = self.run_over::<Memberships>(&filter, found, &self.plans, by);
        Ok((team, run.await?.version))
    }

    /// The last that happened to an invitation, whosever it is.
    pub(crate) async fn last_of_invitation(
        &self,
        id: &InvitationId,
    ) -> Result<Option<ControlEvent>, CommandError<TeamRefusal>> {
        let filter = ControlSubject::of_any_team("invitation", id.as_str())?;
        let last = last_control_event(&*self.log, &filter).await?;
        Ok(last.map(|(_, event)| event))
    }

    /// Makes a live key that may do what `scopes` say.
    pub async fn create_key(
        &self,
        team: &TeamId,
        name: &str,
        scopes: &[Scope],
        by: &By,
    ) -> Result<NewKey, ControlError> {
        self.make_key(team, KeyWish::new(name, scopes), by).await
    }

    /// Makes a key as wished.
    pub async fn make_key(
        &self,
        team: &TeamId,
        wish: KeyWish,
        by: &By,
    ) -> Result<NewKey, ControlError> {
        for _ in 0..MAX_KEYS_TRIED {
            let brand = wish.brand.as_deref().unwrap_or(&self.brand);
            let key = fresh_key(brand, wish.environment)?;
            match self.install_key(team, key, wish.clone(), by).await {
                Err(error) if error.is_id_taken() => {}
                made => return made,
            }
        }
        Err(ControlError::KeyIdTaken)
    }

    /// Makes a given key the team's.
    pub(crate) async fn install_key(
        &self,
        team: &TeamId,
        key: ApiKey,
        wish: KeyWish,
        by: &By,
    ) -> Result<NewKey, ControlError> {
        let command = TeamCommand::CreateKey {
            draft: self.draft(team, key.clone()).await?,
            name: wish.name,
            scopes: wish.scopes,
            expires_at: wish.expires_at,
            sources: wish.sources,
            request: wish.request,
        };
        let after = self.run_team(team, command, by).await?;
        new_key(key, &after)
    }

    /// Gives a key a successor that may do the same; the old one is accepted for `overlap` longer.
    pub async fn rotate_key(
        &self,
        team: &TeamId,
        key: &KeyId,
        overlap: Duration,
        by: &By,
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
        by: &By,
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

    /// Has what is called for a team signed with its next secret; the one before signs too for `overlap` longer.
    pub async fn rotate_signing_secret(
        &self,
        team: &TeamId,
        environment: Environment,
        overlap: Duration,
        by: &By,
    ) -> Result<(), ControlError> {
        let command = TeamCommand::RotateSigningSecret {
            environment,
            overlap,
        };
        self.run_team(team, command, by).await?;
        Ok(())
    }

    /// Has a key accepted no more. A second time changes nothing and answers the same.
    pub async fn revoke_key(
        &self,
        team: &TeamId,
        key: &KeyId,
        by: &By,
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
    pub(crate) async fn change_key(
        &self,
        team: &TeamId,
        key: &KeyId,
        command: TeamCommand,
        by: &By,
    ) -> Result<ChangedKey, ControlError> {
        let after = self.run_team(team, command, by).await?;
        let found = after.state.keys.get(key).cloned();
        Ok(ChangedKey {
            key: found.ok_or(ControlError::NoSuchKey)?,
            seq: after.version,
        })
    }

    /// A team, as the log has it now.
    pub async fn team(&self, id: &TeamId) -> Result<Team, ControlError> {
        Ok(self.load(&Boundary::Team(id.clone())).await?.state)
    }

    /// The team that a key belongs to.
    pub async fn find_key(&self, key: &KeyId) -> Result<TeamId, ControlError> {
        self.team_of(key).await?.ok_or(ControlError::NoSuchKey)
    }

    async fn team_of(&self, key: &KeyId) -> Result<Option<TeamId>, ControlError> {
        let filter = ControlSubject::key_of_any_team(key);
        let last = last_control_event(&*self.log, &filter).await?;
        Ok(last.and_then(|(_, event)| event.team().cloned()))
    }

    /// A draft of a key, when no other team has one with its public part.
    async fn draft(&self, team: &TeamId, key: ApiKey) -> Result<KeyDraft, ControlError> {
        if let Some(other) = self.team_of(key.id()).await?
            && other != *team
        {
            return Err(ControlError::KeyIdTaken);
        }
        Ok(KeyDraft {
            mac: key.mac(self.pepper.bytes(), team),
            pepper_version: self.pepper.version(),
            key,
        })
    }

    /// Runs a command to a team.
    pub async fn run_team(
        &self,
        id: &TeamId,
        command: TeamCommand,
        by: &By,
    ) -> Result<Loaded<Team>, CommandError<TeamRefusal>> {
        let boundary = Boundary::Team(id.clone());
        self.run(&boundary, command, &*self.plans, by).await
    }

    /// Decides a command and appends what follows from it, until that is what happened.
    pub async fn run<A: Aggregate>(
        &self,
        boundary: &Boundary,
        command: A::Command,
        rules: &A::Rules,
        by: &By,
    ) -> Result<Loaded<A>, CommandError<A::Refusal>> {
        self.run_over(&boundary.filter(), command, rules, by).await
    }

    /// The same over whatever a filter matches.
    async fn run_over<A: Aggregate>(
        &self,
        filter: &str,
        command: A::Command,
        rules: &A::Rules,
        by: &By,
    ) -> Result<Loaded<A>, CommandError<A::Refusal>> {
        for _ in 0..MAX_ROUNDS {
            let mut loaded = self.load_over::<A>(filter).await?;
            let events = loaded
                .state
                .decide(command.clone(), &by.actor, rules, entropy::now())
                .map_err(CommandError::Refused)?;
            if events.is_empty() {
                return Ok(loaded);
            }
            let expect = Expectation::LastOn {
                filter: filter.to_owned(),
                seq: loaded.version,
            };
            match self.append(&events, expect, by).await {
                Ok(last) => {
                    for event in &events {
                        loaded.state.evolve(event);
                    }
                    loaded.version = last;
                    loaded.changed = true;
                    return Ok(loaded);
                }
                // The server serves one batch at a time per subject: somebody was faster, look again.
                Err(CommandError::Append(AppendError::Conflict { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Err(CommandError::Contended)
    }

    /// Appends an event that lies in no boundary, and says where.
    pub async fn note(
        &self,
        event: &ControlEvent,
        by: &By,
    ) -> Result<StreamSeq, CommandError<std::convert::Infallible>> {
        let events = std::slice::from_ref(event);
        self.append(events, Expectation::None, by).await
    }

    async fn append<R: std::error::Error>(
        &self,
        events: &[ControlEvent],
        expect: Expectation,
        by: &By,
    ) -> Result<StreamSeq, CommandError<R>> {
        let records = events.iter().map(|event| record(event, by));
        let append = Append {
            stream: Stream::Control,
            records: records.collect::<Result<_, _>>()?,
            expect,
            atomicity: Atomicity::Atomic,
            msg_id: None,
        };
        let appended = self.log.append(append).await?;
        Ok(appended.seqs.last().copied().unwrap_or_default())
    }

    /// An aggregate as its events tell, up to the last one.
    pub async fn load<A: Aggregate>(&self, boundary: &Boundary) -> Result<Loaded<A>, LoadError> {
        self.load_over(&boundary.filter()).await
    }

    async fn load_over<A: Aggregate>(&self, filter: &str) -> Result<Loaded<A>, LoadError> {
        let mut state = A::default();
        let Some(last) = self.log.last(Stream::Control, filter).await? else {
            return Ok(Loaded {
                state,
                version: StreamSeq(0),
                changed: false,
            });
        };
        let filters = [filter.to_owned()];
        let mut from = StreamSeq(1);
        loop {
            let page = self
                .log
                .range(Stream::Control, &filters, from, last.seq, MAX_BATCH)
                .await?;
            for record in &page {
                match control_event(record) {
                    Ok(event) => state.evolve(&event),
                    // A decision without it could give what it took away.
                    Err(why) if Closes::of(record, &why).is_some() => return Err(why.into()),
                    // Its position counts all the same, as the server counts it.
                    Err(why) => set_aside("commands", Stream::Control, record, &why),
                }
                from = record.seq.next();
            }
            if page.len() < MAX_BATCH {
                return Ok(Loaded {
                    state,
                    version: last.seq,
                    changed: false,
                });
            }
        }
    }
}

/// A history was not read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The log was not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It holds an event that this version cannot read.
    #[error(transparent)]
    History(#[from] Unreadable),
}

impl<R: std::error::Error> From<LoadError> for CommandError<R> {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Read(error) => Self::Read(error),
            LoadError::History(error) => Self::History(error),
        }
    }
}

impl From<LoadError> for ControlError {
    fn from(error: LoadError) -> Self {
        Self::Command(error.into())
    }
}

fn fresh_key(brand: &str, environment: Environment) -> Result<ApiKey, ControlError> {
    ApiKey::generate(brand, environment, &entropy::fresh()).ok_or(ControlError::NoKeyMade)
}

fn new_key(key: ApiKey, after: &Loaded<Team>) -> Result<NewKey, ControlError> {
    let found = after.state.keys.get(key.id());
    Ok(NewKey {
        created: found.ok_or(ControlError::NoSuchKey)?.created.clone(),
        key,
        seq: after.version,
    })
}

fn record(event: &ControlEvent, by: &By) -> Result<NewRecord, NotAToken> {
    Ok(NewRecord {
        subject: of_control(event)?,
        event: event.name(),
        actor: by.actor.to_string(),
        traceparent: None,
        origin: by.origin.clone(),
        payload: Bytes::from(event.encode()),
    })
}
