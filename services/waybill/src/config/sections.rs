//! The settings: one type for each section of the file. The texts of fields and their defaults are the reference of settings,
//! docs/configuration.md, which [`super::docs`] writes from them.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use waybill_gateway::GatewayConfig;
use waybill_log::jetstream::NatsConfig;

use crate::people::{AuthSection, MailSection, OidcSection};

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub(crate) struct Config {
    /// Folder of everything that a process keeps. With `waybill up` its secrets are in it too.
    pub data: PathBuf,
    /// Address for Prometheus, `/healthz`, and `/readyz` of the worker; `off` switches it off. Metrics hold no secrets, but belong inside.
    pub metrics_listen: String,
    /// MiB of memory for what can be bounded: the caches of all roles that run in a process, and the nats-server that `waybill up` starts. At least 64.
    /// Open tasks come on top, a few hundred bytes each, and what is under way.
    pub memory_mib: u64,
    pub log: LogConfig,
    pub telemetry: TelemetryConfig,
    pub nats: NatsConfig,
    pub gateway: GatewaySection,
    pub plans: PlansSection,
    pub auth: AuthSection,
    pub mail: MailSection,
    pub oidc: Vec<OidcSection>,
    pub worker: WorkerSection,
    pub projector: ProjectorSection,
    pub audit: AuditSection,
    pub up: UpSection,
    /// Set on the command line alone: see `Up::dashboard_from`.
    #[serde(skip)]
    pub dashboard_from: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "data".into(),
            metrics_listen: "127.0.0.1:9464".into(),
            memory_mib: 256,
            log: LogConfig::default(),
            telemetry: TelemetryConfig::default(),
            nats: NatsConfig::default(),
            gateway: GatewaySection::default(),
            plans: PlansSection::default(),
            auth: AuthSection::default(),
            mail: MailSection::default(),
            oidc: Vec::new(),
            worker: WorkerSection::default(),
            projector: ProjectorSection::default(),
            audit: AuditSection::default(),
            up: UpSection::default(),
            dashboard_from: None,
        }
    }
}

/// Which plan teams begin on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub(crate) struct PlansSection {
    /// Plan of a team that is created without a plan. Unset: `enterprise`, which has no limits, or the `default` of `gateway.plans_file`. A team whose
    /// plan no longer exists has the limits of `free`.
    pub default: Option<String>,
}

/// The private nats-server of `waybill up`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub(crate) struct UpSection {
    /// MiB of the disk that all streams together may take. Unset: 60 % of what is free at the first start; it grows with the disk.
    pub max_file_store_mib: Option<u64>,
}

impl UpSection {
    pub(crate) fn max_file_store(&self) -> Option<u64> {
        self.max_file_store_mib
            .map(|mib| mib.saturating_mul(1 << 20))
    }
}

/// What is logged, and how. Logs go to standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub(crate) struct LogConfig {
    /// `pretty` for people, `json` for machines (one object a line).
    #[schemars(with = "String")]
    pub format: LogFormat,
    /// A level, or directives such as `info,waybill_worker=debug`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Pretty,
            // The stores below the read models log details at `info` that only their authors need.
            filter: "info,async_nats=warn,fjall=warn,lsm_tree=warn".into(),
        }
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Where traces go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub(crate) struct TelemetryConfig {
    /// OTLP over HTTP, such as `http://localhost:4318`. Unset: traces are not exported.
    pub otlp_endpoint: Option<String>,
}

