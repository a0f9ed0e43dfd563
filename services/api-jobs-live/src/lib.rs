//! The live side of the jobs API: what happens to jobs, pushed from the log as server-sent events and over WebSockets.
//!
//! [`event`] is what clients are told, [`told`] turns steps of the log into it, once for all who listen on this gateway. [`source`] is one
//! client's cursor over the log, the same as that of the native streams; [`wanted`] says which events it wants and may see. [`organization`],
//! [`job`] and [`queue`] are the three streams of server-sent events, [`socket`] is the WebSocket, [`reader`] who may open them.

mod event;
mod frame;
mod job;
mod organization;
mod parameters;
mod queue;
mod reader;
mod socket;
mod source;
mod state;
mod told;
mod wanted;

pub use event::{JobsEvent, described};
pub use state::LiveApi;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_api_tasks::TasksApi;

/// The routes of this API, with what they share.
pub fn routes(api: &TasksApi) -> Router {
    Router::from(router()).with_state(LiveApi::new(api.clone()))
}

/// The routes and their description.
#[must_use]
pub fn router() -> OpenApiRouter<LiveApi> {
    OpenApiRouter::new()
        .routes(routes!(organization::follow_events))
        .routes(routes!(job::follow_job))
        .routes(routes!(queue::follow_queue))
        .routes(routes!(socket::open_socket))
}
