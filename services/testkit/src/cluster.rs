//! Three nats-servers that replicate to each other, over routes that can be cut.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::eventually::eventually;
use crate::nats::{NatsOptions, NatsServer};
use crate::proxy::Proxy;

/// Servers in a cluster.
pub const NODES: usize = 3;
/// Forming a cluster and electing its leader takes a few seconds on two busy cores.
const FORM_DEADLINE: Duration = Duration::from_secs(40);
/// A leader is elected within 4 to 9 s.
const LEADER_DEADLINE: Duration = Duration::from_secs(40);
/// Copies say something at least once a second.
const HEARD_LATELY: Duration = Duration::from_secs(3);
/// Where nobody listens: what a node tells others about itself, so that they use the routes of their configuration only.
const NOWHERE: &str = "127.0.0.1:1";

/// A cluster of three with JetStream.
pub struct NatsCluster {
    /// The three servers, for killing and pausing one of them.
    pub nodes: Vec<NatsServer>,
    /// `routes[a][b]` is the way from node a to node b; each pair has two, since either end may connect.
    routes: Vec<Vec<Option<Proxy>>>,
}

impl NatsCluster {
    /// Starts three servers and waits until the cluster has a leader.
    ///
    /// # Errors
    /// When one does not start or no leader is elected.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same with folders for the stores of the first nodes, where they are not to be anywhere.
    ///
    /// # Errors
    /// When one does not start or no leader is elected.
    pub async fn start_with(stores: &[Option<PathBuf>]) -> Result<Self> {
        // All six are held at once, so that they differ.
        let held = (0..2 * NODES)
            .map(|_| TcpListener::bind(("127.0.0.1", 0)))
            .collect::<Result<Vec<_>, _>>()?;
        let ports = held
            .iter()
            .map(|listener| Ok(listener.local_addr()?.port()))
            .collect::<Result<Vec<_>>>()?;
        drop(held);
        let (client_ports, route_ports) = ports.split_at(NODES);
        let routes = routes(route_ports).await?;
        let mut nodes = Vec::new();
        for (index, from_here) in routes.iter().enumerate() {
            let urls: Vec<String> = from_here
                .iter()
                .flatten()
                .map(|route| format!("\"{}\"", route.url()))
                .collect();
            let options = NatsOptions {
                port: Some(client_ports[index]),
                extra: configuration(index, route_ports[index], &urls),
            };
            let store = stores.get(index).cloned().flatten();
            nodes.push(NatsServer::start_in(options, store).await?);
        }
        let cluster = Self { nodes, routes };
        cluster.wait_for_leader().await?;
        Ok(cluster)
    }

    /// Addresses of the three.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(NatsServer::url).collect()
    }

    /// Cuts two nodes off from each other: what is between them is closed, and so is whatever they try anew.
    pub fn part(&self, one: usize, other: usize) {
        self.between(one, other).for_each(Proxy::cut);
    }

    /// Lets them reach each other again.
    pub fn rejoin(&self, one: usize, other: usize) {
        self.between(one, other).for_each(Proxy::heal);
    }

    fn between(&self, one: usize, other: usize) -> impl Iterator<Item = &Proxy> {
        let way = |from: usize, to: usize| self.routes.get(from)?.get(to)?.as_ref();
        [way(one, other), way(other, one)].into_iter().flatten()
    }

    /// The node that leads a stream, asked until one does.
    ///
    /// # Errors
    /// When none does within the deadline.
    pub async fn leader_of(&self, stream: &str) -> Result<usize> {
        let give_up = Instant::now() + LEADER_DEADLINE;
        let client = async_nats::connect(self.urls()).await?;
        loop {
            if let Some(info) = info(&client, stream).await
                && let Some(leader) = info["cluster"]["leader"].as_str()
                && let Some(index) = (0..NODES).find(|index| name(*index) == leader)
            {
                return Ok(index);
            }
            ensure!(Instant::now() < give_up, "{stream} has no leader");
        }
    }

    /// Whether the leader of a stream misses something in one of the copies, or has not heard of it for a while.
    ///
    /// # Errors
    /// When no server lets us in.
    pub async fn has_lagging_copy(&self, stream: &str) -> Result<bool> {
        let client = async_nats::connect(self.urls()).await?;
        let copies = info(&client, stream).await.and_then(|info| copies(&info));
        Ok(copies.is_some_and(|copies| copies.contains(&false)))
    }

    /// Waits until every copy of a stream is as far as its leader's.
    ///
    /// # Errors
    /// When it is not within the deadline.
    pub async fn wait_for_copies(&self, stream: &str) -> Result<()> {
        let client = async_nats::connect(self.urls()).await?;
        eventually(FORM_DEADLINE, async || {
            let copies = info(&client, stream).await.and_then(|info| copies(&info));
            copies.is_some_and(|copies| copies == [true; NODES - 1])
        })
        .await
        .with_context(|| format!("a copy of {stream} does not catch up"))
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

/// What the leader of a stream says of it; `None` while it has none.
async fn info(client: &async_nats::Client, stream: &str) -> Option<serde_json::Value> {
    let request = async_nats::Request::new().timeout(Some(Duration::from_secs(1)));
    let subject = format!("$JS.API.STREAM.INFO.{stream}");
    let answer = client.send_request(subject, request).await.ok()?;
    serde_json::from_slice(&answer.payload).ok()
}

/// For each copy that follows: is it as far as the leader's, and heard of lately?
fn copies(info: &serde_json::Value) -> Option<Vec<bool>> {
    let is_fine = |copy: &serde_json::Value| {
        let silent = Duration::from_nanos(copy["active"].as_u64().unwrap_or(0));
        copy["current"] == true && copy["offline"] != true && silent < HEARD_LATELY
    };
    Some(
        info["cluster"]["replicas"]
            .as_array()?
            .iter()
            .map(is_fine)
            .collect(),
    )
}

/// A way from each node to each other one.
async fn routes(ports: &[u16]) -> Result<Vec<Vec<Option<Proxy>>>> {
    let mut routes = Vec::new();
    for from in 0..ports.len() {
        let mut from_here = Vec::new();
        for (to, port) in ports.iter().enumerate() {
            from_here.push(if to == from {
                None
            } else {
                Some(Proxy::start(format!("127.0.0.1:{port}")).await?)
            });
        }
        routes.push(from_here);
    }
    Ok(routes)
}

fn name(index: usize) -> String {
    format!("n{}", index + 1)
}

/// Nodes tell neither clients nor each other where else to connect: all ways are those that a test can cut.
fn configuration(index: usize, port: u16, routes: &[String]) -> String {
    format!(
        "server_name: {:?}\n\
         cluster {{ name: \"test\", listen: \"127.0.0.1:{port}\", no_advertise: true, advertise: \"{NOWHERE}\", routes: [{}] }}\n\
         lame_duck_grace_period: \"1s\"\nlame_duck_duration: \"30s\"\n",
        name(index),
        routes.join(", ")
    )
}
