//! Opens the connections and makes sure that what is behind them is fit to be the log. [`servers`] says to which server one is made next,
//! [`reach`] leaves a server that is of no use.

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
use super::config::{NatsConfig, ServerUrl};
use super::format;
use super::provision::{ProvisionError, provision};
use super::read::Reader;
use super::stored::ReadConnection;
use super::trust::establish::establish;
use super::{JetStreamLog, Parts};
use crate::Stream;
use crate::frame::MAX_BYTES;
use crate::subject::is_token;
use reach::Watched;
use servers::NextServer;

/// The first server line with atomic batches.
const REQUIRED_VERSION: (i64, i64, i64) = (2, 12, 0);
/// A dead connection is noticed after two of these. Gateways renew their leases through it and must not lose one to a silent server.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Between tries to connect, at the most.
const RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// An append is sent again until its time is up, and the server recognises the repetition for two minutes (`duplicate_window`);
/// so the time must stay well below that.
const REQUEST_TIMEOUT_MS: RangeInclusive<u64> = 100..=60_000;

/// Bytes of the largest message that TASKS needs room for, with its headers.
const LARGEST_FRAME: usize = MAX_BYTES + 16 * 1024;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The configuration cannot work.
    #[error("the configuration of NATS is wrong: {0}")]
    Config(String),
    /// No server answers within the time limit, or none lets us in.
    #[error("no NATS server at {servers}: {reason}")]
    Unreachable {
        /// Addresses, without secrets.
        servers: String,
        /// What the last try said.
        reason: String,
    },
    /// The server is too old.
    #[error("nats-server {found} is too old: Waybill needs {required} or newer")]
    TooOld {
        found: String,
        /// The first one that will do.
        required: String,
    },
    /// The streams are not as they must be.
    #[error(transparent)]
    Streams(#[from] ProvisionError),
}

/// Connects, and makes or checks the streams. From then on a lost connection is made again for ever.
///
/// # Errors
/// When no fit server is there within `connect_timeout_ms`, or its streams differ from what is expected.
pub async fn connect(config: &NatsConfig) -> Result<JetStreamLog, ConnectError> {
    connect_as(config, false).await
}

/// Connects as the only process that works on these streams, and switches TASKS to frames if that has not been done: what is appended
/// from then on is appended in frames, which no version before reads.
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
    // A stored message may end the connection on which it arrives (`stored.rs`).
    let reading = open(config, format!("{}-read", config.name), deadline).await?;
    // Acknowledgements of appends do not wait behind what readers fetch.
    let appending = open(config, format!("{}-append", config.name), deadline).await?;
    let all = [&general, &reading, &appending].map(|opened| opened.watched.clone());
    let readers = ReadConnection {
        client: reading.watched.client,
        made: reading.made,
    };
    let api = Api::new(general.watched.client, config.request_timeout())
        .with_copies(config.streams.is_replicated());
    wait_for_jetstream(config, &api, deadline).await?;
    let mut states = provision(&api, &config.streams).await?;
    let [_, tasks] = &mut states;
    if is_alone {
        tasks.positions = format::switch_to_frames(&api).await?;
    }
    if tasks.positions.has_frames() {
        check_payload(&api)?;
    }
    let is_replicated = config.streams.is_replicated();
    let control = Reader::new(&api, &readers, Stream::Control.name(), is_replicated);
    let trust = establish(&config.signatures, &api, &control).await?;
    // A single server has nobody to lose.
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
        identity: format!("{identity:016x}"),
        trust: Arc::new(trust),
    };
    JetStreamLog::new(config, parts)
        .await
        .map_err(|error| unreachable(config, &error))
}

/// Connects for requests to JetStream's API alone: no stream is looked at, none is made.
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
    // 0: as the number of copies needs it.
    if timeout == 0 || REQUEST_TIMEOUT_MS.contains(&timeout) {
        return Ok(());
    }
    let (least, most) = (REQUEST_TIMEOUT_MS.start(), REQUEST_TIMEOUT_MS.end());
    Err(ConnectError::Config(format!(
        "nats.request_timeout_ms must be between {least} and {most}, not {timeout}"
    )))
}

/// A server that does not take the largest frame would refuse what fills it, again and again.
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
    /// Counts how often it was made.
    made: watch::Receiver<u64>,
}

async fn open(
    config: &NatsConfig,
    name: String,
    deadline: Instant,
) -> Result<Opened, ConnectError> {
    let servers: Vec<&str> = config.servers.iter().map(ServerUrl::expose).collect();
    if servers.is_empty() {
        return Err(ConnectError::Config("servers is empty".to_owned()));
    }
    for (url, shown) in servers.iter().zip(&config.servers) {
        url.parse::<async_nats::ServerAddr>()
            .map_err(|error| ConnectError::Config(format!("{shown} is no server: {error}")))?;
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
                Event::Disconnected => tracing::warn!("connection to NATS lost"),
                _ => tracing::info!(%event, "NATS connection"),
            }
            std::future::ready(())
        });
    Ok(options)
}

/// Who we are, and how the connection is protected.
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
                "give user and password, or token, or neither".to_owned(),
            ));
        }
    };
    // Answers carry wrapped keys too. With inboxes of their own, users can be kept from hearing each other's (nats/permissions.conf).
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

/// Short at first: most often the server is only being restarted.
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

/// A server that has just started accepts clients before its JetStream is ready.
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
