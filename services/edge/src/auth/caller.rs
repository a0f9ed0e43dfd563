//! The caller of a route, as an extractor: recognised by a credential, and entitled to what the route needs.
//!
//! This is the only place that decides whether a request may pass. In order: the lease under which this gateway may decide at all, the
//! credential, the team, the limits of its plan, what the plan includes, the environment, the scope or role. A request is charged as
//! soon as it is attributed, so that refusals cost as much as answers. The limit of failed attempts from one source network applies
//! only to callers that were not recognised: a valid credential works whatever its neighbours do.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use futures::future::BoxFuture;
use http::request::Parts;
use waybill_domain::access::plan::Plan;
use waybill_domain::access::role::Role;
use waybill_domain::access::scope::{Scope, ScopeSet};
use waybill_domain::access::team::Team;
use waybill_domain::actor::Actor;
use waybill_domain::id::{Environment, QueueName, SessionId, TeamId, UserId};

use super::app;
use super::credential;
use super::directory::{Known, Recognition};
use super::key_session;
use super::named::{self, OwnTeam};
use super::needs::{Need, NeedRole};
use super::person::{self, SignedIn};
use crate::error::{ApiError, ErrorCode};
use crate::position;
use crate::principal::Principal;
use crate::request::RequestContext;
use crate::state::Edge;
use waybill_commands::Author;
use waybill_identity::jwt::AccessTokens;

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

impl<N: Need> Caller<N> {
    /// The actor that events of this request name.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.principal.actor()
    }

    /// The author of the commands of this request.
    #[must_use]
    pub fn by(&self) -> Author {
        Author {
            actor: self.actor(),
            origin: Some(self.context.origin()),
        }
    }

    #[must_use]
    pub fn context(&self) -> &RequestContext {
        &self.context
    }

    /// Whether the caller sees the bodies and headers of tasks and of their answers.
    #[must_use]
    pub fn sees_payloads(&self, state: &Edge) -> bool {
        match &self.principal {
            Principal::Key(_) | Principal::App { .. } => true,
            Principal::User { role, .. } => {
                let shows = |team: &Team| team.shows_payloads_to(*role);
                let directory = state.auth.directory();
                directory.with_team(&self.team.base(), shows) == Some(true)
            }
        }
    }

    /// The queues that the caller is limited to; `None`: it is not.
    #[must_use]
    pub fn only_queues(&self) -> Option<&[QueueName]> {
        self.principal.only_queues()
    }

    /// Refuses a queue that the caller is not limited to.
    pub fn may_use(&self, queue: &QueueName) -> Result<(), ApiError> {
        match self.only_queues() {
            Some(only) if !only.contains(queue) => Err(ApiError::outside_queues(queue)),
            _ => Ok(()),
        }
    }

    /// Refuses what a plan without the API does not include: work, and credentials for it. What people need to look after a team that
    /// lost it, such as its list of keys, stays open to them; keys and applications do not come here at all.
    pub fn needs_api(&self) -> Result<(), ApiError> {
        let includes = N::SCOPE.api().is_none_or(|api| self.plan.has(api));
        if self.plan.api_access && includes {
            Ok(())
        } else {
            Err(ApiError::feature_not_allowed(&self.plan.name))
        }
    }
}

impl<S, N: Need> FromRequestParts<S> for Caller<N>
where
    Edge: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let required = Required {
            scope: N::SCOPE,
            checks_queues: N::CHECKS_QUEUES,
        };
        let state = Edge::from_ref(state);
        let entitled = entitled(parts, &state, required).await?;
        Ok(Self {
            team: entitled.team,
            plan: entitled.plan,
            principal: entitled.principal,
            scopes: entitled.scopes,
            context: entitled.context,
            need: PhantomData,
        })
    }
}

/// What a route requires of its caller: a [`Need`] as a value.
#[derive(Debug, Clone, Copy)]
struct Required {
    scope: Scope,
    checks_queues: bool,
}

/// A caller who may do what the route requires.
struct Entitled {
    team: TeamId,
    plan: Arc<Plan>,
    principal: Principal,
    scopes: ScopeSet,
    context: RequestContext,
}

