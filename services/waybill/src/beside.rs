//! Commands beside a running server: they reach it over NATS, at NATS_URL or as the `waybill up` on a data folder says.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use waybill_domain::id::TeamId;
use waybill_domain::trust::Speaker;
use waybill_gateway::replay::{self, Bound, ReplayOptions, parse_stream};
use waybill_gateway::{ControlWriter, GatewayConfig, fence};
use waybill_log::jetstream::JetStreamLog;
use waybill_log::{Log, Stream, StreamSeq};
use waybill_projector::QueryClient;

use crate::access_at::{self, Until};
use crate::args::{DataDir, Replay};
use crate::config::{Config, environment};
use crate::disk::Store;
use crate::nats_server::{Connection, NatsServer};
use crate::roles::{self, Setting};
use crate::secrets::Missing;
use crate::signatures;
use crate::telemetry;
use crate::up;

/// Connects as the configuration says, or as the `waybill up` on the data folder says.
pub(crate) async fn connect(config: &mut Config, at: &DataDir) -> anyhow::Result<JetStreamLog> {
    if let Some(data) = &at.data {
        config.data.clone_from(data);
    }
    if !named() {
        config.nats = Connection::of(&config.data)?.over(&config.nats);
    }
    signatures::prepare(config, Speaker::Control, Missing::Refuse)?;
    Ok(waybill_log::connect(&config.nats).await?)
}

/// Whether the environment says where NATS is: then no data folder of `waybill up` holds the log and the secrets.
pub(crate) fn named() -> bool {
    environment("NATS_URL").is_some()
}

/// `waybill rebuild`
pub(crate) async fn rebuild(mut config: Config, at: DataDir) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "rebuild")?;
    if let Some(data) = &at.data {
        config.data.clone_from(data);
    }
    let stopped = if named() {
        None
    } else {
        Some(StoppedUp::start(&config).await?)
    };
    if let Some(up) = &stopped {
        config.nats = up.server.connection.over(&config.nats);
    }
    signatures::prepare(&mut config, Speaker::Control, Missing::Refuse)?;
    let rebuilt = rebuild_over(&config).await;
    if let Some(up) = stopped {
        up.server.stop().await;
    }
    rebuilt
}

/// The nats-server of a `waybill up` that does not run, for as long as its log is needed.
struct StoppedUp {
    server: NatsServer,
    _lock: File,
}

impl StoppedUp {
    async fn start(config: &Config) -> anyhow::Result<Self> {
        let data = &config.data;
        // Nothing may be made in a folder that was only mistyped.
        ensure!(
            data.join("nats").is_dir(),
            "there is no data of `waybill up` in {}; name its folder by --data, or set NATS_URL",
            data.display()
        );
        let data = data.canonicalize()?;
        let lock = up::lock(&data)
            .context("stop it before rebuilding (`waybill verify` works while it runs)")?;
        let store = Store::at(&data, config.up.max_file_store())?;
        let (server, _) = NatsServer::start(&data, store).await?;
        Ok(Self {
            server,
            _lock: lock,
        })
    }
}

async fn rebuild_over(config: &Config) -> anyhow::Result<()> {
    let log: Arc<dyn Log> = Arc::new(waybill_log::connect(&config.nats).await?);
    let folder = config.data.join("projector");
    let rebuilt = waybill_projector::rebuild(&log, &folder, config.projector().cache_bytes)
        .await
        .with_context(|| {
            format!(
                "rebuilding {} (stop its projector first; `waybill verify` works while it runs)",
                folder.display()
            )
        })?;
    writeln!(
        std::io::stdout(),
        "rebuilt up to CONTROL {} and TASKS {} in {:.1} s",
        rebuilt.at.control,
        rebuilt.at.tasks,
        rebuilt.took.as_secs_f64()
    )?;
    Ok(())
}

