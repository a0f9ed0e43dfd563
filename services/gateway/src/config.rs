//! What a gateway can be told, and the limits it keeps.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use waybill_domain::access::fence::FenceTiming;
use waybill_domain::access::key::FOREIGN_BRAND;
use waybill_domain::access::plan::Catalogue;
use waybill_domain::egress::Egress;

use crate::faces::keys::KeyReporters;
use crate::people::PeopleConfig;
use crate::refusals::RefusalTimes;
use crate::vault::janitor::JanitorTimes;

/// Largest body of a request, in bytes.
pub const MAX_BODY_BYTES: usize = 1_048_576;
/// Largest body of a request whose author was not recognised, in bytes: a log-in, a form, never a payload.
pub const MAX_STRANGERS_BODY_BYTES: usize = 16 * 1024;
/// Header block of a request, in bytes: room for a cookie jar and a trace, not for a payload.
pub const MAX_HEADER_BLOCK_BYTES: usize = 32 * 1024;
/// Headers of a request.
pub const MAX_HEADERS: usize = 100;
/// Requests that one HTTP/2 connection may have open: what a busy client uses, far from what an attacker wants.
pub const MAX_STREAMS_PER_CONNECTION: u32 = 256;
/// Resets that an HTTP/2 peer may leave unread before it is cut off (rapid reset).
pub const MAX_PENDING_RESETS: usize = 32;
/// Time until the head of an answer. Longer than the longest `?wait=` and than every deadline inside.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(40);

/// What a gateway can be told.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Where to listen. Port 0: any free one.
    pub listen: SocketAddr,
    /// Origins that browsers may call from, such as `https://app.example`; `*` allows all. Empty: none.
    pub cors_origins: Vec<String>,
    /// Largest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// How long a client may take to send the head of a request; also how long an idle connection is kept.
    pub header_read_timeout: Duration,
    /// How long a client may take to send a body.
    pub body_read_timeout: Duration,
    /// How long a client may take to read anything of what is sent to it.
    pub write_timeout: Duration,
    /// How long requests in flight may take to finish once a stop was asked for.
    pub drain_timeout: Duration,
    /// How long `/readyz` says no before connections are refused, so that a load balancer can turn away first.
    pub drain_notice: Duration,
    /// Connections open at a time; further ones wait in the listener's queue, but for a few on which only probes are answered.
    pub max_connections: usize,
    /// How many of them one network (IPv4 /32, IPv6 /64) may hold; trusted proxies any number. `None`: half of them.
    pub max_connections_per_network: Option<usize>,
    /// Bytes of request bodies that this process holds at a time; one network has at most a quarter of them.
    pub max_body_bytes_in_flight: usize,
    /// How far ahead `delayUntil` may be. The log holds an open task however long that is.
    pub max_delay: Duration,
    /// Targets that may be called. Checked at creation for what needs no name resolution, and again by the worker at every call.
    pub egress: Egress,
    /// What API keys may begin with; whoever makes one may choose, else it begins with the first. Keys that begin with `sk` are accepted
    /// too, and none is made.
    pub key_brands: Vec<String>,
    /// Plans and limits.
    pub plans: Arc<Catalogue>,
    /// Proxies whose word on a client's address (`X-Forwarded-For`) is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long the leases last on which gateways decide requests. The same on every gateway of one log.
    pub fence: FenceTiming,
    /// A loopback listener is its own public address to OAuth clients, where none is configured.
    pub is_local: bool,
    /// Passwords, sessions, mail and outside issuers.
    pub people: PeopleConfig,
    /// How often refused attempts are told to the activity log.
    pub refusals: RefusalTimes,
    /// Whether owners may change the plan of their teams themselves.
    pub plan_self_service: bool,
    /// How often uses of credentials are told to the log: what lists say of them is about that old.
    pub usage_flush: Duration,
    /// Who may report keys that were found in the open.
    pub key_reporters: KeyReporters,
    /// How often what was interrupted in the vault is looked for.
    pub janitor: JanitorTimes,
    /// Pause between two looks at whether the log answers.
    pub probe_interval: Duration,
}

impl GatewayConfig {
    /// How many connections one network may hold.
    #[must_use]
    pub fn connections_of_one_network(&self) -> usize {
        let share = self.max_connections_per_network;
        share.unwrap_or(self.max_connections.div_ceil(2))
    }

    /// What new keys may begin with.
    pub fn minted_brands(&self) -> impl Iterator<Item = &str> {
        let brands = self.key_brands.iter().map(String::as_str);
        brands.filter(|brand| *brand != FOREIGN_BRAND)
    }

    /// What new credentials begin with.
    #[must_use]
    pub fn brand(&self) -> &str {
        self.minted_brands().next().unwrap_or("wb")
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            cors_origins: Vec::new(),
            max_body_bytes: MAX_BODY_BYTES,
            header_read_timeout: Duration::from_secs(30),
            body_read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(20),
            drain_notice: Duration::ZERO,
            max_connections: 10_000,
            max_connections_per_network: None,
            max_body_bytes_in_flight: 256 * 1_048_576,
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
            key_reporters: KeyReporters::default(),
            janitor: JanitorTimes::default(),
            probe_interval: Duration::from_secs(1),
        }
    }
}
