//! The port for operators: metrics for Prometheus, and whether the worker of this process serves its partitions.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::json;
use waybill_worker::board::Board;

/// How often the recorder drains what histograms have gathered. Without it they would grow between two scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// The worker of this process, once there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Operations(Arc<Mutex<Option<Arc<Board>>>>);

impl Operations {
    /// `/readyz` is about this worker from now on.
    pub(crate) fn worker(&self, board: Arc<Board>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(board);
    }

    fn board(&self) -> Option<Arc<Board>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
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
            tracing::error!(%error, "the port for metrics is closed");
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

/// 200 when the worker serves each partition that it holds, 503 with the reason otherwise; 404 where no worker runs.
async fn ready(State((_, operations)): State<Shared>) -> Response {
    let Some(board) = operations.board() else {
        let answer = json!({"status": "not_ready", "reason": "No worker runs in this process"});
        return (StatusCode::NOT_FOUND, Json(answer)).into_response();
    };
    let readiness = board.readiness();
    let status = if readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(readiness)).into_response()
}
