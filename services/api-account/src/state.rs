//! What the handlers of this API share.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRef;
use waybill_edge::Edge;

use crate::polls::Polls;

/// The state of the account API. Clones share it.
#[derive(Clone)]
pub struct AccountApi(Arc<Whole>);

struct Whole {
    parts: AccountApiParts,
    /// When devices that wait for a decision asked last.
    polls: Polls,
}

/// The parts of a [`AccountApi`].
pub struct AccountApiParts {
    /// What all APIs share.
    pub edge: Edge,
    /// The issuer of OAuth tokens: the public address. `None`: there is no OAuth.
    pub issuer: Option<Arc<str>>,
}

impl AccountApi {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: AccountApiParts) -> Self {
        let polls = Polls::default();
        Self(Arc::new(Whole { parts, polls }))
    }

    /// When devices that wait for a decision asked last.
    pub(crate) fn polls(&self) -> &Polls {
        &self.0.polls
    }
}

impl Deref for AccountApi {
    type Target = AccountApiParts;

    fn deref(&self) -> &AccountApiParts {
        &self.0.parts
    }
}

impl Deref for AccountApiParts {
    type Target = Edge;

    fn deref(&self) -> &Edge {
        &self.edge
    }
}

impl FromRef<AccountApi> for Edge {
    fn from_ref(api: &AccountApi) -> Self {
        api.edge.clone()
    }
}
