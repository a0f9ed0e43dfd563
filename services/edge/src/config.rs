//! The configuration of a gateway, and its fixed limits.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use waybill_domain::access::fence::FenceTiming;
use waybill_domain::access::key::FOREIGN_BRAND;
use waybill_domain::access::plan::Catalogue;
use waybill_domain::egress::Egress;

use crate::auth::admin_key::AdminKey;
use crate::auth::reporters::KeyReporters;
use crate::refusals::RefusalTimes;
use crate::vault::janitor::JanitorTimes;
use waybill_identity::PeopleConfig;

/// Largest body of a request, in bytes.
pub const MAX_BODY_BYTES: usize = 1_048_576;
/// Largest body of a request whose author was not recognised, in bytes: a log-in, a form, never a payload.
pub const MAX_STRANGERS_BODY_BYTES: usize = 16 * 1024;
/// Header block of a request, in bytes: room for a cookie jar and a trace, not for a payload.
pub const MAX_HEADER_BLOCK_BYTES: usize = 32 * 1024;
/// Header lists up to this size are still read to their end over HTTP/2, so that they can be refused with a sentence. h2 answers larger ones
/// with a bare 431, and ends a connection whose block takes more frames than a list of this size needs: its decoder would have to go on.
pub const MAX_EXPLAINED_HEADER_BYTES: u32 = 256 * 1024;
/// Headers of a request.
pub const MAX_HEADERS: usize = 100;
/// Requests that one HTTP/2 connection may have open: what a busy client uses, far from what an attacker wants.
pub const MAX_STREAMS_PER_CONNECTION: u32 = 256;
/// Resets that an HTTP/2 peer may leave unread before it is cut off (rapid reset).
pub const MAX_PENDING_RESETS: usize = 32;
/// How long a request waits at least for a projector or the owner of a partition.
const PATIENCE: Duration = Duration::from_secs(3);
/// Time until the head of an answer. Longer than the longest `?wait=` and than every deadline inside.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(40);

/// The configuration of a gateway.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Where to listen. Port 0: any free one.
    pub listen: SocketAddr,
    /// Origins that browsers may call from, such as `https://app.example`; `*` allows all. Empty: none.
    pub cors_origins: Vec<String>,
    /// Largest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// Bytes of memory for tags and metadata of tasks in event streams.
    pub label_bytes: u64,
    /// How long a client may take to send the head of a request; also how long an idle connection is kept.
    pub header_read_timeout: Duration,
    /// How long a client may take to send a body.
    pub body_read_timeout: Duration,
    /// How long a client may take to read anything of what is sent to it.
    pub write_timeout: Duration,
    /// How long requests in flight may take to finish after a stop was requested.
    pub drain_timeout: Duration,
    /// How long `/readyz` answers 503 before connections are refused, so that a load balancer can turn away first.
    pub drain_notice: Duration,
    /// Connections open at a time; further ones wait in the listener's queue, but for a few on which only probes are answered.
    pub max_connections: usize,
    /// How many of them one network (IPv4 /32, IPv6 /64) may hold; trusted proxies any number. `None`: half of them.
    pub max_connections_per_network: Option<usize>,
    /// Bytes of request bodies that this process holds at a time; one network has at most a quarter of them.
    pub max_body_bytes_in_flight: usize,
    /// Requests that this process answers at a time, but for those that wait for a task by their own wish; one network has at most a quarter of
    /// them. A log that does not answer holds each for seconds.
    pub max_requests_under_way: usize,
    /// How long the servers of the log may take to elect a leader that knows all that was acknowledged. Zero: there is one server.
    pub election: Duration,
    /// How far ahead `delayUntil` may be. The log holds an open task however long that is.
    pub max_delay: Duration,
    /// Targets that may be called. Checked at creation for what needs no name resolution, and again by the worker at every call.
    pub egress: Egress,
    /// Brands, which API keys begin with. A new key takes the requested one, else the first. Keys that begin with `sk` are accepted
    /// too, but never made.
    pub key_brands: Vec<String>,
    /// Plans and limits.
    pub plans: Arc<Catalogue>,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// How long the leases last on which gateways decide requests. The same on every gateway of one log.
    pub fence: FenceTiming,
    /// A loopback listener is its own public address to OAuth clients, where none is configured.
    pub is_local: bool,
    /// Passwords, sessions, mail and outside issuers.
    pub people: PeopleConfig,
    /// How often refused requests are written to the activity log.
    pub refusals: RefusalTimes,
    /// Whether owners may change the plan of their teams themselves.
    pub plan_self_service: bool,
    /// How often uses of credentials are counted in USAGE: what lists show of them is about that old.
    pub usage_flush: Duration,
    /// The key of administrators of the jobs API. `None`: nobody administers it.
    pub admin_key: Option<AdminKey>,
    /// Who may report keys that were found in the open.
    pub key_reporters: KeyReporters,
    /// How often the vault's janitor looks for interrupted work.
    pub janitor: JanitorTimes,
    /// How long tasks that bring the same credential along share a key. Owners of partitions erase such keys by their age, so this is shortened in
    /// tests and never lengthened.
    pub credential_epoch: Duration,
    /// Pause between two probes of the log.
    pub probe_interval: Duration,
    /// Folder that the dashboard is served from, while somebody works on it. `None`: from the binary.
    pub dashboard_from: Option<PathBuf>,
}

