//! `POST /v1/views`: a view is saved, or saved over.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_commands::entropy;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::access::team::views::ViewCommand;
use waybill_domain::id::ViewId;
use waybill_domain::view::ViewPage;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};

use super::object::{ViewEnvelope, ViewObject};

/// A view to save.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SaveView {
    /// The list: `tasks`, `dead_letters` or `activity`.
    #[schema(required = true, example = "tasks")]
    page: Option<String>,
    /// At most 100 characters.
    #[schema(required = true, example = "Failed mail")]
    name: Option<String>,
    /// The parameters of the list, encoded as in a URL, without a question mark; at most 2,000 bytes.
    #[schema(required = true, example = "status=failed%2Ctimeout&queue=mail")]
    query: Option<String>,
    /// Whether the team has it; else it is yours. A key or an application has none of its own.
    #[serde(default)]
    shared: bool,
}

/// Save the filters of a list under a name.
///
/// A view of the same list, owner and name is replaced, and keeps its id; so a repeated request changes nothing.
#[utoipa::path(
    post,
    path = "/v1/views",
    operation_id = "work.view.save",
    tag = "views",
    security(("api_key" = ["tasks:write"])),
    params(
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
    ),
    request_body = SaveView,
    responses(
        (status = 200, description = "It is saved", body = ViewEnvelope),
        (status = 400, description = "A field is wrong, or there are as many views as may be", body = ErrorBody),
    )
)]
pub(crate) async fn save_view(
    State(state): State<Edge>,
    caller: Caller<TasksWrite>,
    Json(request): Json<SaveView>,
) -> Result<axum::Json<ViewEnvelope>, ApiError> {
    let missing = |field: &'static str| ApiError::bad_field(field, format!("{field} is required"));
    let page = request.page.ok_or_else(|| missing("page"))?;
    let page = ViewPage::parse(&page).ok_or_else(|| {
        let message = format!("page must be tasks, dead_letters or activity, not {page:?}");
        ApiError::bad_field("page", message)
    })?;
    let name = request.name.ok_or_else(|| missing("name"))?;
    let query = request.query.ok_or_else(|| missing("query"))?;
    let owner = match (request.shared, super::person(&caller)) {
        (true, _) => None,
        (false, Some(user)) => Some(user.clone()),
        (false, None) => {
            let message = "shared must be true: only a person has views of their own";
            return Err(ApiError::bad_field("shared", message));
        }
    };
    let command = ViewCommand::Save {
        environment: caller.team.environment(),
        view: ViewId::new(entropy::now(), entropy::random_u128()),
        page,
        name: name.clone(),
        query,
        owner: owner.clone(),
    };
    let team = caller.team.base();
    let command = TeamCommand::View(command);
    let after = state.control.run_team(&team, command, &caller.by()).await?;
    state.settle(after.version).await?;
    let saved = after.state.view_named(page, owner.as_ref(), name.trim());
    let saved = saved.ok_or_else(|| ApiError::internal(&"a view that was saved"))?;
    Ok(axum::Json(ViewEnvelope {
        view: ViewObject::new(saved),
    }))
}
