//! Opens the connections and checks that the server and its streams are suitable for the log.
//! [`servers`] chooses the server of the next connection, and [`reach`] leaves a server that does
//! not reach the leaders.

mod reach;
mod servers;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, Event};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::api::Api;
use super::config::{NatsConfig, Reads, ServerUrl};
use super::format;
use super::mail::MailStore;
use super::provision::{Found, ProvisionError, provision};
use super::read::Reader;
use super::stored::ReadConnection;
use super::trust::establish::establish;
use super::{JetStreamLog, Parts};
use crate::Stream;
use crate::frame::MAX_BYTES;
use crate::subject::is_token;
use reach::Watched;
use servers::NextServer;

/// The first version of nats-server with atomic batches.
const REQUIRED_VERSION: (i64, i64, i64) = (2, 12, 0);
/// A dead connection is detected after two of these. It must not take longer, since gateways renew
/// their leases over it.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Longest pause between two attempts to connect.
const RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// Limits of the setting. An append is repeated until this timeout, and the server recognises a
/// repetition for two minutes (`duplicate_window`), so the timeout must stay well below that.
const REQUEST_TIMEOUT_MS: RangeInclusive<u64> = 100..=60_000;

/// Bytes of the largest message of TASKS, with its headers.
const LARGEST_FRAME: usize = MAX_BYTES + 16 * 1024;

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The configuration cannot work.
    #[error("the configuration of NATS is wrong: {0}")]
    Config(String),
    /// No server answered within the time limit, or none accepted the credentials.
    #[error("no NATS server at {servers}: {reason}")]
    Unreachable {
        /// Addresses, without secrets.
        servers: String,
        /// The error of the last attempt.
        reason: String,
    },
    /// The server is too old.
    #[error("nats-server {found} is too old: Waybill needs {required} or newer")]
    TooOld {
        found: String,
        /// The oldest version that is supported.
        required: String,
    },
    /// The streams are not as they must be.
    #[error(transparent)]
    Streams(#[from] ProvisionError),
}

/// Connects, and creates or checks the streams. A connection that is lost later is reopened,
/// without an end.
///
/// # Errors
/// If no suitable server answers within `connect_timeout_ms`, or its streams are not as expected.
pub async fn connect(config: &NatsConfig) -> Result<JetStreamLog, ConnectError> {
    connect_as(config, false).await
}

/// Connects as the only process that uses these streams, and switches TASKS to frames if that has
/// not been done yet. From then on events are appended in frames, which earlier versions cannot
/// read.
///
/// # Errors
/// As [`connect`].
pub async fn connect_alone(config: &NatsConfig) -> Result<JetStreamLog, ConnectError> {
    connect_as(config, true).await
}

async fn connect_as(config: &NatsConfig, is_alone: bool) -> Result<JetStreamLog, ConnectError> {
    check_timeout(config)?;
    let deadline = Instant::now() + config.connect_timeout();
    let general = open(config, config.name.clone(), deadline).await?;
    // A malformed stored message ends the connection that it arrives on, so reading has its own
    // (`stored.rs`).
    let reading = open(config, format!("{}-read", config.name), deadline).await?;
    // Appends have their own, so that acknowledgements do not wait behind bulk reads.
    let appending = open(config, format!("{}-append", config.name), deadline).await?;
    let all = [&general, &reading, &appending].map(|opened| opened.watched.clone());
    let is_replicated = config.streams.is_replicated();
    let readers = ReadConnection::new(
        reading.watched.client,
        reading.made,
        is_replicated,
        config.reads,
    );
    let api = Api::new(general.watched.client, config.request_timeout()).with_copies(is_replicated);
    wait_for_jetstream(config, &api, deadline).await?;
    let Found {
        mut states,
        partitions,
    } = provision(&api, &config.streams).await?;
    let [_, tasks] = &mut states;
    if is_alone {
        tasks.positions = format::switch_to_frames(&api).await?;
    }
    if tasks.positions.has_frames() {
        check_payload(&api)?;
    }
    let control = Reader::new(&api, &readers, Stream::Control.name());
    let trust = establish(&config.signatures, &api, &control).await?;
    // With a single server there is no other one to move to.
    let reach = is_replicated.then(|| {
        let watching = reach::watch(config.clone(), all.into());
        AbortOnDropHandle::new(tokio::spawn(watching))
    });
    let identity = getrandom::u64().map_err(|error| ConnectError::Config(error.to_string()))?;
    let parts = Parts {
        api,
        readers,
        append_client: appending.watched.client,
        append_connected: appending.made,
        reach,
        states,
        partitions,
        identity: format!("{identity:016x}"),
        trust: Arc::new(trust),
    };
    if config.reads == Reads::Accounts {
        // Only the start that makes the streams may do it; the others are refused at once, and find it.
        if let Err(error) = MailStore::new(&parts).make_consumer().await {
            tracing::debug!(%error, "the consumer of MAIL is not made by this process");
        }
    }
    JetStreamLog::new(config, parts)
        .await
        .map_err(|error| unreachable(config, &error))
}

