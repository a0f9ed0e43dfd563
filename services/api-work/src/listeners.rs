//! Listeners of the test environment: while none for a queue or host holds its lease, the tasks there wait.
//!
//! Whoever develops a receiver opens one ([`open`]), renews it while the receiver runs ([`renew`]), and gives the lease back ([`release`]);
//! what lies between two of them waits instead of failing. A listener whose lease is over is remembered until somebody removes it
//! ([`remove`]) or a new one takes its place.

pub mod list;
pub mod object;
pub mod open;
pub mod release;
pub mod remove;
pub mod renew;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_commands::entropy;
use waybill_domain::access::team::listeners::{Listener, ListenerCommand};
use waybill_domain::access::team::{Team, TeamCommand};
use waybill_domain::id::{Environment, ListenerId};
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite, Need};
use waybill_edge::error::{ApiError, ErrorCode};

use object::{ListenerEnvelope, ListenerObject};

/// The routes about listeners.
pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(list::list_listeners, open::open_listener))
        .routes(routes!(renew::renew_listener))
        .routes(routes!(release::release_listener))
        .routes(routes!(remove::remove_listener))
}

/// Refuses the live environment: its tasks never wait for a listener.
fn in_test<N: Need>(caller: &Caller<N>) -> Result<(), ApiError> {
    match caller.team.environment() {
        Environment::Test => Ok(()),
        Environment::Live => Err(ApiError::bad_request(
            ErrorCode::InvalidRequest,
            "Listeners are of the test environment: use a key of it, or X-Environment: test",
        )),
    }
}

/// Whether a key that is limited to queues may know of a listener.
fn is_shown<N: Need>(caller: &Caller<N>, listener: &Listener) -> bool {
    caller.only_queues().is_none_or(|only| {
        let mut queues = listener.queues.iter();
        listener.hosts.is_empty() && queues.all(|queue| only.contains(queue))
    })
}

/// Decides something about a listener that there is, and answers once it holds everywhere: also where nothing has changed, since an earlier
/// request for the same may have been answered 503.
async fn decide(
    state: &Edge,
    caller: &Caller<InQueues<JobsWrite>>,
    listener: &ListenerId,
    command: ListenerCommand,
) -> Result<Option<axum::Json<ListenerEnvelope>>, ApiError> {
    in_test(caller)?;
    caller.needs_api()?;
    let team = caller.team.base();
    let is_hidden = |team: &Team| {
        let known = team.listeners.get(listener);
        known.is_some_and(|known| !is_shown(caller, known))
    };
    let directory = state.auth.directory();
    if directory.with_team(&team, is_hidden) == Some(true) {
        return Err(ApiError::limited_to_queues());
    }
    let command = TeamCommand::Listener(command);
    let after = state.control.run_team(&team, command, &caller.by()).await?;
    state.settle_everywhere(after.version).await?;
    let now = entropy::now();
    let known = after.state.listeners.get(listener);
    Ok(known.map(|known| {
        axum::Json(ListenerEnvelope {
            listener: ListenerObject::new(listener, known, now),
        })
    }))
}
