//! Which targets may be called: the protection against server-side request forgery, as plain rules
//! about URLs, addresses and headers.
//!
//! A client chooses a task's URL, but the call comes from inside our network. So the same rules
//! check every address three times: a literal address when the task is created, every address that
//! a name resolves to before connecting, and the peer of the connection itself, since a name may
//! resolve differently each time (DNS rebinding). The rules refuse whatever is not a global unicast
//! address; an operator can allow more.
//!
//! - [`address`]: the purposes of IP addresses.
//! - [`target`]: the accepted forms of a URL.
//! - [`header`]: which headers a task may set.

pub mod address;
pub mod header;
pub mod target;

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use url::Url;

pub use address::{BlockReason, Blocked};
pub use header::{HeaderRefused, check_header};
pub use target::TargetRefused;

/// The policy of one deployment. The default allows global unicast addresses only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    allowed_nets: Vec<IpNet>,
    /// Lower case, without a trailing dot. Whatever they resolve to is allowed.
    allowed_hosts: Vec<String>,
    denied_nets: Vec<IpNet>,
    denied_hosts: Vec<String>,
    own: OwnPorts,
}

/// Ports that this process and its companions listen on. A task must not reach them, whatever else
/// on this machine it may call: services on them trust the local machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnPorts {
    /// Port of the API. A task may call its health page, which reveals nothing and serves as a
    /// first target, and no other page.
    pub api: Option<u16>,
    /// Ports of metrics, NATS and other internal services, which a task may never call.
    pub inside: Vec<u16>,
}

impl OwnPorts {
    fn hold(&self, port: u16) -> bool {
        self.api == Some(port) || self.inside.contains(&port)
    }
}

/// The page of the API that a task may call on this machine, to see a call succeed.
const OWN_PAGE: &str = "/healthz";
/// The target for first tries, which answers as its query says. It is there on a machine that nobody else reaches.
const OWN_SINK: &str = "/sink";

/// An entry of an allow-list or deny-list is neither a network, nor an address, nor a host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no network (10.0.0.0/8), no address (127.0.0.1, ::1) and no host name (sink.example)"
)]
pub struct BadEgressEntry(pub String);

impl Egress {
    /// Allows global unicast addresses only.
    #[must_use]
    pub fn strict() -> Self {
        Self::default()
    }

    /// Also allows loopback: for a single machine, on which a newcomer's targets run beside the
    /// server.
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

    /// Also allows these networks, addresses and hosts. A host is trusted whatever it resolves to.
    pub fn allowing<S: AsRef<str>>(
        entries: impl IntoIterator<Item = S>,
    ) -> Result<Self, BadEgressEntry> {
        Self::strict().and_allowing(entries)
    }

    /// Like [`Egress::allowing`], but extends this policy.
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

    /// Refuses these networks, addresses and hosts even if an allow-list has them: for example the
    /// nodes of the deployment. A host is refused by its name only; if its address has other names,
    /// deny the address.
    pub fn and_denying<S: AsRef<str>>(
        mut self,
        entries: impl IntoIterator<Item = S>,
    ) -> Result<Self, BadEgressEntry> {
        for entry in entries {
            let entry = entry.as_ref().trim();
            match net(entry) {
                Some(net) => self.denied_nets.push(net),
                None => self.denied_hosts.push(host_name(entry)?),
            }
        }
        Ok(self)
    }

    /// Denies tasks access to these ports of this machine.
    #[must_use]
    pub fn and_own_ports(mut self, own: OwnPorts) -> Self {
        self.own = own;
        self
    }

    /// The same once the API listens on that port: the system chooses one if none is configured.
    #[must_use]
    pub fn and_api_port(mut self, port: u16) -> Self {
        self.own.api = Some(port);
        self
    }

    /// Whether a host may be called at an address and port that it resolved to. A trusted name may
    /// resolve to anything that is neither denied nor one of our own ports.
    pub fn check_peer(&self, host: &str, peer: SocketAddr) -> Result<(), Blocked> {
        let address = peer.ip().to_canonical();
        let here = address.is_loopback() || address.is_unspecified();
        if here && self.own.hold(peer.port()) && !self.is_own_page_of(host, peer.port()) {
            return Err(Blocked {
                reason: BlockReason::Denied,
            });
        }
        if self.allows_host(host) {
            self.check_denied(address)
        } else {
            self.check(address)
        }
    }

    /// Whether a connection leads back to one of our own ports, in which case both ends have the
    /// same address.
    pub fn check_connection(
        &self,
        host: &str,
        own: SocketAddr,
        peer: SocketAddr,
    ) -> Result<(), Blocked> {
        let is_here = own.ip().to_canonical() == peer.ip().to_canonical();
        if is_here && self.own.hold(peer.port()) && !self.is_own_page_of(host, peer.port()) {
            return Err(Blocked {
                reason: BlockReason::Denied,
            });
        }
        self.check_peer(host, peer)
    }

    /// Whether the path was already checked, as it is for the API's port on a host that is
    /// certainly this machine. Other names that resolve to this machine were not checked.
    fn is_own_page_of(&self, host: &str, port: u16) -> bool {
        self.own.api == Some(port) && is_this_machine(host)
    }

