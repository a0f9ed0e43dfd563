//! Makes the connections of callouts: resolves, checks every address, connects, checks the peer,
//! and starts TLS.
//!
//! The checked address is the one that is dialled; nothing resolves again in between. The peer is
//! checked once more, as the last line of defence against a proxy or address translation in
//! between.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use waybill_domain::egress::Egress;

use super::failure::ConnectFailure;
use super::outcome::OwnFault;
use super::resolve::{Resolve, ResolveError};
use super::stream::Stream;

/// Head start of one address over the next (RFC 8305, 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Limit of addresses dialled for one connection.
const MAX_DIALLED: usize = 8;

#[derive(Clone)]
pub(super) struct Connector {
    parts: Arc<Parts>,
}

struct Parts {
    egress: Egress,
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
    limit: Duration,
}

impl Connector {
    /// `limit` is the time limit from resolving the name to the TLS session.
    pub(super) fn new(
        egress: Egress,
        resolver: Arc<dyn Resolve>,
        tls: Arc<ClientConfig>,
        limit: Duration,
    ) -> Self {
        Self {
            parts: Arc::new(Parts {
                egress,
                resolver,
                tls: tls.into(),
                limit,
            }),
        }
    }

    pub(super) fn egress(&self) -> &Egress {
        &self.parts.egress
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectFailure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectFailure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectFailure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let parts = self.parts.clone();
        Box::pin(async move {
            let limit = parts.limit;
            match tokio::time::timeout(limit, parts.connect(&target)).await {
                Ok(connected) => connected.map(TokioIo::new),
                Err(_) => Err(ConnectFailure::TimedOut(limit)),
            }
        })
    }
}

impl Parts {
    async fn connect(&self, target: &Uri) -> Result<Stream, ConnectFailure> {
        let encrypted = target.scheme_str() == Some("https");
        let host = target.host().ok_or(ConnectFailure::NotAHost)?;
        let host = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        let port = target
            .port_u16()
            .unwrap_or(if encrypted { 443 } else { 80 });

        let addresses = self.allowed_addresses(host, port).await?;
        let tcp = dial(&addresses).await.map_err(ConnectFailure::from)?;
        let own = tcp.local_addr().map_err(ConnectFailure::Connect)?;
        let peer = tcp.peer_addr().map_err(ConnectFailure::Connect)?;
        self.egress
            .check_connection(host, own, peer)
            .map_err(ConnectFailure::Blocked)?;
        tcp.set_nodelay(true).map_err(ConnectFailure::Connect)?;
        if !encrypted {
            return Ok(Stream::plain(tcp));
        }

        let name = host.strip_suffix('.').unwrap_or(host);
        let name = ServerName::try_from(name)
            .map_err(|_| ConnectFailure::NotAHost)?
            .to_owned();
        let tls = self
            .tls
            .connect(name, tcp)
            .await
            .map_err(ConnectFailure::Tls)?;
        Ok(Stream::tls(tls))
    }

    /// The addresses that may be dialled for that host. A single forbidden address rejects the
    /// whole name: a name that mixes public and private addresses is an attack or a mistake.
    async fn allowed_addresses(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, ConnectFailure> {
        if let Ok(address) = host.parse::<IpAddr>() {
            let address = SocketAddr::new(address, port);
            self.judge(host, address)?;
            return Ok(vec![address]);
        }
        let found = self.resolver.resolve(host).await.map_err(|e| match e {
            ResolveError::NoSuchName => ConnectFailure::NoSuchName,
            ResolveError::Failed(why) => ConnectFailure::Resolver(why),
            ResolveError::Down(why) => {
                tracing::debug!(why, "no name server answers");
                ConnectFailure::Own(OwnFault::Resolver)
            }
        })?;
        if found.is_empty() {
            return Err(ConnectFailure::NoSuchName);
        }
        for address in &found {
            self.judge(host, SocketAddr::new(*address, port))?;
        }
        Ok(in_dialling_order(&found, port))
    }

    fn judge(&self, host: &str, peer: SocketAddr) -> Result<(), ConnectFailure> {
        let judged = self.egress.check_peer(host, peer);
        judged.map_err(ConnectFailure::Blocked)
    }
}

/// Alternates between the address families, so that a broken one costs one head start.
fn in_dialling_order(found: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let (mut v6, mut v4): (Vec<_>, Vec<_>) = found.iter().partition(|a| a.is_ipv6());
    v6.reverse();
    v4.reverse();
    let mut order = Vec::with_capacity(found.len().min(MAX_DIALLED));
    while order.len() < MAX_DIALLED {
        let Some(address) = v6.pop().or_else(|| v4.pop()) else {
            break;
        };
        order.push(SocketAddr::new(address, port));
        if let Some(address) = v4.pop() {
            order.push(SocketAddr::new(address, port));
        }
    }
    order.truncate(MAX_DIALLED);
    order
}

/// The first connection that succeeds. Each address is dialled when the one before has failed or
/// had its head start.
async fn dial(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter();
    let Some(first) = waiting.next() else {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    };
    if waiting.as_slice().is_empty() {
        return dial_one(*first).await;
    }
    let mut dialling = FuturesUnordered::new();
    dialling.push(dial_one(*first));
    loop {
        let head_start = tokio::time::sleep(NEXT_ADDRESS_AFTER);
        // Biased: an established connection wins over dialling the next address. Dropping the other
        // dials closes them.
        tokio::select! {
            biased;
            Some(connected) = dialling.next() => match (connected, waiting.next()) {
                (Ok(tcp), _) => return Ok(tcp),
                (Err(_), Some(next)) => dialling.push(dial_one(*next)),
                (Err(e), None) if dialling.is_empty() => return Err(e),
                (Err(_), None) => {}
            },
            () = head_start, if !waiting.as_slice().is_empty() => {
                dialling.extend(waiting.next().copied().map(dial_one));
            }
        }
    }
}

/// Without IPv6, a machine reports the same error for an IPv6 address as for IPv4 when it has no
/// ports left. Only the latter is the worker's own fault.
async fn dial_one(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(address).await.map_err(|error| {
        if address.is_ipv6() && error.kind() == io::ErrorKind::AddrNotAvailable {
            io::ErrorKind::NetworkUnreachable.into()
        } else {
            error
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let found = [ip("1.1.1.1"), ip("1.1.1.2"), ip("2600::1"), ip("1.1.1.3")];
        let order: Vec<String> = in_dialling_order(&found, 80)
            .iter()
            .map(|a| a.ip().to_string())
            .collect();
        assert_eq!(order, ["2600::1", "1.1.1.1", "1.1.1.2", "1.1.1.3"]);
        assert_eq!(in_dialling_order(&vec![ip("1.1.1.1"); 50], 80).len(), 8);
    }
}
