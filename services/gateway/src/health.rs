//! Whether this gateway should be sent requests, and which of them it serves.

mod serving;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use waybill_log::{Bounds, Log, Stream, StreamSeq};
use waybill_store::loss::{self, Loss};

use crate::state::AppState;
use serving::Serving;
use waybill_edge::auth::Auth;
use waybill_edge::error::{ApiError, ErrorCode};
use waybill_edge::query::Query;

/// A log that has not answered for this long counts as unavailable.
const SILENCE: Duration = Duration::from_secs(3);
/// Deadline of one probe.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);

/// The results of the last probes.
#[derive(Debug, Default)]
pub struct Health {
    draining: AtomicBool,
    /// End of CONTROL at the probe before the last one: a gateway that has not read that far is behind.
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
    /// It has not yet read all of who may do what.
    #[error("The gateway is starting: access is not caught up with the log")]
    Starting,
    #[error("The log does not answer")]
    LogUnavailable,
    /// Changes of access are not arriving.
    #[error("Access is behind the log")]
    Behind,
    /// It holds no lease, so rights that it knows of may have been revoked.
    #[error("The gateway holds no lease to decide requests on")]
    NoLease,
    /// It holds no lease, because there is no room to store one.
    #[error(
        "The gateway holds no lease to decide requests on: FENCE, where leases are stored, has reached its limit of bytes"
    )]
    FenceFull,
    /// The log can be read but takes no appends.
    #[error("The log takes no appends: the last one was not answered, or there was no room for it")]
    NoAppends,
    /// Nothing about access can be stored.
    #[error("The log of access is full: CONTROL has reached its limit of bytes")]
    ControlFull,
}

impl NotReady {
    /// The stable code in answers, for programs.
    fn code(self) -> &'static str {
        match self {
            Self::Draining => "stopping",
            Self::Starting => "starting",
            Self::LogUnavailable => "log_unavailable",
            Self::Behind => "access_behind",
            Self::NoLease => "no_lease",
            Self::FenceFull => "fence_full",
            Self::NoAppends => "no_appends",
            Self::ControlFull => "control_full",
        }
    }
}

impl Health {
    /// Marks the gateway as stopping.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether requests should come here.
    pub fn check(&self, auth: &Auth) -> Result<(), NotReady> {
        let answered = *self.answered.lock();
        // Acquire and Release for these flags: each stands alone, and nothing else is read through them.
        if self.draining.load(Ordering::Acquire) {
            Err(NotReady::Draining)
        } else if !auth.is_caught_up() {
            Err(NotReady::Starting)
        } else if answered.is_none_or(|at| at.elapsed() > SILENCE) {
            Err(NotReady::LogUnavailable)
        } else if auth.applied() < StreamSeq(self.control_due.load(Ordering::Acquire)) {
            Err(NotReady::Behind)
        } else {
            Ok(())
        }
    }

    /// Whether CONTROL has no room for another event.
    pub(crate) fn control_is_full(&self) -> bool {
        self.control_full.load(Ordering::Acquire)
    }

    /// Probes the log at an interval, until stopped.
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
            // A stop loses at most one tick.
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let look = tokio::time::timeout(PROBE_DEADLINE, log.bounds(Stream::Control));
            // A probe only reads, so dropping it changes nothing.
            let found = tokio::select! {
                () = stop.cancelled() => return,
                found = look => found,
            };
            match found {
                Ok(Ok(bounds)) => {
                    self.control_full
                        .store(has_no_room(&bounds), Ordering::Release);
                    *self.answered.lock() = Some(Instant::now());
                    if let Some(StreamSeq(due)) = previous.replace(bounds.last) {
                        self.control_due.store(due, Ordering::Release);
                    }
                }
                // Only at `debug`: readiness itself reports a log that is silent for longer than [`SILENCE`].
                Ok(Err(error)) => tracing::debug!(%error, "the log does not answer"),
                Err(_) => tracing::debug!("the log does not answer in time"),
            }
        }
    }
}

/// Whether the largest event of CONTROL would not fit.
fn has_no_room(control: &Bounds) -> bool {
    /// More than any event of CONTROL takes with its headers.
    const LARGEST_EVENT: u64 = 64 * 1024;
    control
        .max_bytes
        .is_some_and(|limit| control.bytes.saturating_add(LARGEST_EVENT) > limit)
}

