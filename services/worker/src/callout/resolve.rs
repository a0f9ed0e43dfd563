//! From a name to addresses.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;

/// Finds the addresses of a name. Every one of them is judged before a connection is made, so an implementation need not.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// All addresses, of both families.
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError>;
}

/// A name without addresses. Both fail a call: a resolver that does not answer must not open the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is no such name, or it has no address.
    #[error("the name does not resolve")]
    NoSuchName,
    /// The name servers did not answer.
    #[error("the name servers did not answer: {0}")]
    Failed(String),
}

/// Addresses taken of one name. Only to bound what a hostile name server can make of a call.
const MAX_ADDRESSES: usize = 64;

/// One query and its tries, together within the default limit of connecting: then the failure says that it was the name.
const QUERY_LIMIT: Duration = Duration::from_secs(2);
const QUERY_TRIES: usize = 2;

/// How long answers are kept at most, whatever their owners allow: a target that moved is found again, and a name that was just
/// made is found soon.
const MAX_KEPT: Duration = Duration::from_secs(300);
const MAX_KEPT_NEGATIVE: Duration = Duration::from_secs(5);

/// The resolver of this machine's configuration.
pub(super) fn system() -> Arc<dyn Resolve> {
    let hickory = TokioResolver::builder_tokio().and_then(|mut builder| {
        // One family's private address must be seen even where the other one's is public.
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.timeout = QUERY_LIMIT;
        options.attempts = QUERY_TRIES;
        options.positive_max_ttl = Some(MAX_KEPT);
        options.negative_max_ttl = Some(MAX_KEPT_NEGATIVE);
        builder.build()
    });
    match hickory {
        Ok(resolver) => Arc::new(Hickory(resolver)),
        Err(error) => {
            tracing::warn!(%error, "no usable /etc/resolv.conf: names are resolved by the C library");
            Arc::new(LibC)
        }
    }
}

/// Asks name servers without blocking a thread, and keeps what they answered for as long as they say.
struct Hickory(TokioResolver);

#[async_trait]
impl Resolve for Hickory {
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        match self.0.lookup_ip(name).await {
            Ok(found) => Ok(found.iter().take(MAX_ADDRESSES).collect()),
            Err(e) if e.is_no_records_found() || e.is_nx_domain() => Err(ResolveError::NoSuchName),
            Err(e) => Err(ResolveError::Failed(e.to_string())),
        }
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
