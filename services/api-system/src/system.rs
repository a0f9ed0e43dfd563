//! The state of the system, as its processes and its log tell it.

use std::collections::BTreeMap;

use axum::extract::State;
use futures::future::try_join_all;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::event::PartitionOwned;
use waybill_domain::partition::Partition;
use waybill_domain::roll_call::{
    DiskReport, HeldPartition, ProcessRole, RoleReport, StorageReport, StreamReport,
};
use waybill_domain::time::Timestamp;
use waybill_edge::Edge;
use waybill_edge::auth::Operator;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::iso::Iso;
use waybill_log::subject::{TaskFilter, TaskSubject};
use waybill_log::{Bounds, ReadError, Stream, StreamSeq};

use super::roll;

/// `{"system": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct SystemEnvelope {
    system: SystemObject,
}

/// Which processes there are, how far each is, and how full the streams are.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemObject {
    /// Version of the gateway that answers.
    version: &'static str,
    /// Whether processes of several versions run.
    version_skew: bool,
    /// Version of the NATS server that this gateway is connected to.
    nats_version: String,
    /// Name of that server.
    nats_server: String,
    /// The file storage of all streams together; `null`: no gateway that answered knows it.
    storage: Option<SystemStorage>,
    /// The processes that answered within half a second, by role and id. One with several roles is there for each.
    roles: Vec<SystemRole>,
    /// By number.
    partitions: Vec<SystemPartition>,
    streams: Vec<SystemStream>,
}

/// A role of a process.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemRole {
    /// `gateway`, `worker` or `projector`.
    role: &'static str,
    id: String,
    version: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    since: Iso,
    /// How many positions of CONTROL it has still to apply; `null`: it applies none.
    control_lag: Option<u64>,
    /// How many positions of TASKS it has still to apply; `null`: it does not read all of it.
    tasks_lag: Option<u64>,
    /// How many partitions a worker holds; `null`: it is no worker.
    partitions: Option<usize>,
    /// The disk below its data; `null`: it keeps none, or does not say.
    disk: Option<SystemDisk>,
}

/// The file storage of the NATS server.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemStorage {
    bytes: u64,
    /// `null`: the server sets no limit.
    limit_bytes: Option<u64>,
}

/// The disk below the data of a process.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemDisk {
    /// Bytes that the process may still write.
    free_bytes: u64,
    total_bytes: u64,
}

impl From<StorageReport> for SystemStorage {
    fn from(report: StorageReport) -> Self {
        Self {
            bytes: report.bytes,
            limit_bytes: report.max_bytes,
        }
    }
}

impl From<DiskReport> for SystemDisk {
    fn from(report: DiskReport) -> Self {
        Self {
            free_bytes: report.free,
            total_bytes: report.total,
        }
    }
}

/// A partition of the log of tasks, and who owns it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemPartition {
    partition: u16,
    /// `serving`, `taking_over`, `left` (its worker cannot own it; `reason` says why), or `unknown`: no worker that answered holds it.
    state: &'static str,
    /// Id of the worker that holds it, or else of the one that owned it last; `null`: none ever did.
    owner: Option<String>,
    /// Position of the record in TASKS by which the last owner took it: the server refuses what an earlier owner appends.
    fence: Option<u64>,
    /// When that owner took it, or last moved its mark.
    #[schema(value_type = Option<String>, format = DateTime)]
    fenced_at: Option<Iso>,
    /// Tasks that have not ended, and ended ones whose webhook is not delivered yet.
    open: Option<u64>,
    /// How many positions of TASKS lie between what its owner has read for it and its last record; 0: the owner has read all. `null`: no
    /// worker that tells serves it.
    lag: Option<u64>,
    /// Why its worker left it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A stream of the server.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemStream {
    name: String,
    bytes: u64,
    /// `null`: it has no limit of its own.
    limit_bytes: Option<u64>,
    /// Of CONTROL and TASKS: messages that are stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<u64>,
    /// Of CONTROL and TASKS: the first position that is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<u64>,
    /// Of CONTROL and TASKS: the last position.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
}

