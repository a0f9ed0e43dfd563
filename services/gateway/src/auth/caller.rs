//! The caller of a route, as an extractor: recognised by a credential, and entitled to what the route needs.
//!
//! This is the only place that decides whether a request may pass. In order: the lease under which this gateway may decide at all, the
//! credential, the team, the limits of its plan, what the plan includes, the environment, the scope or role. A request is charged as
//! soon as it is known whose it is, so that refusals cost as much as answers. The limit of failed attempts from one source network is
//! met only by those who were not recognised: a good credential works whatever its neighbours do.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use waybill_domain::access::plan::Plan;
use waybill_domain::access::role::Role;
use waybill_domain::access::scope::ScopeSet;
use waybill_domain::actor::Actor;
use waybill_domain::id::{Environment, SessionId, TeamId, UserId};

use super::app;
use super::credential;
use super::directory::Recognition;
use super::named;
use super::needs::{Need, NeedRole};
use super::person::{self, SignedIn};
use super::principal::Principal;
use crate::access::By;
use crate::edge::RequestContext;
use crate::error::ApiError;
use crate::state::AppState;

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

impl<N: Need> FromRequestParts<AppState> for Caller<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let authenticated = authenticate(parts, state).await?;
        let context = context(parts)?.clone();
        let (principal, team, plan, scopes) = match authenticated {
            Authenticated::Key {
                principal,
                team,
                plan,
                scopes,
            } => {
                if state.auth.is_closed(&principal, &team) {
                    return Err(ApiError::not_understood());
                }
                state.usage.used(&principal, &team, context.source);
                let slot = &context.limits;
                let charged = state.limiter.take(slot, &team, principal.id(), &plan);
                charged.await?;
                let includes = N::SCOPE.api().is_none_or(|api| plan.has(api));
                if !(plan.api_access && includes) {
                    return Err(ApiError::feature_not_allowed(&plan.name));
                }
                // Before the path is looked at: whoever may not do this anyway learns nothing of which keys there are, and costs no look-up.
                if !scopes.contains(N::SCOPE) {
                    return Err(ApiError::missing_scope(N::SCOPE));
                }
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
        if !scopes.contains(N::SCOPE) {
            return Err(ApiError::missing_scope(N::SCOPE));
        }
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
        let person = match authenticate(parts, state).await? {
            Authenticated::Person(person) => person,
            other @ Authenticated::Key { .. } => {
                return Err(other
                    .refused(parts, state, ApiError::person_required())
                    .await);
            }
        };
        let own = named::own_team(parts, state, &person, Environment::Live).await?;
        if own.role < R::ROLE {
            return Err(ApiError::missing_role(R::ROLE));
        }
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

impl FromRequestParts<AppState> for SignedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        match authenticate(parts, state).await? {
            Authenticated::Person(person) => {
                person.charge(state).await?;
                Ok(person)
            }
            other @ Authenticated::Key { .. } => Err(other
                .refused(parts, state, ApiError::person_required())
                .await),
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

impl Authenticated {
    /// `error`, once it has been charged to whom the credential belongs: refusals are not free.
    pub(super) async fn refused(
        &self,
        parts: &Parts,
        state: &AppState,
        error: ApiError,
    ) -> ApiError {
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
                    let taken = state.limiter.take(slot, team, principal.id(), plan);
                    taken.await.map_err(ApiError::from)
                }
                Err(error) => Err(error),
            },
        };
        charged.err().unwrap_or(error)
    }
}

/// Recognises the credential. Who is not recognised is counted against the source network, and is told to wait after too many; that
/// comes after recognition, because behind one address there are also others, whose credentials are good.
pub(super) async fn authenticate(
    parts: &Parts,
    state: &AppState,
) -> Result<Authenticated, ApiError> {
    let context = context(parts)?;
    let authenticated = recognise(parts, state, context).await;
    // A key that may not be used from there counts as well: its team must not pay for whoever has stolen it.
    if authenticated
        .as_ref()
        .is_err_and(|error| error.status.is_client_error())
    {
        state
            .limiter
            .charge_failure(&context.limits, context.source)?;
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

pub(super) fn context(parts: &Parts) -> Result<&RequestContext, ApiError> {
    parts
        .extensions
        .get::<RequestContext>()
        .ok_or_else(|| ApiError::internal(&"a route without its edge"))
}
