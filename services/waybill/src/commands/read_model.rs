//! `waybill rebuild` and `waybill verify`: the read model rebuilt from the log, and the live one compared with a rebuilt one.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use waybill_domain::trust::Speaker;
use waybill_log::Log;
use waybill_projector::QueryClient;

use crate::args::DataDir;
use crate::commands::up;
use crate::config::Config;
use crate::disk::Store;
use crate::nats_server::NatsServer;
use crate::output;
use crate::ownership::HandOver;
use crate::running_server::{connect, named, take_named};
use crate::secrets::Missing;
use crate::signatures;
use crate::telemetry;

/// `waybill rebuild`
pub(crate) async fn rebuild(mut config: Config, at: DataDir) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "rebuild")?;
    take_named(&mut config, &at)?;
    let _theirs = HandOver::of(&config.data);
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
        // A mistyped folder must not be created.
        ensure!(
            data.join("nats").is_dir(),
            "there is no data of `waybill up` in {}; name its folder by --data, or set NATS_URL",
            data.display()
        );
        let data = data.canonicalize()?;
        let lock = up::lock(&data)
            .context("stop it before rebuilding (`waybill verify` works while it runs)")?;
        let store = Store::at(&data, config.up.max_file_store())?;
        let (server, _) = NatsServer::start(&data, store, None).await?;
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
        output::stdout(),
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
    let mut out = output::stdout();
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
