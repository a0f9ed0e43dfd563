//! Who caused an event.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{AppId, KeyId, UserId};

/// Request that caused an event, so that people can later find out where a change came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Request id, as returned in `X-Request-Id`.
    pub request_id: Arc<str>,
    /// IP address of the client.
    pub source: Arc<str>,
    /// The client's `User-Agent`, if it is plain text; truncated to 200 characters.
    pub agent: Option<Arc<str>>,
}

/// The cause of an event; stored in the header `Wb-Actor`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum Actor {
    /// A request with an API key: `key:key_4fG7aB2x`.
    Key(KeyId),
    /// A person who is signed in: `user:user_01k...`.
    User(UserId),
    /// An OAuth application with a token of its own or of a person: `app:app_01k...`.
    App(AppId),
    /// A role of Waybill itself: `system:worker`.
    System(String),
    /// A person with access to the machine, through the command line: `operator:cli`.
    Operator(String),
}

impl Actor {
    /// The dispatcher, acting on its own.
    #[must_use]
    pub fn worker() -> Self {
        Self::System("worker".into())
    }

    /// Parses the output of `Display`. Any other text becomes a system actor, so that no record is
    /// unreadable because of it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some(("key", id)) => {
                KeyId::parse(id).map_or_else(|_| Self::System(text.into()), Self::Key)
            }
            Some(("user", id)) => {
                UserId::parse(id).map_or_else(|_| Self::System(text.into()), Self::User)
            }
            Some(("app", id)) => {
                AppId::parse(id).map_or_else(|_| Self::System(text.into()), Self::App)
            }
            Some(("operator", name)) => Self::Operator(name.into()),
            Some(("system", name)) => Self::System(name.into()),
            _ => Self::System(text.into()),
        }
    }
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key:{id}"),
            Self::User(id) => write!(f, "user:{id}"),
            Self::App(id) => write!(f, "app:{id}"),
            Self::System(name) => write!(f, "system:{name}"),
            Self::Operator(name) => write!(f, "operator:{name}"),
        }
    }
}

impl From<Actor> for String {
    fn from(actor: Actor) -> Self {
        actor.to_string()
    }
}

impl From<String> for Actor {
    fn from(text: String) -> Self {
        Self::parse(&text)
    }
}
