//! The configuration: one file and the environment over it, checked as a whole at the start.
//!
//! Every setting `a.b` of the file is also the variable `WAYBILL__A__B`. Lists are separated by commas there.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::Url;
use waybill_domain::access::key::{FOREIGN_BRAND, is_brand};
use waybill_domain::access::plan::Catalogue;
use waybill_domain::audit::TrustedKeys;
use waybill_domain::audit::tree::{MAX_DEPLOYMENT, is_deployment};
use waybill_domain::egress::{BadEgressEntry, Egress, OwnPorts};
use waybill_domain::partition::{MAX_PARTITIONS, PartitionCount};
use waybill_gateway::GatewayConfig;
use waybill_gateway::faces::keys::KeyReporters;
use waybill_gateway::refusals::RefusalTimes;
use waybill_log::jetstream::NatsConfig;
use waybill_projector::ProjectorConfig;
use waybill_worker::RetentionConfig;

use crate::descriptors;
use crate::people::{AuthSection, MailSection, OidcSection};

/// Read when no other file is named.
const DEFAULT_FILE: &str = "waybill.toml";
/// Variables that hold a list, and their settings. The last one wins.
const LISTS: [(&str, &str); 8] = [
    ("WAYBILL__GATEWAY__KEY_BRANDS", "gateway.key_brands"),
    (
        "WAYBILL__GATEWAY__TRUSTED_PROXIES",
        "gateway.trusted_proxies",
    ),
    ("WAYBILL__GATEWAY__CORS_ORIGINS", "gateway.cors_origins"),
    ("WAYBILL__WORKER__ALLOW_TARGETS", "worker.allow_targets"),
    ("WAYBILL__WORKER__DENY_TARGETS", "worker.deny_targets"),
    ("WAYBILL__NATS__SERVERS", "nats.servers"),
    ("WAYBILL__NATS__SIGNATURES__KEYS", "nats.signatures.keys"),
    ("NATS_URL", "nats.servers"),
];
/// What switches a listener off.
const OFF: &str = "off";

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Folder of everything that this process keeps. Its secrets are in it too, with `waybill up`.
    pub data: PathBuf,
    /// Where Prometheus finds the metrics; `off`: nowhere. Metrics carry no secrets, but belong inside.
    pub metrics_listen: String,
    /// What is logged, and how.
    pub log: LogConfig,
    /// Where traces go.
    pub telemetry: TelemetryConfig,
    /// How to reach NATS. `NATS_URL` sets `nats.servers`.
    pub nats: NatsConfig,
    /// The API.
    pub gateway: GatewaySection,
    /// Passwords and sessions of people.
    pub auth: AuthSection,
    /// How mail leaves.
    pub mail: MailSection,
    /// Outside issuers that people can sign in with.
    pub oidc: Vec<OidcSection>,
    /// Callouts.
    pub worker: WorkerSection,
    /// Read models.
    pub projector: ProjectorSection,
    /// The signed activity log.
    pub audit: AuditSection,
    /// The private nats-server of `waybill up`.
    pub up: UpSection,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "data".into(),
            metrics_listen: "127.0.0.1:9464".into(),
            log: LogConfig::default(),
            telemetry: TelemetryConfig::default(),
            nats: NatsConfig::default(),
            gateway: GatewaySection::default(),
            auth: AuthSection::default(),
            mail: MailSection::default(),
            oidc: Vec::new(),
            worker: WorkerSection::default(),
            projector: ProjectorSection::default(),
            audit: AuditSection::default(),
            up: UpSection::default(),
        }
    }
}

/// The private nats-server of `waybill up`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UpSection {
    /// MiB that all streams together may take of the disk. Unset: computed at the first start from what is free, and kept.
    pub max_file_store_mib: Option<u64>,
}

impl UpSection {
    /// In bytes.
    pub(crate) fn max_file_store(&self) -> Option<u64> {
        self.max_file_store_mib
            .map(|mib| mib.saturating_mul(1 << 20))
    }
}

/// What is logged, and how. Logs go to standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogConfig {
    /// `pretty` for people, `json` for machines.
    pub format: LogFormat,
    /// What is logged: a level, or directives such as `info,waybill_worker=debug`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Pretty,
            // The stores below the read models tell at `info` what interests their makers.
            filter: "info,async_nats=warn,fjall=warn,lsm_tree=warn".into(),
        }
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Where traces go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TelemetryConfig {
    /// OTLP over HTTP, such as `http://localhost:4318`. Unset: traces are not exported.
    pub otlp_endpoint: Option<String>,
}

