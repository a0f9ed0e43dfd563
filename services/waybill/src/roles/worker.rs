//! The role worker: makes the calls of the partitions that it owns.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use metrics::gauge;
use tokio_util::sync::CancellationToken;
use waybill_log::RoomWatch;
use waybill_log::jetstream::JetStreamLog;
use waybill_worker::attempt::Signer;
use waybill_worker::bulkhead::Caps;
use waybill_worker::callout::{CalloutConfig, Callouts};
use waybill_worker::calls::CallExecutor;
use waybill_worker::captured::Capturing;
use waybill_worker::command::{NatsCommands, NearOwners};
use waybill_worker::payloads::Payloads;
use waybill_worker::queues::{Queues, QueuesParts};
use waybill_worker::vault::{OpeningParts, SweepPace, Vault, VaultParts, VaultService};
use waybill_worker::{SystemClock, Worker, WorkerConfig, WorkerParts};

use super::{Setting, worker_name};
use crate::config::{Config, fence_timing};
use crate::descriptors;
use crate::rings;
use crate::roll_call;
use crate::room;
use crate::secrets;

/// How often workers flush the counts of how credentials of the vault were used.
const USAGE_FLUSH: Duration = Duration::from_secs(60);

/// Starts a worker. `api`: where the API of this machine listens, if it does. `room`: the room in the log, kept up to date by the caller.
/// `near`: how whoever runs in this process too asks its owners.
pub(crate) fn worker(
    config: &Config,
    setting: Setting,
    api: SocketAddr,
    log: &JetStreamLog,
    room: &RoomWatch,
    near: NearOwners,
    stop: CancellationToken,
) -> anyhow::Result<Worker> {
    let extra_ca_pem = match &config.worker.extra_ca_file {
        Some(file) => {
            fs::read(file).with_context(|| format!("worker.extra_ca_file: {}", file.display()))?
        }
        None => Vec::new(),
    };
    let slots = descriptors::slots(config.worker.slots);
    let callouts = Callouts::new(CalloutConfig {
        egress: config.egress(setting.is_embedded(), api)?,
        extra_ca_pem,
        max_idle_per_host: slots,
        ..CalloutConfig::default()
    })?;
    let (vault, vault_service) = vault(config, log, &stop)?;
    let (_, queues) = Queues::new(QueuesParts {
        log: Arc::new(log.clone()),
        fences: Arc::new(log.clone()),
        nats: log.client(),
        timing: fence_timing(),
        partitions: log.partitions(),
        plans: config.plans()?,
    });
    let nats = log.client();
    let log = Arc::new(log.clone());
    let executor = CallExecutor {
        log: log.clone(),
        target: Arc::new(callouts),
        signer: Signer::new(secrets::webhook_master(&config.data, setting.missing())?).following(),
        payloads: Payloads::new(config.payload_bytes()),
        clock: Arc::new(SystemClock),
        vault: Some(vault),
        captures: Some(Capturing::new(log.clone())),
    };
    let parts = WorkerParts {
        executor: Arc::new(executor),
        leases: log.clone(),
        snapshots: log.clone(),
        commands: Arc::new(NatsCommands::new(log.client(), near)),
        vault: Some(vault_service),
        queues: Some(queues),
        pressure: Some(room.pressure()),
    };
    let name = worker_name(config)?;
    let worker = WorkerConfig {
        name: name.clone(),
        partitions: log.partitions(),
        slots,
        caps: Caps {
            per_host: config.worker.slots_per_host,
            per_team: config.worker.slots_per_team,
        },
        drain: Duration::from_secs(config.worker.drain_seconds),
        retention: config.retention(),
    };
    // Zero from the start, so that a dashboard shows the series before the first partition is taken.
    gauge!("waybill_partitions").set(f64::from(log.partitions().get()));
    gauge!("waybill_partitions_owned").set(0.0);
    gauge!("waybill_oldest_due_seconds").set(0.0);
    gauge!("waybill_partitions_left_to_newer").set(0.0);
    let worker = Worker::start(worker, parts, stop.clone());
    roll_call::of_worker(name, worker.board(), nats.clone(), stop.clone());
    tokio::spawn(room::report_owed(worker.board(), nats, stop));
    Ok(worker)
}

/// The parts of the vault: they put credentials into requests, if their keys can be opened here, and erase the keys of tasks that ended.
fn vault(
    config: &Config,
    log: &JetStreamLog,
    stop: &CancellationToken,
) -> anyhow::Result<(Arc<Vault>, VaultService)> {
    let open_ring = rings::open(&config.data)?;
    match &open_ring {
        Some(ring) => rings::follow(ring, stop.clone()),
        None => tracing::info!(
            "this worker has no open ring; tasks that need the vault wait for a worker that has one"
        ),
    }
    let opening = open_ring.map(|ring| OpeningParts {
        unwrapper: ring,
        fences: Arc::new(log.clone()),
        nats: log.client(),
        timing: fence_timing(),
    });
    Ok(Vault::new(VaultParts {
        log: Arc::new(log.clone()),
        keys: Arc::new(log.clone()),
        tallies: Arc::new(log.clone()),
        clock: Arc::new(SystemClock),
        opening,
        usage_flush: USAGE_FLUSH,
        sweep: SweepPace::default(),
    }))
}
