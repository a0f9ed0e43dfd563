//! How to reach NATS, and what the streams should be like. Printing any of it hides the secrets.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsConfig {
    /// One or more servers of one cluster.
    pub servers: Vec<ServerUrl>,
    /// Name of this connection in the server's own reports.
    pub name: String,
    /// User, with `password`.
    pub user: Option<String>,
    /// Password, with `user`.
    pub password: Option<Secret>,
    /// Token, instead of user and password.
    pub token: Option<Secret>,
    /// File with a JWT and its key, instead of the others.
    pub credentials_file: Option<PathBuf>,
    /// Transport security.
    pub tls: TlsConfig,
    /// How long a start waits for the server to be there.
    pub connect_timeout_ms: u64,
    /// How long an append or a read may take before its caller is told that the log does not answer; 100 to 60,000. 0: 5,000 with one
    /// copy of every stream, and 10,000 with more, which outlasts the election of a leader.
    pub request_timeout_ms: u64,
    /// What the streams should be like.
    pub streams: StreamsConfig,
    /// Who may say what on CONTROL and in the revocation barrier.
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

/// Transport security of the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Refuse a server that offers none.
    pub required: bool,
    /// Handshake before the server's first word, for servers configured with `handshake_first`.
    pub handshake_first: bool,
    /// Authorities to trust besides those of the system, as PEM.
    pub ca_file: Option<PathBuf>,
    /// Certificate of this client, as PEM, with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Key of this client, as PEM, with `cert_file`.
    pub key_file: Option<PathBuf>,
}

/// Whose signatures count on CONTROL and in the revocation barrier. The same for every role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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

/// What of the streams is chosen by whoever runs them. The rest is in `nats/streams.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamsConfig {
    /// Copies of every stream: 1, or 3 on a cluster.
    pub replicas: u16,
    /// Unit of order and ownership of TASKS. Fixed when the streams are made.
    pub partitions: u16,
    /// How long TASKS keeps events that nobody needs any more; `None`: 30 days. Workers drop what is older.
    pub tasks_max_age_s: Option<u64>,
    /// From which age on they may be dropped earlier, when the log is nearly full; `None`: a day.
    pub tasks_min_history_s: Option<u64>,
    /// How many bytes TASKS may take; `None`: its share of the disk with `waybill up`, else what the stream has. Creations are refused
    /// before it is reached (`log_full`), so that owners have room to drain it.
    pub tasks_max_bytes: Option<u64>,
    /// How long a lease lives without renewal, in whole seconds as the server counts them. 0: 6 with one copy of every stream, and 12
    /// with more, which outlasts the election of a leader.
    pub lease_ttl_s: u64,
    /// Change age, bytes and replicas of existing streams to what is given here. Otherwise a difference is an error at start.
    pub apply_changes: bool,
}

impl Default for StreamsConfig {
    fn default() -> Self {
        Self {
            replicas: 1,
            partitions: 16,
            tasks_max_age_s: None,
            tasks_min_history_s: None,
            tasks_max_bytes: None,
            lease_ttl_s: 0,
            apply_changes: false,
        }
    }
}

impl StreamsConfig {
    pub(super) fn is_replicated(&self) -> bool {
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
