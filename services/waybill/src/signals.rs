//! Signals that stop the process.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Signals this close to the first one count as one request: `timeout` and some supervisors signal a process and then its whole group.
const SAME_REQUEST: Duration = Duration::from_millis(300);

/// Cancelled at the first Ctrl-C or SIGTERM. A second one ends the process at once.
pub(crate) fn stop_token() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    // Lives as long as the process. Receiving a signal is cancellation safe: one that is not taken is reported by the next call.
    tokio::spawn(async move {
        let mut first = None;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            let asked = *first.get_or_insert_with(Instant::now);
            if asked.elapsed() > SAME_REQUEST {
                std::process::exit(130);
            }
            if token.is_cancelled() {
                continue;
            }
            tracing::info!("stopping; a second signal ends at once");
            token.cancel();
        }
    });
    Ok(stop)
}