/// The caller of a route, if entitled.
///
/// Boxed, as the others below: the compiler copies the body of an asynchronous function into each crate that awaits it, and this one would
/// stand in the program once for each route.
fn entitled<'a>(
    parts: &'a mut Parts,
    state: &'a Edge,
    required: Required,
) -> BoxFuture<'a, Result<Entitled, ApiError>> {
    Box::pin(async move {
        let scope = required.scope;
        let authenticated = authenticate(parts, state).await?;
        let context = context(parts)?.clone();
        let (principal, team, plan, scopes) = match authenticated {
            Authenticated::Key {
                principal,
                team,
                plan,
                scopes,
            } => {
                let slot = &context.limits;
                let charged =
                    state
                        .limiter
                        .take_of(slot, &team, principal.id(), &plan, principal.rate());
                charged.await?;
                if state.auth.is_closed(&principal, &team) {
                    return Err(ApiError::not_understood());
                }
                state.usage.used(&principal, &team, context.source);
                if let Principal::Key(key) = &principal {
                    context.attribution.to_key(&team, &key.created.key);
                }
                let includes = scope.api().is_none_or(|api| plan.has(api));
                if !(plan.api_access && includes) {
                    return Err(ApiError::feature_not_allowed(&plan.name));
                }
                // Checked before the path: a caller without the scope learns nothing of which keys exist, and costs no look-up.
                if !scopes.contains(scope) {
                    return Err(ApiError::missing_scope(scope));
                }
                // A route that does not look at queues would show or change what the key is kept from.
                if principal.only_queues().is_some() && !required.checks_queues {
                    return Err(ApiError::limited_to_queues());
                }
                context.attribution.to_scope(scope);
                // A path that names a team names the credential's own.
                match named::in_path(parts, state, None).await? {
                    Some(named) if named != Ok(team.base()) => return Err(ApiError::forbidden()),
                    _ => {}
                }
                (principal, team, plan, scopes)
            }
            Authenticated::Person(person) => {
                let environment = named::environment(parts);
                let counted_in = environment.as_ref().copied().unwrap_or(Environment::Live);
                let own = named::own_team(parts, state, &person, counted_in).await?;
                let team = own.team.in_environment(environment?);
                let (role, plan) = (own.role, own.plan);
                let principal = person.in_team(role);
                if state.auth.is_closed(&principal, &team) {
                    return Err(ApiError::not_understood());
                }
                state.usage.used(&principal, &team, context.source);
                (principal, team, plan, role.scopes())
            }
        };
        if !scopes.contains(scope) {
            return Err(ApiError::missing_scope(scope));
        }
        if position::is_for_reads(&parts.method, scope) {
            state.read_at(parts, &team).await?;
        }
        Ok(Entitled {
            team,
            plan,
            principal,
            scopes,
            context,
        })
    })
}

/// A person, signed in, who is at least an `R` of the team that the path names.
#[derive(Debug)]
pub struct Member<R> {
    pub team: TeamId,
    /// What the team's plan allows.
    pub plan: Arc<Plan>,
    pub user: UserId,
    /// The session, which is one device.
    pub session: SessionId,
    /// What they may do in the team.
    pub role: Role,
    context: RequestContext,
    need: PhantomData<R>,
}

impl<R> Member<R> {
    /// The author of the commands of this request.
    #[must_use]
    pub fn by(&self) -> Author {
        Author {
            actor: Actor::User(self.user.clone()),
            origin: Some(self.context.origin()),
        }
    }

    #[must_use]
    pub fn context(&self) -> &RequestContext {
        &self.context
    }
}

impl<S, R: NeedRole> FromRequestParts<S> for Member<R>
where
    Edge: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let state = Edge::from_ref(state);
        let (person, own) = member(parts, &state, R::ROLE).await?;
        Ok(Self {
            team: own.team,
            plan: own.plan,
            role: own.role,
            context: person.context,
            user: person.user,
            session: person.session,
            need: PhantomData,
        })
    }
}

/// A person with at least that role in the team of the route.
fn member<'a>(
    parts: &'a mut Parts,
    state: &'a Edge,
    least: Role,
) -> BoxFuture<'a, Result<(SignedIn, OwnTeam), ApiError>> {
    Box::pin(async move {
        let person = match authenticate(parts, state).await? {
            Authenticated::Person(person) => person,
            other @ Authenticated::Key { .. } => {
                return Err(other
                    .refused(parts, state, ApiError::person_required())
                    .await);
            }
        };
        let own = named::own_team(parts, state, &person, Environment::Live).await?;
        if own.role < least {
            return Err(ApiError::missing_role(least));
        }
        Ok((person, own))
    })
}