/// See which processes the installation has, how far each is, who owns which partition, and how full the streams are.
///
/// Only operators may ask: people who are admin or owner of the first team. The answer takes half a second, since nobody knows how many
/// processes will reply; nothing is cached. `GET /readyz?verbose` says what a gateway can serve now, and has the high-water mark of the log of tasks.
#[utoipa::path(
    get,
    path = "/v1/system",
    operation_id = "system.state.get",
    tag = "system",
    security(("session" = [])),
    responses(
        (status = 200, description = "The state now", body = SystemEnvelope),
        (status = 403, description = "You do not operate this installation (`operator_only`)", body = ErrorBody),
        (status = 503, description = "The log does not answer; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn get_system(
    State(state): State<Edge>,
    _operator: Operator,
) -> Result<axum::Json<SystemEnvelope>, ApiError> {
    let bounds = async |stream| Ok::<_, ApiError>(state.log.bounds(stream).await?);
    let fences = async { Ok(fences(&state).await?) };
    let ends = async { Ok(ends(&state).await?) };
    let (reports, control, tasks, fences, ends) = tokio::try_join!(
        roll::call(&state.owners.nats),
        bounds(Stream::Control),
        bounds(Stream::Tasks),
        fences,
        ends,
    )?;
    let version = env!("CARGO_PKG_VERSION");
    let lag = |end: StreamSeq, applied: Option<StreamSeq>| Some(end.0.saturating_sub(applied?.0));
    let roles = reports.iter().map(|report| SystemRole {
        role: report.role.as_str(),
        id: report.id.clone(),
        version: report.version.clone(),
        since: Iso(report.since),
        control_lag: lag(control.last, report.control),
        tasks_lag: lag(tasks.last, report.tasks),
        partitions: (report.role == ProcessRole::Worker).then_some(report.partitions.len()),
        disk: report.disk.map(SystemDisk::from),
    });
    let told = reports.iter().find(|report| !report.streams.is_empty());
    let told = told.map(|report| report.streams.clone());
    let known = [(Stream::Control, control), (Stream::Tasks, tasks)];
    // Without a word of any gateway these two are known here.
    let told = told.unwrap_or_else(|| {
        let of = |(stream, bounds): &(Stream, Bounds)| StreamReport {
            name: stream.name().to_owned(),
            bytes: bounds.bytes,
            max_bytes: bounds.max_bytes,
        };
        known.iter().map(of).collect()
    });
    let streams = told.into_iter().map(|told| {
        let bounds = known.iter().find(|(stream, _)| stream.name() == told.name);
        let bounds = bounds.map(|(_, bounds)| bounds);
        SystemStream {
            name: told.name,
            bytes: told.bytes,
            limit_bytes: told.max_bytes,
            messages: bounds.map(|bounds| bounds.messages),
            first: bounds.map(|bounds| bounds.first.0),
            last: bounds.map(|bounds| bounds.last.0),
        }
    });
    let storage = reports.iter().find_map(|report| report.storage);
    let server = state.owners.nats.server_info();
    Ok(axum::Json(SystemEnvelope {
        system: SystemObject {
            version,
            version_skew: reports.iter().any(|report| report.version != version),
            nats_version: server.version,
            nats_server: server.server_name,
            storage: storage.map(SystemStorage::from),
            partitions: partitions(&reports, fences, &ends),
            streams: streams.collect(),
            roles: roles.collect(),
        },
    }))
}

/// The record by which a partition was taken last.
type Fence = Option<(StreamSeq, Timestamp, Option<PartitionOwned>)>;

async fn fences(state: &Edge) -> Result<Vec<(Partition, Fence)>, ReadError> {
    let read = state.owners.partitions.all().map(async |partition| {
        let subject = TaskSubject::owner(partition).to_string();
        let record = state.log.last(Stream::Tasks, &subject).await?;
        let fence = record.map(|record| {
            let owned = PartitionOwned::decode(&record.payload).ok();
            (record.seq, record.time, owned)
        });
        Ok((partition, fence))
    });
    try_join_all(read).await
}

/// The position of the last record of each partition that has any.
async fn ends(state: &Edge) -> Result<BTreeMap<Partition, StreamSeq>, ReadError> {
    let read = state.owners.partitions.all().map(async |partition| {
        let filter = TaskFilter::partition(partition).to_string();
        let last = state.log.last(Stream::Tasks, &filter).await?;
        Ok::<_, ReadError>(last.map(|record| (partition, record.seq)))
    });
    let ends = try_join_all(read).await?;
    Ok(ends.into_iter().flatten().collect())
}

fn partitions(
    reports: &[RoleReport],
    fences: Vec<(Partition, Fence)>,
    ends: &BTreeMap<Partition, StreamSeq>,
) -> Vec<SystemPartition> {
    let mut held: BTreeMap<Partition, (&str, &HeldPartition)> = BTreeMap::new();
    for report in reports {
        for of in &report.partitions {
            // Two may name one for a moment: whoever serves it owns it.
            let is_served = held
                .get(&of.partition)
                .is_some_and(|(_, known)| known.state == "serving");
            if !is_served {
                held.insert(of.partition, (&report.id, of));
            }
        }
    }
    let of = |(partition, fence): (Partition, Fence)| {
        let (fence, at, owned) = match fence {
            Some((fence, at, owned)) => (Some(fence.0), Some(Iso(at)), owned),
            None => (None, None, None),
        };
        let holder = held.get(&partition);
        SystemPartition {
            partition: partition.get(),
            state: match holder.map(|(_, of)| of.state.as_str()) {
                Some("serving") => "serving",
                Some("taking_over") => "taking_over",
                Some("left") => "left",
                _ => "unknown",
            },
            owner: match holder {
                Some((worker, _)) => Some((*worker).to_owned()),
                None => owned.map(|owned| owned.worker),
            },
            fence,
            fenced_at: at,
            open: holder.and_then(|(_, of)| of.open),
            lag: holder.and_then(|(_, of)| {
                let (read, end) = (of.read?, ends.get(&partition)?);
                Some(end.0.saturating_sub(read.0))
            }),
            reason: holder.and_then(|(_, of)| of.reason.clone()),
        }
    };
    fences.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(id: &str, number: u16, state: &str) -> RoleReport {
        RoleReport {
            role: ProcessRole::Worker,
            id: id.to_owned(),
            version: "1".into(),
            since: Timestamp(1),
            control: None,
            tasks: None,
            partitions: vec![HeldPartition {
                partition: Partition::new(number).expect("a partition"),
                state: state.to_owned(),
                open: Some(7),
                reason: None,
                read: Some(StreamSeq(5)),
            }],
            streams: Vec::new(),
            storage: None,
            disk: None,
        }
    }

    #[test]
    fn whoever_serves_a_partition_owns_it_and_else_its_last_fence_says_who_did() {
        let reports = [
            worker("a", 0, "serving"),
            worker("b", 0, "taking_over"),
            worker("c", 1, "left"),
        ];
        let owned = |worker: &str| PartitionOwned {
            worker: worker.to_owned(),
            at: Timestamp(2),
            mark: None,
        };
        let number = |number| Partition::new(number).expect("a partition");
        let fences = vec![
            (
                number(0),
                Some((StreamSeq(9), Timestamp(3), Some(owned("b")))),
            ),
            (number(1), None),
            (
                number(2),
                Some((StreamSeq(4), Timestamp(3), Some(owned("z")))),
            ),
            (number(3), None),
        ];
        let ends = [(number(0), StreamSeq(9)), (number(2), StreamSeq(4))];
        let shown = partitions(&reports, fences, &BTreeMap::from(ends));
        let lags: Vec<_> = shown.iter().map(|one| one.lag).collect();
        assert_eq!(lags, [Some(4), None, None, None]);
        let told: Vec<_> = shown
            .iter()
            .map(|one| (one.state, one.owner.as_deref(), one.open))
            .collect();
        assert_eq!(
            told,
            [
                ("serving", Some("a"), Some(7)),
                ("left", Some("c"), Some(7)),
                ("unknown", Some("z"), None),
                ("unknown", None, None),
            ]
        );
        assert_eq!(shown[0].fence, Some(9));
    }
}
