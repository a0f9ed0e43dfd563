//! The caller of a route, as an extractor: recognised by a credential, and entitled to what the route needs.
//!
//! This is the only place that decides whether a request may pass. In order: the lease under which this gateway may decide at all, the
//! credential, the team, the plan, the environment, the scope or role, the limits of the plan. Before all of it comes the limit of
//! failed attempts from one source network.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use http::StatusCode;
use http::request::Parts;
use waybill_domain::access::plan::Plan;
use waybill_domain::access::role::Role;
use waybill_domain::access::scope::ScopeSet;
use waybill_domain::actor::Actor;
use waybill_domain::event::Boundary;
use waybill_domain::id::{Environment, KeyId, SessionId, TeamId, UserId};

use super::app;
use super::credential;
use super::directory::Recognition;
use super::needs::{Need, NeedRole};
use super::person::{self, SignedIn};
use super::principal::Principal;
use crate::access::By;
use crate::edge::RequestContext;
use crate::error::ApiError;
use crate::state::AppState;

/// Names the team that a person means, where the path does not.
const TEAM_HEADER: &str = "x-team-id";
/// Names the environment that a person means; `live` when it is not there.
const ENVIRONMENT_HEADER: &str = "x-environment";

/// Who calls, entitled to `N`.
#[derive(Debug)]
pub struct Caller<N> {
    /// The team that the credential belongs to, in the credential's environment.
    pub team: TeamId,
    /// What the team's plan allows.
    pub plan: Arc<Plan>,
    /// Whose credential it is.
    pub principal: Principal,
    /// All that the credential may do.
    pub scopes: ScopeSet,
    context: RequestContext,
    need: PhantomData<N>,
}

impl<N> Caller<N> {
    /// As events name who caused them.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.principal.actor()
    }

    /// Who wants what this request wants.
    #[must_use]
    pub fn by(&self) -> By {
        By {
            actor: self.actor(),
            origin: Some(self.context.origin()),
        }
    }

    /// The request.
    #[must_use]
    pub fn context(&self) -> &RequestContext {
        &self.context
    }
}

impl<N: Need> FromRequestParts<AppState> for Caller<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let authenticated = authenticate(parts, state).await?;
        let (principal, team, plan, scopes) = match authenticated {
            Authenticated::Key {
                principal,
                team,
                plan,
                scopes,
            } => (principal, team, plan, scopes),
            Authenticated::Person(person) => {
                let team = persons_team(parts, state, &person).await?;
                let (role, plan) = standing(state, &person, &team)?;
                let team = team.in_environment(environment(parts)?);
                (person.in_team(role), team, plan, role.scopes())
            }
        };
        if state.auth.is_closed(&principal, &team) {
            return Err(ApiError::not_understood());
        }
        state.usage.used(&principal, &team, context(parts)?.source);
        if !plan.api_access {
            return Err(ApiError::feature_not_allowed(&plan.name));
        }
        if !scopes.contains(N::SCOPE) {
            return Err(ApiError::missing_scope(N::SCOPE));
        }
        // A path that names a team names the credential's own; a person's was found by it.
        match path_team(parts, state).await? {
            Some(named) if named != Ok(team.base()) => return Err(ApiError::forbidden()),
            _ => {}
        }
        let context = context(parts)?.clone();
        let charged = state
            .limiter
            .take(&context.limits, &team, principal.id(), &plan);
        charged.await?;
        Ok(Self {
            team,
            plan,
            principal,
            scopes,
            context,
            need: PhantomData,
        })
    }
}

/// A person, signed in, who is at least an `R` of the team that the path names.
#[derive(Debug)]
pub struct Member<R> {
    /// The team.
    pub team: TeamId,
    /// What the team's plan allows.
    pub plan: Arc<Plan>,
    /// Who.
    pub user: UserId,
    /// On which device.
    pub session: SessionId,
    /// What they may do in the team.
    pub role: Role,
    context: RequestContext,
    need: PhantomData<R>,
}