/// The API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GatewaySection {
    /// Address of the API.
    pub listen: SocketAddr,
    /// Origins that browsers may call from; `*` allows all. Empty: none.
    pub cors_origins: Vec<String>,
    /// Seconds that requests in flight may take to finish when the gateway stops.
    pub drain_seconds: u64,
    /// Seconds for which `/readyz` says no before the gateway stops, so that a load balancer can turn away first.
    pub drain_notice_seconds: u64,
    /// Connections open at a time.
    pub max_connections: usize,
    /// How many of them one network (IPv4 /32, IPv6 /64) may hold; trusted proxies any number. Unset: half of them.
    pub max_connections_per_network: Option<usize>,
    /// What API keys may begin with; whoever makes one may choose, else it begins with the first. `sk` is accepted too, and never made.
    pub key_brands: Vec<String>,
    /// Proxies (addresses or networks) whose word on a client's address, `X-Forwarded-For`, is believed.
    pub trusted_proxies: Vec<String>,
    /// File with plans and limits (see ops/plans). Unset: the built-in ones.
    pub plans_file: Option<PathBuf>,
    /// Who may report API keys that were found in the open, in the shape of GitHub's secret scanning. Empty: nobody.
    pub key_reporters: Vec<KeyReporterSection>,
    /// Whether owners may change the plan of their teams themselves.
    pub plan_self_service: bool,
    /// Seconds between two rounds in which refused attempts are told to the activity log.
    pub refusals_seconds: u64,
    /// Events about refused attempts that one gateway writes in a minute at most.
    pub refusals_per_minute: u32,
}

impl Default for GatewaySection {
    fn default() -> Self {
        let gateway = GatewayConfig::default();
        Self {
            listen: gateway.listen,
            cors_origins: gateway.cors_origins,
            drain_seconds: gateway.drain_timeout.as_secs(),
            drain_notice_seconds: gateway.drain_notice.as_secs(),
            max_connections: gateway.max_connections,
            max_connections_per_network: gateway.max_connections_per_network,
            key_brands: gateway.key_brands,
            trusted_proxies: Vec::new(),
            plans_file: None,
            key_reporters: Vec::new(),
            plan_self_service: gateway.plan_self_service,
            refusals_seconds: gateway.refusals.pause.as_secs(),
            refusals_per_minute: gateway.refusals.per_minute,
        }
    }
}

/// A key that reports of leaked API keys are signed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyReporterSection {
    /// Who signs with it, as the activity log says.
    pub name: String,
    /// What the reporter calls the key.
    pub identifier: String,
    /// The public key: P-256, as PEM.
    pub public_key: String,
}

/// Callouts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WorkerSection {
    /// Name of the worker, unique among all. Unset: the host's name and a random part.
    pub name: Option<String>,
    /// Calls made at once, as far as the limit of file descriptors allows.
    pub slots: usize,
    /// Calls made at once to one host. Unset: half of `slots`.
    pub slots_per_host: Option<usize>,
    /// Calls made at once for one team. Unset: seven eighths of what is not set apart for webhooks and for hosts that answer.
    pub slots_per_team: Option<usize>,
    /// Seconds that calls in flight may go on when the worker stops or leaves a partition to another one; then they are cut short,
    /// and made again without using up a retry.
    pub drain_seconds: u64,
    /// Targets inside your own network that may be called all the same: addresses, networks (`10.1.0.0/16`) or host names.
    /// The gateway reads this too, to refuse at creation what could not be called.
    pub allow_targets: Vec<String>,
    /// Targets that may not be called, whatever else allows them: addresses, networks or host names, such as your own nodes.
    pub deny_targets: Vec<String>,
    /// Whether tasks may call this machine (`127.0.0.0/8`, `::1`, `localhost`). Unset: only under `waybill up`, for trying things, and
    /// there only while the API itself listens on loopback. The ports of Waybill itself are refused in any case.
    pub loopback_targets: Option<bool>,
    /// Certificate authorities trusted beside the system's, as PEM.
    pub extra_ca_file: Option<PathBuf>,
    /// Memory for recent tasks, so that they need not be read back from the log.
    pub cache_mib: usize,
}

