//! Running commands: load, decide, append, and start over if another writer was faster.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use waybill_domain::access::Aggregate;
use waybill_domain::access::plan::Catalogue;
use waybill_domain::access::secret::KeyMac;
use waybill_domain::access::team::{Found, Memberships, Team, TeamCommand, TeamRefusal};
use waybill_domain::access::token::{Token, TokenKind};
use waybill_domain::actor::{Actor, Origin};
use waybill_domain::event::{Boundary, ControlEvent};
use waybill_domain::id::{Environment, InvitationId, TeamId, UserId};
use waybill_log::subject::{ControlSubject, NotAToken, of_control};
use waybill_log::{
    Append, AppendError, Atomicity, Closes, Expectation, Log, MAX_BATCH, NewRecord, Stream,
    StreamSeq, control_event, last_control_event, set_aside,
};

use crate::entropy;
use crate::error::{CommandError, ControlError, LoadError};
use crate::pepper::Pepper;

/// How often a command is decided again because another writer changed the aggregate meanwhile. In
/// each round, one of the writers wins.
const MAX_ROUNDS: usize = 20;

/// The author of a command: an actor, and the request that it came with.
#[derive(Debug, Clone)]
pub struct Author {
    pub actor: Actor,
    /// Where the request came from; `None` for a command that no request caused.
    pub origin: Option<Origin>,
}

impl From<Actor> for Author {
    fn from(actor: Actor) -> Self {
        Self {
            actor,
            origin: None,
        }
    }
}

/// An aggregate as of a position.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    pub state: A,
    /// Sequence of its last event; 0 if it has none.
    pub version: StreamSeq,
    /// Whether the command changed it; false if its state was already as requested.
    pub changed: bool,
}

#[derive(Clone)]
pub struct ControlWriter {
    log: Arc<dyn Log>,
    pepper: Arc<Pepper>,
    brand: Arc<str>,
    plans: Arc<Catalogue>,
}

impl ControlWriter {
    /// Generates keys with the prefix `wb_`, and uses the built-in plans.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, pepper: Arc<Pepper>) -> Self {
        Self {
            log,
            pepper,
            brand: "wb".into(),
            plans: Arc::clone(Catalogue::builtin()),
        }
    }

    /// Generates keys with another brand.
    #[must_use]
    pub fn with_brand(mut self, brand: &str) -> Self {
        self.brand = brand.into();
        self
    }

    /// Uses these plans.
    #[must_use]
    pub fn with_plans(mut self, plans: Arc<Catalogue>) -> Self {
        self.plans = plans;
        self
    }

    pub fn pepper(&self) -> &Pepper {
        &self.pepper
    }

    /// The brand of generated keys, unless a command asks for another one.
    pub(crate) fn brand(&self) -> &str {
        &self.brand
    }

    pub(crate) fn plans(&self) -> &Catalogue {
        &self.plans
    }

    pub(crate) fn log(&self) -> &dyn Log {
        &*self.log
    }

    /// Creates a team on a plan.
    pub async fn create_team(
        &self,
        name: &str,
        plan: &str,
        by: &Author,
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

    /// Creates a team on the default plan with a person as its owner, unless they own too many
    /// teams. Returns the sequence of its last event.
    pub async fn found_team(
        &self,
        founder: &UserId,
        name: &str,
        by: &Author,
    ) -> Result<(TeamId, StreamSeq), CommandError<TeamRefusal>> {
        let team = TeamId::new(entropy::now(), entropy::random_u128());
        let found = Found {
            team: team.clone(),
            founder: founder.clone(),
            name: name.to_owned(),
        };
        // All memberships of the person, so that of two simultaneous foundings the second one sees
        // the first.
        let filter = ControlSubject::of_any_team("member", founder.as_str())?;
        let run = self.run_over::<Memberships>(&filter, found, &self.plans, by);
        Ok((team, run.await?.version))
    }

    /// The last event of an invitation, in any team.
    pub async fn last_of_invitation(
        &self,
        id: &InvitationId,
    ) -> Result<Option<ControlEvent>, CommandError<TeamRefusal>> {
        let filter = ControlSubject::of_any_team("invitation", id.as_str())?;
        let last = last_control_event(&*self.log, &filter).await?;
        Ok(last.map(|(_, event)| event))
    }

    /// Moves on to the team's next signing secret; the previous one signs as well for `overlap`.
    pub async fn rotate_signing_secret(
        &self,
        team: &TeamId,
        environment: Environment,
        overlap: Duration,
        by: &Author,
    ) -> Result<(), ControlError> {
        let command = TeamCommand::RotateSigningSecret {
            environment,
            overlap,
        };
        self.run_team(team, command, by).await?;
        Ok(())
    }

    /// A new token of that kind under the current pepper, its MAC, and the pepper's version. `None`
    /// only if randomness fails.
    pub fn token(&self, kind: TokenKind, ulid: &str) -> Option<(Token, KeyMac, u32)> {
        self.pepper.token(&self.brand, kind, ulid)
    }

    /// A team in its current state in the log.
    pub async fn team(&self, id: &TeamId) -> Result<Team, ControlError> {
        Ok(self.load(&Boundary::Team(id.clone())).await?.state)
    }

    /// Runs a command on a team. Boxed, since the compiler copies the body of an asynchronous function
    /// into each crate that awaits it.
    pub fn run_team<'a>(
        &'a self,
        id: &TeamId,
        command: TeamCommand,
        by: &'a Author,
    ) -> BoxFuture<'a, Result<Loaded<Team>, CommandError<TeamRefusal>>> {
        let boundary = Boundary::Team(id.clone());
        Box::pin(async move { self.run(&boundary, command, &*self.plans, by).await })
    }

    /// Decides a command and appends the resulting events, and starts over if another writer was
    /// faster.
    pub async fn run<A: Aggregate>(
        &self,
        boundary: &Boundary,
        command: A::Command,
        rules: &A::Rules,
        by: &Author,
    ) -> Result<Loaded<A>, CommandError<A::Refusal>> {
        self.run_over(&boundary.filter(), command, rules, by).await
    }

    /// Like [`Self::run`], over the events that a filter matches.
    pub(crate) async fn run_over<A: Aggregate>(
        &self,
        filter: &str,
        command: A::Command,
        rules: &A::Rules,
        by: &Author,
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
                // The server accepts one batch at a time per subject: another writer was faster, so
                // load again.
                Err(CommandError::Append(AppendError::Conflict { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Err(CommandError::Contended)
    }

    /// Appends an event that belongs to no boundary, and returns its sequence.
    pub async fn note(
        &self,
        event: &ControlEvent,
        by: &Author,
    ) -> Result<StreamSeq, CommandError<std::convert::Infallible>> {
        let events = std::slice::from_ref(event);
        self.append(events, Expectation::None, by).await
    }

    async fn append<R: std::error::Error>(
        &self,
        events: &[ControlEvent],
        expect: Expectation,
        by: &Author,
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

    /// Loads an aggregate from its events, up to the last one.
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
                    // A decision that ignores the event could restore a right that it revokes.
                    Err(why) if Closes::of(record, &why).is_some() => return Err(why.into()),
                    // Its position counts all the same, as the server's expectation includes it.
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

fn record(event: &ControlEvent, by: &Author) -> Result<NewRecord, NotAToken> {
    Ok(NewRecord {
        subject: of_control(event)?,
        event: event.name(),
        actor: by.actor.to_string(),
        traceparent: None,
        origin: by.origin.clone(),
        payload: Bytes::from(event.encode()),
    })
}
