//! Ids in paths: parsed before a handler sees them, and recognised by where they stand, not by what a route calls its parameter.

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};
use http::request::Parts;
use waybill_domain::access::team::TeamRefusal;
use waybill_domain::access::team::app::AppRefusal;
use waybill_domain::health::TargetHost;
use waybill_domain::id::{
    AppId, GrantId, InvitationId, KeyId, LimitKey, ListenerId, OperationId, QueueName, ScheduleId,
    SessionId, TaskId, TokenId, UserId, ViewId, WorkflowId,
};
use waybill_domain::seq::StreamSeq;
use waybill_domain::task::ClaimId;
use waybill_domain::worker::WorkerName;

use crate::error::{ApiError, ErrorCode};

/// What stands for one thing in a path.
pub trait PathId: Sized {
    /// Reads it. What is no id names nothing, and is answered like an id that nothing has.
    fn parse(text: &str) -> Result<Self, ApiError>;
}

/// The last parameter of the path, as an id. Earlier ones name the team, which the extractors of callers check.
#[derive(Debug)]
pub struct Id<T>(pub T);

impl<S: Send + Sync, T: PathId> FromRequestParts<S> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let parameters = parameters(parts, state).await?;
        let last = parameters.iter().last();
        let (_, text) =
            last.ok_or_else(|| ApiError::internal(&"a route without the id that it takes"))?;
        T::parse(text).map(Self)
    }
}

/// What names the team that a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Naming {
    /// The team itself.
    Team(String),
    /// One of its keys.
    Key(String),
}

/// The first part of the path that names a team. The fixed segment before a parameter decides, since a parameter can be called
/// anything.
pub(crate) async fn naming<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<Option<Naming>, ApiError> {
    let values = parameters(parts, state).await?;
    let template = parts.extensions.get::<MatchedPath>();
    let template = template.map_or("", MatchedPath::as_str);
    let values: Vec<&str> = values.iter().map(|(_, value)| value).collect();
    named(template, &values).map_err(|error| ApiError::internal(&error))
}

/// What the values of a route's parameters name. A path whose parameters are not those of its route would be looked up as one that names
/// no team, so it is refused.
fn named(template: &str, values: &[&str]) -> Result<Option<Naming>, String> {
    let before = before_parameters(template);
    if before.len() != values.len() {
        let (known, found) = (before.len(), values.len());
        return Err(format!(
            "the route {template:?} has {known} parameters, and its path {found}"
        ));
    }
    let mut pairs = before.into_iter().zip(values);
    Ok(pairs.find_map(|(before, value)| match before {
        "teams" => Some(Naming::Team((*value).to_owned())),
        "apikeys" | "api-keys" => Some(Naming::Key((*value).to_owned())),
        _ => None,
    }))
}

/// The fixed segment before each parameter of a route.
fn before_parameters(template: &str) -> Vec<&str> {
    let mut before = "";
    let mut found = Vec::new();
    for segment in template.split('/') {
        if segment.starts_with('{') {
            found.push(before);
        } else {
            before = segment;
        }
    }
    found
}

async fn parameters<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<RawPathParams, ApiError> {
    RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| ApiError::bad_request(ErrorCode::InvalidPath, "The path is not valid"))
}

macro_rules! path_ids {
    ($($id:ty => $missing:expr,)+) => {
        $(impl PathId for $id {
            fn parse(text: &str) -> Result<Self, ApiError> {
                <$id>::parse(text).map_err(|_| $missing)
            }
        })+
    };
}

path_ids! {
    TaskId => ApiError::not_found("Task not found"),
    KeyId => ApiError::no_such_key(),
    TokenId => ApiError::not_found("Token not found or already revoked"),
    AppId => AppRefusal::NoSuchApp.into(),
    UserId => TeamRefusal::NoSuchMember.into(),
    InvitationId => TeamRefusal::NoSuchInvitation.into(),
    GrantId => ApiError::not_found("Grant not found"),
    SessionId => ApiError::not_found("Session not found"),
    OperationId => ApiError::not_found("Operation not found"),
    ClaimId => ApiError::not_found("Claim not found"),
    ScheduleId => ApiError::not_found("Schedule not found"),
    WorkflowId => ApiError::not_found("Workflow not found"),
    ViewId => ApiError::not_found("View not found"),
    ListenerId => ApiError::not_found("Listener not found"),
}

impl PathId for LimitKey {
    fn parse(text: &str) -> Result<Self, ApiError> {
        Self::parse(text).map_err(|_| {
            ApiError::bad_field(
                "key",
                format!(
                    "key must be 1 to {} of a-z, A-Z, 0-9, _, -, : and @",
                    Self::MAX_CHARS
                ),
            )
        })
    }
}

impl PathId for QueueName {
    fn parse(text: &str) -> Result<Self, ApiError> {
        Self::parse(text).map_err(|_| {
            ApiError::bad_field(
                "name",
                format!(
                    "name must be the name of a queue: 1 to {} of a-z, A-Z, 0-9, _ and -",
                    Self::MAX_CHARS
                ),
            )
        })
    }
}

impl PathId for WorkerName {
    fn parse(text: &str) -> Result<Self, ApiError> {
        Self::parse(text).map_err(|error| ApiError::bad_field("name", format!("name {error}")))
    }
}

impl PathId for TargetHost {
    fn parse(text: &str) -> Result<Self, ApiError> {
        Self::parse(text).map_err(|error| ApiError::bad_field("host", format!("host {error}")))
    }
}

impl PathId for StreamSeq {
    fn parse(text: &str) -> Result<Self, ApiError> {
        text.parse().map(Self).map_err(|_| {
            ApiError::bad_field("seq", "seq must be the position of an event, such as 48120")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_are_not_those_of_the_route_are_refused() {
        let team = Ok(Some(Naming::Team("t".into())));
        assert_eq!(named("/teams/{team}/members/{user}", &["t", "u"]), team);
        assert_eq!(named("/v1/tasks", &[]), Ok(None));
        for (template, values) in [
            ("/teams/{team}", &[][..]),
            ("/teams/{team}", &["t", "u"]),
            ("", &["t"]),
        ] {
            assert!(named(template, values).is_err(), "{template} {values:?}");
        }
    }

    #[test]
    fn a_parameter_is_what_stands_before_it() {
        for template in [
            "/teams/{teamId}/apikeys",
            "/teams/{team_id}/apikeys",
            "/teams/{t}",
        ] {
            assert_eq!(before_parameters(template), ["teams"], "{template}");
        }
        assert_eq!(
            before_parameters("/teams/{a}/members/{b}"),
            ["teams", "members"]
        );
        assert!(before_parameters("/v1/tasks").is_empty());
    }
}
