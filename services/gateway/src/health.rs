//! Whether this gateway should be sent requests, and which of them it serves.

mod serving;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use waybill_log::{Bounds, Log, Stream, StreamSeq};

use crate::auth::Auth;
use crate::error::ApiError;
use crate::query::Query;
use crate::state::AppState;
use serving::Serving;

/// A log that has not answered for this long is away.
const SILENCE: Duration = Duration::from_secs(3);
/// What one look may take.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);

/// What the last looks have found.
#[derive(Debug, Default)]
pub struct Health {
    draining: AtomicBool,
    /// End of CONTROL at the look before the last one: by now it must have been read.
    control_due: AtomicU64,
    control_full: AtomicBool,
    answered: Mutex<Option<Instant>>,
}

/// Why no requests should come here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// It is stopping.
    #[error("The gateway is stopping")]
    Draining,
    /// It has not read yet who may do what.
    #[error("The gateway is starting: access is not caught up with the log")]
    Starting,
    /// The log is away.
    #[error("The log does not answer")]
    LogAway,
    /// Changes of access are not arriving.
    #[error("Access is behind the log")]
    Behind,
    /// It may not decide requests: what it knows may have been taken away.
    #[error("The gateway holds no lease to decide requests on")]
    NoLease,
    /// Nothing about access can be stored.
    #[error("The log of access is full: CONTROL has reached its limit of bytes")]
    ControlFull,
}

impl Health {
    /// From now on it is stopping.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether requests should come here.
    pub fn check(&self, auth: &Auth) -> Result<(), NotReady> {
        let answered = *self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if self.draining.load(Ordering::Acquire) {
            Err(NotReady::Draining)
        } else if !auth.is_caught_up() {
            Err(NotReady::Starting)
        } else if answered.is_none_or(|at| at.elapsed() > SILENCE) {
            Err(NotReady::LogAway)
        } else if auth.applied() < StreamSeq(self.control_due.load(Ordering::Acquire)) {
            Err(NotReady::Behind)
        } else {
            Ok(())
        }
    }

    /// Whether CONTROL takes no event any more.
    pub(crate) fn control_is_full(&self) -> bool {
        self.control_full.load(Ordering::Acquire)
    }

    /// Looks at the log every so often, until stopped.
    pub(crate) async fn probe(
        self: Arc<Self>,
        log: Arc<dyn Log>,
        every: Duration,
        stop: CancellationToken,
    ) {
        let mut previous = None;
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let look = tokio::time::timeout(PROBE_DEADLINE, log.bounds(Stream::Control));
            let found = tokio::select! {
                () = stop.cancelled() => return,
                found = look => found,
            };
            match found {
                Ok(Ok(bounds)) => {
                    self.control_full
                        .store(has_no_room(&bounds), Ordering::Release);
                    *self.answered.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(Instant::now());
                    if let Some(StreamSeq(due)) = previous.replace(bounds.last) {
                        self.control_due.store(due, Ordering::Release);
                    }
                }
                Ok(Err(error)) => tracing::debug!(%error, "the log does not answer"),
                Err(_) => tracing::debug!("the log does not answer in time"),
            }
        }
    }
}

/// Less than the largest event of CONTROL fits.
fn has_no_room(control: &Bounds) -> bool {
    /// More than any event of CONTROL takes with its headers.
    const LARGEST_EVENT: u64 = 64 * 1024;
    control
        .max_bytes
        .is_some_and(|limit| control.bytes.saturating_add(LARGEST_EVENT) > limit)
}

/// Whether requests should come here.
fn check(state: &AppState) -> Result<(), NotReady> {
    state.health.check(&state.auth)?;
    state.fence.may_decide().map_err(|_| NotReady::NoLease)
}

/// The process works.
#[derive(Debug, Serialize, ToSchema)]
pub struct Healthy {
    /// `ok`; of `/readyz`: `ready`, or `degraded` when some requests are refused.
    status: &'static str,
    /// What is refused, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What `/readyz` can be asked.
#[derive(Debug, Deserialize)]
pub(crate) struct Readiness {
    /// Given, with any value: what is served, kind by kind.
    verbose: Option<String>,
}

/// Whether the process works at all.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, description = "It works", body = Healthy)))]
pub(crate) async fn healthz() -> axum::Json<Healthy> {
    axum::Json(Healthy {
        status: "ok",
        reason: None,
    })
}

/// Whether requests should come here: caught up with the log, the log answers, not stopping.
///
/// A gateway whose log is full stays ready, since reads, cancels and revocations go on; `status` is `degraded` then. With `?verbose` the
/// answer is a `Serving`: reads, creations and revocations apart, and how full the log is.
#[utoipa::path(get, path = "/readyz", tag = "health",
    params(("verbose" = Option<String>, Query, description = "Given, with any value: what is served, kind by kind")),
    responses(
        (status = 200, description = "Ready", body = Healthy),
        (status = 503, description = "Not ready", body = crate::error::ErrorBody),
    )
)]
pub(crate) async fn readyz(
    State(state): State<AppState>,
    Query(readiness): Query<Readiness>,
) -> Result<Response, ApiError> {
    if readiness.verbose.is_some() {
        let serving = Serving::look(&state).await;
        let status = if serving.is_ready() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        return Ok((status, axum::Json(serving)).into_response());
    }
    if let Err(why) = check(&state) {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_ready",
            why.to_string(),
        ));
    }
    let full = state.room.check().err();
    Ok(axum::Json(Healthy {
        status: if full.is_some() { "degraded" } else { "ready" },
        reason: full.map(|full| full.to_string()),
    })
    .into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Pepper;
    use waybill_domain::access::plan::Catalogue;

    #[test]
    fn it_is_not_ready_before_access_is_read_and_the_log_has_answered() {
        let pepper = Pepper::new(1, vec![1; 32]).expect("long enough");
        let (health, auth) = (
            Health::default(),
            Auth::new(Arc::new(pepper), Arc::clone(Catalogue::builtin())),
        );
        assert_eq!(health.check(&auth), Err(NotReady::Starting));
        auth.set_caught_up();
        assert_eq!(health.check(&auth), Err(NotReady::LogAway));
        *health.answered.lock().expect("not poisoned") = Some(Instant::now());
        assert_eq!(health.check(&auth), Ok(()));
        health.control_due.store(7, Ordering::Release);
        assert_eq!(health.check(&auth), Err(NotReady::Behind));
        health.drain();
        assert_eq!(health.check(&auth), Err(NotReady::Draining));
    }
}
