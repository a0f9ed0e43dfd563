//! The roles of one process, kept alive: one that ends by itself is started again and takes no other with it.

use std::pin::Pin;
use std::time::Duration;

use metrics::counter;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Pause before a role is started again: the first, and the longest. It doubles from one end to the next.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A role that ran this long did not end for the reason of the last time, so the pause starts over.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// A role that runs. Ends once the role has: by itself, or because it was told to stop.
pub(crate) type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Keeps a role running until stopped, and returns how it ended then.
pub(crate) async fn keep(
    role: &'static str,
    mut running: Running,
    start: impl AsyncFn() -> anyhow::Result<Running>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    // Zero from the start, so that a dashboard shows the series before the first restart.
    counter!("waybill_role_restarts_total", "role" => role).absolute(0);
    let (shortest, longest) = PAUSES;
    let mut pause = shortest;
    loop {
        let started = Instant::now();
        let ended = running.await;
        if stop.is_cancelled() {
            return ended;
        }
        match ended {
            Ok(()) => tracing::error!(role, "a role ended by itself; it is started again"),
            Err(error) => {
                tracing::error!(
                    role,
                    error = format!("{error:#}"),
                    "a role ended by itself; it is started again"
                );
            }
        }
        if started.elapsed() >= GOOD_RUN {
            pause = shortest;
        }
        running = loop {
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return Ok(());
            }
            pause = (pause * 2).min(longest);
            counter!("waybill_role_restarts_total", "role" => role).increment(1);
            match start().await {
                Ok(running) => break running,
                Err(error) => {
                    tracing::error!(
                        role,
                        error = format!("{error:#}"),
                        "the role does not start"
                    );
                }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A role that ends by itself at once, `fails` times, and then runs until it is told to stop.
    struct Fragile {
        starts: Arc<AtomicU32>,
        fails: u32,
        stop: CancellationToken,
    }

    impl Fragile {
        fn start(&self) -> anyhow::Result<Running> {
            let number = self.starts.fetch_add(1, Ordering::SeqCst);
            if number % 2 == 1 && number < self.fails {
                anyhow::bail!("cannot start");
            }
            let (fails, stop) = (self.fails, self.stop.clone());
            Ok(Box::pin(async move {
                if number < fails {
                    anyhow::bail!("broken");
                }
                stop.cancelled().await;
                Ok(())
            }))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_that_ends_is_started_again_ever_more_slowly_until_it_runs() {
        let stop = CancellationToken::new();
        let role = Fragile {
            starts: Arc::default(),
            fails: 9,
            stop: stop.clone(),
        };
        let starts = Arc::clone(&role.starts);
        let began = Instant::now();
        let running = role.start().expect("the first start");
        let kept = tokio::spawn(keep(
            "test",
            running,
            async move || role.start(),
            stop.clone(),
        ));
        while starts.load(Ordering::SeqCst) < 10 {
            sleep(Duration::from_millis(100)).await;
        }
        // 0.5 + 1 + 2 + ... + 16 + 30 + 30 + 30 seconds.
        assert!(
            began.elapsed() >= Duration::from_secs(120),
            "{:?}",
            began.elapsed()
        );
        assert!(!kept.is_finished());
        stop.cancel();
        assert!(kept.await.expect("no panic").is_ok());
        assert_eq!(starts.load(Ordering::SeqCst), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn how_a_role_ends_when_told_to_is_passed_on() {
        let stop = CancellationToken::new();
        stop.cancel();
        let running: Running = Box::pin(async { anyhow::bail!("unwritten") });
        let kept = keep("test", running, async || unreachable!("stopped"), stop).await;
        assert_eq!(kept.expect_err("its error").to_string(), "unwritten");
    }
}
