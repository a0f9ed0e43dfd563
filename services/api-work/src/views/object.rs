//! A view as clients see it.

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::event::ViewSaved;
use waybill_edge::iso::Iso;

/// The filters of a list, under a name. They hold in both environments.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViewObject {
    #[schema(example = "view_01kc0q2v9x3d8e5h7j9m1n3p5r")]
    id: String,
    /// The list: `tasks`, `dead_letters` or `activity`.
    page: &'static str,
    name: String,
    /// The parameters of the list, encoded as in a URL.
    #[schema(example = "status=failed%2Ctimeout&queue=mail")]
    query: String,
    /// Whether the team has it; else it is yours, and nobody else sees it.
    shared: bool,
    /// Who saved it last: `user:` or `key:` and an id.
    saved_by: String,
    #[schema(value_type = String, format = DateTime)]
    saved_at: Iso,
}

impl ViewObject {
    pub(super) fn new(view: &ViewSaved) -> Self {
        Self {
            id: view.view.to_string(),
            page: view.page.as_str(),
            name: view.name.clone(),
            query: view.query.clone(),
            shared: view.owner.is_none(),
            saved_by: view.saved_by.clone(),
            saved_at: Iso(view.at),
        }
    }
}

/// `{"view": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct ViewEnvelope {
    pub(super) view: ViewObject,
}

/// `{"views": [...]}`
#[derive(Debug, Serialize, ToSchema)]
pub struct ViewList {
    /// By name: those of the team, and your own.
    pub(super) views: Vec<ViewObject>,
}
