//! The holder of an API key, whatever the key may do: for the few routes that are about the key itself.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use waybill_domain::access::plan::Plan;
use waybill_domain::access::team::Key;
use waybill_domain::actor::Actor;
use waybill_domain::id::TeamId;

use super::caller::{Authenticated, authenticate, context};
use super::principal::Principal;
use crate::access::By;
use crate::edge::RequestContext;
use crate::error::ApiError;
use crate::state::AppState;

/// The holder of an API key. Neither a scope nor what the plan includes is asked for: whoever holds a key may always end it.
#[derive(Debug)]
pub struct Holder {
    /// The key.
    pub key: Arc<Key>,
    /// Its team, in the key's environment.
    pub team: TeamId,
    /// What the team's plan allows.
    pub plan: Arc<Plan>,
    context: RequestContext,
}

impl Holder {
    /// Who wants what this request wants.
    #[must_use]
    pub fn by(&self) -> By {
        By {
            actor: Actor::Key(self.key.created.key.clone()),
            origin: Some(self.context.origin()),
        }
    }
}

impl FromRequestParts<AppState> for Holder {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
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
        state
            .limiter
            .take(&context.limits, team, principal.id(), plan)
            .await?;
        Ok(Self {
            key: Arc::clone(key),
            team: team.clone(),
            plan: Arc::clone(plan),
            context,
        })
    }
}
