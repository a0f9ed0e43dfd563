//! Whether this gateway should be sent requests.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use waybill_log::{Log, Stream, StreamSeq};

use crate::auth::Auth;
use crate::error::ApiError;
use crate::state::AppState;

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

/// The process works.
#[derive(Debug, Serialize, ToSchema)]
pub struct Healthy {
    /// Always `ok`.
    status: &'static str,
}

/// Whether the process works at all.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, description = "It works", body = Healthy)))]
pub(crate) async fn healthz() -> axum::Json<Healthy> {
    axum::Json(Healthy { status: "ok" })
}

/// Whether requests should come here: caught up with the log, the log answers, not stopping.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "Ready", body = Healthy),
    (status = 503, description = "Not ready", body = crate::error::ErrorBody),
))]
pub(crate) async fn readyz(State(state): State<AppState>) -> Result<axum::Json<Healthy>, ApiError> {
    let leased = || state.fence.may_decide().map_err(|_| NotReady::NoLease);
    match state.health.check(&state.auth).and_then(|()| leased()) {
        Ok(()) => Ok(axum::Json(Healthy { status: "ready" })),
        Err(why) => Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_ready",
            why.to_string(),
        )),
    }
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
