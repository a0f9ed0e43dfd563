//! Event streams: what happens to tasks, told as it happens, to anybody who may know.
//!
//! One tail of TASKS per gateway ([`hub`]) is fanned out in memory to the listeners on its [`roster`]. Each open stream is a
//! [`subscription`]: a cursor over the log that reads history until it has caught up, then follows the hub. The `id:` of an
//! event is its position in the log, so any gateway can resume what another one began. What subscribers see of an event is
//! decided in [`view`] and written by [`frame`]; which events they see, in [`filter`]; how many may listen, in [`slots`].
//!
//! [`events`] and [`task_events`] are the two endpoints, [`watch`] serves `GET /v1/tasks/{id}?wait=N`. [`activity`] is
//! the stream of who did what: a [`feed`] that the hub wakes and a projector feeds.

mod activity;
mod events;
mod feed;
mod filter;
mod frame;
mod hub;
mod params;
mod response;
mod roster;
mod slots;
mod subscription;
mod task_events;
mod view;
mod watch;

#[cfg(test)]
mod tests;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use events::still_valid;
pub use frame::{End, Gap};
pub use hub::{Hub, HubLimits, JoinError};
pub use slots::NoRoom;
pub(crate) use subscription::StillValid;
pub use view::{Step, TaskEventView};
pub(crate) use view::{short_type, stream_name};
pub use watch::TaskWatch;

use crate::state::AppState;

/// The routes of event streams.
#[must_use]
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(events::team_events))
        .routes(routes!(task_events::task_events))
        .routes(routes!(activity::follow_activity))
}
