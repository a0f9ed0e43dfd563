//! The port for operators: metrics for Prometheus, and whether the worker of this process serves its partitions.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use serde_json::json;
use waybill_log::{JetStreamLog, Log as _, Stream};
use waybill_worker::board::{Board, Readiness};

/// How often the recorder drains the samples of histograms. Without it they would grow between two scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// The worker of this process, once there is one.
#[derive(Clone, Default)]
pub(crate) struct Operations(Arc<Mutex<Option<Watched>>>);

/// A worker, and the log that it appends to.
#[derive(Clone)]
struct Watched {
    board: Arc<Board>,
    log: JetStreamLog,
}

impl Operations {
    /// `/readyz` is about this worker from now on.
    pub(crate) fn worker(&self, board: Arc<Board>, log: JetStreamLog) {
        let watched = Watched { board, log };
        *self.0.lock() = Some(watched);
    }

    fn readiness(&self) -> Option<Readiness> {
        let watched = self.0.lock();
        let Watched { board, log } = watched.clone()?;
        let mut readiness = board.readiness();
        if let Some(failed) = log.last_append_failed(Stream::Tasks)
            && readiness.is_ready()
            && failed.counts()
        {
            readiness.status = "not_ready";
            readiness.reason = Some(format!("The log takes no appends: {}", failed.error));
        }
        Some(readiness)
    }
}

/// Listens, and records metrics as the builder says. Must be called inside a runtime.
pub(crate) fn listen(
    address: SocketAddr,
    builder: PrometheusBuilder,
    operations: Operations,
) -> anyhow::Result<()> {
    let listener = bind(address).with_context(|| {
        format!("metrics_listen: cannot listen on {address} (`off` switches the metrics off)")
    })?;
    let metrics = builder.install_recorder()?;
    let upkeep = metrics.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    let router = Router::new()
        .route("/health", get(alive))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .fallback(scrape)
        .with_state((metrics, operations));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "serving metrics failed; the port is closed until the next start");
        }
    });
    Ok(())
}

fn bind(address: SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

type Shared = (PrometheusHandle, Operations);

async fn alive() -> &'static str {
    "OK"
}

async fn scrape(State((metrics, _)): State<Shared>) -> String {
    metrics.render()
}

/// 200 when the worker serves each partition that it holds and the log took its last append, 503 with the reason otherwise; 404 where no worker runs.
async fn ready(State((_, operations)): State<Shared>) -> Response {
    let Some(readiness) = operations.readiness() else {
        let answer = json!({"status": "not_ready", "reason": "No worker runs in this process"});
        return (StatusCode::NOT_FOUND, Json(answer)).into_response();
    };
    let status = if readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(readiness)).into_response()
}