/// Connects for requests to JetStream's API only. Streams are neither checked nor created.
pub(super) async fn open_api(config: &NatsConfig) -> Result<Api, ConnectError> {
    check_timeout(config)?;
    let deadline = Instant::now() + config.connect_timeout();
    let opened = open(config, config.name.clone(), deadline).await?;
    let api = Api::new(opened.watched.client, config.request_timeout());
    wait_for_jetstream(config, &api, deadline).await?;
    Ok(api)
}

fn check_timeout(config: &NatsConfig) -> Result<(), ConnectError> {
    let timeout = config.request_timeout_ms;
    // 0 selects the default for the number of replicas.
    if timeout == 0 || REQUEST_TIMEOUT_MS.contains(&timeout) {
        return Ok(());
    }
    let (least, most) = (REQUEST_TIMEOUT_MS.start(), REQUEST_TIMEOUT_MS.end());
    Err(ConnectError::Config(format!(
        "nats.request_timeout_ms must be between {least} and {most}, not {timeout}"
    )))
}

/// Checks that the server accepts the largest frame. Otherwise it would refuse full frames at every
/// attempt.
fn check_payload(api: &Api) -> Result<(), ConnectError> {
    let taken = api.client().server_info().max_payload;
    if taken >= LARGEST_FRAME {
        return Ok(());
    }
    Err(ConnectError::Config(format!(
        "max_payload of the server must be at least {LARGEST_FRAME}, not {taken}"
    )))
}

/// One connection.
struct Opened {
    watched: Watched,
    /// Counts how often it was opened.
    made: watch::Receiver<u64>,
}

async fn open(
    config: &NatsConfig,
    name: String,
    deadline: Instant,
) -> Result<Opened, ConnectError> {
    let servers: Vec<&str> = config.servers.iter().map(ServerUrl::expose).collect();
    if servers.is_empty() {
        return Err(ConnectError::Config("nats.servers is empty".to_owned()));
    }
    for (url, shown) in servers.iter().zip(&config.servers) {
        url.parse::<async_nats::ServerAddr>()
            .map_err(|error| ConnectError::Config(format!("nats.servers: {shown}: {error}")))?;
    }
    loop {
        let (counter, made) = watch::channel(0);
        let next = NextServer::default();
        let options = options(config, &name, counter, next.clone()).await?;
        let error = match options.connect(&servers[..]).await {
            Ok(client) => {
                check_version(&client)?;
                let watched = Watched { name, client, next };
                return Ok(Opened { watched, made });
            }
            Err(error) => error,
        };
        if Instant::now() >= deadline {
            return Err(unreachable(config, &error));
        }
        tokio::time::sleep(RECONNECT_DELAY / 4).await;
    }
}

