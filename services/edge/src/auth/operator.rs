//! Who operates the installation: admins and owners of its first team. That team is there in every installation, and whoever starts one
//! is let into it first.

use axum::extract::{FromRef, FromRequestParts};
use http::StatusCode;
use http::request::Parts;
use waybill_commands::bootstrap_team;
use waybill_domain::access::role::Role;
use waybill_domain::id::UserId;

use super::directory::Directory;
use super::person::SignedIn;
use crate::error::{ApiError, ErrorCode};
use crate::state::Edge;

/// A person, signed in, who operates the installation.
#[derive(Debug)]
pub struct Operator;

impl Operator {
    /// Whether a person operates the installation.
    #[must_use]
    pub fn is(user: &UserId, directory: &Directory) -> bool {
        directory.role_of(user, &bootstrap_team()) >= Some(Role::Admin)
    }
}

impl<S> FromRequestParts<S> for Operator
where
    Edge: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let person = SignedIn::from_request_parts(parts, state).await?;
        let edge = Edge::from_ref(state);
        if Self::is(&person.user, edge.auth.directory()) {
            return Ok(Self);
        }
        let team = bootstrap_team();
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            ErrorCode::OperatorOnly,
            format!("Only admins and owners of the installation's first team, {team}, may do this"),
        ))
    }
}
