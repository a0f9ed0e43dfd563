//! Requests to the counter: each one is made by a task of its own, so that the credits are not lost when a client hangs up.

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use waybill_domain::access::limit::HandBack;
use waybill_log::{CounterAway, CounterName};

use super::buckets::{Buckets, RefillRequest, Return};
use super::limiter::Limiter;

/// Buckets whose credits are handed back at the same time.
const HAND_BACKS_AT_ONCE: usize = 32;

/// Asks the counter and applies its answer.
pub(super) async fn refill(limiter: Arc<Limiter>, buckets: Arc<Buckets>, request: RefillRequest) {
    let asked = Instant::now();
    let (previous, total) = ask(&limiter, &request).await;
    match &total {
        Ok(_) => {
            metrics::histogram!("waybill_limit_grant_seconds").record(asked.elapsed());
            limiter.counter_answered();
        }
        Err(error) => {
            metrics::counter!("waybill_limit_grants_failed_total").increment(1);
            limiter.counter_failed(error);
        }
    }
    let back = buckets.apply(&request, previous, total.ok(), limiter.times());
    let RefillRequest {
        holder,
        policy,
        done,
        ..
    } = request;
    drop(done);
    if let Some(back) = back {
        hand_back(&limiter, &policy.name, &holder, back).await;
    }
}

async fn ask(
    limiter: &Limiter,
    request: &RefillRequest,
) -> (Option<i64>, Result<i64, CounterAway>) {
    let RefillRequest {
        holder,
        policy,
        ask,
        ..
    } = request;
    let counter = |window| {
        CounterName::new(&policy.name, holder, window).ok_or_else(|| CounterAway {
            reason: format!("{holder:?} cannot be part of a counter's name"),
        })
    };
    let mut previous = None;
    if ask.needs_previous {
        // Adding nothing is a read that no lagging copy can answer.
        let asked = async {
            limiter
                .counters()
                .add(counter(ask.window.saturating_sub(1))?, 0)
                .await
        };
        match asked.await {
            Ok(total) => previous = Some(total),
            Err(error) => return (None, Err(error)),
        }
    }
    let asked = async {
        limiter
            .counters()
            .add(counter(ask.window)?, ask.add())
            .await
    };
    (previous, asked.await)
}

/// Hands back lapsed credits. Those that get lost on the way go unused in this window.
pub(super) async fn hand_back_all(limiter: &Limiter, returns: Vec<Return>) {
    futures::stream::iter(returns)
        .for_each_concurrent(HAND_BACKS_AT_ONCE, async |lapsed: Return| {
            hand_back(limiter, &lapsed.policy.name, &lapsed.holder, lapsed.back).await;
        })
        .await;
}

async fn hand_back(limiter: &Limiter, policy: &str, holder: &str, back: HandBack) {
    if limiter.is_counter_unavailable() {
        return;
    }
    if let Some(counter) = CounterName::new(policy, holder, back.window)
        && let Err(error) = limiter.counters().add(counter, back.add()).await
    {
        tracing::debug!(%error, policy, "credits could not be handed back");
    }
}
