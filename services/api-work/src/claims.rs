//! Pulled tasks: workers of a team claim them, and report what became of them.
//!
//! [`claim`] gives tasks out, [`report`] takes one report and [`many`] up to a hundred. The partition of a queue follows from its name and
//! that of a claim from its id, so owners are asked without a look-up ([`give`], [`settle`]); [`object`] is what workers see.

pub mod claim;
mod give;
pub mod many;
pub mod object;
pub mod report;
mod settle;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_edge::Edge;

/// The routes about claims.
pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(claim::claim))
        .routes(routes!(many::report_many))
        .routes(routes!(report::complete))
        .routes(routes!(report::fail))
        .routes(routes!(report::heartbeat))
        .routes(routes!(report::progress))
        .routes(routes!(report::release))
}
