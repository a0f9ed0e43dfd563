//! Name resolution.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType, getaddrinfo};
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use tokio::time::timeout;

/// Resolves names. The caller checks every address before connecting, so an implementation need
/// not.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// All addresses, of both families.
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError>;
}

/// Why a name has no addresses. Each of these fails the call: a resolver that does not answer must
/// not bypass the checks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name does not exist, or has no address.
    #[error("the name does not resolve")]
    NoSuchName,
    /// The name servers have no answer for this name, although they answer other questions.
    #[error("the name servers did not answer: {0}")]
    Failed(String),
    /// No name server answers any question: the fault is with this machine or its network, not with
    /// the target.
    #[error("no name server can be reached: {0}")]
    Down(String),
}

/// Limit of addresses per name, which bounds what a hostile name server can make of a call.
const MAX_ADDRESSES: usize = 64;

/// One query and its retries fit into the default time limit of connecting, so that the failure
/// names the resolution as the cause.
const QUERY_LIMIT: Duration = Duration::from_secs(2);
const QUERY_TRIES: usize = 2;

/// When a name takes this long, the name servers are asked for something that they certainly know,
/// to determine whose fault it is.
const PROBE_AFTER: Duration = Duration::from_millis(1_500);

/// Limits of how long answers are cached, whatever their time to live: a target that moved is found
/// again, and a name that was just created is found soon.
const MAX_KEPT: Duration = Duration::from_secs(300);
const MAX_KEPT_NEGATIVE: Duration = Duration::from_secs(5);

/// A resolver with this machine's configuration.
pub(super) fn system() -> Arc<dyn Resolve> {
    let hickory = TokioResolver::builder_tokio()
        .and_then(|names| Hickory::new(names, TokioResolver::builder_tokio()?, QUERY_LIMIT));
    match hickory {
        Ok(resolver) => Arc::new(resolver),
        Err(error) => {
            tracing::warn!(%error, "/etc/resolv.conf cannot be used; names are resolved by the C library");
            Arc::new(LibC)
        }
    }
}

/// Asks name servers without blocking a thread, and caches their answers for their time to live.
struct Hickory {
    names: TokioResolver,
    /// Caches nothing, so that its answers are current.
    probe: TokioResolver,
    probe_after: Duration,
}

type Builder = ResolverBuilder<TokioRuntimeProvider>;

impl Hickory {
    fn new(mut names: Builder, mut probe: Builder, limit: Duration) -> Result<Self, NetError> {
        let options = names.options_mut();
        // A private address in one family must be seen even if the other family's is public.
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

    /// Whether any name server answers. A refusal counts as an answer.
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
            // Both run at the same time, so that both results are known within the time limit of
            // connecting.
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
        let name = name.to_owned();
        let found = tokio::task::spawn_blocking(move || {
            addresses(&name).map_err(|error| of_the_c_library(error, || addresses(NO_NAME)))
        });
        found
            .await
            .unwrap_or_else(|error| Err(ResolveError::Down(error.to_string())))
    }
}

/// A name that does not exist, as every name server knows (RFC 6761, 6.4).
const NO_NAME: &str = "waybill.invalid.";

fn addresses(name: &str) -> Result<Vec<IpAddr>, LookupError> {
    // Asks for each address once, not once per socket type.
    let hints = AddrInfoHints {
        socktype: SockType::Stream.into(),
        ..AddrInfoHints::default()
    };
    let found = getaddrinfo(Some(name), None, Some(hints))?;
    let ips = found.filter_map(|found| found.ok().map(|found| found.sockaddr.ip()));
    Ok(ips.take(MAX_ADDRESSES).collect())
}

/// `EAI_AGAIN` is returned both when no name server answers and when one has no answer for this
/// name, so a name that every server knows is looked up. All other errors that are not about the
/// name are faults of this machine: missing memory, descriptors or files (`EAI_MEMORY`,
/// `EAI_SYSTEM`).
fn of_the_c_library(
    error: LookupError,
    probe: impl FnOnce() -> Result<Vec<IpAddr>, LookupError>,
) -> ResolveError {
    let kind = error.kind();
    let reason = io::Error::from(error).to_string();
    match kind {
        LookupErrorKind::NoName | LookupErrorKind::NoData => ResolveError::NoSuchName,
        LookupErrorKind::Fail => ResolveError::Failed(reason),
        LookupErrorKind::Again => match probe().map_err(|error| error.kind()) {
            Ok(_) | Err(LookupErrorKind::NoName | LookupErrorKind::NoData) => {
                ResolveError::Failed(reason)
            }
            Err(_) => ResolveError::Down(reason),
        },
        _ => ResolveError::Down(reason),
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

    /// A resolver with a name server that never answers queries for names, and refuses those for
    /// the root if told to.
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
                // The name follows the head of 12 bytes; the name of the root is a single zero
                // byte.
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

    /// glibc's codes, which `gai_strerror(3)` explains.
    const EAI_NONAME: i32 = -2;
    const EAI_AGAIN: i32 = -3;
    const EAI_FAIL: i32 = -4;
    const EAI_MEMORY: i32 = -10;

    fn judged(code: i32, probe: Result<Vec<IpAddr>, i32>) -> ResolveError {
        of_the_c_library(LookupError::new(code), || probe.map_err(LookupError::new))
    }

    #[test]
    fn the_c_library_without_a_name_server_is_this_machines_fault() {
        let down = |error| matches!(error, ResolveError::Down(_));
        assert!(down(judged(EAI_AGAIN, Err(EAI_AGAIN))));
        assert!(down(judged(EAI_MEMORY, Ok(Vec::new()))));
    }

    #[test]
    fn what_a_name_server_says_of_a_name_is_the_names_fault() {
        let failed = |error| matches!(error, ResolveError::Failed(_));
        assert!(failed(judged(EAI_AGAIN, Err(EAI_NONAME))));
        assert!(failed(judged(EAI_FAIL, Ok(Vec::new()))));
        assert_eq!(judged(EAI_NONAME, Ok(Vec::new())), ResolveError::NoSuchName);
    }

    #[tokio::test]
    async fn the_c_library_knows_this_machine() {
        let found = LibC.resolve("localhost").await.expect("addresses");
        assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
        assert!(!found.is_empty());
    }
}