impl<R> Member<R> {
    /// Who wants what this request wants.
    #[must_use]
    pub fn by(&self) -> By {
        By {
            actor: Actor::User(self.user.clone()),
            origin: Some(self.context.origin()),
        }
    }

    /// The request.
    #[must_use]
    pub fn context(&self) -> &RequestContext {
        &self.context
    }
}

impl<R: NeedRole> FromRequestParts<AppState> for Member<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let person = SignedIn::from_request_parts(parts, state).await?;
        let team = persons_team(parts, state, &person).await?;
        let (role, plan) = standing(state, &person, &team)?;
        if state
            .auth
            .directory()
            .is_closed(&Boundary::Team(team.base()))
        {
            return Err(ApiError::not_understood());
        }
        if role < R::ROLE {
            return Err(ApiError::missing_role(R::ROLE));
        }
        let (slot, user) = (&person.context.limits, person.user.as_str());
        state.limiter.take(slot, &team, user, &plan).await?;
        Ok(Self {
            team,
            plan,
            role,
            context: person.context,
            user: person.user,
            session: person.session,
            need: PhantomData,
        })
    }
}

impl FromRequestParts<AppState> for SignedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        match authenticate(parts, state).await? {
            Authenticated::Person(person) => Ok(person),
            Authenticated::Key { .. } => Err(ApiError::person_required()),
        }
    }
}

/// What a credential says by itself.
pub(super) enum Authenticated {
    /// It belongs to a team.
    Key {
        principal: Principal,
        team: TeamId,
        plan: Arc<Plan>,
        scopes: ScopeSet,
    },
    /// It is a person's, who may belong to several.
    Person(SignedIn),
}

/// Recognises the credential, unless too many that came from there were none.
pub(super) async fn authenticate(
    parts: &Parts,
    state: &AppState,
) -> Result<Authenticated, ApiError> {
    let context = context(parts)?;
    state
        .limiter
        .admit_source(&context.limits, context.source)?;
    let authenticated = recognise(parts, state, context).await;
    if let Err(error) = &authenticated
        && error.status == StatusCode::UNAUTHORIZED
    {
        state.limiter.source_failed(context.source);
    }
    authenticated
}

async fn recognise(
    parts: &Parts,
    state: &AppState,
    context: &RequestContext,
) -> Result<Authenticated, ApiError> {
    let presented = credential::presented(&parts.headers)?;
    if !state.auth.is_caught_up() {
        // A key that is unknown now may be known in a moment, and one that is known may be revoked.
        return Err(ApiError::unavailable(
            "not_ready",
            "The gateway is starting; try again later",
        ));
    }
    // Before anything is looked up: checked after it, the lease would bless what was read while it had lapsed.
    state.fence.may_decide_soon().await?;
    if credential::is_jwt(presented) {
        let person = person::recognise(state, presented, context).await;
        let person = person.ok_or_else(ApiError::session_refused)?;
        if state.auth.is_person_closed(&person.user, &person.session) {
            return Err(ApiError::not_understood());
        }
        context
            .attribution
            .to_credential(Actor::User(person.user.clone()));
        return Ok(Authenticated::Person(person));
    }
    if credential::is_access_token(presented) {
        let standing = app::recognise(state, presented).await?;
        let principal = standing.principal();
        context.attribution.to_team(&standing.team);
        context.attribution.to_credential(principal.actor());
        return Ok(Authenticated::Key {
            principal,
            team: standing.team,
            plan: standing.plan,
            scopes: standing.scopes,
        });
    }
    let recognition = state.auth.recognise(presented, &state.config.key_brands);
    if let Recognition::Known(known) | Recognition::Ended(known) = &recognition {
        context.attribution.to_team(&known.team);
        let key = known.key.created.key.clone();
        context.attribution.to_credential(Actor::Key(key));
    }
    match recognition {
        Recognition::Known(known) if !known.key.may_come_from(context.source) => {
            Err(ApiError::source_refused())
        }
        Recognition::Known(known) => Ok(Authenticated::Key {
            scopes: known.key.scopes,
            principal: Principal::Key(known.key),
            team: known.team,
            plan: known.plan,
        }),
        // To whoever holds it, it is like any other that is none.
        Recognition::Ended(_) => Err(ApiError::key_refused()),
        Recognition::Refused => Err(ApiError::key_refused()),
        Recognition::PepperMissing => Err(ApiError::unavailable(
            "authorization_unavailable",
            "This key cannot be checked at the moment; try again later",
        )),
    }
}

