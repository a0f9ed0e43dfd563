//! Who may call a method, decided before its message is read: a stranger costs no memory.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, post};
use tonic::Status;
use tower::{Service, ServiceExt};
use waybill_api_tasks::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, Need};
use waybill_edge::body::read;
use waybill_edge::error::ApiError;

/// Bytes of a message beside its payload.
const ENVELOPE_BYTES: usize = 64 * 1024;

/// How the message of a method comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// Whole: it is read with the bounds of every body.
    Whole,
    /// Message by message, for as long as the call is open.
    Streamed,
}

/// A route for one method of a service, for callers with `N`.
pub(crate) fn method<N, S>(service: S, message: Message) -> MethodRouter<TasksApi>
where
    N: Need,
    S: Service<Request, Response = http::Response<tonic::body::Body>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    post(
        move |State(state): State<TasksApi>, request: Request| async move {
            let admitted = admit::<N>(&state, request, message).await;
            let request = match admitted {
                Ok(request) => request,
                // The edge writes it as gRPC does.
                Err(error) => return error.into_response(),
            };
            let answer: Result<_, Infallible> = service.oneshot(request).await;
            match answer {
                Ok(answer) => answer.into_response(),
                Err(never) => match never {},
            }
        },
    )
}

async fn admit<N: Need>(
    state: &TasksApi,
    request: Request,
    message: Message,
) -> Result<Request, ApiError> {
    let (mut parts, body) = request.into_parts();
    let caller = Caller::<InQueues<N>>::from_request_parts(&mut parts, state).await?;
    caller.needs_api()?;
    parts.extensions.insert(Arc::new(caller));
    let request = Request::from_parts(parts.clone(), body);
    if message == Message::Streamed {
        return Ok(request);
    }
    let limit = state.config.max_body_bytes + ENVELOPE_BYTES;
    let bytes = read(request, limit, state.config.body_read_timeout).await?;
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

/// The caller that was admitted.
pub(crate) fn caller<N: Need, T>(
    request: &tonic::Request<T>,
) -> Result<Arc<Caller<InQueues<N>>>, Status> {
    let caller = request.extensions().get::<Arc<Caller<InQueues<N>>>>();
    caller
        .cloned()
        .ok_or_else(|| Status::internal("a method without its caller"))
}
