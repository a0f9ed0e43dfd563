//! Requests to the counter: each one is made by a task of its own, so that a client that hangs up loses nobody's credits.

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use waybill_domain::access::limit::HandBack;
use waybill_log::{CounterAway, CounterName};

use super::buckets::{Buckets, Departure, Return};
use super::limiter::Limiter;

/// Credits of so many buckets are handed back at once.
const HAND_BACKS_AT_ONCE: usize = 32;

/// Asks the counter and takes the answer in.
pub(super) async fn fly(limiter: Arc<Limiter>, buckets: Arc<Buckets>, departure: Departure) {
    let asked = Instant::now();
    let (previous, total) = ask(&limiter, &departure).await;
    match &total {
        Ok(_) => {
            metrics::histogram!("waybill_limit_grant_seconds").record(asked.elapsed());
            limiter.counter_answered();
        }
        Err(error) => {
            metrics::counter!("waybill_limit_grants_failed_total").increment(1);
            limiter.counter_is_away(error);
        }
    }
    let back = buckets.land(&departure, previous, total.ok(), limiter.times());
    let Departure {
        holder,
        policy,
        landing,
        ..
    } = departure;
    drop(landing);
    if let Some(back) = back {
        hand_back(&limiter, &policy.name, &holder, back).await;
    }
}

async fn ask(limiter: &Limiter, departure: &Departure) -> (Option<i64>, Result<i64, CounterAway>) {
    let Departure {
        holder,
        policy,
        ask,
        ..
    } = departure;
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

/// Hands back what has lapsed. What gets lost on the way goes unused in this window.
pub(super) async fn hand_back_all(limiter: &Limiter, returns: Vec<Return>) {
    futures::stream::iter(returns)
        .for_each_concurrent(HAND_BACKS_AT_ONCE, async |lapsed: Return| {
            hand_back(limiter, &lapsed.policy.name, &lapsed.holder, lapsed.back).await;
        })
        .await;
}

async fn hand_back(limiter: &Limiter, policy: &str, holder: &str, back: HandBack) {
    if limiter.is_counter_away() {
        return;
    }
    if let Some(counter) = CounterName::new(policy, holder, back.window)
        && let Err(error) = limiter.counters().add(counter, back.add()).await
    {
        tracing::debug!(%error, policy, "credits could not be handed back");
    }
}