impl GatewayConfig {
    /// How long a request waits for a projector, or for the owner of a partition: one that changes hands has an owner again within seconds, and
    /// an election fits into it.
    #[must_use]
    pub fn patience(&self) -> Duration {
        PATIENCE.max(self.election)
    }

    /// Whether `/sink` is there, a target for first tries: where only this machine reaches the gateway, and tasks may call it.
    #[must_use]
    pub fn has_sink(&self) -> bool {
        let here = SocketAddr::new(self.listen.ip(), 80);
        let may_be_called = || self.egress.parse_target(&format!("http://{here}/")).is_ok();
        self.is_local && here.ip().is_loopback() && may_be_called()
    }

    /// The issuer of OAuth tokens: the public address, or for a gateway of one machine the listener's.
    #[must_use]
    pub fn issuer(&self, address: SocketAddr) -> Option<Arc<str>> {
        if let Some(url) = &self.people.public_url {
            return Some(url.as_str().trim_end_matches('/').into());
        }
        let is_own = self.is_local && address.ip().is_loopback();
        is_own.then(|| format!("http://{address}").into())
    }

    /// How many connections one network may hold.
    #[must_use]
    pub fn connections_of_one_network(&self) -> usize {
        let share = self.max_connections_per_network;
        share.unwrap_or(self.max_connections.div_ceil(2))
    }

    /// Brands that new keys may have.
    pub fn minted_brands(&self) -> impl Iterator<Item = &str> {
        let brands = self.key_brands.iter().map(String::as_str);
        brands.filter(|brand| *brand != FOREIGN_BRAND)
    }

    /// The brand of new credentials.
    #[must_use]
    pub fn brand(&self) -> &str {
        self.minted_brands().next().unwrap_or("wb")
    }

    /// Whether all clients look like one. An `https` address is that of a proxy, since a gateway speaks plain HTTP. Unless the proxy is
    /// trusted to name client addresses, what is limited by source address, such as failed attempts to sign in, is limited for everybody
    /// at once.
    #[must_use]
    pub fn hides_clients(&self) -> bool {
        let public = self.people.public_url.as_ref();
        public.is_some_and(|url| url.scheme() == "https") && self.trusted_proxies.is_empty()
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            cors_origins: Vec::new(),
            max_body_bytes: MAX_BODY_BYTES,
            label_bytes: 16 * 1_048_576,
            header_read_timeout: Duration::from_secs(30),
            body_read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(20),
            drain_notice: Duration::ZERO,
            max_connections: 10_000,
            max_connections_per_network: None,
            max_body_bytes_in_flight: 256 * 1_048_576,
            max_requests_under_way: 8_192,
            election: Duration::ZERO,
            max_delay: Duration::from_secs(366 * 86_400),
            egress: Egress::strict(),
            key_brands: ["wb", "sp", "qu", "aitk"].map(str::to_owned).to_vec(),
            plans: Arc::clone(Catalogue::builtin()),
            trusted_proxies: Vec::new(),
            fence: FenceTiming::default(),
            is_local: false,
            people: PeopleConfig::default(),
            refusals: RefusalTimes::default(),
            plan_self_service: false,
            usage_flush: Duration::from_secs(60),
            admin_key: None,
            key_reporters: KeyReporters::default(),
            janitor: JanitorTimes::default(),
            credential_epoch: waybill_domain::vault::epoch::LASTS,
            probe_interval: Duration::from_secs(1),
            dashboard_from: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_https_address_without_a_trusted_proxy_hides_clients() {
        let hides = |public_url: Option<&str>, proxies: &[&str]| {
            let mut config = GatewayConfig::default();
            config.people.public_url = public_url.map(|url| url.parse().expect("a URL"));
            let proxies = proxies.iter();
            config.trusted_proxies = proxies
                .map(|proxy| proxy.parse().expect("a network"))
                .collect();
            config.hides_clients()
        };
        assert!(hides(Some("https://waybill.example"), &[]));
        assert!(!hides(Some("https://waybill.example"), &["10.0.0.0/8"]));
        assert!(!hides(Some("http://127.0.0.1:8080"), &[]));
        assert!(!hides(None, &[]));
    }
}
