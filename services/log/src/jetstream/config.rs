//! How to reach NATS, and what the streams should be like. Printing any of it hides the secrets.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use waybill_domain::trust::Signer;

/// Printed in place of a secret.
const HIDDEN: &str = "***";

/// A text that neither `Debug` nor `Serialize` shows.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

/// Address of a server, such as `nats://127.0.0.1:4222` or `tls://user:password@nats-1`. A password or token in it is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ServerUrl(String);

impl ServerUrl {
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for ServerUrl {
    fn from(url: T) -> Self {
        Self(url.into())
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("nats", &self.0));
        match rest.rsplit_once('@') {
            Some((_, host)) => write!(f, "{scheme}://{HIDDEN}@{host}"),
            None => write!(f, "{scheme}://{rest}"),
        }
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for ServerUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How to reach NATS and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub struct NatsConfig {
    /// One or more servers of one cluster. If set, `waybill up` starts no server of its own.
    #[schemars(with = "Vec<String>")]
    pub servers: Vec<ServerUrl>,
    /// Name of this connection in the server's own reports.
    pub name: String,
    /// User, with `nats.password`.
    pub user: Option<String>,
    /// Password, with `nats.user`.
    #[schemars(with = "Option<String>")]
    pub password: Option<Secret>,
    /// Token, instead of user and password.
    #[schemars(with = "Option<String>")]
    pub token: Option<Secret>,
    /// File with a JWT and its key, instead of user, password and token.
    pub credentials_file: Option<PathBuf>,
    pub tls: TlsConfig,
    /// Milliseconds that a start waits for the server.
    pub connect_timeout_ms: u64,
    /// Milliseconds that an append or a read may take before its caller learns that the log does not answer; 100 to 60000. 0: 5000 with one
    /// copy of every stream, and 10000 with more, which outlasts the election of a leader.
    pub request_timeout_ms: u64,
    /// How streams are read. `consumers`: new records by a consumer for each reader. `direct`: by direct gets, and hints of the server (`live.>`) say when
    /// there is something new. `accounts`: as `direct`, under the names of `nats/accounts.conf`, with which a role may not make consumers.
    pub reads: Reads,
    pub streams: StreamsConfig,
    pub signatures: SignaturesConfig,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".into()],
            name: "waybill".to_owned(),
            user: None,
            password: None,
            token: None,
            credentials_file: None,
            tls: TlsConfig::default(),
            connect_timeout_ms: 10_000,
            request_timeout_ms: 0,
            reads: Reads::default(),
            streams: StreamsConfig::default(),
            signatures: SignaturesConfig::default(),
        }
    }
}

impl NatsConfig {
    /// Everything by default, but at this address.
    #[must_use]
    pub fn at(url: impl Into<ServerUrl>) -> Self {
        Self {
            servers: vec![url.into()],
            ..Self::default()
        }
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(super) fn request_timeout(&self) -> Duration {
        match self.request_timeout_ms {
            0 if self.streams.is_replicated() => Duration::from_secs(10),
            0 => Duration::from_secs(5),
            millis => Duration::from_millis(millis),
        }
    }
}

/// How streams are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reads {
    /// New records by a consumer for each reader, stored ones by direct gets.
    #[default]
    Consumers,
    /// Everything by direct gets; the server's hints (`live.>`) say when there is something new.
    Direct,
    /// As `direct`, under the names that `nats/accounts.conf` gives to roles, none of which may create consumers.
    Accounts,
}

/// TLS to the servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub struct TlsConfig {
    /// Whether to refuse a server that offers no TLS.
    pub required: bool,
    /// Whether the handshake comes before the server's first message, for servers configured with `handshake_first`.
    pub handshake_first: bool,
    /// PEM file with certificate authorities that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate of this client, with `nats.tls.key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of this client, with `nats.tls.cert_file`.
    pub key_file: Option<PathBuf>,
}

