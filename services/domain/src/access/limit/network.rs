//! The network that a request comes from, as coarse as an attacker can choose addresses.

use std::fmt;
use std::net::IpAddr;

/// A source network: one IPv4 address, or an IPv6 /64, since a subscriber usually has a whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Network {
    /// An IPv4 address.
    V4(u32),
    /// The upper half of an IPv6 address.
    V6(u64),
}

impl Network {
    /// The network of an address. An IPv4 address written as IPv6 (`::ffff:a.b.c.d`) is the IPv4 address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                let upper = [a, b, c, d]
                    .into_iter()
                    .fold(0, |upper, segment| upper << 16 | u64::from(segment));
                Self::V6(upper)
            }
        }
    }
}

/// As a token of a subject: `ip4-7f000001`, `ip6-20010db800000000`.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(bits) => write!(f, "ip4-{bits:08x}"),
            Self::V6(bits) => write!(f, "ip6-{bits:016x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> String {
        Network::of(address.parse().expect("an address")).to_string()
    }

    #[test]
    fn an_ipv6_64_is_one_network_and_a_mapped_ipv4_address_is_ipv4() {
        assert_eq!(of("127.0.0.1"), "ip4-7f000001");
        assert_eq!(of("::ffff:127.0.0.1"), of("127.0.0.1"));
        assert_eq!(of("2001:db8:0:1::1"), "ip6-20010db800000001");
        assert_eq!(of("2001:db8:0:1:ffff::2"), of("2001:db8:0:1::1"));
        assert_ne!(of("2001:db8:0:2::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("127.0.0.1"), of("127.0.0.2"));
    }
}