/// The role and the plan of a person's team; 403 when it is not theirs.
fn standing(
    state: &AppState,
    person: &SignedIn,
    team: &TeamId,
) -> Result<(Role, Arc<Plan>), ApiError> {
    let directory = state.auth.directory();
    let plan = directory.plan_of(team);
    if plan.is_some() {
        // Also when they do not belong to it: the team may want to know.
        person.context.attribution.to_team(team);
    }
    let role = directory.role_of(&person.user, team);
    role.zip(plan).ok_or_else(ApiError::forbidden)
}

/// The team that a person means: the path's, else the header's, else the only one.
async fn persons_team(
    parts: &mut Parts,
    state: &AppState,
    person: &SignedIn,
) -> Result<TeamId, ApiError> {
    if let Some(named) = path_team(parts, state).await? {
        return named.map_err(|_| ApiError::forbidden());
    }
    if let Some(value) = parts.headers.get(TEAM_HEADER) {
        let team = value
            .to_str()
            .ok()
            .and_then(|text| TeamId::parse(text).ok());
        return team
            .filter(|team| team.environment() == Environment::Live)
            .ok_or_else(|| ApiError::bad_field(TEAM_HEADER, "X-Team-Id must be the id of a team"));
    }
    match state.auth.directory().teams_of(&person.user).as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(ApiError::forbidden()),
        _ => Err(ApiError::bad_field(
            TEAM_HEADER,
            "You belong to several teams: name one in the header X-Team-Id",
        )),
    }
}

/// A team in a path that is none.
#[derive(Debug, PartialEq)]
struct NoTeam;

/// The team that the path names, itself or by one of its keys. `None`: it names none.
async fn path_team(
    parts: &mut Parts,
    state: &AppState,
) -> Result<Option<Result<TeamId, NoTeam>>, ApiError> {
    let parameters = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| ApiError::bad_request("invalid_path", "The path is not valid"))?;
    for (name, value) in &parameters {
        match name {
            "teamId" => {
                let team = TeamId::parse(value).ok();
                let base = team.filter(|team| team.environment() == Environment::Live);
                return Ok(Some(base.ok_or(NoTeam)));
            }
            "keyId" => {
                let key = KeyId::parse(value).map_err(|_| ApiError::no_such_key())?;
                let team = match state.auth.directory().key(&key) {
                    Some(known) => known.created.team.clone(),
                    // Made a moment ago through another gateway, perhaps.
                    None => state.control.find_key(&key).await?,
                };
                return Ok(Some(Ok(team)));
            }
            _ => {}
        }
    }
    Ok(None)
}

fn environment(parts: &Parts) -> Result<Environment, ApiError> {
    let Some(value) = parts.headers.get(ENVIRONMENT_HEADER) else {
        return Ok(Environment::Live);
    };
    let environment = value.to_str().ok().and_then(Environment::parse);
    environment.ok_or_else(|| {
        ApiError::bad_field(ENVIRONMENT_HEADER, "X-Environment must be live or test")
    })
}

pub(super) fn context(parts: &Parts) -> Result<&RequestContext, ApiError> {
    parts
        .extensions
        .get::<RequestContext>()
        .ok_or_else(|| ApiError::internal(&"a route without its edge"))
}
