//! A cluster of three nats-servers, with routes between them that can be cut.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::eventually::eventually;
use crate::nats::{NatsOptions, NatsServer, free_ports};
use crate::proxy::Proxy;

/// Number of servers in a cluster.
pub const NODES: usize = 3;
/// Deadline for forming a cluster and electing its leader, which takes a few seconds on two busy
/// cores.
const FORM_DEADLINE: Duration = Duration::from_secs(40);
/// Deadline for electing a stream's leader, which takes 4 to 9 s.
const LEADER_DEADLINE: Duration = Duration::from_secs(40);
/// A replica sends something at least once a second.
const HEARD_LATELY: Duration = Duration::from_secs(3);
/// An address without a listener, which a node advertises so that others use only the configured
/// routes.
const NOWHERE: &str = "127.0.0.1:1";

/// A cluster of three servers with JetStream.
pub struct NatsCluster {
    /// The servers, which tests may kill or pause.
    pub nodes: Vec<NatsServer>,
    /// `routes[a][b]` is the route from node a to node b. Each pair has two, since either end may
    /// connect.
    routes: Vec<Vec<Option<Proxy>>>,
}

impl NatsCluster {
    /// Starts three servers and waits until the cluster has a leader.
    ///
    /// # Errors
    /// When a server does not start, or no leader is elected.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Like [`Self::start`], with given store folders for the first nodes.
    ///
    /// # Errors
    /// When a server does not start, or no leader is elected.
    pub async fn start_with(stores: &[Option<PathBuf>]) -> Result<Self> {
        let ports = free_ports::<{ 2 * NODES }>()?;
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

    /// URLs of the three servers.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(NatsServer::url).collect()
    }

    /// Cuts the routes between two nodes: open connections are closed, and so are new ones.
    pub fn part(&self, one: usize, other: usize) {
        self.between(one, other).for_each(Proxy::cut);
    }

    /// Restores the routes between two nodes.
    pub fn rejoin(&self, one: usize, other: usize) {
        self.between(one, other).for_each(Proxy::heal);
    }

    fn between(&self, one: usize, other: usize) -> impl Iterator<Item = &Proxy> {
        let way = |from: usize, to: usize| self.routes.get(from)?.get(to)?.as_ref();
        [way(one, other), way(other, one)].into_iter().flatten()
    }

    /// The node that leads a stream; waits until there is one.
    ///
    /// # Errors
    /// When there is none within the deadline.
    pub async fn leader_of(&self, stream: &str) -> Result<usize> {
        let give_up = Instant::now() + LEADER_DEADLINE;
        loop {
            if let Some(leader) = self.leader_now(stream).await? {
                return Ok(leader);
            }
            ensure!(Instant::now() < give_up, "{stream} has no leader");
        }
    }

    /// The same, asked once; `None`: there is none now.
    ///
    /// # Errors
    /// When no server accepts a connection.
    pub async fn leader_now(&self, stream: &str) -> Result<Option<usize>> {
        let client = async_nats::connect(self.urls()).await?;
        let info = info(&client, stream).await;
        let leader = info
            .as_ref()
            .and_then(|info| info["cluster"]["leader"].as_str());
        Ok(leader.and_then(|leader| (0..NODES).find(|index| name(*index) == leader)))
    }

    /// Whether a stream has a leader from which no replica lags, and which has heard of each a
    /// moment ago.
    ///
    /// # Errors
    /// When no server accepts a connection.
    pub async fn has_whole_copies(&self, stream: &str) -> Result<bool> {
        let client = async_nats::connect(self.urls()).await?;
        let copies = info(&client, stream).await.and_then(|info| copies(&info));
        Ok(copies.is_some_and(|copies| copies == [true; NODES - 1]))
    }

    /// Waits until every replica of a stream is as far as its leader.
    ///
    /// # Errors
    /// When one is not within the deadline.
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
    /// When that does not happen within the deadline.
    pub async fn wait_for_leader(&self) -> Result<()> {
        let client = async_nats::connect(self.urls()).await?;
        let ready = async || {
            let request = async_nats::Request::new().timeout(Some(Duration::from_secs(1)));
            // A stream with three replicas is refused until all three nodes are known.
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

/// Stream info from the leader of a stream; `None` if there is no leader.
async fn info(client: &async_nats::Client, stream: &str) -> Option<serde_json::Value> {
    let request = async_nats::Request::new().timeout(Some(Duration::from_secs(1)));
    let subject = format!("$JS.API.STREAM.INFO.{stream}");
    let answer = client.send_request(subject, request).await.ok()?;
    serde_json::from_slice(&answer.payload).ok()
}

/// For each follower: whether it is as far as the leader and was heard from recently.
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

/// A route from each node to each other node.
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

/// Nodes advertise no addresses, to clients or to each other, so that all routes are those that a
/// test can cut.
fn configuration(index: usize, port: u16, routes: &[String]) -> String {
    format!(
        "server_name: {:?}\n\
         cluster {{ name: \"test\", listen: \"127.0.0.1:{port}\", no_advertise: true, advertise: \"{NOWHERE}\", routes: [{}] }}\n\
         lame_duck_grace_period: \"1s\"\nlame_duck_duration: \"30s\"\n",
        name(index),
        routes.join(", ")
    )
}
