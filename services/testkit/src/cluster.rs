//! Three nats-servers that replicate to each other.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::eventually::eventually;
use crate::nats::{NatsOptions, NatsServer};

/// Forming a cluster and electing its leader takes a few seconds on two busy cores.
const FORM_DEADLINE: Duration = Duration::from_secs(40);

/// A cluster of three with JetStream.
pub struct NatsCluster {
    /// The three servers, for killing and pausing one of them.
    pub nodes: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts three servers and waits until the cluster has a leader.
    ///
    /// # Errors
    /// When one does not start or no leader is elected.
    pub async fn start() -> Result<Self> {
        // All six are held at once, so that they differ.
        let held = (0..6)
            .map(|_| TcpListener::bind(("127.0.0.1", 0)))
            .collect::<Result<Vec<_>, _>>()?;
        let ports = held
            .iter()
            .map(|listener| Ok(listener.local_addr()?.port()))
            .collect::<Result<Vec<_>>>()?;
        drop(held);
        let (client, route) = ports.split_at(3);
        let routes: Vec<String> = route
            .iter()
            .map(|port| format!("\"nats://127.0.0.1:{port}\""))
            .collect();
        let routes = routes.join(", ");
        let mut nodes = Vec::new();
        for (index, (&client, &route)) in client.iter().zip(route).enumerate() {
            let number = index + 1;
            let extra = format!(
                "server_name: \"n{number}\"\ncluster {{ name: \"test\", listen: \"127.0.0.1:{route}\", routes: [{routes}] }}\n"
            );
            let options = NatsOptions {
                port: Some(client),
                extra,
            };
            nodes.push(NatsServer::start_with(options).await?);
        }
        let cluster = Self { nodes };
        cluster.wait_for_leader().await?;
        Ok(cluster)
    }

    /// Addresses of the three.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(NatsServer::url).collect()
    }

    /// Waits until JetStream's API answers and sees three nodes.
    ///
    /// # Errors
    /// When it does not within the deadline.
    pub async fn wait_for_leader(&self) -> Result<()> {
        let client = async_nats::connect(self.urls()).await?;
        let ready = async || {
            let request = async_nats::Request::new().timeout(Some(Duration::from_secs(1)));
            // A stream of three replicas is refused until all three are known.
            let probe = serde_json::json!({
                "name": "probe", "subjects": ["probe"], "num_replicas": 3, "storage": "memory",
            });
            let create = request.payload(probe.to_string().into());
            let answer = client
                .send_request("$JS.API.STREAM.CREATE.probe", create)
                .await
                .ok()?;
            let answer: serde_json::Value = serde_json::from_slice(&answer.payload).ok()?;
            answer.get("error").is_none().then_some(())
        };
        eventually(FORM_DEADLINE, async || ready().await.is_some())
            .await
            .context("the cluster has no leader")?;
        client
            .request("$JS.API.STREAM.DELETE.probe", "".into())
            .await?;
        Ok(())
    }
}