/// Whose signatures count on CONTROL and in the revocation barrier: [signatures](../ops/ACCESS.md#signatures). The same for every role; `waybill up` keeps both
/// settings itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub struct SignaturesConfig {
    /// Public keys, each `<key>`, or `<key> <position>` for one that was replaced and counts up to that position of CONTROL. The public
    /// part of this process's own key need not be named. Without any key, signatures are neither made nor checked.
    pub keys: Vec<String>,
    /// From this position of CONTROL on, records without a valid signature do not count: 1 for a log that was signed from its beginning, or
    /// the position that `waybill signatures require` printed. Unset: the log's own event of that kind is taken, if there is one.
    pub required_from: Option<u64>,
    /// The private key of this process.
    #[serde(skip)]
    pub signer: Option<Signer>,
    /// Requires signatures from now on, unless the log requires them already. Needs a private key of gateways.
    #[serde(skip)]
    pub introduce: bool,
}

/// What an operator chooses of the streams. The rest is in `nats/streams.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub struct StreamsConfig {
    /// Copies of every stream: 1, 3 or 5. More than one needs a cluster of as many servers.
    pub replicas: u16,
    /// Partitions of TASKS, the units of order and ownership; 1 to 1024. Fixed when the streams are made: another number than theirs is
    /// refused. Unset: what TASKS has, and 4 if this process makes it, by `waybill up` and in a cluster alike. Set more before the first
    /// start of an installation that is to have more than four workers.
    pub partitions: Option<u16>,
    /// Seconds that ended tasks and their events are kept. Unset: 30 days. Any age is safe for open tasks.
    pub tasks_max_age_s: Option<u64>,
    /// Seconds that they are kept at least when the log is nearly full. Unset: one day.
    pub tasks_min_history_s: Option<u64>,
    /// Bytes that TASKS may take. Unset: its share of the disk with `waybill up`, else what the stream has. Creations are refused before
    /// it is reached (`log_full`), so that open tasks can still end.
    pub tasks_max_bytes: Option<u64>,
    /// Seconds that a worker that died keeps its partitions. 0: 6 with one copy of every stream, and 12 with more, which outlasts the
    /// election of a leader.
    pub lease_ttl_s: u64,
    /// Whether existing streams are changed to the bytes and replicas that are given here. Otherwise a difference is an error at start.
    pub apply_changes: bool,
}

impl Default for StreamsConfig {
    fn default() -> Self {
        Self {
            replicas: 1,
            partitions: None,
            tasks_max_age_s: None,
            tasks_min_history_s: None,
            tasks_max_bytes: None,
            lease_ttl_s: 0,
            apply_changes: false,
        }
    }
}

impl StreamsConfig {
    /// Whether more than one server keeps each stream.
    #[must_use]
    pub fn is_replicated(&self) -> bool {
        self.replicas > 1
    }

    /// How long a lease lives without renewal.
    #[must_use]
    pub fn lease_ttl(&self) -> Duration {
        Duration::from_secs(match self.lease_ttl_s {
            0 if self.is_replicated() => 12,
            0 => 6,
            seconds => seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_copies_appends_and_leases_outlast_an_election() {
        let mut config = NatsConfig::default();
        let times = |config: &NatsConfig| {
            let (append, lease) = (config.request_timeout(), config.streams.lease_ttl());
            (append.as_secs(), lease.as_secs())
        };
        assert_eq!(times(&config), (5, 6));
        config.streams.replicas = 3;
        assert_eq!(times(&config), (10, 12));
        (config.request_timeout_ms, config.streams.lease_ttl_s) = (2_000, 3);
        assert_eq!(times(&config), (2, 3));
    }

    #[test]
    fn printing_the_configuration_hides_its_secrets() {
        let config = NatsConfig {
            servers: vec!["nats://wally:hunter2@example.test:4222".into()],
            password: Some("hunter2".to_owned().into()),
            token: Some("hunter2".to_owned().into()),
            ..NatsConfig::default()
        };
        let debug = format!("{config:?}");
        let json = serde_json::to_string(&config).expect("plain data");
        for shown in [debug, json] {
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains("nats://***@example.test:4222"), "{shown}");
        }
    }
}
