//! Where a request comes from.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::Request;
use http::HeaderMap;
use http::header::USER_AGENT;
use ipnet::IpNet;

/// Written by proxies: each adds on the right the address that it was called from.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// What a client calls itself is cut off after so many characters.
const MAX_AGENT_CHARS: usize = 200;

/// The other end of the connection; put into each request by the server.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The client's address: the peer's, or, when that is a trusted proxy, the last address of its list that is not a trusted proxy. What a
/// client itself writes there stands further to the left and is never reached.
pub(super) fn of(request: &Request, proxies: &[IpNet]) -> IpAddr {
    let peer = request.extensions().get::<Peer>();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
    client(peer.to_canonical(), request.headers(), proxies)
}

fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let trusted = |address: &IpAddr| proxies.iter().any(|proxy| proxy.contains(address));
    if !trusted(&peer) {
        return peer;
    }
    let values = headers.get_all(FORWARDED_FOR).iter().rev();
    let hops = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    let mut client = peer;
    for hop in hops {
        // What stands to the left of an unreadable entry is not trusted.
        let Ok(address) = hop.trim().parse::<IpAddr>() else {
            break;
        };
        client = address.to_canonical();
        if !trusted(&client) {
            break;
        }
    }
    client
}

/// What the client calls itself, when that is plain text.
pub(super) fn agent(headers: &HeaderMap) -> Option<Arc<str>> {
    let text = headers.get(USER_AGENT)?.to_str().ok()?.trim();
    let cut: String = text.chars().take(MAX_AGENT_CHARS).collect();
    (!cut.is_empty()).then(|| cut.trim_end().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let proxies: Vec<IpNet> = ["10.0.0.0/8".parse().expect("a network")].into();
        for (peer, forwarded, client_address) in [
            ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
            ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", "1.1.1.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
            ("10.0.0.1", "1.1.1.1, garbage, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(FORWARDED_FOR, HeaderValue::from_static(forwarded));
            let peer = peer.parse().expect("an address");
            let found = client(peer, &headers, &proxies);
            assert_eq!(found.to_string(), client_address, "{forwarded}");
        }
    }

    #[test]
    fn a_clients_name_is_plain_and_short() {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(" curl/8 "));
        assert_eq!(agent(&headers).as_deref(), Some("curl/8"));
        let long = HeaderValue::from_str(&"x".repeat(500)).expect("a header");
        headers.insert(USER_AGENT, long);
        assert_eq!(
            agent(&headers).map(|name| name.len()),
            Some(MAX_AGENT_CHARS)
        );
        headers.insert(
            USER_AGENT,
            HeaderValue::from_bytes(b"\xff").expect("a header"),
        );
        assert_eq!(agent(&headers), None);
    }
}