/// Settings of the role gateway, which serves the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub(crate) struct GatewaySection {
    /// Address of the API. It speaks plain HTTP: put TLS in front of it.
    pub listen: SocketAddr,
    /// Origins that browsers may call from, such as `https://app.example`; `*` allows all.
    pub cors_origins: Vec<String>,
    /// Seconds that requests in flight may take to finish when the gateway stops.
    pub drain_seconds: u64,
    /// Seconds for which `/readyz` answers 503 before the gateway stops, so that a load balancer can turn away first.
    pub drain_notice_seconds: u64,
    /// Connections open at a time.
    pub max_connections: usize,
    /// How many of them one network (an IPv4 address, an IPv6 /64) may hold. Trusted proxies are not counted. Unset: half of them.
    pub max_connections_per_network: Option<usize>,
    /// Brands, which API keys begin with. A new key has the requested one (`brand`), else the first. Keys with `sk` are accepted too, but never made.
    pub key_brands: Vec<String>,
    /// Proxies (addresses or networks) whose `X-Forwarded-For` is trusted. Without them all clients behind a proxy are one address to limits.
    pub trusted_proxies: Vec<String>,
    /// File with plans and limits, as in `ops/plans`. Unset: the built-in ones.
    pub plans_file: Option<PathBuf>,
    /// Who may report API keys that were found in the open, in the shape of GitHub's secret scanning: [finding leaked keys](leaked-keys.md).
    pub key_reporters: Vec<KeyReporterSection>,
    /// File with the key of administrators of the jobs API (`X-Admin-Key`), at least 16 bytes. Unset: nobody administers organisations by it.
    pub admin_key_file: Option<PathBuf>,
    /// Whether owners may change the plan of their teams. Otherwise only `waybill teams plan` does.
    pub plan_self_service: bool,
    /// Seconds between two rounds in which samples of refused requests are written to the activity log; 1 to 3600.
    pub refusals_seconds: u64,
    /// Samples of refused requests that one gateway writes in a minute at most; 2 to 6000.
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
            admin_key_file: None,
            plan_self_service: gateway.plan_self_service,
            refusals_seconds: gateway.refusals.pause.as_secs(),
            refusals_per_minute: gateway.refusals.per_minute,
        }
    }
}

/// A key that reports of leaked API keys are signed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table of settings")]
pub(crate) struct KeyReporterSection {
    /// The reporter's name, as the activity log shows it.
    pub name: String,
    /// The reporter's name of the key.
    pub identifier: String,
    /// The public key: P-256, as PEM.
    pub public_key: String,
}

/// The worker: how tasks are executed and targets called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub(crate) struct WorkerSection {
    /// Name of the worker in leases and logs; each worker needs another one. Unset: the host's name and a random part.
    pub name: Option<String>,
    /// Calls made at once, 1 to 100000, and at most a quarter of the file descriptors (the soft limit is raised at start). An eighth is for completion
    /// webhooks alone, a quarter for hosts that answer.
    pub slots: usize,
    /// Calls made at once to one host, so that a target that hangs does not stop the others. Unset: half of `worker.slots`.
    pub slots_per_host: Option<usize>,
    /// Calls made at once for one team. Unset: seven eighths of what is not set apart for webhooks and for hosts that answer.
    pub slots_per_team: Option<usize>,
    /// Seconds that calls in flight may go on when a worker stops or leaves a partition to another one; then they are cut short,
    /// and made again without using up a retry.
    pub drain_seconds: u64,
    /// Private targets that may be called all the same: addresses, networks (`10.1.0.0/16`) or host names. For gateways too, which refuse
    /// at creation what could not be called.
    pub allow_targets: Vec<String>,
    /// Targets that may not be called, whatever else allows them: addresses, networks or host names, such as your own nodes.
    pub deny_targets: Vec<String>,
    /// Whether tasks may call this machine (`127.0.0.0/8`, `::1`, `localhost`). Unset: only under `waybill up`, and there only while the API
    /// listens on loopback. The ports of Waybill itself are refused in any case, but for `/healthz` of the API and `/sink`, the target for first tries.
    pub loopback_targets: Option<bool>,
    /// PEM file with certificate authorities that are trusted in calls to targets, besides those of the system.
    pub extra_ca_file: Option<PathBuf>,
    /// MiB of memory for recent tasks, which then need not be read back from the log. Unset: an eighth of `memory_mib`.
    pub cache_mib: Option<usize>,
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
            cache_mib: None,
        }
    }
}

/// Settings of the role projector, which keeps the read models.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub(crate) struct ProjectorSection {
    /// MiB of memory for blocks of the read model; rows that wait to be written to a file may take as much again. Unset: an eighth of `memory_mib`.
    pub cache_mib: Option<u64>,
}

/// The signed activity log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub(crate) struct AuditSection {
    /// Name of the deployment, which stands in every checkpoint for ever: 1 to 63 lower-case letters, digits, `-` and `.`.
    pub deployment: String,
    /// File with public keys that signed before: a line each, `<key> <from> <until>`.
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
    /// The name of the key that signs checkpoints.
    pub(crate) fn key_name(&self) -> String {
        format!("waybill/{}", self.deployment)
    }
}
