//! The configuration: one file and the environment over it, checked as a whole at the start.
//!
//! Every setting `a.b` of the file is also the variable `WAYBILL__A__B`. Lists are separated by commas there.
//! What can be set is in [`sections`]; [`docs`] writes the reference of it.

pub(crate) mod docs;
mod egress;
pub(crate) mod memory;
mod sections;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use waybill_domain::access::fence::FenceTiming;
use waybill_domain::access::key::{FOREIGN_BRAND, is_brand};
use waybill_domain::access::plan::{Catalogue, UNLIMITED_PLAN};
use waybill_domain::audit::TrustedKeys;
use waybill_domain::audit::tree::{MAX_DEPLOYMENT, is_deployment};
use waybill_domain::partition::{MAX_PARTITIONS, PartitionCount};
use waybill_edge::auth::admin_key::AdminKey;
use waybill_edge::auth::reporters::KeyReporters;
use waybill_edge::refusals::RefusalTimes;
use waybill_gateway::GatewayConfig;
use waybill_projector::ProjectorConfig;
use waybill_worker::RetentionConfig;

use crate::output;
use memory::MemoryShares;

pub(crate) use sections::{Config, LogConfig, LogFormat};

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

/// An election of nats-server takes 4 to 9 s, where streams have replicas.
const ELECTION: Duration = Duration::from_secs(10);

/// How long the leases of gateways and workers last: one source for both roles and for the command line, since each of them relies on the
/// leases of the others. A barrier that waited for a shorter time than a lease lasts would return too early.
pub(crate) fn fence_timing() -> FenceTiming {
    FenceTiming::default()
}

/// A variable of the environment. An empty one counts as unset, as compose files pass what is not given.
pub(crate) fn environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|text| !text.is_empty())
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A file that cannot be read, or a value of the wrong type. The source names the setting and the file.
    #[error("configuration")]
    Source(#[from] config::ConfigError),
    /// A value that is not allowed.
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
        let partitions = self.nats.streams.partitions;
        if let Some(count) = partitions.filter(|count| PartitionCount::new(*count).is_none()) {
            return wrong(
                "nats.streams.partitions",
                format!("must be between 1 and {MAX_PARTITIONS}, not {count}"),
            );
        }
        if !(memory::LEAST_MIB..=memory::MOST_MIB).contains(&self.memory_mib) {
            let (least, most, given) = (memory::LEAST_MIB, memory::MOST_MIB, self.memory_mib);
            return wrong(
                "memory_mib",
                format!("must be between {least} and {most}, not {given}"),
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

    /// How long ended tasks are kept. Any age is safe: open tasks stay.
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

    /// The gateway's own configuration. Commands that are no gateway take parts of it, so it judges nothing that only a gateway would use.
    pub(crate) fn gateway(&self, embedded: bool) -> Result<GatewayConfig, ConfigError> {
        let defaults = GatewayConfig::default();
        Ok(GatewayConfig {
            label_bytes: self.memory().labels,
            dashboard_from: self.dashboard_from.clone(),
            listen: self.gateway.listen,
            is_local: embedded,
            cors_origins: self.gateway.cors_origins.clone(),
            drain_timeout: Duration::from_secs(self.gateway.drain_seconds),
            drain_notice: Duration::from_secs(self.gateway.drain_notice_seconds),
            max_connections: self.gateway.max_connections,
            max_connections_per_network: self.gateway.max_connections_per_network,
            key_brands: self.key_brands()?,
            trusted_proxies: self.trusted_proxies()?,
            plans: self.plans()?,
            admin_key: self.admin_key()?,
            key_reporters: self.key_reporters()?,
            plan_self_service: self.gateway.plan_self_service,
            refusals: RefusalTimes {
                pause: Duration::from_secs(self.gateway.refusals_seconds),
                per_minute: self.gateway.refusals_per_minute,
            },
            egress: self.egress(embedded, self.gateway.listen)?,
            fence: fence_timing(),
            election: if self.nats.streams.is_replicated() {
                ELECTION
            } else {
                defaults.election
            },
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

    fn admin_key(&self) -> Result<Option<AdminKey>, ConfigError> {
        let Some(file) = &self.gateway.admin_key_file else {
            return Ok(None);
        };
        let wrong = |reason: String| ConfigError::Value {
            setting: "gateway.admin_key_file",
            reason,
        };
        let text = std::fs::read_to_string(file)
            .map_err(|error| wrong(format!("{} cannot be read: {error}", file.display())))?;
        let key = text.trim();
        if key.len() < AdminKey::MIN_BYTES {
            let least = AdminKey::MIN_BYTES;
            return Err(wrong(format!("the key must have at least {least} bytes")));
        }
        Ok(Some(AdminKey::new(key)))
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

    /// Plans and limits, and which plan teams begin on.
    pub(crate) fn plans(&self) -> Result<Arc<Catalogue>, ConfigError> {
        let catalogue = self.catalogue()?;
        let first = match (&self.plans.default, &self.gateway.plans_file) {
            (Some(named), _) => named.as_str(),
            // A self-hosted system has no limits, unless its operator writes plans.
            (None, None) => UNLIMITED_PLAN,
            (None, Some(_)) => return Ok(Arc::new(catalogue)),
        };
        let names: Vec<String> = catalogue
            .plans()
            .map(|plan| plan.name.to_string())
            .collect();
        match catalogue.beginning_on(first) {
            Some(catalogue) => Ok(Arc::new(catalogue)),
            None => Err(ConfigError::Value {
                setting: "plans.default",
                reason: format!("must be one of {}, not {first:?}", names.join(", ")),
            }),
        }
    }

    fn catalogue(&self) -> Result<Catalogue, ConfigError> {
        let Some(file) = &self.gateway.plans_file else {
            return Ok(Catalogue::clone(Catalogue::builtin()));
        };
        let wrong = |reason: String| ConfigError::Value {
            setting: "gateway.plans_file",
            reason: format!("{}: {reason}", file.display()),
        };
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        Catalogue::parse(&text).map_err(|error| wrong(error.to_string()))
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

    /// What the budget of memory comes to.
    #[must_use]
    pub(crate) fn memory(&self) -> MemoryShares {
        MemoryShares::of(self.memory_mib)
    }

    /// Bytes of memory for recent tasks.
    pub(crate) fn payload_bytes(&self) -> usize {
        let own = self.worker.cache_mib.map(|mib| mib << 20);
        own.unwrap_or_else(|| usize::try_from(self.memory().payloads).unwrap_or(usize::MAX))
    }

    /// The projector's own configuration.
    #[must_use]
    pub(crate) fn projector(&self) -> ProjectorConfig {
        ProjectorConfig {
            cache_bytes: self
                .projector
                .cache_mib
                .map_or(self.memory().read_model, |mib| mib << 20),
            ..ProjectorConfig::default()
        }
    }
}

/// `waybill config`
pub(crate) fn show(config: &Config) -> anyhow::Result<()> {
    write!(output::stdout(), "{}", toml::to_string(config)?)?;
    Ok(())
}
