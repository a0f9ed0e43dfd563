//! Leaves a server that does not reach the leaders of the streams if another server does.
//!
//! Servers of a cluster pass messages to each other directly, never through a third one. A server
//! that has lost the route to a neighbour goes on serving its clients and answering their pings,
//! but loses all messages for streams that the neighbour leads, and the client library notices
//! nothing. The same happens with a node that is cut off and still considers itself a leader, for
//! up to 20 s.
//!
//! So each connection is checked periodically for answers of the leaders. If two checks in a row
//! fail, the other servers are tried with separate connections, and the connection moves to the
//! first one through which all leaders answer. If there is none, as during an election, it stays
//! where it is: moving would only lose answers that are on their way.

use std::time::Duration;

use async_nats::{Client, ServerAddr};
use futures::future::join_all;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::super::api::Api;
use super::super::config::NatsConfig;
use super::servers::NextServer;

/// Interval of the checks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Time limit of one check.
const ANSWER: Duration = Duration::from_millis(1_500);
/// Failed checks in a row before another server is tried.
const PATIENCE: u32 = 2;
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
    let mut missed = vec![0; connections.len()];
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let looks = connections.iter().map(|watched| look(&watched.client));
        let found = join_all(looks).await;
        for ((watched, missed), is_reached) in connections.iter().zip(&mut missed).zip(found) {
            *missed = if is_reached { 0 } else { *missed + 1 };
            if *missed >= PATIENCE {
                *missed = 0;
                move_on(&config, watched).await;
            }
        }
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

/// Moves a connection to the first other server through which the leaders answer.
async fn move_on(config: &NatsConfig, watched: &Watched) {
    let Ok(servers) = watched.client.server_pool().await else {
        return;
    };
    let mut others = watched.next.in_turn(&servers);
    // The last one is the present server.
    others.pop();
    for other in others {
        if !is_better(config, &other).await {
            continue;
        }
        let connection = &watched.name;
        tracing::warn!(
            connection,
            "the stream leaders do not answer through this NATS server, but through another one; the connection moves there"
        );
        metrics::counter!("waybill_log_servers_left_total").increment(1);
        watched.next.prefer(other);
        if let Err(error) = watched.client.force_reconnect().await {
            tracing::warn!(%error, connection, "reconnecting to NATS failed");
        }
        return;
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
