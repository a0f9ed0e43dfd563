//! Events of saved views: the filters of a list of the dashboard, under a name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{TeamId, UserId, ViewId};
use crate::time::Timestamp;
use crate::view::ViewPage;

/// A view was saved, or replaced as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ViewSaved {
    pub view: ViewId,
    pub team: TeamId,
    /// The list that it is a view of.
    pub page: ViewPage,
    /// Name shown to people.
    pub name: String,
    /// The parameters of the page's address, form-encoded.
    pub query: String,
    /// The person whose view it is. Absent: it is the team's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserId>,
    /// Who saved it, in the form of the header `Wb-Actor`.
    pub saved_by: String,
    pub at: Timestamp,
}

/// A view was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ViewDeleted {
    pub view: ViewId,
    pub team: TeamId,
    pub at: Timestamp,
}
