//! Being asked to stop.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancelled at the first Ctrl-C or SIGTERM. A second one ends the process at once.
pub(crate) fn stop_token() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    // Lives as long as the process.
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if token.is_cancelled() {
                std::process::exit(130);
            }
            tracing::info!("stopping; a second signal ends at once");
            token.cancel();
        }
    });
    Ok(stop)
}
