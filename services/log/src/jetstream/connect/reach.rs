//! Leaves a server that does not reach the leaders of the streams if another server does.
//!
//! Servers of a cluster pass messages to each other directly, never through a third one. A server
//! that has lost the route to a neighbour goes on serving its clients and answering their pings,
//! but loses all messages for streams that the neighbour leads, and the client library notices
//! nothing. The same happens with a node that is cut off and still considers itself a leader, for
//! up to 20 s.
//!
//! So each connection is checked periodically for answers of the leaders. If one check fails, it is
//! checked once more, and the other servers beside it, with separate connections. If the second one
//! fails too, the connection moves to the first server through which all leaders answered. During an
//! election no server is one, and the connection stays: a move would only lose answers that are on
//! their way. The checks run beside each other so that all of them see the same state of the servers
//! and of this machine, and so that a parted server is left within 3 s and a reconnect, when a lease
//! of 12 s has most of its time left.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use async_nats::{Client, ServerAddr};
use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::super::api::Api;
use super::super::config::NatsConfig;
use super::servers::NextServer;

/// Interval of the checks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time limit of one check.
const ANSWER: Duration = Duration::from_secs(1);
/// Time limit of a connection to another server, before it is checked.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a replica may be silent and still count as connected: replicas contact their leader at
/// least once a second. A leader without a majority of them may have been replaced.
const HEARD_LATELY: Duration = Duration::from_secs(4);
/// The streams without which nothing works.
const STREAMS: [&str; 4] = ["CONTROL", "TASKS", "FENCE", "KV_owners"];

/// One of the connections of a log.
#[derive(Clone)]
pub(in crate::jetstream) struct Watched {
    pub(super) name: String,
    pub(super) client: Client,
    pub(super) next: NextServer,
}

/// Checks the connections without an end. It must be dropped with them.
pub(super) async fn watch(config: NatsConfig, connections: Vec<Watched>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let checks = connections.iter().map(|watched| check(&config, watched));
        join_all(checks).await;
    }
}

/// Checks a connection, and moves it if that is called for.
async fn check(config: &NatsConfig, watched: &Watched) {
    if look(&watched.client).await {
        return;
    }
    let others = others(watched).await;
    let mut scouts: FuturesUnordered<_> = others
        .into_iter()
        .map(|other| async move { is_better(config, &other).await.then_some(other) })
        .collect();
    let first_better = async {
        while let Some(found) = scouts.next().await {
            if found.is_some() {
                return found;
            }
        }
        None
    };
    if let Some(better) = unless_back(look(&watched.client), first_better).await {
        move_to(watched, better).await;
    }
}

/// What the search for another server finds, unless the present one answers in its second check. The
/// search goes on while that check lasts, and its result is awaited only if the check fails.
async fn unless_back<T>(
    second: impl Future<Output = bool>,
    search: impl Future<Output = Option<T>>,
) -> Option<T> {
    let (mut second, mut search) = (pin!(second), pin!(search));
    tokio::select! {
        is_back = &mut second => if is_back { None } else { search.await },
        found = &mut search => if second.await { None } else { found },
    }
}

/// Whether the leaders answer through a connection. A connection that is being reopened passes the
/// check.
async fn look(client: &Client) -> bool {
    let is_up = || client.connection_state() == async_nats::connection::State::Connected;
    !is_up() || reaches_leaders(client).await || !is_up()
}

async fn reaches_leaders(client: &Client) -> bool {
    let api = Api::new(client.clone(), ANSWER);
    let asked = STREAMS.map(|stream| {
        let api = &api;
        async move {
            let verb = format!("STREAM.INFO.{stream}");
            let info = api.call(&verb, &Value::Null).await;
            info.is_ok_and(|info| has_majority(&info))
        }
    });
    join_all(asked).await.into_iter().all(|answered| answered)
}

/// Whether the leader that answered can still store messages, as far as its answer shows.
fn has_majority(info: &Value) -> bool {
    let Some(copies) = info["cluster"]["replicas"].as_array() else {
        return true;
    };
    let is_there = |copy: &&Value| {
        let silent = Duration::from_nanos(copy["active"].as_u64().unwrap_or(0));
        copy["offline"] != true && silent < HEARD_LATELY
    };
    let there = 1 + copies.iter().filter(is_there).count();
    2 * there > 1 + copies.len()
}

/// The servers that a connection may move to, least recently used first.
async fn others(watched: &Watched) -> Vec<ServerAddr> {
    let Ok(servers) = watched.client.server_pool().await else {
        return Vec::new();
    };
    let mut others = watched.next.in_turn(&servers);
    // The last one is the present server.
    others.pop();
    others
}

async fn move_to(watched: &Watched, better: ServerAddr) {
    let connection = &watched.name;
    tracing::warn!(
        connection,
        "the stream leaders do not answer through this NATS server, but through another one; the connection moves there"
    );
    metrics::counter!("waybill_log_servers_left_total").increment(1);
    watched.next.prefer(better);
    if let Err(error) = watched.client.force_reconnect().await {
        tracing::warn!(%error, connection, "reconnecting to NATS failed");
    }
}

async fn is_better(config: &NatsConfig, server: &ServerAddr) -> bool {
    let connected = async {
        let options = super::authenticated(config, &format!("{}-scout", config.name)).await;
        options.ok()?.connect(server.clone()).await.ok()
    };
    match timeout(CONNECT, connected).await {
        Ok(Some(client)) => reaches_leaders(&client).await,
        Ok(None) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn after<T>(millis: u64, outcome: T) -> T {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        outcome
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_is_left_only_if_it_fails_twice_and_another_one_does_not() {
        let begun = tokio::time::Instant::now();
        let left = unless_back(after(1_000, false), after(300, Some(2))).await;
        assert_eq!((left, begun.elapsed().as_millis()), (Some(2), 1_000));
        // The second check answers: nothing is gained by waiting for the others, nor by moving.
        let begun = tokio::time::Instant::now();
        let stayed = unless_back(after(400, true), after(3_000, Some(2))).await;
        assert_eq!((stayed, begun.elapsed().as_millis()), (None, 400));
        assert_eq!(
            unless_back(after(400, true), after(300, Some(2))).await,
            None
        );
        let nowhere = unless_back(after(1_000, false), after(3_000, None::<u8>)).await;
        assert_eq!(nowhere, None);
        let slow = unless_back(after(1_000, false), after(1_500, Some(3))).await;
        assert_eq!(slow, Some(3));
    }

    fn copies(silent: &[u64]) -> Value {
        let copies: Vec<Value> = silent
            .iter()
            .map(|seconds| json!({ "active": seconds * 1_000_000_000, "current": false }))
            .collect();
        json!({ "cluster": { "replicas": copies } })
    }

    #[test]
    fn a_leader_that_hears_of_no_majority_does_not_count() {
        assert!(has_majority(&json!({})));
        assert!(has_majority(&copies(&[0, 600])));
        assert!(!has_majority(&copies(&[600, 600])));
        assert!(has_majority(&copies(&[0, 1, 600, 600])));
        assert!(!has_majority(&copies(&[0, 600, 600, 600])));
        let gone = json!({ "active": 0, "offline": true });
        let info = json!({ "cluster": { "replicas": [gone, gone] } });
        assert!(!has_majority(&info));
    }
}
