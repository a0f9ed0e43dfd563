//! The holder of an API key, whatever the key may do: for the few routes that are about the key itself.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use futures::future::BoxFuture;
use http::request::Parts;
use waybill_domain::access::plan::Plan;
use waybill_domain::access::team::Key;
use waybill_domain::actor::Actor;
use waybill_domain::id::TeamId;

use super::caller::{Authenticated, authenticate, context};
use crate::error::ApiError;
use crate::principal::Principal;
use crate::request::RequestContext;
use crate::state::Edge;
use waybill_commands::Author;

/// The holder of an API key. Neither a scope nor what the plan includes is asked for: whoever holds a key may always end it.
#[derive(Debug)]
pub struct Holder {
    pub key: Arc<Key>,
    /// Its team, in the key's environment.
    pub team: TeamId,
    /// What the team's plan allows.
    pub plan: Arc<Plan>,
    context: RequestContext,
}

impl Holder {
    /// The author of the commands of this request.
    #[must_use]
    pub fn by(&self) -> Author {
        Author {
            actor: Actor::Key(self.key.created.key.clone()),
            origin: Some(self.context.origin()),
        }
    }
}

impl<S> FromRequestParts<S> for Holder
where
    Edge: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        holder(parts, &Edge::from_ref(state)).await
    }
}

/// The holder of a key. Boxed, as in [`super::caller`].
fn holder<'a>(parts: &'a Parts, state: &'a Edge) -> BoxFuture<'a, Result<Holder, ApiError>> {
    Box::pin(async move {
        let authenticated = authenticate(parts, state).await?;
        let Authenticated::Key {
            principal: principal @ Principal::Key(key),
            team,
            plan,
            ..
        } = &authenticated
        else {
            return Err(authenticated
                .refused(parts, state, ApiError::api_key_required())
                .await);
        };
        let context = context(parts)?.clone();
        state.usage.used(principal, team, context.source);
        context.attribution.to_key(team, &key.created.key);
        state
            .limiter
            .take_of(
                &context.limits,
                team,
                principal.id(),
                plan,
                principal.rate(),
            )
            .await?;
        Ok(Holder {
            key: Arc::clone(key),
            team: team.clone(),
            plan: Arc::clone(plan),
            context,
        })
    })
}
