//! API keys: made, listed, rotated, revoked; by people and keys for their team, by holders for themselves, and by those who find one.
//!
//! One file per endpoint. [`request`] is what a new key shall be, [`object`] what is shown of one. [`create`], [`list`], [`rotate`] and
//! [`revoke`] are the team's, [`own`] the holder's. [`usage`] says
//! how a key is used. [`report`] takes reports of keys in the open, and
//! [`notice`] tells the team of them.

pub mod create;
pub mod list;
mod notice;
pub mod object;
pub mod own;
pub mod report;
pub mod request;
pub mod revoke;
pub mod rotate;
pub mod usage;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use waybill_edge::Edge;

/// The routes of this resource.
pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(create::create_key, list::list_keys))
        .routes(routes!(rotate::rotate_key))
        .routes(routes!(revoke::revoke_key))
        .routes(routes!(create::create_api_key))
        .routes(routes!(revoke::delete_api_key))
        .routes(routes!(own::get_own_key))
        .routes(routes!(own::revoke_own_key))
        .routes(routes!(report::report_keys))
        .routes(routes!(usage::get_key_usage))
}
