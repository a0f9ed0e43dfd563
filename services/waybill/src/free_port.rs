//! A port for a server that may be restarted on it.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use anyhow::{anyhow, bail};

/// Ports below the range from which Linux takes those of outgoing connections (ip(7), `ip_local_port_range`). In that range a client that
/// reconnects while the server is away may be given the very port that it calls. It is then connected to itself, and the server cannot start.
const PORTS: Range<u16> = 10_000..32_768;
/// Ports that are tried.
const TRIES: usize = 100;

/// A TCP port on loopback that was free a moment ago, and that no outgoing connection is given.
///
/// # Errors
/// When none of a hundred ports is free, or there are no random bytes.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    for _ in 0..TRIES {
        // Instances that start at the same time draw other ports.
        let random = getrandom::u32().map_err(|error| anyhow!("no random bytes: {error}"))?;
        let port = PORTS.start + (random % PORTS.len() as u32) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("none of {TRIES} ports of 127.0.0.1 is free")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use anyhow::{Context, ensure};

    use super::*;

    #[test]
    fn outgoing_connections_are_not_given_a_port_of_a_server() -> anyhow::Result<()> {
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
        let lowest = range.split_whitespace().next().context("two numbers")?;
        let lowest: u16 = lowest.parse()?;
        for _ in 0..TRIES {
            let port = free_port()?;
            ensure!(
                port < lowest,
                "{port}; outgoing connections begin at {lowest}"
            );
        }
        Ok(())
    }
}