/// Whether requests should come here.
fn check(state: &AppState) -> Result<(), NotReady> {
    decides(state)?;
    takes_appends(state, Stream::Tasks)
}

/// Whether it can decide about requests at all.
fn decides(state: &AppState) -> Result<(), NotReady> {
    state.health.check(&state.auth)?;
    let without = match state.fence.is_refused_for_room() {
        true => NotReady::FenceFull,
        false => NotReady::NoLease,
    };
    state.fence.may_decide().map_err(|_| without)
}

/// Whether the last append to a stream was stored. A stream that a full disk has stopped is read as before, and does not even answer
/// appends.
fn takes_appends(state: &AppState, stream: Stream) -> Result<(), NotReady> {
    match state.log.last_append_failed(stream) {
        Some(failed) if failed.counts() => Err(NotReady::NoAppends),
        _ => Ok(()),
    }
}

/// Code of a log that went backwards, and of one that is full.
const LOG_WENT_BACKWARDS: &str = "log_went_backwards";
const LOG_FULL: &str = "log_full";

/// What an operator is told of a log that went backwards, until the file that says so is removed.
fn backwards(loss: &Loss) -> String {
    format!(
        "{} does not hold what was read of it up to {}, found at {}; {} changes that took rights away are lost and \
         written down in {}",
        loss.stream,
        loss.read,
        loss.at,
        loss.lost.len() as u64 + loss.more,
        loss::FILE_NAME,
    )
}

/// The code and the reason of a log that went backwards, as long as its loss is written down.
fn lost(state: &AppState) -> Option<(&'static str, String)> {
    let loss = state.auth.loss();
    loss.as_ref()
        .map(|loss| (LOG_WENT_BACKWARDS, backwards(loss)))
}

/// The process is alive.
#[derive(Debug, Serialize, ToSchema)]
pub struct Healthy {
    /// `ok`; of `/readyz`: `ready`, or `degraded` when some requests are refused.
    status: &'static str,
    /// Of `degraded`: why, for programs, such as `log_full` or `log_went_backwards`.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// What is refused, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The parameters of `/readyz`.
#[derive(Debug, Deserialize)]
pub(crate) struct Readiness {
    /// Given, with any value: what is served, kind by kind.
    verbose: Option<String>,
}

/// Whether the process is alive.
#[utoipa::path(get, path = "/healthz", operation_id = "health.liveness.get", tag = "health", responses((status = 200, description = "The process is alive", body = Healthy)))]
pub(crate) async fn healthz() -> axum::Json<Healthy> {
    axum::Json(Healthy {
        status: "ok",
        code: None,
        reason: None,
    })
}

/// Whether requests should come here: caught up with the log, the log answers and took the last append, not stopping.
///
/// A gateway whose log is full stays ready, since reads, cancels and revocations go on; `status` is `degraded` then, and `code` says why.
/// With `?verbose` the answer is a `Serving`: reads, creations and revocations apart, what is wrong by its codes, and how full the log is.
#[utoipa::path(get, path = "/readyz", operation_id = "health.readiness.get", tag = "health",
    params(("verbose" = Option<String>, Query, description = "Given, with any value: what is served, kind by kind")),
    responses(
        (status = 200, description = "Ready", body = Healthy),
        (status = 503, description = "Not ready", body = waybill_edge::error::ErrorBody),
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
            ErrorCode::NotReady,
            why.to_string(),
        ));
    }
    let full = state.room.check().err();
    let full = full.map(|full| (LOG_FULL, full.to_string()));
    let degraded = full.or_else(|| lost(&state));
    let (code, reason) = degraded.unzip();
    Ok(axum::Json(Healthy {
        status: match code {
            Some(_) => "degraded",
            None => "ready",
        },
        code,
        reason,
    })
    .into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_commands::Pepper;
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
        assert_eq!(health.check(&auth), Err(NotReady::LogUnavailable));
        *health.answered.lock() = Some(Instant::now());
        assert_eq!(health.check(&auth), Ok(()));
        health.control_due.store(7, Ordering::Release);
        assert_eq!(health.check(&auth), Err(NotReady::Behind));
        health.drain();
        assert_eq!(health.check(&auth), Err(NotReady::Draining));
    }
}
