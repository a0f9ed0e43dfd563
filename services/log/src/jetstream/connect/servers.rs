//! Chooses the server of a cluster to connect to next.
//!
//! The client library chooses at random among the servers with the fewest failures, including the
//! one that was just left. But a server may accept clients and be useless to them, because it is
//! cut off from the others or about to stop. So a connection rotates: next is the server that it
//! used least recently, unless another one is known to be better.

use std::sync::Arc;

use async_nats::{ReconnectToServer, Server, ServerAddr};
use parking_lot::Mutex;

/// The choice for one connection. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct NextServer {
    // Locked while a few addresses are compared, never across an await.
    turns: Arc<Mutex<Turns>>,
}

#[derive(Debug, Default)]
struct Turns {
    /// Servers that it was or tried to be connected to, the latest one last.
    tried: Vec<ServerAddr>,
    /// The server to prefer for the next connection.
    better: Option<ServerAddr>,
}

impl NextServer {
    /// Chooses among the servers that the client library knows; `None` leaves the choice to it.
    pub(super) fn choose(&self, servers: &[Server]) -> Option<ReconnectToServer> {
        let mut turns = self.turns.lock();
        let addr = turns.choose(servers)?;
        // The library decides the pause between attempts.
        Some(ReconnectToServer { addr, delay: None })
    }

    /// Makes the next connection go to this server.
    pub(super) fn prefer(&self, server: ServerAddr) {
        let mut turns = self.turns.lock();
        turns.better = Some(server);
    }

    /// The servers, least recently used first; the present one is last.
    pub(super) fn in_turn(&self, servers: &[Server]) -> Vec<ServerAddr> {
        let mut turns = self.turns.lock();
        turns.note_first(servers);
        let mut servers: Vec<&Server> = servers.iter().collect();
        servers.sort_by_key(|server| turns.turn(server));
        servers
            .into_iter()
            .map(|server| server.addr.clone())
            .collect()
    }
}

impl Turns {
    fn choose(&mut self, servers: &[Server]) -> Option<ServerAddr> {
        // For the first connection the library tries all of them, in its own order.
        if servers.len() < 2 || !servers.iter().any(|server| server.did_connect) {
            return None;
        }
        self.note_first(servers);
        let better = self.better.take();
        let better = better.filter(|better| servers.iter().any(|server| server.addr == *better));
        let chosen = match better {
            Some(better) => better,
            None => servers
                .iter()
                .min_by_key(|server| (server.failed_attempts, self.turn(server)))?
                .addr
                .clone(),
        };
        self.tried.retain(|tried| *tried != chosen);
        self.tried.push(chosen.clone());
        Some(chosen)
    }

    /// Notes the first server, which the library has chosen itself.
    fn note_first(&mut self, servers: &[Server]) {
        if self.tried.is_empty() {
            let first = servers.iter().find(|server| server.did_connect);
            self.tried.extend(first.map(|server| server.addr.clone()));
        }
    }

    /// Sorting key: lowest for a server that was never used, highest for the latest one.
    fn turn(&self, server: &Server) -> usize {
        let at = self.tried.iter().position(|tried| *tried == server.addr);
        at.map_or(0, |at| at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(port: u16) -> Server {
        Server {
            addr: format!("nats://127.0.0.1:{port}")
                .parse()
                .expect("an address"),
            failed_attempts: 0,
            did_connect: false,
            is_discovered: false,
            last_error: None,
        }
    }

    /// Three servers, connected to the second one.
    fn three() -> [Server; 3] {
        let mut servers = [server(1), server(2), server(3)];
        servers[1].did_connect = true;
        servers
    }

    fn port(next: &NextServer, servers: &[Server]) -> Option<u16> {
        next.choose(servers).map(|chosen| chosen.addr.port())
    }

    #[test]
    fn a_connection_goes_round_and_never_back_to_where_it_was() {
        let (next, servers) = (NextServer::default(), three());
        let ports: Vec<_> = (0..6).filter_map(|_| port(&next, &servers)).collect();
        assert_eq!(ports, [1, 3, 2, 1, 3, 2]);
    }

    #[test]
    fn a_server_that_takes_no_clients_comes_last() {
        let (next, mut servers) = (NextServer::default(), three());
        servers[0].failed_attempts = 1;
        assert_eq!(port(&next, &servers), Some(3));
        servers[2].failed_attempts = 1;
        assert_eq!(port(&next, &servers), Some(2));
    }

    #[test]
    fn a_better_one_is_taken_once() {
        let (next, servers) = (NextServer::default(), three());
        next.prefer(servers[2].addr.clone());
        assert_eq!(port(&next, &servers), Some(3));
        assert_eq!(port(&next, &servers), Some(1));
        next.prefer(server(9).addr);
        assert_eq!(port(&next, &servers), Some(2));
    }

    #[test]
    fn the_one_where_it_is_comes_last_in_turn() {
        let (next, servers) = (NextServer::default(), three());
        let ports = |next: &NextServer| -> Vec<u16> {
            let in_turn = next.in_turn(&servers);
            in_turn.iter().map(ServerAddr::port).collect()
        };
        assert_eq!(ports(&next), [1, 3, 2]);
        assert_eq!(port(&next, &servers), Some(1));
        assert_eq!(ports(&next), [3, 2, 1]);
    }

    #[test]
    fn the_first_connection_and_a_single_server_are_left_to_the_library() {
        let next = NextServer::default();
        assert_eq!(port(&next, &[server(1), server(2)]), None);
        assert_eq!(port(&next, &three()[1..2]), None);
    }
}
