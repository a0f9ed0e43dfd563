//! Who a credential stands for.

use std::sync::Arc;

use waybill_domain::access::plan::Policy;
use waybill_domain::access::role::Role;
use waybill_domain::access::scope::ScopeSet;
use waybill_domain::access::team::Key;
use waybill_domain::actor::Actor;
use waybill_domain::id::{AppId, GrantId, QueueName, SessionId, UserId};

/// Who a credential stands for.
#[derive(Debug, Clone)]
pub enum Principal {
    /// The holder of an API key.
    Key(Arc<Key>),
    /// A person who is signed in.
    User {
        user: UserId,
        /// The session, which is one device.
        session: SessionId,
        /// What they may do in the team.
        role: Role,
    },
    /// An OAuth application.
    App {
        app: AppId,
        /// By what it was given.
        grant: GrantId,
        /// Whom it acts for. `None`: itself.
        user: Option<UserId>,
        /// What it may do.
        scopes: ScopeSet,
    },
}

impl Principal {
    /// The actor that events of this request name.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match self {
            Self::Key(key) => Actor::Key(key.created.key.clone()),
            Self::User { user, .. } => Actor::User(user.clone()),
            Self::App { app, .. } => Actor::App(app.clone()),
        }
    }

    /// The queues that it is limited to; `None`: it is not, as people and applications never are.
    #[must_use]
    pub fn only_queues(&self) -> Option<&[QueueName]> {
        match self {
            Self::Key(key) => key.only_queues(),
            Self::User { .. } | Self::App { .. } => None,
        }
    }

    /// The policy that counts the requests of this credential alone.
    #[must_use]
    pub fn rate(&self) -> Option<&Arc<Policy>> {
        match self {
            Self::Key(key) => key.rate(),
            Self::User { .. } | Self::App { .. } => None,
        }
    }

    /// The id that its use is counted under.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Key(key) => key.created.key.as_str(),
            Self::User { user, .. } => user.as_str(),
            Self::App { app, .. } => app.as_str(),
        }
    }
}
