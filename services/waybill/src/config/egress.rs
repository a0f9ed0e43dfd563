//! Which targets tasks may call, as the configuration says it.

use std::net::{IpAddr, SocketAddr};

use url::Url;
use waybill_domain::egress::{BadEgressEntry, Egress, OwnPorts};

use super::{Config, ConfigError};

impl Config {
    /// Which targets may be called, once the API listens on `api`.
    pub(crate) fn egress(&self, embedded: bool, api: SocketAddr) -> Result<Egress, ConfigError> {
        let mut allowed = self.worker.allow_targets.clone();
        if self.calls_loopback(embedded) {
            allowed.extend(["127.0.0.0/8", "::1/128", "localhost"].map(str::to_owned));
        }
        let wrong = |setting| {
            move |error: BadEgressEntry| ConfigError::Value {
                setting,
                reason: error.to_string(),
            }
        };
        let egress = Egress::allowing(&allowed).map_err(wrong("worker.allow_targets"))?;
        let egress = egress.and_denying(&self.worker.deny_targets);
        let egress = egress.map_err(wrong("worker.deny_targets"))?;
        Ok(egress.and_own_ports(self.own_ports(api)?))
    }

    /// Whether tasks may call this machine.
    pub(crate) fn calls_loopback(&self, embedded: bool) -> bool {
        let to_try_things = embedded && self.gateway.listen.ip().is_loopback();
        self.worker.loopback_targets.unwrap_or(to_try_things)
    }

    /// Where this process and what belongs to it listen on this machine.
    fn own_ports(&self, api: SocketAddr) -> Result<OwnPorts, ConfigError> {
        let is_here = |url: &&Url| {
            let host = url.host_str().unwrap_or_default();
            let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        };
        let servers: Vec<Url> = self
            .nats
            .servers
            .iter()
            // As it is shown, without its password: only the host counts here.
            .filter_map(|server| Url::parse(&server.to_string()).ok())
            .collect();
        let nats = servers.iter().filter(is_here);
        let mut inside: Vec<u16> = nats.map(|url| url.port().unwrap_or(4222)).collect();
        inside.extend(self.metrics_address()?.map(|address| address.port()));
        inside.retain(|port| *port != 0);
        Ok(OwnPorts {
            api: Some(api.port()).filter(|port| *port != 0),
            inside,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parsed;
    use super::*;

    const API: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

    fn peer(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    #[test]
    fn loopback_is_for_trying_things_on_one_machine_unless_it_is_said() {
        let calls = |text: &str, embedded| parsed(text).expect("fine").calls_loopback(embedded);
        assert!(calls("", true), "`waybill up` on loopback");
        assert!(!calls("", false), "a role of its own");
        assert!(!calls("[gateway]\nlisten = '0.0.0.0:8080'", true));
        assert!(!calls("[worker]\nloopback_targets = false", true));
        assert!(calls("[worker]\nloopback_targets = true", false));
    }

    /// Where tenants share a machine with other things, both ways to install it leave those alone.
    #[test]
    fn the_unit_and_the_image_open_no_loopback() {
        let setting = "WAYBILL__WORKER__LOOPBACK_TARGETS=false";
        for file in [
            include_str!("../../../../ops/systemd/waybill.service"),
            include_str!("../../../../Dockerfile"),
        ] {
            let mut lines = file.lines().filter(|line| !line.starts_with('#'));
            assert!(lines.any(|line| line.ends_with(setting)), "{file}");
        }
    }

    #[test]
    fn our_own_ports_and_what_is_denied_stay_closed_whatever_is_allowed() {
        let text = "metrics_listen = '127.0.0.1:9464'\n\
                    [nats]\nservers = ['nats://127.0.0.1:4333', 'nats://nats.example:4222']\n\
                    [worker]\nloopback_targets = true\nallow_targets = ['10.0.0.0/8', 'trusted.example']\n\
                    deny_targets = ['10.1.0.0/16', 'bad.example']";
        let egress = parsed(text)
            .expect("fine")
            .egress(false, API)
            .expect("fine");
        for (host, address, may) in [
            ("127.0.0.1", "127.0.0.1:9000", true),
            ("127.0.0.1", "127.0.0.1:9464", false),
            ("127.0.0.1", "127.0.0.1:4333", false),
            ("trusted.example", "127.0.0.1:9464", false),
            ("10.2.0.1", "10.2.0.1:80", true),
            ("10.1.0.1", "10.1.0.1:80", false),
            ("trusted.example", "10.1.0.1:80", false),
        ] {
            let judged = egress.check_peer(host, peer(address));
            assert_eq!(judged.is_ok(), may, "{host} at {address}");
        }
        for (url, may) in [
            ("http://127.0.0.1:8080/healthz", true),
            ("http://127.0.0.1:8080/v1/tasks", false),
            ("http://localhost:8080/metrics", false),
            ("http://bad.example/", false),
            ("http://good.example/", true),
        ] {
            assert_eq!(egress.parse_target(url).is_ok(), may, "{url}");
        }
    }
}
