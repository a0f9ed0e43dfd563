//! The caller of a route: recognised by an API key that holds the scope the route needs.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use waybill_domain::access::plan::PlanLimits;
use waybill_domain::actor::Actor;
use waybill_domain::id::{KeyId, TeamId};

use super::credential;
use super::directory::KeyView;
use super::needs::Need;
use crate::error::ApiError;
use crate::state::AppState;

/// Who calls, entitled to `N`.
#[derive(Debug)]
pub struct Caller<N> {
    /// The team that the key belongs to.
    pub team: TeamId,
    /// The key used.
    pub key: KeyId,
    /// What the team's plan allows.
    pub plan: PlanLimits,
    view: Arc<KeyView>,
    need: PhantomData<N>,
}

impl<N> Caller<N> {
    /// As events name who caused them.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::Key(self.key.clone())
    }

    /// The key that was used.
    #[must_use]
    pub fn view(&self) -> &KeyView {
        &self.view
    }
}

impl<N: Need> FromRequestParts<AppState> for Caller<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let presented = credential::presented(&parts.headers)?;
        if !state.auth.is_caught_up() {
            // A key that is unknown now may be known in a moment, and one that is known may be revoked.
            return Err(ApiError::unavailable(
                "not_ready",
                "The gateway is starting; try again later",
            ));
        }
        let known = state
            .auth
            .recognise(presented)
            .ok_or_else(ApiError::key_refused)?;
        if !known.key.may(N::SCOPE) {
            return Err(ApiError::missing_scope(N::SCOPE));
        }
        Ok(Self {
            team: known.key.created.team.clone(),
            key: known.key.created.key.clone(),
            plan: known.plan,
            view: known.key,
            need: PhantomData,
        })
    }
}
