//! From a name to addresses.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use tokio::time::timeout;

/// Finds the addresses of a name. Every one of them is judged before a connection is made, so an implementation need not.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// All addresses, of both families.
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError>;
}

/// A name without addresses. Each fails a call: a resolver that does not answer must not open the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is no such name, or it has no address.
    #[error("the name does not resolve")]
    NoSuchName,
    /// The name servers have no answer for this name, though they do answer.
    #[error("the name servers did not answer: {0}")]
    Failed(String),
    /// No name server answers, whatever it is asked: the fault is this machine's or its network's, not the target's.
    #[error("no name server can be reached: {0}")]
    Down(String),
}

/// Addresses taken of one name. Only to bound what a hostile name server can make of a call.
const MAX_ADDRESSES: usize = 64;

/// One query and its tries, together within the default limit of connecting: then the failure says that it was the name.
const QUERY_LIMIT: Duration = Duration::from_secs(2);
const QUERY_TRIES: usize = 2;

/// When a name takes so long, the name servers are asked for something that they surely know: whose fault is it?
const PROBE_AFTER: Duration = Duration::from_millis(1_500);

/// How long answers are kept at most, whatever their owners allow: a target that moved is found again, and a name that was just
/// made is found soon.
const MAX_KEPT: Duration = Duration::from_secs(300);
const MAX_KEPT_NEGATIVE: Duration = Duration::from_secs(5);

/// The resolver of this machine's configuration.
pub(super) fn system() -> Arc<dyn Resolve> {
    let hickory = TokioResolver::builder_tokio()
        .and_then(|names| Hickory::new(names, TokioResolver::builder_tokio()?, QUERY_LIMIT));
    match hickory {
        Ok(resolver) => Arc::new(resolver),
        Err(error) => {
            tracing::warn!(%error, "no usable /etc/resolv.conf: names are resolved by the C library");
            Arc::new(LibC)
        }
    }
}

/// Asks name servers without blocking a thread, and keeps what they answered for as long as they say.
struct Hickory {
    names: TokioResolver,
    /// Keeps nothing: what it answers was answered now.
    probe: TokioResolver,
    probe_after: Duration,
}

type Builder = ResolverBuilder<TokioRuntimeProvider>;

impl Hickory {
    fn new(mut names: Builder, mut probe: Builder, limit: Duration) -> Result<Self, NetError> {
        let options = names.options_mut();
        // One family's private address must be seen even where the other one's is public.
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.timeout = limit;
        options.attempts = QUERY_TRIES;
        options.positive_max_ttl = Some(MAX_KEPT);
        options.negative_max_ttl = Some(MAX_KEPT_NEGATIVE);
        let options = probe.options_mut();
        options.timeout = limit;
        options.attempts = 1;
        options.cache_size = 0;
        Ok(Self {
            names: names.build()?,
            probe: probe.build()?,
            probe_after: PROBE_AFTER.min(limit),
        })
    }

    /// Whether any name server answers. Even a refusal is an answer.
    async fn answers(&self) -> bool {
        match self.probe.lookup(Name::root(), RecordType::NS).await {
            Ok(_) | Err(NetError::Dns(_)) => true,
            Err(_) => false,
        }
    }
}

#[async_trait]
impl Resolve for Hickory {
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let lookup = self.names.lookup_ip(name);
        tokio::pin!(lookup);
        let (found, probed) = match timeout(self.probe_after, &mut lookup).await {
            Ok(found) => (found, None),
            // Beside each other, so that both are known within the limit of connecting.
            Err(_) => {
                let (found, answers) = tokio::join!(lookup, self.answers());
                (found, Some(answers))
            }
        };
        let error = match found {
            Ok(found) => return Ok(found.iter().take(MAX_ADDRESSES).collect()),
            Err(e) if e.is_no_records_found() || e.is_nx_domain() => {
                return Err(ResolveError::NoSuchName);
            }
            Err(e @ NetError::Dns(_)) => return Err(ResolveError::Failed(e.to_string())),
            Err(e) => e.to_string(),
        };
        let answers = match probed {
            Some(answers) => answers,
            None => self.answers().await,
        };
        Err(if answers {
            ResolveError::Failed(error)
        } else {
            ResolveError::Down(error)
        })
    }
}

/// `getaddrinfo` on a blocking thread.
struct LibC;

#[async_trait]
impl Resolve for LibC {
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        match tokio::net::lookup_host((name, 0)).await {
            Ok(found) => Ok(found.take(MAX_ADDRESSES).map(|a| a.ip()).collect()),
            Err(e) => Err(ResolveError::Failed(e.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_resolver::config::{NameServerConfig, ResolverConfig};
    use tokio::net::UdpSocket;
    use tokio::task::JoinSet;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    /// A resolver over a name server that never answers questions for names, and refuses those for the root if it is told to.
    async fn over_a_server(refuses_the_root: bool) -> (Hickory, JoinSet<()>) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let port = socket.local_addr().expect("an address").port();
        let mut server = NameServerConfig::udp(Ipv4Addr::LOCALHOST.into());
        server.connections[0].port = port;
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let builder =
            || TokioResolver::builder_with_config(config.clone(), TokioRuntimeProvider::default());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                // Behind the head of 12 bytes comes the name; that of the root is one byte, 0.
                if refuses_the_root && query[12] == 0 {
                    query[2] |= 0x80;
                    query[3] = query[3] & 0xf0 | 5;
                    let _ = socket.send_to(&query[..length], from).await;
                }
            }
        });
        let resolver = Hickory::new(builder(), builder(), LIMIT).expect("a resolver");
        (resolver, serving)
    }

    #[tokio::test]
    async fn a_name_server_that_answers_nothing_is_down() {
        let (resolver, _serving) = over_a_server(false).await;
        let error = resolver.resolve("a.example.com.").await;
        assert!(matches!(error, Err(ResolveError::Down(_))), "{error:?}");
    }

    #[tokio::test]
    async fn a_name_without_answer_is_the_names_fault_where_other_questions_are_answered() {
        let (resolver, _serving) = over_a_server(true).await;
        let error = resolver.resolve("a.example.com.").await;
        assert!(matches!(error, Err(ResolveError::Failed(_))), "{error:?}");
    }
}
