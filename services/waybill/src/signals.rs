//! Being asked to stop.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Signals this close to the first one are the same wish: `timeout` and some supervisors signal a process and then its whole group.
const SAME_WISH: Duration = Duration::from_millis(300);

/// Cancelled at the first Ctrl-C or SIGTERM. A second one ends the process at once.
pub(crate) fn stop_token() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    // Lives as long as the process.
    tokio::spawn(async move {
        let mut first = None;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            let asked = *first.get_or_insert_with(Instant::now);
            if asked.elapsed() > SAME_WISH {
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