    /// On this machine, a task may call the health page of the API and its target for first tries, but no other page of ours.
    fn check_own_page(&self, url: &Url) -> Result<(), Blocked> {
        let port = url.port_or_known_default().unwrap_or(0);
        let here = url.host_str().is_some_and(is_this_machine);
        let may_be_called = match url.path() {
            OWN_PAGE => url.query().is_none(),
            path => path == OWN_SINK,
        };
        let is_page = self.own.api == Some(port) && may_be_called;
        if here && self.own.hold(port) && !is_page {
            return Err(Blocked {
                reason: BlockReason::Denied,
            });
        }
        Ok(())
    }

    fn check_denied(&self, address: IpAddr) -> Result<(), Blocked> {
        if self.denied_nets.iter().any(|net| net.contains(&address)) {
            return Err(Blocked {
                reason: BlockReason::Denied,
            });
        }
        Ok(())
    }

    fn denies_host(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let mut denied = self.denied_hosts.iter();
        denied.any(|denied| denied.eq_ignore_ascii_case(host))
    }

    /// Whether connecting to that address is allowed.
    pub fn check(&self, address: IpAddr) -> Result<(), Blocked> {
        let address = address.to_canonical();
        self.check_denied(address)?;
        let Err(blocked) = address::judge(address) else {
            return Ok(());
        };
        if self.opens(address, blocked.reason) {
            Ok(())
        } else {
            Err(blocked)
        }
    }

    /// Whether a name is trusted whatever it resolves to.
    #[must_use]
    pub fn allows_host(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.allowed_hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(host))
    }

    /// A metadata service hands out the machine's credentials, so an allowed network does not open
    /// it; only its own address does.
    fn opens(&self, address: IpAddr, reason: BlockReason) -> bool {
        self.allowed_nets.iter().any(|net| {
            net.contains(&address)
                && (reason != BlockReason::Metadata || net.prefix_len() == net.max_prefix_len())
        })
    }

    /// Whether the operator has listed exactly this address.
    fn names(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed_nets.iter().any(|net| net.contains(&address))
    }

    /// Whether no network is allowed beyond the strict rules.
    fn opens_no_network(&self) -> bool {
        self.allowed_nets.is_empty()
    }
}

/// Whether the host of a URL is certainly this machine: a loopback address or `localhost`.
fn is_this_machine(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    match literal.parse::<IpAddr>() {
        Ok(address) => {
            let address = address.to_canonical();
            address.is_loopback() || address.is_unspecified()
        }
        Err(_) => host.eq_ignore_ascii_case("localhost"),
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

    #[test]
    fn a_task_reaches_no_page_of_ours_but_those_for_first_tries() {
        let egress = Egress::loopback()
            .and_allowing(["localhost", "10.0.0.0/8"])
            .expect("entries")
            .and_own_ports(OwnPorts {
                api: Some(8080),
                inside: vec![9464, 4222],
            });
        for (url, refused) in [
            ("http://127.0.0.1:9000/", false),
            ("http://127.0.0.1:8080/healthz", false),
            ("http://localhost:8080/healthz", false),
            ("http://127.0.0.1:8080/healthz?x", true),
            ("http://127.0.0.1:8080/sink", false),
            ("http://127.0.0.1:8080/sink?fail=2", false),
            ("http://127.0.0.1:9464/sink", true),
            ("http://127.0.0.1:8080/sink/../v1/tasks", true),
            ("http://127.0.0.1:8080/v1/tasks", true),
            ("http://localhost.:9464/metrics", true),
            ("http://[::1]:9464/", true),
            ("http://[::ffff:127.0.0.1]:9464/", true),
            ("http://127.8.8.8:4222/", true),
            ("http://0.0.0.0:9464/", true),
        ] {
            assert_eq!(egress.parse_target(url).is_err(), refused, "{url}");
        }
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        // A foreign name that resolves to this machine is refused even at the API's port: the path
        // was not checked.
        for (host, peer, refused) in [
            ("rebound.example", "127.0.0.1:9464", true),
            ("rebound.example", "127.0.0.1:8080", true),
            ("localhost", "127.0.0.1:9464", true),
            ("localhost", "127.0.0.1:8080", false),
            ("localhost", "127.0.0.1:9000", false),
        ] {
            assert_eq!(
                egress.check_peer(host, at(peer)).is_err(),
                refused,
                "{host} {peer}"
            );
        }
        // The machine's own address in an allowed network is only recognised by the connection
        // itself.
        let (own, peer) = (at("10.0.0.5:50000"), at("10.0.0.5:9464"));
        assert!(egress.check_connection("10.0.0.5", own, peer).is_err());
        let elsewhere = at("10.0.0.6:9464");
        assert!(egress.check_connection("10.0.0.6", own, elsewhere).is_ok());
    }

    #[test]
    fn what_is_denied_stays_so_whatever_is_allowed() {
        let egress = Egress::allowing(["10.0.0.0/8", "trusted.example", "db.example"])
            .and_then(|egress| egress.and_denying(["10.9.0.0/16", "db.example"]))
            .expect("entries");
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert!(
            egress
                .check_peer("trusted.example", at("10.1.0.1:80"))
                .is_ok()
        );
        assert!(
            egress
                .check_peer("trusted.example", at("10.9.0.1:80"))
                .is_err()
        );
        assert!(egress.check_peer("10.9.0.1", at("10.9.0.1:80")).is_err());
        assert!(egress.parse_target("https://db.example/").is_err());
        assert!(egress.parse_target("https://DB.example./").is_err());
    }
}
