//! The key of whoever administers organisations through the jobs API: `X-Admin-Key`. It belongs to no team, and an API key that comes along
//! is ignored.

use std::sync::Arc;

use aws_lc_rs::{constant_time, digest};
use axum::extract::{FromRef, FromRequestParts};
use http::StatusCode;
use http::request::Parts;
use waybill_commands::Author;
use waybill_domain::actor::Actor;

use super::caller::context;
use crate::error::{ApiError, ErrorCode};
use crate::request::RequestContext;
use crate::state::Edge;

const HEADER: &str = "x-admin-key";
/// The actor that events of administrators name.
const ADMIN: &str = "jobs-admin";

/// The configured key, as its SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminKey(Arc<[u8]>);

impl AdminKey {
    /// The least length of a key, in bytes.
    pub const MIN_BYTES: usize = 16;

    #[must_use]
    pub fn new(key: &str) -> Self {
        Self(
            digest::digest(&digest::SHA256, key.as_bytes())
                .as_ref()
                .into(),
        )
    }

    /// Whether that is the key. Digests are compared, in constant time.
    #[must_use]
    pub fn matches(&self, presented: &[u8]) -> bool {
        let presented = digest::digest(&digest::SHA256, presented);
        constant_time::verify_slices_are_equal(&self.0, presented.as_ref()).is_ok()
    }
}

impl std::fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminKey(hidden)")
    }
}

/// Somebody who sent the key of administrators.
#[derive(Debug)]
pub struct Administrator {
    context: RequestContext,
}

impl Administrator {
    /// The author of the commands of this request.
    #[must_use]
    pub fn by(&self) -> Author {
        Author {
            actor: Actor::Operator(ADMIN.into()),
            origin: Some(self.context.origin()),
        }
    }
}

impl<S> FromRequestParts<S> for Administrator
where
    Edge: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let edge = Edge::from_ref(state);
        let context = context(parts)?.clone();
        let refused = match (&edge.config.admin_key, parts.headers.get(HEADER)) {
            (None, _) => refused("admin_not_configured", "Administration is not configured"),
            (Some(_), None) => refused("missing_admin_key", "X-Admin-Key is required"),
            (Some(key), Some(sent)) if key.matches(sent.as_bytes()) => {
                edge.auth.check_caught_up()?;
                edge.fence.may_decide_soon().await?;
                return Ok(Self { context });
            }
            (Some(_), Some(_)) => refused("invalid_admin_key", "X-Admin-Key is not the key"),
        };
        edge.limiter
            .charge_failure(&context.limits, context.source)?;
        Err(refused)
    }
}

fn refused(error: &str, text: &'static str) -> ApiError {
    let mut members = serde_json::Map::new();
    members.insert("error".into(), error.into());
    members.insert("code".into(), "UNAUTHORIZED".into());
    ApiError::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, text).with_members(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_itself_matches_and_it_is_never_shown() {
        let key = AdminKey::new("a long enough secret");
        assert!(key.matches(b"a long enough secret"));
        for other in [&b""[..], b"a long enough secret ", b"A long enough secret"] {
            assert!(!key.matches(other));
        }
        assert_eq!(format!("{key:?}"), "AdminKey(hidden)");
    }
}
