//! Connections: accepted up to a bound, served with time limits, drained.

mod connection;
mod open;
mod places;
mod stall;
mod unread;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waybill_domain::access::limit::Network;

use self::connection::{Connection, Protocols};
use self::places::{Place, Places, Purpose};
use crate::config::GatewayConfig;
use crate::request::Unread;
use crate::request::source::Peer;

/// Pause after an accept failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts and serves.
pub struct Server {
    pub listener: TcpListener,
    pub router: Router,
    /// Answers what hyper cannot read.
    pub unread: Unread,
    pub config: GatewayConfig,
}

impl Server {
    /// Serves until `stop`, then lets requests in flight finish within the drain limit and cuts off what is left.
    pub async fn run(self, stop: CancellationToken) -> Drained {
        let protocols = Arc::new(Protocols::new(&self.config));
        let places = Places::new(
            self.config.max_connections,
            self.config.connections_of_one_network(),
        );
        let connections = TaskTracker::new();
        let cut_off = CancellationToken::new();
        while let Some((stream, peer, place)) = self.accept(&places, &stop).await {
            // A proxy stands for all of its clients; nobody else holds more than a share.
            let share = if self.is_proxy(peer) {
                None
            } else if let Some(share) = places.share(Network::of(peer.0)) {
                Some(share)
            } else {
                metrics::counter!("waybill_http_connections_refused_total").increment(1);
                continue;
            };
            let purpose = place.purpose;
            let connection = Connection {
                stream,
                peer,
                purpose,
                protocols: Arc::clone(&protocols),
                router: self.router.clone(),
                unread: self.unread.clone(),
                patience: self.config.header_read_timeout,
                write_patience: self.config.write_timeout,
                stop: stop.clone(),
            };
            let cut_off = cut_off.clone();
            connections.spawn(async move {
                let served = async {
                    match purpose {
                        Purpose::Any => connection.serve().await,
                        Purpose::Probe => connection.serve_probe().await,
                    }
                };
                // Cut off at the drain limit: what its request has changed is in the log or is not, as after a lost
                // connection.
                tokio::select! {
                    () = served => {}
                    () = cut_off.cancelled() => {}
                }
                drop((place, share));
                metrics::gauge!("waybill_http_connections").decrement(1);
            });
            metrics::gauge!("waybill_http_connections").increment(1);
        }
        drop(self.listener);
        connections.close();
        let drained = tokio::time::timeout(self.config.drain_timeout, connections.wait()).await;
        cut_off.cancel();
        connections.wait().await;
        if drained.is_ok() {
            Drained::Fully
        } else {
            Drained::CutOff
        }
    }

    fn is_proxy(&self, peer: Peer) -> bool {
        let address = peer.0.to_canonical();
        let proxies = &self.config.trusted_proxies;
        proxies.iter().any(|proxy| proxy.contains(&address))
    }

    /// The next connection; `None` when it is time to stop. A place is taken first: without one, clients wait in the kernel's queue.
    async fn accept(
        &self,
        places: &Places,
        stop: &CancellationToken,
    ) -> Option<(TcpStream, Peer, Place)> {
        let next = async {
            let place = places.next().await?;
            loop {
                match self.listener.accept().await {
                    Ok((stream, peer)) => {
                        return Some((stream, Peer(peer.ip()), places.better(place)));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a connection was not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        // Biased: once it is time to stop, no further connection is taken. A place that was waited for is given back
        // when it is dropped.
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            next = next => next,
        }
    }
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every request in flight was answered.
    Fully,
    /// Some were cut off at the limit.
    CutOff,
}

/// Binds the listener.
pub async fn bind(config: &GatewayConfig) -> io::Result<TcpListener> {
    TcpListener::bind(config.listen).await
}