impl<S> FromRequestParts<S> for SignedIn
where
    Edge: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        signed_in(parts, &Edge::from_ref(state)).await
    }
}

/// A person.
fn signed_in<'a>(
    parts: &'a mut Parts,
    state: &'a Edge,
) -> BoxFuture<'a, Result<SignedIn, ApiError>> {
    Box::pin(async move {
        match authenticate(parts, state).await? {
            Authenticated::Person(person) => {
                person.charge(state).await?;
                Ok(person)
            }
            other @ Authenticated::Key { .. } => Err(other
                .refused(parts, state, ApiError::person_required())
                .await),
        }
    })
}

/// What a credential alone says about the caller.
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

impl Authenticated {
    /// Charges a refusal to the owner of the credential: refusals are not free. Returns `error`, or the error of the limit.
    pub(super) async fn refused(&self, parts: &Parts, state: &Edge, error: ApiError) -> ApiError {
        let charged = match self {
            Self::Person(person) => person.charge(state).await,
            Self::Key {
                principal,
                team,
                plan,
                ..
            } => match context(parts) {
                Ok(context) => {
                    let slot = &context.limits;
                    let taken =
                        state
                            .limiter
                            .take_of(slot, team, principal.id(), plan, principal.rate());
                    taken.await.map_err(ApiError::from)
                }
                Err(error) => Err(error),
            },
        };
        charged.err().unwrap_or(error)
    }
}

/// Recognises the credential. A caller that is not recognised is counted against its source network, and has to wait after too many;
/// that comes after recognition, because other callers behind the same address have valid credentials.
pub(super) async fn authenticate(parts: &Parts, state: &Edge) -> Result<Authenticated, ApiError> {
    let context = context(parts)?;
    let authenticated = recognise(parts, state, context).await;
    // A key that may not be used from that address counts as well: its team must not pay for whoever has stolen it.
    if authenticated
        .as_ref()
        .is_err_and(|error| error.status.is_client_error())
    {
        state
            .limiter
            .charge_failure(&context.limits, context.source)?;
    }
    if let Ok(Authenticated::Person(person)) = &authenticated
        && state.auth.is_person_closed(&person.user, &person.session)
    {
        person.charge(state).await?;
        return Err(ApiError::not_understood());
    }
    authenticated
}

async fn recognise(
    parts: &Parts,
    state: &Edge,
    context: &RequestContext,
) -> Result<Authenticated, ApiError> {
    let presented = credential::presented(&parts.headers)?;
    state.auth.check_caught_up()?;
    // Checked before anything is looked up: afterwards, a renewed lease would cover data that was read while it had lapsed.
    state.fence.may_decide_soon().await?;
    if credential::is_jwt(presented) && AccessTokens::is_of_key(presented) {
        let known = key_session::recognise(state, presented).await;
        return of_key(known.ok_or_else(ApiError::session_refused)?, context);
    }
    if credential::is_jwt(presented) {
        let person = person::recognise(state, presented, context).await;
        let person = person.ok_or_else(ApiError::session_refused)?;
        context
            .attribution
            .to_credential(Actor::User(person.user.clone()));
        return Ok(Authenticated::Person(person));
    }
    if credential::is_access_token(presented) {
        let standing = app::recognise(state, presented, Some(context.source)).await?;
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
        Recognition::Known(known) => of_key(known, context),
        // Its holder learns no more than of any other invalid key.
        Recognition::Ended(_) => Err(ApiError::key_refused()),
        Recognition::Refused => Err(ApiError::key_refused()),
        Recognition::PepperMissing => Err(ApiError::unavailable(
            ErrorCode::AuthorizationUnavailable,
            "This key cannot be checked at the moment; try again later",
        )),
    }
}

/// The holder of a key, or of a session that was begun with it.
fn of_key(known: Known, context: &RequestContext) -> Result<Authenticated, ApiError> {
    context.attribution.to_team(&known.team);
    let key = known.key.created.key.clone();
    context.attribution.to_credential(Actor::Key(key));
    if !known.key.may_come_from(context.source) {
        return Err(ApiError::source_refused());
    }
    Ok(Authenticated::Key {
        scopes: known.key.scopes,
        principal: Principal::Key(known.key),
        team: known.team,
        plan: known.plan,
    })
}

pub(super) fn context(parts: &Parts) -> Result<&RequestContext, ApiError> {
    parts
        .extensions
        .get::<RequestContext>()
        .ok_or_else(|| ApiError::internal(&"a route without its edge"))
}