/// `waybill verify`
pub(crate) async fn verify(mut config: Config, at: DataDir) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "verify")?;
    let log = connect(&mut config, &at).await?;
    let verdict = QueryClient::new(log.client()).verify().await?.value;
    let mut out = std::io::stdout();
    for tree in &verdict.trees {
        let word = if tree.live == tree.rebuilt {
            "equal"
        } else {
            "DIFFERENT"
        };
        writeln!(out, "{:<24} {word}  {}", tree.tree, tree.live)?;
    }
    writeln!(
        out,
        "compared at CONTROL {} and TASKS {}",
        verdict.at.control, verdict.at.tasks
    )?;
    if !verdict.is_equal() {
        bail!(
            "the live read model is not what the log says; stop the projector and run `waybill rebuild`"
        );
    }
    Ok(())
}

/// `waybill replay`
pub(crate) async fn replay(mut config: Config, wanted: Replay) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "replay")?;
    let team = TeamId::parse(&wanted.team)
        .map_err(|_| anyhow!("--team: {:?} is no team id", wanted.team))?;
    if let Some(at) = &wanted.as_of {
        let until = Until::parse(at)?;
        let log = connect(&mut config, &wanted.at).await?;
        let out = &mut std::io::stdout();
        return access_at::show(out, &log, &team.base(), until, wanted.digest).await;
    }
    let bound =
        |option, text: Option<&String>| text.map(|text| Bound::parse(option, text)).transpose();
    let options = ReplayOptions::new(
        team,
        bound("from", wanted.from.as_ref())?,
        bound("to", wanted.to.as_ref())?,
        wanted.types,
        wanted.stream.as_deref().map(parse_stream).transpose()?,
    )?;
    let log: Arc<dyn Log> = Arc::new(connect(&mut config, &wanted.at).await?);
    let replayed = replay::replay(&log, &options, tokio::io::stdout()).await?;
    if replayed.unreadable > 0 {
        eprint_line(&format!(
            "{} events were written by a newer version and cannot be read",
            replayed.unreadable
        ));
    }
    Ok(())
}

/// `waybill config`
pub(crate) fn show(config: &Config) -> anyhow::Result<()> {
    write!(std::io::stdout(), "{}", toml::to_string(config)?)?;
    Ok(())
}

/// Connects, and writes CONTROL as the gateways do.
pub(crate) async fn control(
    config: &mut Config,
    at: &DataDir,
) -> anyhow::Result<(JetStreamLog, ControlWriter)> {
    let log = connect(config, at).await?;
    let pepper = Arc::new(roles::pepper(config, Setting::Apart)?);
    let control = roles::control(config, &log, pepper)?;
    Ok((log, control))
}

/// Waits until a change of access holds everywhere.
pub(crate) async fn settled(log: &JetStreamLog, seq: StreamSeq) -> anyhow::Result<()> {
    let timing = GatewayConfig::default().fence;
    Ok(fence::settle(log, &log.client(), seq, timing).await?)
}

/// The team named, or the one that was made first.
pub(crate) async fn team_or_first(
    log: &JetStreamLog,
    team: Option<String>,
) -> anyhow::Result<TeamId> {
    if let Some(team) = team {
        return TeamId::parse(&team).map_err(|_| anyhow!("{team:?} is no team id"));
    }
    let first = log
        .range(
            Stream::Control,
            &["control.*.team.*".to_owned()],
            StreamSeq(1),
            StreamSeq(u64::MAX),
            1,
        )
        .await?;
    let subject = first
        .first()
        .map(|record| record.subject.clone())
        .context("there is no team yet")?;
    let team = subject.split('.').nth(1).unwrap_or_default();
    TeamId::parse(team).map_err(|_| anyhow!("the first event is of no team; use --team"))
}

pub(crate) fn eprint_line(text: &str) {
    // Beside the key itself, which is alone on standard output for scripts.
    let _ = writeln!(std::io::stderr(), "{text}");
}