async fn options(
    config: &NatsConfig,
    name: &str,
    counter: watch::Sender<u64>,
    next: NextServer,
) -> Result<ConnectOptions, ConnectError> {
    let options = authenticated(config, name)
        .await?
        .max_reconnects(None)
        .ping_interval(PING_INTERVAL)
        .connection_timeout(config.request_timeout())
        .request_timeout(Some(config.request_timeout()))
        .reconnect_delay_callback(reconnect_delay)
        .reconnect_to_server_callback(move |servers, _| std::future::ready(next.choose(&servers)))
        .event_callback(move |event| {
            match &event {
                Event::Connected => counter.send_modify(|count| *count += 1),
                Event::Disconnected => tracing::warn!("connection to NATS lost; reconnecting"),
                _ => tracing::info!(%event, "an event of the connection to NATS"),
            }
            std::future::ready(())
        });
    Ok(options)
}

/// The options for credentials and TLS.
async fn authenticated(config: &NatsConfig, name: &str) -> Result<ConnectOptions, ConnectError> {
    let mut options = ConnectOptions::new().name(name);
    options = match (&config.user, &config.password, &config.token) {
        (Some(user), Some(password), None) => {
            options.user_and_password(user.clone(), password.expose().to_owned())
        }
        (None, None, Some(token)) => options.token(token.expose().to_owned()),
        (None, None, None) => options,
        _ => {
            return Err(ConnectError::Config(
                "set nats.user and nats.password, or nats.token, or none of them".to_owned(),
            ));
        }
    };
    // Answers may contain wrapped keys. A separate inbox for each user lets permissions keep users
    // from reading each other's answers (nats/permissions.conf).
    if let Some(user) = config.user.as_deref().filter(|user| is_token(user)) {
        options = options.custom_inbox_prefix(format!("_INBOX.{user}"));
    }
    if let Some(file) = &config.credentials_file {
        options = options.credentials_file(file).await.map_err(|error| {
            ConnectError::Config(format!("nats.credentials_file {}: {error}", file.display()))
        })?;
    }
    let tls = &config.tls;
    for file in [&tls.ca_file, &tls.cert_file, &tls.key_file]
        .into_iter()
        .flatten()
    {
        if let Err(error) = std::fs::metadata(file) {
            let file = file.display();
            return Err(ConnectError::Config(format!("{file}: {error}")));
        }
    }
    if let Some(file) = &tls.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    options = match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) => options.add_client_certificate(cert.clone(), key.clone()),
        (None, None) => options,
        _ => {
            return Err(ConnectError::Config(
                "nats.tls.cert_file and nats.tls.key_file must be set together".to_owned(),
            ));
        }
    };
    if tls.required {
        options = options.require_tls(true);
    }
    if tls.handshake_first {
        options = options.tls_first();
    }
    Ok(options)
}

/// Grows from a short pause, since the server is usually just restarting.
fn reconnect_delay(tries: usize) -> Duration {
    let tries = u32::try_from(tries.min(16)).unwrap_or(16);
    (Duration::from_millis(4) * 2_u32.pow(tries)).min(RECONNECT_DELAY)
}

fn check_version(client: &Client) -> Result<(), ConnectError> {
    let (major, minor, patch) = REQUIRED_VERSION;
    if client.is_server_compatible(major, minor, patch) {
        return Ok(());
    }
    Err(ConnectError::TooOld {
        found: client.server_info().version,
        required: format!("{major}.{minor}.{patch}"),
    })
}

/// Waits until JetStream answers: a server that has just started accepts clients before its
/// JetStream is ready.
async fn wait_for_jetstream(
    config: &NatsConfig,
    api: &Api,
    deadline: Instant,
) -> Result<(), ConnectError> {
    loop {
        let Err(error) = api.call("INFO", &Value::Null).await else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            return Err(unreachable(config, &format!("JetStream: {error}")));
        }
        tokio::time::sleep(RECONNECT_DELAY / 4).await;
    }
}

fn unreachable(config: &NatsConfig, reason: &dyn std::fmt::Display) -> ConnectError {
    let servers: Vec<String> = config.servers.iter().map(ToString::to_string).collect();
    ConnectError::Unreachable {
        servers: servers.join(", "),
        reason: reason.to_string(),
    }
}
