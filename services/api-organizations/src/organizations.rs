//! Organisations: teams as this API shows them.

mod change;
pub(crate) mod create;
mod members;
pub(crate) mod object;
mod show;
mod slug;
mod webhook_token;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_domain::id::TeamId;
use waybill_edge::Edge;
use waybill_edge::error::ApiError;

pub use change::JobsUpdateOrganization;
pub use create::{JobsCreateOrganization, JobsFirstKey, JobsOrganizationCreated};
pub use members::JobsMember;
pub use object::{JobsOrganization, JobsOrganizationSummary};
pub use slug::{JobsGenerateSlug, JobsSlug, JobsSlugCheck};
pub use webhook_token::JobsWebhookToken;

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(
            create::create_organization,
            show::list_organizations
        ))
        .routes(routes!(slug::check_slug))
        .routes(routes!(slug::generate_slug))
        .routes(routes!(webhook_token::get_webhook_token))
        .routes(routes!(webhook_token::regenerate_webhook_token))
        .routes(routes!(webhook_token::clear_webhook_token))
        .routes(routes!(
            show::get_organization,
            change::update_organization,
            change::delete_organization
        ))
        .routes(routes!(members::list_members))
}

pub(crate) fn no_such_organization() -> ApiError {
    ApiError::not_found("Organization not found")
}

/// The caller's own team, if the path names it; another one is 404.
pub(crate) fn own(team: &TeamId, named: &str) -> Result<TeamId, ApiError> {
    let own = team.base();
    if own.as_str() == named {
        Ok(own)
    } else {
        Err(no_such_organization())
    }
}
