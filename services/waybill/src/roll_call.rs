//! Answering the roll call, by which operators see which processes there are and how far each is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use waybill_commands::entropy;
use waybill_domain::partition::Partition;
use waybill_domain::roll_call::{
    DiskReport, HeldPartition, ProcessRole, RoleReport, SUBJECT, StorageReport, StreamReport,
};
use waybill_gateway::Gateway;
use waybill_log::jetstream::JetStreamLog;
use waybill_projector::Status;
use waybill_worker::board::{Board, Holding};

use crate::disk::Disk;

/// A report of a role that began now.
fn report(role: ProcessRole, id: String) -> RoleReport {
    RoleReport {
        role,
        id,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        since: entropy::now(),
        control: None,
        tasks: None,
        partitions: Vec::new(),
        streams: Vec::new(),
        storage: None,
        disk: None,
    }
}

/// The disk below a folder; `None`: the system does not say.
fn disk(folder: &Path) -> Option<DiskReport> {
    let disk = Disk::of(folder).ok()?;
    Some(DiskReport {
        free: disk.free,
        total: disk.total,
    })
}

/// Answers for a gateway, until stopped.
pub(crate) fn of_gateway(
    gateway: &Gateway,
    log: &JetStreamLog,
    data: PathBuf,
    stop: CancellationToken,
) {
    let state = gateway.state().clone();
    let own = report(ProcessRole::Gateway, state.fence.holder().to_string());
    let (nats, log) = (log.client(), log.clone());
    let describe = async move || {
        // A server that does not say leaves them out; the rest is known here.
        let sizes = log.sizes().await.unwrap_or_default();
        let storage = log.storage().await.ok();
        let streams = sizes.into_iter().map(|size| StreamReport {
            name: size.stream,
            bytes: size.bytes,
            max_bytes: size.max_bytes,
        });
        RoleReport {
            control: Some(state.auth.applied()),
            streams: streams.collect(),
            storage: storage.map(|storage| StorageReport {
                bytes: storage.used,
                max_bytes: storage.limit,
            }),
            disk: disk(&data),
            ..own.clone()
        }
    };
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = answer(nats, describe) => {}
        }
    });
}

/// Answers for a worker, until stopped.
pub(crate) fn of_worker(
    name: String,
    board: Arc<Board>,
    nats: async_nats::Client,
    stop: CancellationToken,
) {
    let own = report(ProcessRole::Worker, name);
    let describe = async move || RoleReport {
        partitions: held(&board),
        ..own.clone()
    };
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = answer(nats, describe) => {}
        }
    });
}

/// Answers for a projector, until it ends.
pub(crate) fn of_projector(
    name: String,
    status: watch::Receiver<Status>,
    nats: async_nats::Client,
    data: PathBuf,
) {
    let own = report(ProcessRole::Projector, name);
    let mut ended = status.clone();
    let describe = async move || {
        let applied = status.borrow().applied;
        RoleReport {
            control: Some(applied.control),
            tasks: Some(applied.tasks),
            disk: disk(&data),
            ..own.clone()
        }
    };
    tokio::spawn(async move {
        tokio::select! {
            () = async { while ended.changed().await.is_ok() {} } => {}
            () = answer(nats, describe) => {}
        }
    });
}

/// What a worker does with its partitions.
fn held(board: &Board) -> Vec<HeldPartition> {
    let partitions = board.readiness().partitions.into_iter();
    let held = partitions.filter_map(|(number, holding)| {
        let partition = Partition::new(number)?;
        let (state, open, reason, read) = match holding {
            Holding::TakingOver => ("taking_over", None, None, None),
            Holding::Serving { open, read } => ("serving", Some(open), None, Some(read)),
            Holding::Left { reason } => ("left", None, Some(reason), None),
        };
        Some(HeldPartition {
            partition,
            state: state.to_owned(),
            open,
            reason,
            read,
        })
    });
    held.collect()
}

/// Answers until the connection is gone for good. Dropping it loses at most an answer.
async fn answer(nats: async_nats::Client, describe: impl AsyncFn() -> RoleReport) {
    let mut questions = match nats.subscribe(SUBJECT).await {
        Ok(questions) => questions,
        Err(error) => {
            tracing::warn!(%error, "this process does not answer the roll call, so `/v1/system` does not show it");
            return;
        }
    };
    while let Some(question) = questions.next().await {
        let Some(to) = question.reply else { continue };
        let Ok(payload) = serde_json::to_vec(&describe().await) else {
            continue;
        };
        // Whoever asked does not wait for it for long.
        let _ = nats.publish(to, payload.into()).await;
    }
}
