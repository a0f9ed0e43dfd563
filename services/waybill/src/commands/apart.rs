//! The roles on their own: `waybill gateway`, `waybill worker`, `waybill projector`.

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;
use waybill_domain::trust::Speaker;
use waybill_log::RoomWatch;
use waybill_log::jetstream::JetStreamLog;
use waybill_worker::command::NearOwners;

use crate::config::{Config, environment};
use crate::output;
use crate::roles::{self, Setting};
use crate::room;
use crate::secrets::Missing;
use crate::signals::stop_token;
use crate::signatures;
use crate::telemetry;

/// Pause between two looks of a worker at the room in the log.
const ROOM_EVERY: Duration = Duration::from_secs(1);

/// A gateway, until it is asked to stop.
pub(crate) async fn gateway(mut config: Config) -> anyhow::Result<()> {
    let _telemetry = telemetry::start(&config, "gateway")?;
    let stop = stop_token()?;
    let Some(log) = connect(&mut config, Some(Speaker::Control), &stop).await? else {
        return Ok(());
    };
    let bootstrap = roles::bootstrap(&config, Setting::Apart, &log).await?;
    room::limits_are_missing(&config);
    tokio::spawn(room::export_sizes(log.clone(), stop.clone()));
    tokio::spawn(room::export_disk(config.data.clone(), stop.clone()));
    let room = RoomWatch::new(log.partitions());
    let gateway = roles::gateway(&config, Setting::Apart, &log, room, None, stop).await?;
    let given = environment(roles::BOOTSTRAP_KEY).is_some();
    if let (Some(key), false) = (&bootstrap.key, given) {
        // On standard output, not in the log: it is shown this once.
        writeln!(
            output::stdout(),
            "API key (shown this once; keep it): {}",
            key.reveal()
        )?;
    }
    gateway.wait().await?;
    Ok(())
}

/// A worker, until it is asked to stop.
pub(crate) async fn worker(mut config: Config) -> anyhow::Result<()> {
    let telemetry = telemetry::start(&config, "worker")?;
    let stop = stop_token()?;
    let Some(log) = connect(&mut config, Some(Speaker::Worker), &stop).await? else {
        return Ok(());
    };
    tokio::spawn(room::export_disk(config.data.clone(), stop.clone()));
    let api = config.gateway.listen;
    let room = RoomWatch::new(log.partitions());
    tokio::spawn(Arc::clone(&room).follow(
        Arc::new(log.clone()),
        log.client(),
        ROOM_EVERY,
        stop.clone(),
    ));
    let worker = roles::worker(
        &config,
        Setting::Apart,
        api,
        &log,
        &room,
        NearOwners::default(),
        stop,
    )?;
    telemetry.operations.worker(worker.board(), log);
    worker.stopped().await;
    Ok(())
}

/// A projector, until it is asked to stop.
pub(crate) async fn projector(mut config: Config) -> anyhow::Result<()> {
    let _telemetry = telemetry::start(&config, "projector")?;
    let stop = stop_token()?;
    let Some(log) = connect(&mut config, None, &stop).await? else {
        return Ok(());
    };
    tokio::spawn(room::export_disk(config.data.clone(), stop.clone()));
    let mut projector = roles::projector(&config, Setting::Apart, &log)?;
    // `stopped` only watches, so it may be dropped. Shutting down finishes the batch and syncs it.
    tokio::select! {
        () = stop.cancelled() => projector.shutdown().await?,
        ended = projector.stopped() => {
            ended?;
            bail!("the projector ended by itself");
        }
    }
    Ok(())
}

/// Connects to the log; `None` when a stop was requested before that succeeded.
async fn connect(
    config: &mut Config,
    speaker: Option<Speaker>,
    stop: &CancellationToken,
) -> anyhow::Result<Option<JetStreamLog>> {
    fs::create_dir_all(&config.data).with_context(|| config.data.display().to_string())?;
    config.data = config.data.canonicalize()?;
    if let Some(speaker) = speaker {
        signatures::prepare(config, speaker, Missing::Refuse)?;
    }
    // A connect that is given up leaves nothing half done: each stream is created in one step or not at all.
    let log = tokio::select! {
        log = waybill_log::connect(&config.nats) => log?,
        () = stop.cancelled() => return Ok(None),
    };
    signatures::check(&log, speaker)?;
    Ok(Some(log))
}