impl Default for WorkerSection {
    fn default() -> Self {
        Self {
            name: None,
            slots: 512,
            slots_per_host: None,
            slots_per_team: None,
            drain_seconds: 900,
            allow_targets: Vec::new(),
            deny_targets: Vec::new(),
            loopback_targets: None,
            extra_ca_file: None,
            cache_mib: 32,
        }
    }
}

/// Read models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProjectorSection {
    /// Memory for blocks of the read model.
    pub cache_mib: u64,
}

impl Default for ProjectorSection {
    fn default() -> Self {
        Self {
            cache_mib: ProjectorConfig::default().cache_bytes >> 20,
        }
    }
}

/// The signed activity log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AuditSection {
    /// Name of the deployment, in every checkpoint for ever.
    pub deployment: String,
    /// File with public keys that signed before (see `waybill_domain::audit::note`): a line each, `<key> <from> <until>`.
    pub older_keys: Option<PathBuf>,
}

impl Default for AuditSection {
    fn default() -> Self {
        Self {
            deployment: "default".into(),
            older_keys: None,
        }
    }
}

impl AuditSection {
    /// What the key that signs calls itself.
    pub(crate) fn key_name(&self) -> String {
        format!("waybill/{}", self.deployment)
    }
}

/// A variable of the environment. One that is set to nothing counts as unset, as compose files set what is not given.
pub(crate) fn environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|text| !text.is_empty())
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// Not readable, or not what was expected there.
    #[error("configuration: {0}")]
    Source(#[from] config::ConfigError),
    /// A value that will not do.
    #[error("configuration: {setting}: {reason}")]
    Value {
        /// As in the file.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Config {
    /// Reads the file and the environment.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let builder = config::Config::builder();
        let builder = match file {
            Some(file) => {
                builder.add_source(config::File::from(file).format(config::FileFormat::Toml))
            }
            None => builder.add_source(
                config::File::new(DEFAULT_FILE, config::FileFormat::Toml).required(false),
            ),
        };
        let variables = config::Environment::with_prefix("WAYBILL")
            .prefix_separator("__")
            .separator("__")
            .ignore_empty(true);
        let mut builder = builder.add_source(variables);
        for (variable, setting) in LISTS {
            if let Some(text) = environment(variable) {
                let entries: Vec<_> = text
                    .split(',')
                    .map(|entry| entry.trim().to_owned())
                    .collect();
                builder = builder.set_override(setting, entries)?;
            }
        }
        let config: Self = builder.build()?.try_deserialize()?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |setting, reason: String| Err(ConfigError::Value { setting, reason });
        if PartitionCount::new(self.nats.streams.partitions).is_none() {
            let count = self.nats.streams.partitions;
            return wrong(
                "nats.streams.partitions",
                format!("must be between 1 and {MAX_PARTITIONS}, not {count}"),
            );
        }
        if !(1..=100_000).contains(&self.worker.slots) {
            return wrong(
                "worker.slots",
                format!("must be between 1 and 100000, not {}", self.worker.slots),
            );
        }
        for (setting, cap) in [
            ("worker.slots_per_host", self.worker.slots_per_host),
            ("worker.slots_per_team", self.worker.slots_per_team),
        ] {
            if let Some(cap) = cap.filter(|cap| !(1..=100_000).contains(cap)) {
                return wrong(setting, format!("must be between 1 and 100000, not {cap}"));
            }
        }
        if let Some(name) = &self.worker.name
            && !(1..=100).contains(&name.len())
        {
            return wrong("worker.name", "must be 1 to 100 characters".into());
        }
        if !is_deployment(&self.audit.deployment) {
            return wrong(
                "audit.deployment",
                format!(
                    "must be 1 to {MAX_DEPLOYMENT} lower-case letters, digits, - and ., not {:?}",
                    self.audit.deployment
                ),
            );
        }
        if self.nats.servers.is_empty() {
            return wrong("nats.servers", "must name at least one server".into());
        }
        if let Some(endpoint) = &self.telemetry.otlp_endpoint
            && endpoint
                .strip_prefix("http://")
                .is_none_or(|host| host.trim_matches('/').is_empty())
        {
            // A collector beside the process or in its network is the usual way; it speaks TLS to whoever is further away.
            return wrong(
                "telemetry.otlp_endpoint",
                format!("must be an http:// URL such as http://localhost:4318, not {endpoint:?}"),
            );
        }
        if !(1..=3600).contains(&self.gateway.refusals_seconds) {
            return wrong(
                "gateway.refusals_seconds",
                format!(
                    "must be between 1 and 3600, not {}",
                    self.gateway.refusals_seconds
                ),
            );
        }
        if !(2..=6000).contains(&self.gateway.refusals_per_minute) {
            return wrong(
                "gateway.refusals_per_minute",
                format!(
                    "must be between 2 and 6000, not {}",
                    self.gateway.refusals_per_minute
                ),
            );
        }
        self.auth.check()?;
        self.mail.check()?;
        self.metrics_address()?;
        self.egress(false, self.gateway.listen)?;
        Ok(())
    }

    /// Where the metrics are served, if they are.
    pub(crate) fn metrics_address(&self) -> Result<Option<SocketAddr>, ConfigError> {
        if self.metrics_listen == OFF {
            return Ok(None);
        }
        match self.metrics_listen.parse() {
            Ok(address) => Ok(Some(address)),
            Err(_) => Err(ConfigError::Value {
                setting: "metrics_listen",
                reason: format!("must be ADDR:PORT or {OFF}, not {:?}", self.metrics_listen),
            }),
        }
    }

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

    /// Partitions of the log.
    #[must_use]
    pub(crate) fn partitions(&self) -> PartitionCount {
        PartitionCount::new(self.nats.streams.partitions).unwrap_or_default()
    }

    /// How long ended tasks are kept. Any age is safe: what is open stays.
    #[must_use]
    pub(crate) fn retention(&self) -> RetentionConfig {
        let streams = &self.nats.streams;
        let defaults = RetentionConfig::default();
        let or = |seconds: Option<u64>, default| seconds.map_or(default, Duration::from_secs);
        RetentionConfig {
            age: or(streams.tasks_max_age_s, defaults.age),
            min_history: or(streams.tasks_min_history_s, defaults.min_history),
        }
    }

    /// The gateway's own configuration.
    pub(crate) fn gateway(&self, embedded: bool) -> Result<GatewayConfig, ConfigError> {
        let defaults = GatewayConfig::default();
        Ok(GatewayConfig {
            listen: self.gateway.listen,
            is_local: embedded,
            cors_origins: self.gateway.cors_origins.clone(),
            drain_timeout: Duration::from_secs(self.gateway.drain_seconds),
            drain_notice: Duration::from_secs(self.gateway.drain_notice_seconds),
            max_connections: descriptors::connections(self.gateway.max_connections),
            max_connections_per_network: self.gateway.max_connections_per_network,
            key_brands: self.key_brands()?,
            trusted_proxies: self.trusted_proxies()?,
            plans: self.plans()?,
            key_reporters: self.key_reporters()?,
            plan_self_service: self.gateway.plan_self_service,
            refusals: RefusalTimes {
                pause: Duration::from_secs(self.gateway.refusals_seconds),
                per_minute: self.gateway.refusals_per_minute,
            },
            egress: self.egress(embedded, self.gateway.listen)?,
            ..defaults
        })
    }

    fn key_brands(&self) -> Result<Vec<String>, ConfigError> {
        let brands = &self.gateway.key_brands;
        let makes_some = brands.iter().any(|brand| brand != FOREIGN_BRAND);
        match brands.iter().find(|brand| !is_brand(brand)) {
            None if makes_some => Ok(brands.clone()),
            _ => Err(ConfigError::Value {
                setting: "gateway.key_brands",
                reason: format!(
                    "must hold brands of 2 to 8 lower-case letters, at least one besides {FOREIGN_BRAND}, which is never made"
                ),
            }),
        }
    }

    fn key_reporters(&self) -> Result<KeyReporters, ConfigError> {
        let mut reporters = KeyReporters::default();
        for reporter in &self.gateway.key_reporters {
            let (identifier, key) = (&reporter.identifier, &reporter.public_key);
            reporters = reporters
                .trusting(identifier, &reporter.name, key)
                .map_err(|error| ConfigError::Value {
                    setting: "gateway.key_reporters",
                    reason: error.to_string(),
                })?;
        }
        Ok(reporters)
    }

    fn trusted_proxies(&self) -> Result<Vec<IpNet>, ConfigError> {
        let network = |text: &String| {
            let address = text.parse::<IpAddr>().map(IpNet::from);
            text.parse().or(address).map_err(|_| ConfigError::Value {
                setting: "gateway.trusted_proxies",
                reason: format!("{text:?} is neither an address nor a network"),
            })
        };
        self.gateway.trusted_proxies.iter().map(network).collect()
    }

    /// Plans and limits.
    pub(crate) fn plans(&self) -> Result<Arc<Catalogue>, ConfigError> {
        let Some(file) = &self.gateway.plans_file else {
            return Ok(Arc::clone(Catalogue::builtin()));
        };
        let wrong = |reason: String| ConfigError::Value {
            setting: "gateway.plans_file",
            reason: format!("{}: {reason}", file.display()),
        };
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let plans = Catalogue::parse(&text).map_err(|error| wrong(error.to_string()))?;
        Ok(Arc::new(plans))
    }

    /// Keys that signed checkpoints before.
    pub(crate) fn older_notary_keys(&self) -> Result<TrustedKeys, ConfigError> {
        let Some(file) = &self.audit.older_keys else {
            return Ok(TrustedKeys::default());
        };
        let wrong = |reason: String| ConfigError::Value {
            setting: "audit.older_keys",
            reason: format!("{}: {reason}", file.display()),
        };
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        TrustedKeys::parse(&text).map_err(|error| wrong(error.to_string()))
    }

    /// The projector's own configuration.
    #[must_use]
    pub(crate) fn projector(&self) -> ProjectorConfig {
        ProjectorConfig {
            cache_bytes: self.projector.cache_mib << 20,
            ..ProjectorConfig::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::audit::NotaryKey;

    fn parsed(text: &str) -> Result<Config, ConfigError> {
        let built = config::Config::builder()
            .add_source(config::File::from_str(text, config::FileFormat::Toml))
            .build()?;
        let config: Config = built.try_deserialize()?;
        config.check()?;
        Ok(config)
    }

    #[test]
    fn nothing_needs_to_be_set() {
        assert_eq!(
            parsed("").expect("the defaults are fine"),
            Config::default()
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |text: &str| parsed(text).expect_err("refused").to_string();
        assert!(message("[gateway]\nlisten = 'nowhere'").contains("gateway.listen"));
        assert!(
            message("[worker]\nslots = 0")
                .contains("worker.slots: must be between 1 and 100000, not 0")
        );
        assert!(message("[worker]\nslot = 1").contains("slot"));
        assert!(
            message("[worker]\nslots_per_host = 0")
                .contains("worker.slots_per_host: must be between 1 and 100000, not 0")
        );
        assert!(
            message("metrics_listen = 'x'").contains("metrics_listen: must be ADDR:PORT or off")
        );
        assert!(
            message("[worker]\nallow_targets = ['10.0.0.0/99']").contains("worker.allow_targets")
        );
        assert!(
            message("[audit]\ndeployment = 'Eu 1'").contains("audit.deployment: must be 1 to 63")
        );
        for endpoint in ["localhost:4318", "https://collector", "http://"] {
            let text = format!("[telemetry]\notlp_endpoint = '{endpoint}'");
            assert!(message(&text).contains("telemetry.otlp_endpoint: must be an http:// URL"));
        }
        assert!(message("[nats.streams]\npartitions = 5000").contains("nats.streams.partitions"));
    }

    #[test]
    fn keys_that_signed_before_are_read_from_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys");
        let text = format!("[audit]\nolder_keys = '{}'", file.display());
        let config = parsed(&text).expect("fine");
        let error = config.older_notary_keys().expect_err("no such file");
        assert!(error.to_string().contains("audit.older_keys"), "{error}");
        std::fs::write(&file, "nonsense\n").expect("ours");
        let error = config.older_notary_keys().expect_err("no keys");
        assert!(error.to_string().contains("line 1"), "{error}");
        let key = NotaryKey::new("waybill/default", &[7; 32]).expect("a key");
        let line = format!("{} - 2026-11-21T00:00:00Z\n", key.public());
        std::fs::write(&file, line).expect("ours");
        assert_eq!(config.older_notary_keys().expect("keys").all().len(), 1);
        let none = parsed("").expect("fine").older_notary_keys();
        assert!(none.expect("none").all().is_empty());
    }

    #[test]
    fn secrets_are_hidden_when_it_is_shown() {
        let config = parsed("[nats]\nservers = ['nats://u:hunter2@h:4222']\npassword = 'hunter2'")
            .expect("fine");
        let shown = toml::to_string(&config).expect("plain data") + &format!("{config:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
