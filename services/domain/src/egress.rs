//! Which targets may be called: the guard against server-side request forgery, as plain rules over URLs, addresses and headers.
//!
//! A task's URL is chosen by a client, the call is made from inside our network. So every address is judged three times by the same
//! rules: literals when the task is created, every address a name resolves to before a connection, and the peer of the connection
//! itself, since a name may resolve differently each time (rebinding). The rules refuse what is not a global unicast address; an
//! operator opens more with an allow-list.
//!
//! - [`address`]: what an IP address is for.
//! - [`target`]: what a URL may look like.
//! - [`header`]: which headers a task may set.

pub mod address;
pub mod header;
pub mod target;

use std::net::IpAddr;

use ipnet::IpNet;

pub use address::{BlockReason, Blocked};
pub use header::{HeaderRefused, check_header};
pub use target::TargetRefused;

/// The policy of one deployment. The default allows global unicast addresses only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    allowed_nets: Vec<IpNet>,
    /// Lower case, without a trailing dot. What they resolve to is not judged.
    allowed_hosts: Vec<String>,
    denied_nets: Vec<IpNet>,
}

/// An entry of an allow- or deny-list that is neither a network, an address nor a host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no network (10.0.0.0/8), no address (127.0.0.1, ::1) and no host name (sink.example)"
)]
pub struct BadEgressEntry(pub String);

impl Egress {
    /// Global unicast addresses only.
    #[must_use]
    pub fn strict() -> Self {
        Self::default()
    }

    /// Loopback too: for one machine, where the targets a newcomer tries run beside the server.
    #[must_use]
    pub fn loopback() -> Self {
        Self {
            allowed_nets: vec![
                IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8),
                IpNet::from(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16])),
            ],
            ..Self::default()
        }
    }

    /// Also what these entries name: networks, addresses, or hosts, which are trusted whatever they resolve to.
    pub fn allowing<S: AsRef<str>>(
        entries: impl IntoIterator<Item = S>,
    ) -> Result<Self, BadEgressEntry> {
        Self::strict().and_allowing(entries)
    }

    /// As [`Egress::allowing`], on top of this policy.
    pub fn and_allowing<S: AsRef<str>>(
        mut self,
        entries: impl IntoIterator<Item = S>,
    ) -> Result<Self, BadEgressEntry> {
        for entry in entries {
            let entry = entry.as_ref().trim();
            match net(entry) {
                Some(net) => self.allowed_nets.push(net),
                None => self.allowed_hosts.push(host_name(entry)?),
            }
        }
        Ok(self)
    }

    /// Refuses these networks even where an allow-list opens them: the deployment's own nodes, for example.
    pub fn and_denying<S: AsRef<str>>(
        mut self,
        networks: impl IntoIterator<Item = S>,
    ) -> Result<Self, BadEgressEntry> {
        for entry in networks {
            let entry = entry.as_ref().trim();
            let net = net(entry).ok_or_else(|| BadEgressEntry(entry.to_owned()))?;
            self.denied_nets.push(net);
        }
        Ok(self)
    }

    /// Whether that address may be connected to.
    pub fn check(&self, address: IpAddr) -> Result<(), Blocked> {
        let address = address.to_canonical();
        if self.denied_nets.iter().any(|net| net.contains(&address)) {
            return Err(Blocked {
                reason: BlockReason::Denied,
            });
        }
        let Err(blocked) = address::judge(address) else {
            return Ok(());
        };
        if self.opens(address, blocked.reason) {
            Ok(())
        } else {
            Err(blocked)
        }
    }

    /// Whether that name is trusted whatever it resolves to.
    #[must_use]
    pub fn allows_host(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.allowed_hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(host))
    }

    /// A metadata service hands out the machine's credentials, so a wide network does not open it, only its own address does.
    fn opens(&self, address: IpAddr, reason: BlockReason) -> bool {
        self.allowed_nets.iter().any(|net| {
            net.contains(&address)
                && (reason != BlockReason::Metadata || net.prefix_len() == net.max_prefix_len())
        })
    }

    /// Whether this address is one the operator named.
    fn names(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed_nets.iter().any(|net| net.contains(&address))
    }

    /// Nothing is opened beyond the strict rules, by address.
    fn opens_no_network(&self) -> bool {
        self.allowed_nets.is_empty()
    }
}

fn net(entry: &str) -> Option<IpNet> {
    let net: IpNet = match entry.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address.to_canonical()),
        Err(_) => entry.parse().ok()?,
    };
    Some(net.trunc())
}

fn host_name(entry: &str) -> Result<String, BadEgressEntry> {
    let bad = || BadEgressEntry(entry.to_owned());
    match url::Host::parse(entry.strip_suffix('.').unwrap_or(entry)).map_err(|_| bad())? {
        url::Host::Domain(name) if !name.is_empty() => Ok(name),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_allow_list_opens_what_it_names_and_nothing_else() {
        let egress = Egress::allowing(["10.1.0.0/16", "::1", "sink.internal."]).expect("valid");
        for open in ["10.1.2.3", "::ffff:10.1.2.3", "::1", "8.8.8.8"] {
            assert_eq!(egress.check(ip(open)), Ok(()), "{open}");
        }
        for shut in ["10.2.0.1", "127.0.0.1", "fe80::1"] {
            assert!(egress.check(ip(shut)).is_err(), "{shut}");
        }
        assert!(egress.allows_host("SINK.internal"));
        assert!(!egress.allows_host("other.internal"));
    }

    #[test]
    fn a_metadata_service_is_opened_by_its_own_address_only() {
        let wide = Egress::allowing(["0.0.0.0/0", "fd00::/8"]).expect("valid");
        assert!(wide.check(ip("169.254.169.254")).is_err());
        assert!(wide.check(ip("fd00:ec2::254")).is_err());
        assert_eq!(wide.check(ip("169.254.1.1")), Ok(()));
        let exact = Egress::allowing(["169.254.169.254"]).expect("valid");
        assert_eq!(exact.check(ip("169.254.169.254")), Ok(()));
    }

    #[test]
    fn a_denied_network_wins_over_an_allowed_one() {
        let egress = Egress::loopback()
            .and_denying(["127.0.0.53", "9.9.9.0/24"])
            .expect("valid");
        assert_eq!(egress.check(ip("127.0.0.1")), Ok(()));
        for shut in ["127.0.0.53", "::ffff:127.0.0.53", "9.9.9.9"] {
            assert!(egress.check(ip(shut)).is_err(), "{shut}");
        }
    }

    #[test]
    fn loopback_is_both_families() {
        let egress = Egress::loopback();
        for open in ["127.0.0.1", "127.255.0.1", "::1"] {
            assert_eq!(egress.check(ip(open)), Ok(()), "{open}");
        }
        assert!(egress.check(ip("10.0.0.1")).is_err());
    }

    #[test]
    fn nonsense_in_a_list_is_named() {
        for bad in ["10.0.0.0/33", "", "two words", "http://x"] {
            assert_eq!(
                Egress::allowing([bad]),
                Err(BadEgressEntry(bad.to_owned())),
                "{bad}"
            );
        }
    }
}
